"""The place of an nginx directive in its file, and notes about what was not translated. Pure."""

from __future__ import annotations

from perimeter.importers.draft import Draft, Note
from perimeter.importers.nginx.tree import Directive


class NginxFile:
    """Reads directives into ``draft``. ``file`` is for directives that do not know their own file."""

    def __init__(self, file: str, draft: Draft) -> None:
        self.file = file
        self.draft = draft

    def note(self, directive: Directive, text: str = "") -> Note:
        """The place of ``directive``, with ``text`` or, without one, the directive itself."""
        return Note(directive.file or self.file, directive.line, text or directive.text)

    def left(self, directive: Directive, text: str = "") -> None:
        """Report that ``directive`` was not translated; ``text`` says why."""
        self.draft.left(self.note(directive), f"{directive.text}{text and ': ' + text}")

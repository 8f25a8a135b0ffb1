"""Where in an nginx file something comes from, and what of it could not be taken over. Pure."""

from __future__ import annotations

from perimeter.importers.draft import Draft, Note
from perimeter.importers.nginx.tree import Directive


class NginxFile:
    """Whoever reads directives of ``file`` into ``draft``."""

    def __init__(self, file: str, draft: Draft) -> None:
        self.file = file
        self.draft = draft

    def note(self, directive: Directive, text: str = "") -> Note:
        """The place of ``directive``, which ``text`` tells otherwise than it does itself."""
        return Note(self.file, directive.line, text or directive.text)

    def left(self, directive: Directive, text: str = "") -> None:
        """``directive`` was not taken over, and why."""
        self.draft.left(self.note(directive), f"{directive.text}{text and ': ' + text}")

"""From values of Auth-o-tron's configuration to options of a site.ini, for all of its sections. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

import attrs

from perimeter.importers.draft import Draft, DraftSection, Note, literal
from perimeter.importers.judgement import Judge, accept, unfit_value
from perimeter.importers.yaml_tree import Value

_SECRETS = ("private_client_secret", "client_secret", "ldap_password")


@attrs.frozen
class Abilities:
    """What this gateway supports: the options of each type of authenticator and augmenter, and whether it can serve metrics and
    store API tokens. Plug-ins add types, so this module knows none; ``judge`` knows them."""

    authenticators: Mapping[str, frozenset[str]]
    augmenters: Mapping[str, frozenset[str]] = attrs.field(factory=dict)
    metrics: bool = False
    state: bool = False
    judge: Judge = accept


class AuthotronFile:
    """Reads values of ``file`` into ``draft``, for a gateway with ``abilities``."""

    def __init__(self, file: str, draft: Draft, abilities: Abilities) -> None:
        self.file = file
        self.draft = draft
        self.abilities = abilities

    def note(self, value: Value, text: str) -> Note:
        """A note about the line of ``value``."""
        return Note(value.file or self.file, value.line, text)

    def put(self, section: DraftSection, option: str, value: Value, name: str, text: str | None = None, needs: str = "") -> None:
        """Set one option from one scalar."""
        found = value.text if text is None else text
        note = self.note(value, name)
        if found is None:
            self.draft.left(note, f"{name}: expected a value")
        elif fault := literal(found) or ("" if needs else unfit_value(section.header, option, found)):
            self.draft.left(note, f"{name}: {fault}")
        else:
            self.draft.put(section, option, found, note, needs)

    def judged(self, section: DraftSection, value: Value, name: str) -> bool:
        """Whether the gateway accepts an authenticator or augmenter; it is left out otherwise."""
        fault = self.abilities.judge(section)
        if fault:
            self.draft.left(self.note(value, f"{name} is left out: {fault}"))
            del self.draft.sections[section.header]
            self.draft.files.pop(self.secret_file(section), None)
        return not fault

    @staticmethod
    def secret_file(section: DraftSection) -> str:
        """The file that holds the secret of an authenticator or augmenter."""
        return f"{section.header.partition(' ')[2]}.secret"

    def rest(self, table: dict[str, Value], known: set[str], where: str) -> None:
        """Report the entries of ``table`` that are not ``known`` as not translated."""
        for name, value in table.items():
            if name not in known:
                self.draft.left(self.note(value, f"{where}.{name}: there is nothing like it here"))

    def whole(self, value: Value, name: str) -> int | None:
        """A whole number, or None with a note."""
        if re.fullmatch(r"[0-9]{1,15}", value.raw):
            return int(value.raw)
        self.draft.left(self.note(value, f"{name}: expected a whole number"))
        return None

    def options(self, section: DraftSection, table: dict[str, Value], name: str, legal: frozenset[str], done: set[str]) -> None:
        """Options that are spelled alike on both sides; secrets go to files of their own."""
        for key, value in table.items():
            if key in done:
                continue
            if key not in legal:
                self.draft.left(self.note(value, f"{name}: {key}: there is nothing like it here"))
            elif key in _SECRETS:
                note = self.note(value, f"{name}: {key}")
                self.draft.put_secret(section, key, self.secret_file(section), value.raw, note)
            elif key == "filters" and value.items:
                # a distinguished name holds commas, so each has a line of its own
                self.put(section, key, value, f"{name}: {key}", "".join(f"\n    {item.text or ''}" for item in value.items))
            elif value.items:
                texts = [item.text or "" for item in value.items]
                if any("," in text for text in texts):
                    self.draft.left(self.note(value, f"{name}: {key}: a comma in an item of a list"))
                else:
                    self.put(section, key, value, f"{name}: {key}", ", ".join(texts))
            else:
                self.put(section, key, value, f"{name}: {key}")

    def listed(self, section: DraftSection, option: str, value: Value, name: str, texts: list[str]) -> None:
        """One option from a list of ``texts``."""
        if texts and not any(not text or "," in text or "\n" in text or text != text.strip() for text in texts):
            self.put(section, option, value, name, ", ".join(texts))
        elif texts:
            self.draft.left(self.note(value, f"{name}: a comma or nothing in an item"))

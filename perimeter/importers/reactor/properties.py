"""Reads values of Reactor's properties into a draft. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from perimeter.importers.draft import Draft, DraftSection, Note, literal
from perimeter.importers.judgement import unfit_value
from perimeter.importers.reactor.site_files import Property
from perimeter.importers.reactor.variables import replaced

CONSUMED = frozenset(
    (
        # of the original's threads, keys and ZooKeeper, which have no counterpart because nothing has to be set
        *("security.server.maxthreads", "security.token.digest.algorithm", "security.token.digest.keylength"),
        *("security.token.distributed.parent.znode", "security.data.keyfile.path"),
        *("router.server.boss.threads", "router.server.worker.threads", "router.client.boss.threads"),
        *("router.client.worker.threads", "router.connection.backlog", "router.cconf.reload.interval.seconds"),
    )
)
"""Properties that have no counterpart, because nothing has to be set."""


class Properties:
    """Reads ``properties`` by name, of ``file`` and others, into ``draft``. ``taken`` collects the names that were used."""

    def __init__(self, file: str, properties: Mapping[str, Property], draft: Draft, taken: set[str]) -> None:
        self.file = file
        self.properties = properties
        self.draft = draft
        self.taken = taken

    def take(self, name: str) -> str:
        """The value of a property, "" if it is not set or not known. The property counts as used from then on."""
        self.taken.add(name)
        found = self.properties.get(name)
        if found is None:
            return ""
        if found.doubt:
            self.draft.left(found.note, f"{name}: {found.doubt}")
            return ""
        value = self._replaced(found)
        if value is None:
            self.draft.left(found.note, f"{name}: it has a variable, whose value is in another file")
            return ""
        return value

    def _replaced(self, found: Property) -> str | None:
        """The value with its variables replaced by properties of the same file: CDAP reads its files apart."""

        def look_up(name: str) -> str | None:
            other = self.properties.get(name)
            known = other is not None and not other.doubt and not other.others and other.note.file == found.note.file
            return other.value if other is not None and known else None

        return replaced(found.value, look_up)

    def unclear(self, name: str) -> bool:
        """Whether a property is set, but its value is not known here."""
        found = self.properties.get(name)
        return found is not None and (bool(found.doubt) or self._replaced(found) is None)

    def off(self, name: str) -> bool:
        """Whether a property says ``false`` in plain words, in every file that has it (attack 48)."""
        found = self.properties.get(name)
        value = self.take(name)
        return found is not None and value.lower() == "false" and all(other.lower() == "false" for other in found.others)

    def note(self, name: str) -> Note:
        """The place of a property."""
        found = self.properties.get(name)
        return found.note if found else Note(self.file, 0, name)

    def put(self, section: DraftSection, option: str, name: str, value: str | None = None, needs: str = "") -> bool:
        """Set an option from a property, if that is set and the option takes its value."""
        text = self.take(name) if value is None else value
        if not text:
            return False
        fault = literal(text) or ("" if needs else unfit_value(section.header, option, text))
        if fault:
            self.draft.left(self.note(name), f"{name}: {fault}")
            return False
        return self.draft.put(section, option, text, self.note(name), needs)

    def first(self, *names: str) -> str:
        """The name of the first of these properties that has a value, or the first of them."""
        return next((name for name in names if name in self.properties and self.properties[name].value), names[0])

"""The properties of Reactor's site file, with their places. Pure."""

from __future__ import annotations

from perimeter.importers.draft import Draft, DraftSection, Note, literal

CONSUMED = frozenset(
    (
        # of the original's threads, keys and ZooKeeper, which have no counterpart because nothing has to be set
        *("security.server.maxthreads", "security.token.digest.algorithm", "security.token.digest.keylength"),
        *("security.token.distributed.parent.znode", "security.data.keyfile.path"),
        *("router.server.boss.threads", "router.server.worker.threads", "router.client.boss.threads"),
        *("router.client.worker.threads", "router.connection.backlog"),
    )
)
"""Properties that have no counterpart, because nothing has to be set."""


class Properties:
    """Reads ``properties`` (value and place by name) of ``file`` into ``draft``. ``taken`` collects the names that were used."""

    def __init__(self, file: str, properties: dict[str, tuple[str, Note]], draft: Draft, taken: set[str]) -> None:
        self.file = file
        self.properties = properties
        self.draft = draft
        self.taken = taken

    def take(self, name: str) -> str:
        """The value of a property, "" if it is not set. The property counts as used from then on."""
        self.taken.add(name)
        value = self.properties.get(name, ("", None))[0]
        return "" if "${" in value and self._variable(name) else value

    def _variable(self, name: str) -> bool:
        self.draft.left(self.note(name), f"{name}: it has a variable, whose value is in another file")
        return True

    def note(self, name: str) -> Note:
        """The place of a property."""
        found = self.properties.get(name)
        return found[1] if found else Note(self.file, 0, name)

    def put(self, section: DraftSection, option: str, name: str, value: str | None = None, needs: str = "") -> None:
        """Set an option from a property, if that is set."""
        text = self.take(name) if value is None else value
        if text and (fault := literal(text)):
            self.draft.left(self.note(name), f"{name}: {fault}")
        elif text:
            self.draft.put(section, option, text, self.note(name), needs)

    def true(self, name: str) -> bool:
        """Whether a property says ``true``."""
        return self.take(name).lower() == "true"

    def first(self, *names: str) -> str:
        """The name of the first of these properties that is set, or the first of them."""
        return next((name for name in names if self.properties.get(name, ("", None))[0]), names[0])

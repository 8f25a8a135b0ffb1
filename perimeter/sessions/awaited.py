"""Those who wait until a session is renewed or ends."""

from __future__ import annotations

from twisted.internet.defer import Deferred


class AwaitedChanges:
    """Empty at first. Sessions are known by their ids."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[Deferred[None]]] = {}

    def of(self, id: str) -> Deferred[None]:
        """Fires at the next change of this session. To be cancelled by a caller who leaves."""

        def leave(waiting: Deferred[None]) -> None:
            others = self._waiting[id]
            others.remove(waiting)
            if not others:
                del self._waiting[id]

        waiting: Deferred[None] = Deferred(leave)
        self._waiting.setdefault(id, []).append(waiting)
        return waiting

    def happened(self, id: str) -> None:
        """The session with this id has changed."""
        for waiting in self._waiting.pop(id, ()):
            waiting.callback(None)

    def all_happened(self) -> None:
        """Any session may have changed."""
        for id in list(self._waiting):
            self.happened(id)

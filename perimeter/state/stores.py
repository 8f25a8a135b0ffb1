"""Which store a configuration means, and the one state that is in use of it, however often the configuration is read again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, DeferredList

from perimeter.config.site.perimeter import PerimeterSettings
from perimeter.state.memory import MemoryStore
from perimeter.state.sqlite import SqliteStore
from perimeter.state.state import State
from perimeter.state.store import IStateStore


class States:
    """Opens states. A reload that changes nothing of where they are gets the one in use."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._open: dict[tuple[str, Path], State] = {}

    def open(self, settings: PerimeterSettings) -> State:
        """The state that ``settings`` name. Raises `perimeter.errors.StartupError`."""
        key = settings.state, settings.state_dir
        if key not in self._open:
            state = State(_store(settings), self._reactor)
            state.start()
            self._open[key] = state
        return self._open[key]

    def keep(self, state: State | None) -> Deferred[None]:
        """Let go of every other state. Fires when they have written what they had to."""
        stopping = []
        for key, other in list(self._open.items()):
            if other is not state:
                del self._open[key]
                stopping.append(other.stop())
        return DeferredList(stopping).addCallback(lambda _: None)


def _store(settings: PerimeterSettings) -> IStateStore:
    if settings.state == "memory":
        return MemoryStore()
    return SqliteStore(settings.state_dir)

"""Chooses the store of a configuration, and keeps one state in use across reloads that do not move it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import Deferred, DeferredList

from perimeter.config.site.perimeter import PerimeterSettings, StateKind
from perimeter.state.kinds import Kinds
from perimeter.state.memory import MemoryStore
from perimeter.state.peers import ALONE, Peers
from perimeter.state.sqlite import SqliteStore
from perimeter.state.state import Indexes, State
from perimeter.state.store import IStateStore

Key = tuple[str, Path]


@attrs.frozen
class OpenedState:
    """A state for `States.adopt`. ``loaded`` is what the store had, or None if the state is in use already."""

    key: Key
    state: State
    store: IStateStore | None = None
    loaded: tuple[Indexes, int] | None = None

    def discard(self) -> None:
        """Release the store of a state that is not adopted. Blocks for a moment."""
        if self.store is not None:
            self.store.close()


class States:
    """The states in use. ``kinds`` are the kinds of their data; ``peers`` are the other processes with the same state."""

    def __init__(self, reactor: Any, kinds: Kinds, peers: Peers = ALONE) -> None:
        self._reactor = reactor
        self._kinds = kinds
        self._peers = peers
        self._in_use: dict[Key, State] = {}

    def open(self, settings: PerimeterSettings) -> OpenedState:
        """The state that ``settings`` name: the one in use, or a new one with all that its store has.

        Blocks, so it belongs in a thread; nothing else may be done to the states meanwhile. Raises `StartupError`.
        """
        key = settings.state, settings.state_dir
        if key in self._in_use:
            return OpenedState(key, self._in_use[key])
        store: IStateStore = MemoryStore() if settings.state is StateKind.MEMORY else SqliteStore(settings.state_dir, self._kinds)
        try:
            state = State(store, self._kinds, self._reactor)
            return OpenedState(key, state, store, state.load())
        except BaseException:
            store.close()
            raise

    def adopt(self, opened: OpenedState) -> State:
        """Use the state from now on."""
        if opened.loaded is not None:
            opened.state.replace(opened.loaded)
            opened.state.start()
            for other in self._in_use.values():
                other.leave()
            opened.state.join(self._peers)
            self._in_use[opened.key] = opened.state
        return opened.state

    def keep(self, state: State | None) -> Deferred[None]:
        """Stop every other state. Fires when they have written what they had to."""
        stopping = []
        for key, other in list(self._in_use.items()):
            if other is not state:
                del self._in_use[key]
                stopping.append(other.stop())
        return DeferredList(stopping).addCallback(lambda _: None)

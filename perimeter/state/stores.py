"""Chooses the store of a configuration, and keeps one state in use across reloads that do not move it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.defer import Deferred, DeferredList

from perimeter.config.site.perimeter import PerimeterSettings, Stale, StateKind
from perimeter.errors import StartupError
from perimeter.state.freshness import SHORT
from perimeter.state.kinds import Kinds
from perimeter.state.memory import MemoryStore
from perimeter.state.peers import ALONE, Peers
from perimeter.state.sqlite import SqliteStore
from perimeter.state.state import Indexes, State
from perimeter.state.store import IStateStore

Key = tuple[Any, ...]


def _key(settings: PerimeterSettings) -> Key:
    """What makes it another state if it changes. A change of ``cluster_secret`` does not: see `State.use_key`."""
    if settings.state is not StateKind.REDIS:
        return settings.state, settings.state_dir
    return settings.state, settings.state_dir, settings.redis_url, settings.redis_ca, settings.redis_timeout


@attrs.frozen
class OpenedState:
    """A state for `States.adopt`, of ``settings``. ``loaded`` is what the store had, or None if the state is in use already."""

    key: Key
    state: State
    settings: PerimeterSettings
    store: IStateStore | None = None
    loaded: tuple[Indexes, int] | None = None

    def discard(self) -> None:
        """Release the store of a state that is not adopted. Blocks for a moment."""
        if self.store is not None:
            self.store.close()


Shared = Callable[[Any, PerimeterSettings, Kinds], tuple[State, IStateStore]]
"""Makes the state that several machines share, and the store of this machine, from the reactor, the settings and the kinds.

Blocks, touches nothing of the reactor's, and raises `StartupError`."""


class States:
    """The states in use. ``kinds`` are the kinds of their data; ``peers`` are the other processes with the same state.

    ``shared`` makes a state that other machines have, too.
    """

    def __init__(self, reactor: Any, kinds: Kinds, peers: Peers = ALONE, shared: Shared | None = None) -> None:
        self._reactor = reactor
        self._kinds = kinds
        self._peers = peers
        self._shared = shared
        self._in_use: dict[Key, State] = {}

    def open(self, settings: PerimeterSettings) -> OpenedState:
        """The state that ``settings`` name: the one in use, or a new one with all that its store has.

        Blocks, so it belongs in a thread; nothing else may be done to the states meanwhile. Raises `StartupError`.
        """
        key = _key(settings)
        if key in self._in_use:
            return OpenedState(key, self._in_use[key], settings)
        state, store = self._make(settings)
        try:
            return OpenedState(key, state, settings, store, state.load())
        except BaseException:
            store.close()
            raise

    def _make(self, settings: PerimeterSettings) -> tuple[State, IStateStore]:
        if settings.state is StateKind.REDIS:
            if self._shared is None:
                raise StartupError("state = redis cannot be used here")
            return self._shared(self._reactor, settings, self._kinds)
        store: IStateStore
        if settings.state is StateKind.MEMORY:
            store = MemoryStore()
        else:
            store = SqliteStore(settings.state_dir, self._kinds, whole_up_to=settings.whole_up_to)
        return State(store, self._kinds, self._reactor), store

    def adopt(self, opened: OpenedState) -> State:
        """Use the state from now on."""
        settings = opened.settings
        opened.state.freshness.allow(settings.stale_limit, SHORT if settings.stale is Stale.JWT else 0.0)
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

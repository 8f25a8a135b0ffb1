"""The state for a command, while no gateway runs: the same views, written to at once. Blocks, and needs no reactor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

from twisted.internet.defer import Deferred, fail, succeed

from perimeter.errors import Unavailable
from perimeter.state.changes import Change
from perimeter.state.kinds import Kind, Kinds, View
from perimeter.state.store import IStateStore
from perimeter.state.writer import LookupKey

V = TypeVar("V", bound=View)


class DirectState:
    """The contents of ``store`` (`perimeter.state.writer.ChangeWriter`); ``clock`` gives epoch seconds. Raises `StartupError`."""

    def __init__(self, store: IStateStore, kinds: Kinds, clock: Callable[[], float]) -> None:
        self._store = store
        self._kinds = kinds
        self.seconds = clock
        self._views: dict[str, Any] = {kind.name: kind.view(self) for kind in kinds.all}
        held, _ = store.load()
        for name, view in self._views.items():
            view.replace(view.index(held.get(name, ())))

    def view(self, kind: Kind[V]) -> V:
        """What holds ``kind``."""
        return cast("V", self._views[kind.name])

    def add(self, change: Change) -> Deferred[None]:
        """Write ``change`` and apply it. The Deferred has fired."""
        return self._write(change)

    def remove(self, change: Change) -> Deferred[None]:
        """As `add`: nothing is in force before it is written, as no request is being served."""
        return self._write(change)

    def claim(self, digest: bytes, until: float) -> Deferred[bool]:
        """Make a claim. The Deferred has fired."""
        try:
            (first,) = self._store.claim([(digest, until)])
        except Unavailable as error:
            return fail(error)
        return succeed(first)

    @property
    def stale(self) -> bool:
        """False: the whole store was read a moment ago."""
        return False

    @property
    def spared(self) -> float:
        """See `perimeter.state.writer.ChangeWriter`."""
        return 0.0

    def find(self, kind: str, key: LookupKey) -> Deferred[Sequence[Change]]:
        """Look records up. The Deferred has fired."""
        try:
            return succeed(self._store.find(kind, key))
        except Unavailable as error:
            return fail(error)

    def catch_up(self) -> None:
        """Do nothing: the whole store was read a moment ago."""

    def _write(self, change: Change) -> Deferred[None]:
        try:
            self._store.write([change])
        except Unavailable as error:
            return fail(error)
        self._views[self._kinds.of(change).name].apply(change)
        return succeed(None)

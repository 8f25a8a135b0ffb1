"""The counts of all machines, in the memory of the test: what `perimeter.cluster.counts.SharedCounts` does on a real engine."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime

from perimeter.cluster.counts import NO_DECAY, Count, Decay
from perimeter.errors import StateUnavailable


class NodeCounts:
    """Counts that several `perimeter.auth.chain.nodes.Nodes` share. While ``down`` is True, everything fails; while ``full``,
    only changes do."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._failures: dict[bytes, list[float]] = {}
        self._dropped: dict[bytes, float] = {}
        self._once: set[tuple[bytes, bytes]] = set()
        self.down = self.full = False
        self.asked = self.changed = 0
        #: what a question waits for; None: it is answered at once
        self.hold: Deferred[None] | None = None

    async def add(self, name: bytes, decay: Decay = NO_DECAY, once: bytes = b"") -> Count:
        """See `SharedCounts.add`."""
        await self._reach(change=True)
        failures = self._failures.setdefault(name, [])
        if not once or (name, once) not in self._once:
            if failures and len(failures) < decay.limit:
                gone = int((self._clock.seconds() - failures[-1]) * decay.rate)
                del failures[: min(gone, len(failures))]
            failures.append(self._clock.seconds())
        self._once.add((name, once))
        return self._count(name)

    async def find(self, names: Sequence[bytes]) -> list[Count]:
        """See `SharedCounts.find`."""
        await self._reach()
        return [self._count(name) for name in names]

    async def drop(self, names: Sequence[bytes]) -> None:
        """See `SharedCounts.drop`."""
        await self._reach(change=True)
        for name in names:
            self._failures.pop(name, None)
            self._dropped[name] = self._clock.seconds()

    async def _reach(self, *, change: bool = False) -> None:
        self.asked += 1
        self.changed += change
        await (self.hold or succeed(None))
        if self.down or (change and self.full):
            raise StateUnavailable("Redis does not answer")

    def _count(self, name: bytes) -> Count:
        now, failures, dropped = self._clock.seconds(), self._failures.get(name), self._dropped.get(name)
        return Count(len(failures or ()), now - failures[-1] if failures else 0.0, None if dropped is None else now - dropped)

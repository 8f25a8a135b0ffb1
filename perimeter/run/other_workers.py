"""The data that a worker process shares with the others: the state, the counts of wrong passwords, and uses of sessions.

It accepts connections only while it has the data of the others: not before it has received them at its start, and not while it is
late.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, DeferredList

from perimeter.run.build.assembly import Assembly
from perimeter.run.build.shared_state import shared_state
from perimeter.run.build.state_kinds import STATE_KINDS
from perimeter.run.shared_attempts import SharedAttempts
from perimeter.run.shared_uses import SharedUses
from perimeter.run.state_peers import WorkerPeers
from perimeter.state.state import State
from perimeter.state.stores import States
from perimeter.workers.page import SlotState
from perimeter.workers.place import Place


class OtherWorkers:
    """The other workers, as the one at ``place`` sees them.

    ``pause`` makes this worker accept no connections (True), or accept some again.
    """

    def __init__(self, place: Place, reactor: Any, pause: Callable[[bool], None]) -> None:
        self._place = place
        self._reactor = reactor
        self._pause = pause
        self._joined = False
        self._late = False
        self.state = WorkerPeers(place, reactor, self._be_late)
        self.attempts = SharedAttempts(place, reactor)
        self.uses = SharedUses(place, reactor)

    def parts(self) -> dict[str, Any]:
        """The fields of `Runtime` that are shared with the others."""
        return {"states": States(self._reactor, STATE_KINDS, self.state, shared_state), "attempt_peers": self.attempts}

    def put_in_force(self, assembly: Assembly) -> None:
        """``assembly`` is in force from now on."""
        self.attempts.throttle = assembly.chain.throttle
        self.uses.put_in_force(assembly.sessions, assembly.config)
        self._update()

    def join(self, state: State) -> Deferred[None]:
        """Serve from now on: first receive the data of the others, then accept connections, and fire.

        The store contains all revocations from before the slot is marked as serving, so this worker reads them. The answers to
        later revocations wait for this worker.
        """
        slot = self._place.slot
        if slot.state is SlotState.STARTING:
            slot.state = SlotState.SERVING
        known = DeferredList([state.follow(), self.attempts.learn(), self.uses.learn()])
        return known.addCallback(self._has_joined)

    def _has_joined(self, _: object) -> None:
        self._joined = True
        self._update()

    def stop(self) -> None:
        """The worker stops: send the data that the others do not have yet."""
        self.attempts.stop()
        self.uses.stop()

    def _be_late(self, late: bool) -> None:
        self._late = late
        self._update()

    def _update(self) -> None:
        self._pause(self._late or not self._joined)

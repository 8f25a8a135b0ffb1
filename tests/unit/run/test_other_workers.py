"""When a worker accepts connections: while it knows what the others know."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import TestCase

from perimeter.auth.chain.attempts import Attempts, Counted, Key, MemoryAttempts
from perimeter.auth.chain.throttle import Throttle
from perimeter.config.site.login import LoginSettings
from perimeter.offload import Offload
from perimeter.run.build.state_kinds import STATE_KINDS
from perimeter.run.other_workers import OtherWorkers
from perimeter.sessions.stored import SESSIONS
from perimeter.state.sqlite import SqliteStore
from perimeter.state.state import State
from perimeter.tokens.revocation import RevokedGrant
from perimeter.workers.page import SlotState
from tests.unit.run.test_state_peers import ReadingClock, Threads
from tests.unit.workers.fleet import Fleet

NAME = Key(Counted.NAME, "john", "corp")


class OtherWorkersTests(TestCase):
    def setUp(self) -> None:
        self.clock = ReadingClock()
        self.fleet = Fleet(2, self.clock)
        self.addCleanup(self.fleet.page.close)
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.paused: list[list[bool]] = [[], []]
        self.workers = [OtherWorkers(place, self.clock, self.paused[place.number].append) for place in self.fleet.places]
        self.threads: list[Threads] = []
        self.states = [self.state(worker) for worker in self.workers]
        self.assemblies = [self.assembly(worker, state) for worker, state in zip(self.workers, self.states, strict=True)]
        self.slot = self.fleet.page.slots[1]
        self.slot.state = SlotState.STARTING

    def state(self, worker: OtherWorkers) -> State:
        self.threads.append(Threads())
        store = SqliteStore(self.directory, STATE_KINDS)
        state = State(store, STATE_KINDS, self.clock, Offload(self.clock, 1, pool=self.threads[-1]))
        state.replace(state.load())
        state.start()
        state.join(worker.state)
        self.addCleanup(state.stop)
        return state

    def assembly(self, worker: OtherWorkers, state: State) -> Any:
        config = SimpleNamespace(login=LoginSettings(), routes=())
        self.addCleanup(worker.stop)
        return SimpleNamespace(
            chain=SimpleNamespace(throttle=self.throttle(worker)), sessions=state.view(SESSIONS), config=config
        )

    def throttle(self, worker: OtherWorkers) -> Throttle:
        return Throttle(3, MemoryAttempts(), self.clock, allowed_from_address=0, peers=worker.attempts)

    def test_the_parts_that_are_shared(self) -> None:
        parts = self.workers[1].parts()
        self.assertIs(parts["attempt_peers"], self.workers[1].attempts)
        self.assertEqual(parts.keys(), {"states", "attempt_peers"})

    def test_attack_88_a_worker_that_starts_accepts_when_it_knows_what_was_revoked(self) -> None:
        for number in (0, 1):
            self.workers[number].put_in_force(self.assemblies[number])
        self.assertEqual(self.paused[1], [True])
        self.successResultOf(self.states[0].remove(RevokedGrant("early", 9000.0)))
        self.assemblies[0].chain.throttle.merge([(NAME, Attempts(9, 0.0, 900.0))])
        self.threads[1].hangs = True
        joined = self.workers[1].join(self.states[1])
        self.assertIs(self.slot.state, SlotState.SERVING)
        late: list[Any] = []
        self.states[0].remove(RevokedGrant("late", 9000.0)).addCallback(late.append)
        self.assertEqual(late, [], "this worker serves, so the revocation waits for it")
        self.assertNoResult(joined)
        self.threads[1].hangs = False
        while self.threads[1].jobs:
            self.threads[1].step()
        self.assertEqual((self.slot.applied, self.paused[1]), (2, [True]))
        self.fleet.deliver()
        self.successResultOf(joined)
        self.assertEqual(self.paused[1], [True, False])
        self.assertEqual(self.assemblies[1].chain.throttle.worst(5), [(NAME, Attempts(9, 0.0, 900.0))])

    def test_a_worker_that_drains_already_stays_so(self) -> None:
        self.slot.state = SlotState.DRAINING
        self.workers[1].join(self.states[1])
        self.assertIs(self.slot.state, SlotState.DRAINING)

    def test_a_worker_that_is_late_pauses_also_after_a_reload(self) -> None:
        self.workers[1].put_in_force(self.assemblies[1])
        joined = self.workers[1].join(self.states[1])
        self.fleet.deliver()
        self.successResultOf(joined)
        self.threads[1].hangs = True
        self.states[0].remove(RevokedGrant("jti", 9000.0))
        for reader in list(self.clock.readers):
            reader.doRead()
        self.clock.pump([0.25] * 8)
        self.assertEqual(self.paused[1], [True, False, True])
        self.workers[1].put_in_force(self.assemblies[1])
        self.assertEqual(self.paused[1], [True, False, True, True])
        self.threads[1].hangs = False
        self.threads[1].step()
        self.clock.advance(0.25)
        self.assertEqual(self.paused[1], [True, False, True, True, False])

    def test_at_the_end_the_others_learn_of_the_last_failures(self) -> None:
        self.workers[1].attempts.failed([NAME], b"")
        self.workers[1].stop()
        self.fleet.deliver()
        self.assertEqual([number for number, _, _ in self.fleet.told], [1])

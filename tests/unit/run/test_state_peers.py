"""The state among workers that are all in this process: a page of memory, eventfds, one state.db, a clock that the test sets."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import Any

from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from perimeter.errors import StateUnavailable
from perimeter.model import Grant, GrantKind, Principal
from perimeter.offload import Offload
from perimeter.run.build.state_kinds import STATE_KINDS
from perimeter.run.state_peers import LATE, LONGEST_WAIT, WorkerPeers
from perimeter.state.sqlite import SqliteStore
from perimeter.state.state import LOOK_INTERVAL, State
from perimeter.tokens import stored as stored_module
from perimeter.tokens.api_token import ApiToken, mint
from perimeter.tokens.revocation import RevokedGrant
from perimeter.tokens.stored import TOKENS
from perimeter.workers.page import LAST, SharedPage, SlotState
from perimeter.workers.place import Place
from tests.unit.doubles.auth import ManualThreads, ThreadClock
from tests.unit.workers.channels import connected

ALICE = Principal("alice", "local")


def token() -> ApiToken:
    return mint("ci", ALICE, 0.0, inf)[1]


class ReadingClock(ThreadClock):
    """A clock that knows who reads."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[Any] = []

    def addReader(self, reader: Any) -> None:
        self.readers.append(reader)

    def removeReader(self, reader: Any) -> None:
        self.readers.remove(reader)


class Threads(ManualThreads):
    """Runs jobs at once, unless the thread hangs."""

    hangs = False

    def callInThreadWithCallback(self, on_result: Any, function: Any, *args: Any) -> None:
        super().callInThreadWithCallback(on_result, function, *args)
        if not self.hangs:
            self.step()


class Process:
    """A worker: its peers, its store and its state."""

    def __init__(self, page: SharedPage, number: int, directory: Path, clock: ReadingClock) -> None:
        self.place = Place(number, page, connected({}, {})[0], {})
        self.slot = self.place.slot
        self.slot.state = SlotState.SERVING
        self.late: list[bool] = []
        self.peers = WorkerPeers(self.place, clock, self.late.append)
        self.threads = Threads()
        self.store = SqliteStore(directory, STATE_KINDS)
        self.state = State(self.store, STATE_KINDS, clock, Offload(clock, threads=1, pool=self.threads))
        self.state.replace(self.state.load())
        self.state.start()
        self.state.join(self.peers)
        self.tokens = self.state.view(TOKENS)

    def knows(self, kept: ApiToken) -> bool:
        return self.tokens.good(Principal("alice", "local", grant=Grant(kept.id, 0.0, inf, GrantKind.API_TOKEN)))


class WorkersCase(TestCase):
    def setUp(self) -> None:
        self.clock = ReadingClock()
        self.page = SharedPage.create()
        self.addCleanup(self.page.close)
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.processes: list[Process] = []
        self.addCleanup(lambda: [one.state.stop() for one in self.processes])

    def worker(self, number: int) -> Process:
        process = Process(self.page, number, self.directory, self.clock)
        self.processes.append(process)
        return process

    def turn(self) -> None:
        """Every reactor turns until nothing happens any more."""
        for _ in range(10):
            for reader in list(self.clock.readers):
                reader.doRead()

    def ended(self, waiting: Any) -> list[Any]:
        found: list[Any] = []
        waiting.addBoth(found.append)
        return found


class RevocationTests(WorkersCase):
    def setUp(self) -> None:
        super().setUp()
        self.first, self.second, self.third = (self.worker(number) for number in (0, 1, 5))
        self.kept = token()
        added = self.ended(self.first.tokens.add(self.kept))
        self.turn()
        self.assertEqual(added, [None])

    def test_peers_are_read_by_the_reactor(self) -> None:
        verifyObject(IReadDescriptor, self.first.peers)
        self.assertEqual(self.first.peers.fileno(), self.page.wakers[0])
        self.assertEqual(self.first.peers.logPrefix(), "peers")
        self.first.peers.connectionLost(Failure(Exception()))

    def test_notes_about_the_engine_are_on_the_page(self) -> None:
        self.second.peers.note_heard(7)
        self.third.peers.note_heard(2**64 - 1)
        for one in self.processes:
            found = one.peers.heard()
            self.assertEqual([found[0], found[1], found[5], sum(found)], [0, 7, 2**64 - 1, 2**64 + 6])

    def test_an_addition_is_answered_when_every_worker_has_it(self) -> None:
        kept = token()
        added = self.ended(self.second.tokens.add(kept))
        self.assertTrue(self.second.knows(kept))
        self.assertEqual((added, self.first.knows(kept)), ([], False))
        self.turn()
        self.assertEqual((added, self.first.knows(kept), self.third.knows(kept)), ([None], True, True))

    def test_attack_88_a_revocation_is_answered_when_every_worker_refuses(self) -> None:
        epochs = [one.tokens.epoch for one in self.processes]
        removed = self.ended(self.first.tokens.remove(self.kept))
        self.assertEqual([one.knows(self.kept) for one in self.processes], [False, True, True])
        self.assertEqual(removed, [])
        self.second.peers.doRead()
        self.first.peers.doRead()
        self.assertEqual(removed, [], "the third does not know yet")
        self.third.peers.doRead()
        self.assertEqual([one.knows(self.kept) for one in self.processes], [False, False, False])
        self.first.peers.doRead()
        self.assertEqual(removed, [None])
        self.assertEqual([one.tokens.epoch for one in self.processes], [epoch + 1 for epoch in epochs])
        self.assertEqual([one.slot.applied for one in self.processes], [2, 2, 2])

    def test_a_worker_that_does_not_answer_is_named_and_waited_for_no_longer(self) -> None:
        self.third.threads.hangs = True
        removed = self.ended(self.first.tokens.remove(self.kept))
        self.turn()
        self.clock.advance(LONGEST_WAIT - 0.01)
        self.assertEqual(removed, [])
        with capturedLogs() as logs:
            self.clock.advance(0.01)
        self.assertEqual(removed, [None])
        warnings = [event for event in logs if "not in force" in event["log_format"]]
        self.assertEqual([event["slot"] for event in warnings], [5])

    def test_only_workers_that_may_admit_requests_are_waited_for(self) -> None:
        for state in (SlotState.EMPTY, SlotState.STARTING):
            self.second.slot.state = self.third.slot.state = state
            self.assertEqual(self.ended(self.first.tokens.add(token())), [None], state)
        self.second.slot.state = SlotState.DRAINING
        added = self.ended(self.first.tokens.add(token()))
        self.assertEqual(added, [])
        self.turn()
        self.assertEqual(added, [None])

    def test_a_worker_that_has_stopped_is_not_waited_for(self) -> None:
        self.successResultOf(self.second.state.stop())
        self.assertEqual(self.second.slot.applied, LAST)
        self.successResultOf(self.third.state.stop())
        self.assertEqual(len(self.clock.readers), 1)
        self.assertEqual(self.ended(self.first.tokens.remove(self.kept)), [None])

    def test_what_a_worker_writes_while_it_stops_is_announced(self) -> None:
        self.second.threads.hangs = True
        removed = self.ended(self.second.tokens.remove(self.kept))
        stopped = self.ended(self.second.state.stop())
        while self.second.threads.jobs:
            self.second.threads.step()
        self.turn()
        self.assertEqual([self.first.knows(self.kept), self.third.knows(self.kept)], [False, False])
        self.assertEqual((removed, len(stopped), self.second.slot.applied), ([None], 1, LAST))

    def test_several_wait_at_once_and_each_for_its_own(self) -> None:
        grants = [RevokedGrant(f"jti-{number}", 9000.0) for number in range(2)]
        self.second.slot.state = SlotState.EMPTY
        one = self.ended(self.first.state.remove(grants[0]))
        self.third.threads.hangs = True
        self.third.peers.doRead()
        two = self.ended(self.first.state.remove(grants[1]))
        cursor = self.first.slot.committed
        self.third.slot.applied = cursor - 1
        self.page.wake(0)
        self.first.peers.doRead()
        self.assertEqual((one, two), ([None], []))
        self.third.slot.applied = cursor
        self.page.wake(0)
        self.first.peers.doRead()
        self.assertEqual((one, two), ([None], [None]))

    def test_two_workers_that_write_at_the_same_time(self) -> None:
        kept = [token() for _ in range(6)]
        added = [self.ended(self.processes[number % 3].tokens.add(one)) for number, one in enumerate(kept)]
        self.turn()
        self.assertEqual(added, [[None]] * 6)
        self.assertTrue(all(process.knows(one) for process in self.processes for one in kept))
        self.assertEqual({one.slot.applied for one in self.processes}, {7})

    def test_a_change_that_nobody_was_woken_for_is_found_by_the_next_look(self) -> None:
        """The worker that has written it was killed after the commit."""
        self.patch(self.first.peers, "_wake", lambda numbers: None)
        self.first.state.remove(RevokedGrant("jti", 9000.0))
        self.turn()
        self.assertEqual(self.second.slot.applied, 1)
        self.successResultOf(self.second.state.follow())
        self.assertEqual(self.second.slot.applied, 2)
        self.assertTrue(self.second.tokens.revoked(Grant("jti", 0.0, 9000.0), "local", "alice"))

    def test_one_worker_makes_room_for_passing_tokens(self) -> None:
        self.patch(stored_module, "MOST_PASSING", 2)
        passing = [mint("", ALICE, 0.0, 9000.0, passing=True)[1] for _ in range(5)]
        for number, one in enumerate(passing):
            self.processes[number % 3].tokens.add(one)
            self.turn()
        self.assertEqual({one.slot.applied for one in self.processes}, {1 + 5 + 3}, "each removal is written once")
        for process in self.processes:
            self.assertEqual([one.passing for one in process.tokens.owned("local", "alice")], [False, True, True])

    def test_the_leading_worker_drops_what_has_ended(self) -> None:
        dropped: list[Process] = []
        for process in self.processes:
            self.patch(process.store, "forget", lambda now, process=process: dropped.append(process))
        self.clock.advance(700)
        for process in self.processes:
            self.successResultOf(process.state.tend())
        self.assertEqual(dropped, [self.first])


class LateTests(WorkersCase):
    def setUp(self) -> None:
        super().setUp()
        self.first, self.second = self.worker(0), self.worker(1)

    def test_a_worker_that_cannot_read_the_log_accepts_no_connections(self) -> None:
        self.second.threads.hangs = True
        self.first.tokens.add(token())
        self.turn()
        self.clock.pump([0.25] * 5)
        self.assertEqual((self.first.late, self.second.late), ([], []))
        with capturedLogs() as logs:
            self.clock.advance(0.25)
        self.assertEqual((self.first.late, self.second.late), ([], [True]))
        self.assertEqual(self.first.state.problem(), "")
        self.assertEqual(self.second.state.problem(), "changes of other processes are not seen")
        self.assertEqual([event["log_level"].name for event in logs if "does not see" in event["log_format"]], ["error"])
        self.second.threads.hangs = False
        self.second.threads.step()
        self.clock.advance(0.25)
        self.assertEqual((self.second.late, self.second.state.problem()), ([True, False], ""))
        self.assertEqual(LATE, 1.0)

    def test_a_worker_that_ends_is_not_late(self) -> None:
        self.successResultOf(self.second.state.stop())
        self.first.tokens.add(token())
        self.clock.pump([0.25] * 10)
        self.assertEqual(self.second.late, [])

    def test_a_store_that_was_put_back(self) -> None:
        """Its numbers begin anew, and no worker waits for ever for the old ones."""
        for _ in range(3):
            self.first.tokens.add(token())
            self.turn()
        for process in self.processes:
            process.store._db.execute("DELETE FROM change")
            process.store._db.execute("UPDATE sqlite_sequence SET seq = 1 WHERE name = 'change'")
            self.successResultOf(process.state.follow())
        self.assertEqual([(one.slot.committed, one.slot.applied) for one in self.processes], [(1, 1), (0, 1)])
        self.clock.pump([0.25] * 10)
        self.assertEqual((self.first.late, self.second.late), ([], []))

    def test_another_store_after_a_reload(self) -> None:
        self.first.tokens.add(token())
        self.turn()
        self.first.state.leave()
        elsewhere = Path(self.mktemp())
        elsewhere.mkdir()
        state = State(SqliteStore(elsewhere, STATE_KINDS), STATE_KINDS, self.clock, Offload(self.clock, 1, pool=Threads()))
        state.replace(state.load())
        state.start()
        state.join(self.first.peers)
        self.addCleanup(state.stop)
        self.assertEqual((self.first.slot.committed, self.first.slot.applied), (0, 0))
        self.successResultOf(self.first.tokens.add(token()))
        self.assertEqual(self.first.slot.committed, 0, "the old store is not the one in use")
        self.assertEqual(len(self.clock.readers), 2)


class CatchUpTests(WorkersCase):
    def setUp(self) -> None:
        super().setUp()
        self.first, self.second = self.worker(0), self.worker(1)
        self.looks = 0
        since: Callable[[int], Any] = self.second.store.since

        def counted(cursor: int) -> Any:
            self.looks += 1
            return since(cursor)

        self.patch(self.second.store, "since", counted)

    def test_what_another_worker_has_written_is_found_without_waiting_for_the_reactor(self) -> None:
        kept = token()
        self.first.tokens.add(kept)
        self.assertFalse(self.second.knows(kept))
        looked = self.second.state.catch_up()
        assert looked is not None
        self.successResultOf(looked)
        self.assertTrue(self.second.knows(kept))

    def test_attack_89_made_up_names_cost_one_look_a_second(self) -> None:
        for _ in range(3):
            looks = self.looks
            self.assertIsNotNone(self.second.state.catch_up())
            self.assertEqual([self.second.state.catch_up() for _ in range(100)], [None] * 100)
            self.assertEqual(self.looks, looks + 1)
            self.clock.advance(LOOK_INTERVAL)

    def test_a_clock_that_was_set_back_allows_a_look(self) -> None:
        self.assertIsNotNone(self.second.state.catch_up())
        self.clock.rightNow -= 1000
        self.assertIsNotNone(self.second.state.catch_up())

    def test_what_a_command_beside_the_gateway_writes(self) -> None:
        kept = token()
        beside = SqliteStore(self.directory, STATE_KINDS)
        beside.write([kept])
        beside.close()
        looked = self.second.state.catch_up()
        assert looked is not None
        self.successResultOf(looked)
        self.assertTrue(self.second.knows(kept))

    def test_what_is_known_to_be_new_and_cannot_be_read_is_unavailable(self) -> None:
        self.second.threads.hangs = True
        self.first.tokens.add(token())
        looked = self.second.state.catch_up()
        assert looked is not None
        self.assertNoResult(looked)
        self.clock.advance(2.0)
        self.failureResultOf(looked, StateUnavailable)

    def test_a_look_that_takes_too_long_finds_nothing(self) -> None:
        self.second.threads.hangs = True
        looked = self.second.state.catch_up()
        assert looked is not None
        self.clock.advance(2.0)
        self.successResultOf(looked)

    def test_all_who_ask_before_a_look_has_begun_share_it(self) -> None:
        self.second.threads.hangs = True
        waiting = [self.ended(self.second.state.follow()) for _ in range(10)]
        for _ in range(2):
            self.second.threads.step()
        self.assertEqual((self.looks, waiting), (2, [[None]] * 10))

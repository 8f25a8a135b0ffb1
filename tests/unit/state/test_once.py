"""Names that count once: in one store, in two stores with one file, and in two processes at the same moment."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Coroutine
from hashlib import sha256
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.trial.unittest import TestCase

from perimeter.errors import Overloaded, StateUnavailable, Unavailable
from perimeter.run.build.state_kinds import STATE_KINDS
from perimeter.state import memory as memory_module
from perimeter.state import once as once_module
from perimeter.state import write_queue
from perimeter.state.direct import DirectState
from perimeter.state.memory import MemoryStore
from perimeter.state.once import ONCE, OnceTable
from perimeter.state.sqlite import SqliteStore
from perimeter.state.state import State
from perimeter.state.store import MOST_CLAIMS, IStateStore
from tests.unit.doubles.auth import ImmediateThreads, ManualThreads, ThreadClock, offload_with

START = 1_800_000_000.0
LATER = START + 60

RACER = """
import sys
from pathlib import Path
from perimeter.run.build.state_kinds import STATE_KINDS
from perimeter.state.sqlite import SqliteStore
store = SqliteStore(Path(sys.argv[1]), STATE_KINDS)
print("ready", flush=True)
sys.stdin.readline()
print("".join("01"[store.claim([(b"%032d" % number, 4e9)])[0]] for number in range(200)))
"""


class OnceCase(TestCase):
    def setUp(self) -> None:
        self.clock = ThreadClock()
        self.clock.advance(START)
        self.threads: ManualThreads = ImmediateThreads()
        self.directory = Path(self.mktemp())
        self.directory.mkdir(mode=0o700)

    def sqlite(self) -> SqliteStore:
        store = SqliteStore(self.directory, STATE_KINDS, self.clock.seconds)
        self.addCleanup(store.close)
        return store

    def state(self, store: IStateStore) -> State:
        state = State(store, STATE_KINDS, self.clock, offload_with(self.threads, self.clock, count=1))
        state.replace(state.load())
        state.start()
        return state

    def start(self, store: IStateStore, name: bytes, until: float = LATER) -> Deferred[bool]:
        return begun(self.state(store).view(ONCE).claim(name, until))

    def claim(self, store: IStateStore, name: bytes, until: float = LATER) -> bool:
        return self.successResultOf(self.start(store, name, until))


def begun(work: Coroutine[Any, Any, bool]) -> Deferred[bool]:
    return ensureDeferred(work)


class EachStoreTests(OnceCase):
    """What holds for both stores."""

    def each(self) -> tuple[IStateStore, IStateStore]:
        return self.sqlite(), MemoryStore(self.clock.seconds)

    def test_the_first_claim_of_a_name_alone_succeeds(self) -> None:
        for store in self.each():
            self.assertEqual([self.claim(store, name) for name in (b"a", b"b", b"a", b"", b"")], [True, True, False, True, False])

    def test_a_claim_is_remembered_until_its_time_and_not_longer(self) -> None:
        for store in self.each():
            self.claim(store, b"a", LATER)
            store.forget(LATER - 0.001)
            self.assertFalse(self.claim(store, b"a"))
            store.forget(LATER)
            self.assertTrue(self.claim(store, b"a"))

    def test_a_later_claim_does_not_change_the_time_of_the_first(self) -> None:
        for store in self.each():
            self.claim(store, b"a", LATER)
            self.claim(store, b"a", LATER + 100)
            store.forget(LATER)
            self.assertTrue(self.claim(store, b"a"))

    def test_two_claims_in_one_batch(self) -> None:
        for store in self.each():
            self.assertEqual(list(store.claim([(b"x", LATER), (b"y", LATER), (b"x", LATER)])), [True, True, False])

    def test_attack_171_claims_are_bounded_and_none_is_dropped_for_another(self) -> None:
        self.assertEqual(MOST_CLAIMS, 100_000)
        for module in (once_module, memory_module):
            self.patch(module, "MOST_CLAIMS", 3)
        for store in self.each():
            store.claim([(b"a", LATER), (b"b", LATER + 1), (b"c", LATER + 1)])
            self.failureResultOf(self.start(store, b"d"), Overloaded)
            self.clock.advance(LATER - self.clock.seconds())
            self.assertTrue(self.claim(store, b"d", LATER + 1), "what has ended makes room")
            self.failureResultOf(self.start(store, b"a", LATER + 1), Overloaded)
            self.clock.advance(1)
            self.assertTrue(self.claim(store, b"b", LATER + 2))
            self.clock.advance(START - self.clock.seconds())

    def test_a_claim_is_no_change_of_the_log(self) -> None:
        for store in self.each():
            self.claim(store, b"a")
            self.assertEqual(store.since(0), ([], 0))


class SqliteTests(OnceCase):
    def test_a_claim_survives_a_restart_and_the_name_is_not_kept(self) -> None:
        first = self.sqlite()
        self.assertTrue(self.claim(first, b"a secret name"))
        first.close()
        raw = b"".join(path.read_bytes() for path in self.directory.iterdir())
        self.assertIn(sha256(b"a secret name").digest(), raw)
        self.assertNotIn(b"a secret name", raw)
        self.assertFalse(self.claim(self.sqlite(), b"a secret name"))

    def test_two_processes_with_one_file(self) -> None:
        one, other = self.sqlite(), self.sqlite()
        self.assertTrue(self.claim(one, b"a"))
        self.assertFalse(self.claim(other, b"a"))
        self.assertTrue(self.claim(other, b"b"))
        self.assertFalse(self.claim(one, b"b"))

    def test_attack_171_two_processes_that_claim_the_same_names_at_the_same_moment(self) -> None:
        self.sqlite()
        command = (sys.executable, "-c", RACER, str(self.directory))
        racers = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        for racer in racers:
            self.addCleanup(racer.kill)
            assert racer.stdout is not None
            self.assertEqual(racer.stdout.readline(), "ready\n")
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.write("go\n")
            racer.stdin.flush()
        one, other = (racer.communicate(timeout=30)[0].strip() for racer in racers)
        self.assertEqual([one[at] + other[at] in ("01", "10") for at in range(200)], [True] * 200)

    def test_claims_are_safe_against_a_power_failure(self) -> None:
        store, seen = self.sqlite(), list[int]()
        real = once_module.claimed

        def watched(execute: Any, *given: Any) -> list[bool]:
            seen.append(execute("PRAGMA synchronous").fetchone()[0])
            return real(execute, *given)

        store._db.execute("PRAGMA synchronous = NORMAL")
        self.patch(sys.modules[SqliteStore.__module__], "claimed", watched)
        store.claim([(b"a", LATER)])
        self.assertEqual(seen, [2])  # FULL

    def test_fails_closed_when_the_file_is_gone(self) -> None:
        store = self.sqlite()
        store.path.unlink()
        self.failureResultOf(self.start(store, b"a"), StateUnavailable)

    def test_the_table_holds_no_changes(self) -> None:
        self.assertEqual(list(self.sqlite().load()[0]["once"]), [])
        self.assertEqual(list(OnceTable().load(None)), [])  # type: ignore[arg-type]


class StateTests(OnceCase):
    """A store whose thread runs when the test says so."""

    def setUp(self) -> None:
        super().setUp()
        self.threads = ManualThreads()
        self.store = MemoryStore(self.clock.seconds)
        self.once = self.state(self.store).view(ONCE)

    def claims(self, *names: bytes) -> list[Deferred[bool]]:
        return [begun(self.once.claim(name, LATER)) for name in names]

    def step_all(self) -> None:
        while self.threads.jobs:
            self.threads.step()

    def test_claims_that_wait_are_made_together(self) -> None:
        batches = list[int]()
        real = self.store.claim

        def counted(claims: Any) -> Any:
            batches.append(len(claims))
            return real(claims)

        self.patch(self.store, "claim", counted)
        self.once = self.state(self.store).view(ONCE)
        asked = self.claims(b"a", b"b", b"a")
        self.assertNoResult(asked[0])
        self.step_all()
        self.assertEqual([self.successResultOf(one) for one in asked], [True, True, False])
        self.assertEqual(batches, [1, 2])

    def test_a_store_that_does_not_answer_is_unavailable(self) -> None:
        (asked,) = self.claims(b"a")
        self.clock.advance(9.99)
        self.assertNoResult(asked)
        self.clock.advance(0.01)
        self.failureResultOf(asked, StateUnavailable)
        self.step_all()
        (again,) = self.claims(b"a")
        self.step_all()
        self.assertFalse(self.successResultOf(again), "the claim that came too late was made")

    def test_attack_171_too_many_that_wait(self) -> None:
        self.patch(write_queue, "MOST_WAITING", 1)
        first, second, third = self.claims(b"a", b"b", b"c")
        self.failureResultOf(third, Overloaded)
        self.step_all()
        self.assertEqual([self.successResultOf(one) for one in (first, second)], [True, True])

    def test_an_unexpected_error_is_unavailable(self) -> None:
        def broken(_: object) -> None:
            raise OSError("no such disk")

        self.patch(self.store, "claim", broken)
        self.once = self.state(self.store).view(ONCE)
        (asked,) = self.claims(b"a")
        self.step_all()
        self.failureResultOf(asked, StateUnavailable)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    def test_the_end_waits_for_claims(self) -> None:
        state = self.state(self.store)
        asked = begun(state.view(ONCE).claim(b"a", LATER))
        stopped = state.stop()
        self.assertNoResult(stopped)
        self.step_all()
        self.assertTrue(self.successResultOf(asked))
        self.successResultOf(stopped)


class CommandTests(OnceCase):
    def test_a_command_claims_at_once(self) -> None:
        state = DirectState(self.sqlite(), STATE_KINDS, self.clock.seconds)
        for expected in (True, False):
            self.assertEqual(self.successResultOf(begun(state.view(ONCE).claim(b"a", LATER))), expected)

    def test_a_command_whose_store_is_gone(self) -> None:
        store = self.sqlite()
        state = DirectState(store, STATE_KINDS, self.clock.seconds)
        store.path.unlink()
        self.failureResultOf(begun(state.view(ONCE).claim(b"a", LATER)), Unavailable)

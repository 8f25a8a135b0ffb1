"""Wrong passwords on several machines: a guesser who changes machines gets no more guesses than on one."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial import unittest

from perimeter.auth.chain.attempts import Attempts, Counted, Key, MemoryAttempts
from perimeter.auth.chain.nodes import LONGEST_WAIT, PAUSE, Nodes, spelled
from perimeter.auth.chain.throttle import Throttle
from perimeter.errors import TooManyAttempts
from tests.unit.doubles.node_counts import NodeCounts

JOHN = [("corp", "john")]
NAME = Key(Counted.NAME, "john", "corp")


class NodesTests(unittest.TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_000_000)
        self.counts = NodeCounts(self.clock)
        self.stores: list[MemoryAttempts] = []
        self.nodes: list[Nodes] = []
        self.one, self.two = self.machine(), self.machine()

    def machine(self, allowed: int = 4, from_address: int = 8) -> Throttle:
        nodes = Nodes(self.counts, self.clock)
        self.nodes.append(nodes)
        self.stores.append(MemoryAttempts())
        return Throttle(allowed, self.stores[-1], self.clock, allowed_from_address=from_address, nodes=nodes)

    def learn(self, throttle: Throttle, address: str = "192.0.2.1") -> None:
        self.successResultOf(Deferred.fromCoroutine(throttle.learn(JOHN, address)))

    def guess(self, throttle: Throttle, address: str = "192.0.2.1", digest: bytes = b"") -> None:
        self.learn(throttle, address)
        with capturedLogs():
            throttle.admit(JOHN, address, digest).failed()

    def wait(self, throttle: Throttle, address: str = "198.51.100.1") -> int:
        """Seconds that a client has to wait; 0 if it may try at once."""
        self.learn(throttle, address)
        try:
            throttle.admit(JOHN, address).undecided()
        except TooManyAttempts as refusal:
            return refusal.retry_after or -1
        return 0

    def test_attack_190_a_guesser_who_changes_machines_is_locked_out_on_each(self) -> None:
        for throttle in (self.one, self.two, self.one, self.two):
            self.assertEqual(self.wait(throttle), 0)
            self.guess(throttle)
        for throttle in (self.one, self.two, self.machine()):
            self.assertEqual(self.wait(throttle), 1, "the name")
        self.clock.advance(1)
        self.guess(self.two)
        self.assertEqual([self.wait(self.one), self.wait(self.two)], [2, 2])

    def test_an_address_too(self) -> None:
        throttles = [self.machine(0, 3) for _ in range(3)]
        for number, throttle in enumerate(throttles):
            self.guess(throttle, digest=b"%d" % number)
        for throttle in throttles:
            self.assertEqual(self.wait(throttle, "192.0.2.1"), 1)
            self.assertEqual(self.wait(throttle, "192.0.2.2"), 0)

    def test_a_program_that_repeats_one_password_counts_once_on_all_machines(self) -> None:
        throttles = [self.machine(0, 3) for _ in range(4)]
        for throttle in throttles:
            self.guess(throttle, digest=b"the old one")
        self.assertEqual([self.wait(throttle, "192.0.2.1") for throttle in throttles], [0] * 4)
        counted = self.successResultOf(Deferred.fromCoroutine(self.counts.find([spelled(Key(Counted.ADDRESS, "192.0.2.1"))])))
        self.assertEqual(counted[0].failures, 1)

    def test_the_count_of_an_address_goes_down_with_time_and_that_of_a_name_does_not(self) -> None:
        for number in range(3):
            self.guess(self.one, digest=b"%d" % number)
        self.clock.advance(113)  # an eighth of FORGOTTEN_AFTER: one of the eight
        self.guess(self.two, digest=b"another")
        address, name = self.stores[1].find(Key(Counted.ADDRESS, "192.0.2.1")), self.stores[1].find(NAME)
        assert address is not None
        assert name is not None
        self.assertEqual([address.failures, name.failures], [3, 4])

    def test_codes_of_a_second_factor(self) -> None:
        for throttle in (self.one, self.two) * 2:
            self.successResultOf(Deferred.fromCoroutine(throttle.learn_code("corp", "john")))
            with capturedLogs():
                throttle.admit_code("corp", "john").failed()
        for throttle in (self.one, self.two, third := self.machine()):
            self.successResultOf(Deferred.fromCoroutine(throttle.learn_code("corp", "john")))
            self.assertRaises(TooManyAttempts, throttle.admit_code, "corp", "john")
        self.assertEqual(self.wait(third), 0, "passwords are counted apart")

    def test_the_right_password_drops_the_count_on_all_machines(self) -> None:
        for throttle in (self.one, self.two, self.one):
            self.guess(throttle)
        self.clock.advance(0.001)
        self.learn(self.two)
        self.two.admit(JOHN, "192.0.2.1").succeeded("corp")
        self.clock.advance(0.001)
        for throttle in (self.one, self.two, self.one):
            self.guess(throttle, "198.51.100.7")
            self.assertEqual(self.wait(throttle), 0)
        address = self.stores[0].find(Key(Counted.ADDRESS, "192.0.2.1"))
        assert address is not None
        self.assertEqual(address.failures, 3, "that of the address stays")

    def test_an_operator_releases_on_all_machines(self) -> None:
        for _ in range(4):
            self.guess(self.one)
        self.assertEqual(self.wait(self.two), 1)
        self.assertEqual(self.two.release("john", JOHN), [NAME])
        self.assertEqual([self.wait(self.one), self.wait(self.two)], [0, 0])

    def test_an_operator_of_a_machine_that_has_not_seen_the_user(self) -> None:
        for _ in range(4):
            self.guess(self.one)
        self.successResultOf(Deferred.fromCoroutine(self.two.learn_named("john", JOHN)))
        self.assertEqual(self.two.release("john", JOHN), [NAME])
        self.assertEqual(self.wait(self.one), 0)
        alone = Throttle(4, MemoryAttempts(), self.clock, allowed_from_address=8)
        self.successResultOf(Deferred.fromCoroutine(alone.learn_named("john", JOHN)))

    def test_a_failure_that_is_counted_drops_what_waits(self) -> None:
        self.guess(self.two)
        self.learn(self.one)
        attempt = self.one.admit([("corp", "mary")], "")
        self.counts.full = True
        self.one.release("john", JOHN)
        self.counts.full = False
        with capturedLogs():
            attempt.failed()
        self.assertEqual(self.successResultOf(Deferred.fromCoroutine(self.counts.find([spelled(NAME)])))[0].failures, 0)

    def test_a_failure_after_the_drop_is_not_dropped(self) -> None:
        self.guess(self.one)
        self.two.release("john", JOHN)
        self.clock.advance(0.5)
        self.guess(self.one)
        self.learn(self.one)
        self.assertEqual(self.stores[0].find(NAME), Attempts(1, self.clock.seconds(), 0.0))

    def test_the_larger_count_wins(self) -> None:
        self.stores[0].keep(NAME, Attempts(3, self.clock.seconds(), 0.0))
        self.guess(self.two)
        self.learn(self.one)
        found = self.stores[0].find(NAME)
        assert found is not None
        self.assertEqual(found.failures, 3)

    def test_an_old_lockout_is_not_begun_anew_at_another_machine(self) -> None:
        for _ in range(4):
            self.guess(self.one)
        self.clock.advance(0.75)
        self.assertEqual(self.wait(self.two), 1)
        self.clock.advance(0.25)
        self.assertEqual(self.wait(self.two), 0)

    # -- the others cannot be reached

    def test_attack_190_alone_each_machine_allows_a_quarter(self) -> None:
        self.counts.down = True
        with capturedLogs() as logs:
            self.learn(self.one)
            self.assertEqual(self.wait(self.one), 0)
            self.one.admit(JOHN, "192.0.2.1").failed()
        self.assertEqual(self.wait(self.one), 1, "one of four")
        self.assertEqual([key for key, _ in self.one.refused()], [NAME])
        said = [event["log_format"] for event in logs if "this machine alone" in event.get("log_format", "")]
        self.assertEqual(len(said), 1)
        self.counts.down = False
        self.clock.advance(PAUSE)
        self.assertEqual(self.wait(self.one), 0, "together again")
        self.assertEqual(self.nodes[0].away, False)

    def test_limits_alone(self) -> None:
        nodes = self.nodes[0]
        self.assertEqual([nodes.limit(n) for n in (0, 3, 100)], [0, 3, 100])
        self.counts.down = True
        self.learn(self.one)
        self.assertEqual([nodes.limit(n) for n in (0, 1, 3, 4, 7, 8, 100)], [0, 1, 1, 1, 1, 2, 25])

    def test_not_every_sign_in_waits_for_the_others(self) -> None:
        self.counts.down = True
        self.learn(self.one)
        asked = self.counts.asked
        self.clock.advance(PAUSE * 0.9)
        self.learn(self.one)
        self.assertEqual(self.counts.asked, asked)
        self.clock.advance(PAUSE * 0.1)
        self.learn(self.one)
        self.assertEqual(self.counts.asked, asked + 1)

    def test_attack_190_once_the_others_are_reached_they_are_asked_again_at_once(self) -> None:
        self.learn(self.one)
        attempt = self.one.admit(JOHN, "192.0.2.1")
        self.counts.down = True
        self.learn(self.one)
        self.counts.down = False
        with capturedLogs():
            attempt.failed()  # reaches them before the pause is over
        self.assertFalse(self.nodes[0].away)
        self.assertEqual((self.nodes[0].away, self.nodes[0].limit(8)), (False, 8))
        for _ in range(3):
            self.guess(self.two)
        self.assertEqual(self.wait(self.one), 1)

    def test_attack_190_a_failure_is_answered_when_the_others_can_know_it(self) -> None:
        """Otherwise a client could go on guessing at another machine before its last guess is counted there."""
        self.learn(self.one)
        attempt = self.one.admit(JOHN, "192.0.2.1")
        self.counts.hold = Deferred()
        told = attempt.failed()
        self.assertNoResult(told)
        self.counts.hold.callback(None)
        self.successResultOf(told)

    def test_a_failure_is_answered_in_time(self) -> None:
        self.learn(self.one)
        attempt = self.one.admit(JOHN, "192.0.2.1")
        hold = self.counts.hold = Deferred()
        told = attempt.failed()
        self.clock.advance(LONGEST_WAIT - 0.01)
        self.assertNoResult(told)
        self.clock.advance(0.01)
        self.successResultOf(told)
        self.counts.hold = None
        hold.callback(None)
        self.learn(self.two)
        name = self.successResultOf(Deferred.fromCoroutine(self.counts.find([spelled(NAME)])))
        self.assertEqual(name[0].failures, 1, "it is counted all the same")

    def test_attack_190_counts_that_can_be_read_and_not_changed(self) -> None:
        self.counts.full = True
        with capturedLogs() as logs:
            for number in range(3):
                self.learn(self.one, "198.51.100.1")
                self.one.admit([("corp", f"n{number}")], "").failed()
                self.clock.advance(PAUSE)
        said = [event["log_format"] for event in logs if "machine" in event.get("log_format", "")]
        self.assertEqual(len(said), 1, said)
        self.assertEqual(self.nodes[0].limit(8), 2)
        self.assertEqual(self.nodes[1].limit(8), 8, "it has not tried")
        self.counts.full = False
        changed = self.counts.changed
        self.learn(self.one)
        self.assertEqual((self.nodes[0].limit(8), self.counts.changed), (8, changed + 1))
        self.learn(self.one)
        self.assertEqual(self.counts.changed, changed + 1)

    def test_a_change_is_not_tried_at_each_sign_in(self) -> None:
        self.counts.full = True
        self.one.release("john", JOHN)
        changed = self.counts.changed
        self.clock.advance(PAUSE * 0.75)
        self.learn(self.one)
        self.assertEqual(self.counts.changed, changed)
        self.clock.advance(PAUSE * 0.25)
        for _ in range(3):
            self.learn(self.one)
        self.assertEqual(self.counts.changed, changed + 1)

    def test_what_was_dropped_meanwhile_is_dropped_then(self) -> None:
        self.guess(self.one)
        self.counts.down = True
        self.one.release("john", JOHN)
        self.counts.down = False
        self.clock.advance(PAUSE)
        self.learn(self.one)
        self.assertEqual(self.successResultOf(Deferred.fromCoroutine(self.counts.find([spelled(NAME)])))[0].failures, 0)

    def test_a_failure_that_the_others_do_not_learn_is_counted_here(self) -> None:
        self.learn(self.one)
        self.counts.down = True
        with capturedLogs():
            self.one.admit(JOHN, "192.0.2.1").failed()
        self.assertTrue(self.nodes[0].away)
        found = self.stores[0].find(NAME)
        assert found is not None
        self.assertEqual(found.failures, 1)

    def test_a_failure_counts_here_at_once(self) -> None:
        self.learn(self.one)
        self.counts.hold = Deferred()
        self.one.admit(JOHN, "192.0.2.1").failed()
        found = self.stores[0].find(NAME)
        assert found is not None
        self.assertEqual(found.failures, 1)
        self.counts.hold.callback(None)

    def test_nothing_is_asked_where_nothing_is_counted(self) -> None:
        self.learn(self.machine(0, 0))
        self.assertEqual(self.counts.asked, 0)

    def test_without_other_machines(self) -> None:
        throttle = Throttle(3, MemoryAttempts(), self.clock, allowed_from_address=3)
        self.learn(throttle)
        self.successResultOf(Deferred.fromCoroutine(throttle.learn_code("corp", "john")))
        self.assertEqual(self.counts.asked, 0)

    def test_spelling_is_unambiguous(self) -> None:
        keys = [Key(Counted.NAME, "b", "a"), Key(Counted.NAME, "a", "b"), Key(Counted.FACTOR, "b", "a"), Key(Counted.NAME, "a/b")]
        self.assertEqual(len({spelled(key) for key in keys}), len(keys))

    def test_a_bug_is_logged(self) -> None:
        self.learn(self.one)
        self.counts.hold = Deferred()
        self.one.admit(JOHN, "").failed()
        self.counts.hold.errback(ValueError("a bug"))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

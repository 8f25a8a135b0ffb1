"""Wrong passwords among workers, which are all in this process."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import TestCase

from perimeter.auth.chain.attempts import LONGEST_DELAY, AttemptPeers, Attempts, Counted, Key, MemoryAttempts
from perimeter.auth.chain.throttle import Throttle
from perimeter.errors import TooManyAttempts
from perimeter.run import shared_attempts
from perimeter.run.shared_attempts import INTERVAL, MOST, SharedAttempts
from perimeter.workers.page import SlotState
from tests.unit.workers.fleet import Fleet

JOHN = [("corp", "john")]
NAME = Key(Counted.NAME, "john", "corp")
ADDRESS = Key(Counted.ADDRESS, "192.0.2.1")


class SharedAttemptsCase(TestCase):
    allowed, from_address, count = 3, 0, 3

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_000_000)
        self.fleet = Fleet(self.count, self.clock)
        self.addCleanup(self.fleet.page.close)
        self.shared = [SharedAttempts(place, self.clock) for place in self.fleet.places]
        self.stores = [MemoryAttempts() for _ in self.shared]
        self.throttles = [self.throttle(number) for number in range(self.count)]

    def throttle(self, number: int) -> Throttle:
        peers: AttemptPeers = self.shared[number]
        throttle = Throttle(self.allowed, self.stores[number], self.clock, allowed_from_address=self.from_address, peers=peers)
        self.shared[number].throttle = throttle
        return throttle

    def guess(self, number: int, guess: bytes = b"", address: str = "192.0.2.1") -> None:
        with capturedLogs():
            self.throttles[number].admit(JOHN, address, guess).failed()

    def deliver(self) -> None:
        self.clock.advance(INTERVAL)
        self.fleet.deliver()

    def failures(self, key: Key = NAME) -> list[int]:
        found = [store.find(key) for store in self.stores]
        return [0 if one is None else one.failures for one in found]


class FailureTests(SharedAttemptsCase):
    def test_a_failure_counts_in_every_worker(self) -> None:
        self.guess(0)
        self.assertEqual(self.failures(), [1, 0, 0])
        self.deliver()
        self.assertEqual(self.failures(), [1, 1, 1])
        self.guess(2)
        self.deliver()
        self.assertEqual(self.failures(), [2, 2, 2])
        self.guess(1)
        self.deliver()
        for throttle in self.throttles:
            self.assertRaises(TooManyAttempts, throttle.admit, JOHN, "198.51.100.1")

    def test_attack_90_guesses_at_all_workers_at_the_same_time(self) -> None:
        """As many as each worker verifies at a time, and no more: then every one of them knows of all."""
        made = 0
        for number in range(self.count):
            attempts = []
            with self.assertRaises(TooManyAttempts):
                while True:
                    attempts.append(self.throttles[number].admit(JOHN, "192.0.2.1"))
            made += len(attempts)
            with capturedLogs():
                for attempt in attempts:
                    attempt.failed()
        self.assertEqual(made, self.count * self.allowed)
        self.deliver()
        self.assertEqual(self.failures(), [made] * self.count)
        for store in self.stores:
            found = store.find(NAME)
            assert found is not None
            self.assertEqual(found.until - found.last, 2.0 ** (made - self.allowed), "the lockout is that of all guesses")

    def test_the_first_failure_is_sent_at_once_and_the_next_ones_together(self) -> None:
        self.guess(0)
        self.clock.advance(0)
        self.fleet.deliver()
        self.assertEqual(len(self.fleet.told), 1)
        self.guess(0, address="192.0.2.2")
        self.clock.advance(INTERVAL * 0.9)
        self.throttles[0].admit([("corp", "eve")], "192.0.2.1").failed()
        self.fleet.deliver()
        self.assertEqual(len(self.fleet.told), 1)
        self.clock.advance(INTERVAL * 0.1 + 1e-6)
        self.fleet.deliver()
        self.assertEqual([(name, len(told["events"])) for _, name, told in self.fleet.told], [("attempts", 1), ("attempts", 2)])

    def test_a_batch_is_bounded(self) -> None:
        self.patch(shared_attempts, "MOST", 2)
        for _ in range(2):
            self.shared[0].failed([NAME], b"")
        self.fleet.deliver()
        self.assertEqual(len(self.fleet.told), 1)
        self.clock.advance(1)
        self.fleet.deliver()
        self.assertEqual(len(self.fleet.told), 1)

    def test_what_waits_is_sent_when_the_worker_stops(self) -> None:
        self.shared[0].stop()
        self.guess(0)
        self.shared[0].stop()
        self.fleet.deliver()
        self.assertEqual((len(self.fleet.told), self.failures()), (1, [1, 1, 1]))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_lockout_is_logged_once(self) -> None:
        with capturedLogs() as logs:
            for _ in range(3):
                self.throttles[0].admit(JOHN, "").failed()
            self.deliver()
        self.assertEqual(len([event for event in logs if "further ones are refused" in event["log_format"]]), 1)

    def test_a_right_password_drops_the_count_everywhere(self) -> None:
        self.guess(0)
        self.deliver()
        self.throttles[1].admit(JOHN, "").succeeded("corp")
        self.deliver()
        self.assertEqual(self.failures(), [0, 0, 0])

    def test_a_right_password_without_a_count_is_not_announced(self) -> None:
        self.throttles[1].admit(JOHN, "").succeeded("corp")
        self.deliver()
        self.assertEqual(self.fleet.told, [])

    def test_what_the_operator_releases_is_released_everywhere(self) -> None:
        for number in range(3):
            self.guess(number)
        self.deliver()
        self.assertEqual(self.throttles[0].release("john", JOHN), [NAME])
        self.deliver()
        self.assertEqual(self.failures(), [0, 0, 0])

    def test_a_release_reaches_a_worker_that_alone_has_the_count(self) -> None:
        self.stores[2].keep(NAME, Attempts(9, self.clock.seconds(), self.clock.seconds() + 900))
        self.assertEqual(self.throttles[0].release("john", JOHN), [])
        self.deliver()
        self.assertEqual(self.failures(), [0, 0, 0])

    def test_without_a_throttle_nothing_is_counted(self) -> None:
        self.shared[1].throttle = None
        self.guess(0)
        self.deliver()
        self.assertEqual(self.failures(), [1, 0, 1])


class AddressTests(SharedAttemptsCase):
    allowed, from_address = 0, 20

    def test_attack_71_the_same_wrong_password_counts_once_in_all_workers(self) -> None:
        for number in (0, 1, 2, 0, 1, 2):
            self.guess(number, b"same")
            self.deliver()
        self.assertEqual(self.failures(ADDRESS), [1, 1, 1])
        self.guess(1, b"other")
        self.deliver()
        self.assertEqual(self.failures(ADDRESS), [2, 2, 2])

    def test_a_kind_that_is_not_counted_here(self) -> None:
        self.shared[0].failed([NAME, ADDRESS], b"")
        self.deliver()
        self.assertEqual((self.failures(), self.failures(ADDRESS)), ([0, 0, 0], [0, 1, 1]))


class StartTests(SharedAttemptsCase):
    def test_a_worker_that_starts_learns_what_the_others_have_counted(self) -> None:
        now = self.clock.seconds()
        self.stores[0].keep(NAME, Attempts(9, now - 5, now + 900))
        self.stores[0].keep(ADDRESS, Attempts(1, now - 901, 0.0))
        self.stores[2].keep(NAME, Attempts(4, now - 1, 0.0))
        asked = self.shared[2].learn()
        self.fleet.deliver()
        self.successResultOf(asked)
        self.assertEqual(self.stores[2].items(), [(NAME, Attempts(9, now - 1, now + 900))])

    def test_one_of_the_others_answers(self) -> None:
        handlers = [place.handlers["attempts_so_far"] for place in self.fleet.places]
        self.guess(0)
        self.deliver()
        for asker, answering in ((0, 1), (1, 0), (2, 0)):
            answers = [handlers[number]({"asker": asker}) for number in range(3) if number != asker]
            self.assertEqual([len(answer) for answer in answers], [number == answering for number in range(3) if number != asker])
        self.fleet.page.slots[0].state = SlotState.DRAINING
        self.assertEqual([len(handlers[number]({"asker": 2})) for number in (0, 1)], [0, 1])

    def test_those_with_the_most_failures_if_there_are_too_many(self) -> None:
        self.patch(shared_attempts, "MOST", 2)
        for failures in (3, 9, 1, 5):
            self.stores[0].keep(Key(Counted.NAME, f"u{failures}"), Attempts(failures, self.clock.seconds(), 0.0))
        asked = self.shared[1].learn()
        self.fleet.deliver()
        self.successResultOf(asked)
        self.assertEqual([key.value for key, _ in self.stores[1].items()], ["u9", "u5"])
        self.assertEqual(MOST, 10_000)

    def test_it_waits_a_second_at_most(self) -> None:
        asked = self.shared[2].learn()
        with capturedLogs() as logs:
            self.clock.advance(1.0)
        self.successResultOf(asked)
        self.assertEqual(len(logs), 1)

    def test_without_a_throttle_there_is_nothing_to_learn(self) -> None:
        self.guess(0)
        self.deliver()
        self.shared[0].throttle = None
        self.assertEqual(self.fleet.places[0].handlers["attempts_so_far"]({"asker": 1}), [])
        self.shared[2].throttle = None
        asked = self.shared[2].learn()
        self.fleet.deliver()
        self.successResultOf(asked)


class MergeTests(TestCase):
    def test_a_lockout_of_the_other_worker_holds_here(self) -> None:
        clock = Clock()
        throttle = Throttle(3, MemoryAttempts(), clock, allowed_from_address=0)
        throttle.merge([(NAME, Attempts(3, 0.0, 1.0))])
        self.assertRaises(TooManyAttempts, throttle.admit, JOHN, "")
        self.assertEqual(LONGEST_DELAY, 900.0)

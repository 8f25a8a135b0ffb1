"""The throttle by itself: waits, bounds, what is counted together, and the circuit breaker."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial import unittest
from zope.interface.verify import verifyObject

from perimeter.auth.chain import throttle as throttling
from perimeter.auth.chain.asking import plain_name
from perimeter.auth.chain.attempts import LONGEST_DELAY, Attempts, Counted, IAttemptStore, Key, MemoryAttempts
from perimeter.auth.chain.breaker import CircuitBreaker
from perimeter.auth.chain.throttle import Throttle, address_block
from perimeter.errors import TooManyAttempts, Unavailable

JOHN = [("corp", "john")]


class ThrottleTests(unittest.TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_000_000)
        self.store = MemoryAttempts()
        self.throttle = Throttle(3, self.store, self.clock, allowed_from_address=3)

    def guess(self, names: list[tuple[str, str]] = JOHN, address: str = "192.0.2.1", times: int = 1) -> None:
        for _ in range(times):
            with capturedLogs():
                self.throttle.admit(names, address).failed()

    def wait(self, names: list[tuple[str, str]] = JOHN, address: str = "198.51.100.1") -> int:
        """Seconds that a client has to wait; 0 if it may try at once."""
        try:
            self.throttle.admit(names, address).undecided()
        except TooManyAttempts as refusal:
            return refusal.retry_after or -1
        return 0

    def test_waits_double_up_to_the_longest(self) -> None:
        self.guess(times=2)
        self.assertEqual(self.wait(), 0)
        waits = []
        for _ in range(14):
            self.guess()
            waits.append(self.wait())
            self.clock.advance(waits[-1])
        self.assertEqual(waits[:5], [1, 2, 4, 8, 16])
        self.assertEqual(waits[-1], 900)

    def test_a_name_and_an_address_are_counted_each_by_itself(self) -> None:
        self.guess(times=3)
        self.assertEqual(self.wait(), 1, "the name, from elsewhere")
        self.assertEqual(self.wait([("corp", "mary")], "192.0.2.1"), 1, "the address, for another name")
        self.assertEqual(self.wait([("corp", "mary")]), 0)
        self.assertEqual(self.wait([("other", "john")]), 0)

    def test_a_right_password_cleans_the_name_in_its_realm_and_nothing_else(self) -> None:
        names = [("corp", "john"), ("local", "john")]
        self.guess(names, times=2)
        self.throttle.admit(names, "192.0.2.1").succeeded("corp")
        left = {(key.kind, key.realm) for key, _ in self.store.items()}
        self.assertEqual(left, {("name", "local"), ("address", "")})

    def test_guesses_at_the_same_time_count_before_they_are_found_wrong(self) -> None:
        flying = [self.throttle.admit(JOHN, f"192.0.2.{n}") for n in range(3)]
        self.assertEqual(self.wait(), 1)
        for attempt in flying:
            attempt.undecided()
        self.assertEqual(self.wait(), 0)

    def test_each_guess_that_lands_makes_room_for_one(self) -> None:
        flying = [self.throttle.admit(JOHN, f"192.0.2.{n}") for n in range(3)]
        for landed in (1, 2):
            for _ in range(landed):
                flying.pop().undecided()
            flying += [self.throttle.admit(JOHN, f"192.0.2.{n}") for n in range(landed)]
            self.assertEqual(self.wait(), 1)

    def test_a_name_without_a_lockout_has_no_end_of_one(self) -> None:
        self.guess()
        self.assertEqual({(one.failures, one.last, one.until) for _, one in self.store.items()}, {(1, 1_000_000, 0)})

    def test_what_is_forgotten_is_not_kept(self) -> None:
        self.guess()
        self.clock.advance(900)
        self.assertEqual(self.wait(address="192.0.2.1"), 0)
        self.assertEqual(self.store.items(), [])

    def test_many_users_behind_one_address_log_in_at_the_same_time(self) -> None:
        for number in range(100):
            self.throttle.admit([("corp", f"user{number}")], "192.0.2.1")

    def test_after_the_wait_one_guess_at_a_time(self) -> None:
        self.guess(times=3)
        self.clock.advance(1)
        self.throttle.admit(JOHN, "192.0.2.1")
        self.assertEqual(self.wait([("corp", "mary")], "192.0.2.1"), 1)

    def test_everything_is_forgotten_in_the_end(self) -> None:
        self.guess(times=2)
        self.clock.advance(899.75)
        self.guess()
        self.assertEqual(self.wait(), 1)
        self.clock.advance(901)
        self.guess(times=2)
        self.assertEqual(self.wait(), 0, "after 900 seconds without a lockout")

    def test_a_lockout_counts_for_a_quarter_of_an_hour_after_its_end(self) -> None:
        self.guess(times=3)
        ((_, attempts), *_) = self.throttle.refused()
        self.assertEqual(attempts.until, 1_000_001)
        self.assertFalse(attempts.forgotten(1_000_900.75))
        self.assertTrue(attempts.forgotten(1_000_901))

    def test_attack_30_the_addresses_of_an_ipv6_network_are_one(self) -> None:
        for number in range(3):
            self.guess([("corp", f"n{number}")], f"2001:db8::{number + 1:x}")
        self.assertEqual(self.wait(address="2001:db8::ffff:1"), 1)
        self.assertEqual(self.wait(address="2001:db8:0:1::1"), 0)
        self.assertEqual(address_block("::ffff:192.0.2.1"), "192.0.2.1")

    def test_attack_71_one_old_password_does_not_lock_out_an_address(self) -> None:
        throttle = Throttle(3, self.store, self.clock, allowed_from_address=5)
        with capturedLogs():
            for _ in range(12):
                self.clock.advance(LONGEST_DELAY - 1)
                throttle.admit(JOHN, "192.0.2.1", b"old").failed()
        with self.assertRaises(TooManyAttempts):
            throttle.admit(JOHN, "198.51.100.1", b"good")
        self.assertEqual({key.kind: one.failures for key, one in self.store.items()}, {"name": 12}, "the address is forgiven")
        throttle.admit([("corp", "mary")], "192.0.2.1", b"good").undecided()

    def test_attack_71_the_limits_of_names_and_addresses(self) -> None:
        throttle = Throttle(3, self.store, self.clock, allowed_from_address=5)
        with capturedLogs():
            for number in range(4):
                throttle.admit([("corp", f"n{number}")], "192.0.2.1", b"%d" % number).failed()
            throttle.admit([("corp", "mary")], "192.0.2.1").undecided()
            throttle.admit([("corp", "n4")], "192.0.2.1", b"4").failed()
        with self.assertRaisesRegex(TooManyAttempts, "5 wrong passwords for this address"):
            throttle.admit([("corp", "mary")], "192.0.2.1")
        throttle.admit([("corp", "mary")], "192.0.2.2", b"4").failed()
        self.assertEqual([str(key) for key, _ in throttle.refused()], ["address '192.0.2.1'"])

    def test_attack_71_mistakes_of_many_people_do_not_add_up(self) -> None:
        """Ten in 15 minutes are allowed: one in 90 seconds goes on for ever, and one in 89 does not."""
        for pause, most in ((90, 1), (89, 10), (45, 10)):
            store = MemoryAttempts()
            throttle = Throttle(0, store, self.clock, allowed_from_address=10)
            with capturedLogs():
                for number in range(30):
                    self.clock.advance(pause if number < 10 else LONGEST_DELAY)
                    throttle.admit([("corp", f"n{number}")], "192.0.2.1", b"%d" % number).failed()
                    if number == 9:
                        self.assertEqual([one.failures for _, one in store.items()], [most], pause)
            # once locked out, only time without a wrong password helps
            self.assertEqual([one.failures for _, one in store.items()], [1 if most == 1 else 30], pause)

    def test_attack_71_each_address_counts_for_itself(self) -> None:
        throttle = Throttle(0, self.store, self.clock, allowed_from_address=2)
        for address in ("192.0.2.1", "192.0.2.2"):
            throttle.admit(JOHN, address, b"old").failed()
        self.assertEqual([one.failures for _, one in self.store.items()], [1, 1])

    def test_either_limit_may_be_absent(self) -> None:
        for allowed, from_address, kinds in ((0, 2, {"address"}), (2, 0, {"name"})):
            store = MemoryAttempts()
            throttle = Throttle(allowed, store, self.clock, allowed_from_address=from_address)
            with capturedLogs():
                for number in range(2):
                    throttle.admit(JOHN, "192.0.2.1", b"%d" % number).failed()
            self.assertEqual({key.kind for key, _ in throttle.refused()}, kinds)
            with self.assertRaises(TooManyAttempts):
                throttle.admit(JOHN, "192.0.2.1")

    def test_what_is_remembered_of_guesses_is_bounded(self) -> None:
        self.patch(throttling, "REPEATED", 2)
        throttle = Throttle(0, self.store, self.clock, allowed_from_address=100)
        for guess in (b"a", b"b", b"c", b"a", b"a"):
            throttle.admit(JOHN, "192.0.2.1", guess).failed()
        self.assertEqual([one.failures for _, one in self.store.items()], [4])

    def test_the_log_reports_once_for_each_wait(self) -> None:
        with capturedLogs() as events:
            for _ in range(3):
                self.throttle.admit(JOHN, "").failed()
        self.assertEqual([event["key"] for event in events], ["name 'john' of realm corp"])

    def test_what_the_operator_sees(self) -> None:
        self.guess(times=3)
        self.guess([("corp", "mary")], "198.51.100.7")
        self.assertEqual([str(key) for key, _ in self.throttle.refused()], ["name 'john' of realm corp", "address '192.0.2.1'"])
        self.assertEqual(self.throttle.release("192.0.2.1", [("corp", "192.0.2.1")]), [Key(Counted.ADDRESS, "192.0.2.1")])
        self.assertEqual(self.wait([("corp", "mary")], "192.0.2.1"), 0)

    def test_the_store_is_bounded_and_keeps_the_latest(self) -> None:
        store = MemoryAttempts(2)
        verifyObject(IAttemptStore, store)
        for name in "abca":
            store.keep(Key(Counted.NAME, name), Attempts(1, 0, 0))
        self.assertEqual([key.value for key, _ in store.items()], ["c", "a"])

    def test_attack_23_a_hundred_thousand_counts_are_kept(self) -> None:
        for number in range(100_001):
            self.store.keep(Key(Counted.NAME, str(number)), Attempts(1, 0, 0))
        self.assertEqual(len(self.store.items()), 100_000)

    @given(st.lists(st.sampled_from(["fail", "good", "unsure", "wait"]), max_size=60))
    def test_nothing_is_left_in_flight(self, steps: list[str]) -> None:
        throttle = Throttle(2, MemoryAttempts(), self.clock, allowed_from_address=2)
        for step in steps:
            self.clock.advance(500 if step == "wait" else 0.3)
            try:
                attempt = throttle.admit(JOHN, "192.0.2.1")
            except TooManyAttempts as refusal:
                self.assertTrue(1 <= (refusal.retry_after or 0) <= LONGEST_DELAY)
                continue
            if step == "good":
                attempt.succeeded("corp")
            elif step == "fail":
                attempt.failed()
            else:
                attempt.undecided()
        self.assertEqual(throttle._flying, {})


class CodeTests(unittest.TestCase):
    """Codes of a second factor are counted apart from passwords."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_000_000)
        self.store = MemoryAttempts()
        self.throttle = Throttle(3, self.store, self.clock, allowed_from_address=3)

    def guess(self, times: int, throttle: Throttle | None = None) -> None:
        for _ in range(times):
            with capturedLogs():
                (throttle or self.throttle).admit_code("corp", "john").failed()

    def refused(self, throttle: Throttle | None = None) -> str:
        try:
            (throttle or self.throttle).admit_code("corp", "john").undecided()
        except TooManyAttempts as refusal:
            return refusal.detail
        return ""

    def test_attack_b3_the_right_password_does_not_renew_the_guesses(self) -> None:
        self.guess(3)
        self.assertEqual(self.refused(), "3 wrong codes for this second factor")
        self.throttle.admit(JOHN, "192.0.2.1").succeeded("corp")
        self.assertNotEqual(self.refused(), "")
        self.clock.advance(1)
        self.throttle.admit_code("corp", "john").succeeded("corp")
        self.assertEqual((self.refused(), self.store.items()), ("", []))

    def test_wrong_codes_do_not_lock_out_the_password(self) -> None:
        self.guess(3)
        self.throttle.admit(JOHN, "192.0.2.1").undecided()
        self.throttle.admit_code("other", "john").undecided()
        self.throttle.admit_code("corp", "mary").undecided()

    def test_attack_b3_guesses_at_the_same_time_count_before_they_are_found_wrong(self) -> None:
        for _ in range(3):
            self.throttle.admit_code("corp", "john")
        self.assertIn("are being verified already", self.refused())

    def test_codes_are_counted_also_if_passwords_are_not(self) -> None:
        throttle = Throttle(0, self.store, self.clock, allowed_from_address=0)
        self.guess(9, throttle)
        self.assertEqual(self.refused(throttle), "")
        self.guess(1, throttle)
        self.assertEqual(self.refused(throttle), "10 wrong codes for this second factor")

    def test_the_log(self) -> None:
        with capturedLogs() as logged:
            for _ in range(3):
                self.throttle.admit_code("corp", "john").failed()
        (event,) = logged
        self.assertEqual((event["failures"], event["wrong"], event["delay"]), (3, "wrong codes", 1))

    def test_the_operator_releases_a_name(self) -> None:
        self.guess(3)
        self.assertEqual([str(key) for key, _ in self.throttle.refused()], ["second factor 'john' of realm corp"])
        self.assertEqual(self.throttle.release("mary", []), [])
        self.assertEqual([str(key) for key in self.throttle.release("john", JOHN)], ["second factor 'john' of realm corp"])
        self.assertEqual(self.refused(), "")


class NameTests(unittest.TestCase):
    def test_spellings(self) -> None:
        for name in ("john", "JOHN", "  john ", "john@corp", "CORP\\John", "john@CORP"):
            self.assertEqual(plain_name(name, "Corp"), "john", name)
        self.assertEqual(plain_name("STRASSE", "r"), plain_name("straße", "r"))
        self.assertEqual(plain_name("john  doe", "r"), "john doe")
        self.assertEqual(plain_name("a@evil.com@corp", "corp"), "a@evil.com")

    def test_other_realms_are_part_of_the_name(self) -> None:
        self.assertEqual(plain_name("john@corp", "local"), "john@corp")
        self.assertEqual(plain_name("corp\\john", "local"), "corp\\john")


class BreakerTests(unittest.TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.breaker = CircuitBreaker("corp", self.clock)

    def test_quick_failures_open_it_in_a_row_only(self) -> None:
        with capturedLogs() as events:
            for _ in range(2):
                self.breaker.failed(self.breaker.admit(), 0.01, "refused")
            self.breaker.answered()
            for _ in range(2):
                self.breaker.failed(self.breaker.admit(), 0.01, "refused")
            self.assertFalse(self.breaker.open)
            self.breaker.failed(self.breaker.admit(), 0.01, "refused")
        self.assertTrue(self.breaker.open)
        self.assertEqual(len(events), 1)

    def test_pauses_double_up_to_the_longest(self) -> None:
        self.breaker.failed(self.breaker.admit(), 5, "timeout")
        pauses = [self.breaker.remaining]
        for _ in range(8):
            self.clock.advance(pauses[-1])
            self.breaker.failed(self.breaker.admit(), 5, "timeout")
            pauses.append(self.breaker.remaining)
        self.assertEqual(pauses[:4], [1, 2, 4, 8])
        self.assertEqual(pauses[-1], 30)

    def test_a_failure_after_half_a_second_is_slow(self) -> None:
        self.breaker.failed(self.breaker.admit(), 0.49, "refused")
        self.assertFalse(self.breaker.open)
        self.breaker.failed(self.breaker.admit(), 0.5, "timeout")
        self.assertTrue(self.breaker.open)

    def test_a_closed_breaker_lets_all_requests_ask(self) -> None:
        self.assertIs(self.breaker.open, False)
        self.assertEqual(self.breaker.remaining, 0)
        for _ in range(2):
            self.assertIs(self.breaker.admit(), False)

    def test_a_request_that_shows_nothing_lets_the_next_one_try(self) -> None:
        self.breaker.failed(self.breaker.admit(), 5, "timeout")
        self.clock.advance(1)
        self.assertIs(self.breaker.admit(), True)
        self.breaker.undecided(False)
        self.assertRaises(Unavailable, self.breaker.admit)
        self.breaker.undecided(True)
        self.assertIs(self.breaker.admit(), True)
        self.breaker.answered()
        self.breaker.undecided(True)
        self.assertIs(self.breaker.admit(), False)

    def test_those_who_had_begun_before_say_nothing_new(self) -> None:
        trying = [self.breaker.admit() for _ in range(3)]
        for one in trying:
            self.breaker.failed(one, 5, "timeout")
        self.assertEqual(self.breaker.remaining, 1)

    def test_a_late_answer_closes_it(self) -> None:
        self.breaker.failed(self.breaker.admit(), 5, "timeout")
        self.breaker.answered()
        self.assertFalse(self.breaker.admit())

    def test_only_one_tries(self) -> None:
        self.breaker.failed(self.breaker.admit(), 5, "timeout")
        with self.assertRaises(Unavailable):
            self.breaker.admit()
        self.clock.advance(1)
        self.assertTrue(self.breaker.admit())
        with self.assertRaises(Unavailable):
            self.breaker.admit()

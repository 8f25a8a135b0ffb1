"""Look-ups of API tokens that have no check, limited for each client."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from perimeter.errors import InvalidToken, Overloaded
from perimeter.limits.buckets import Buckets
from perimeter.limits.flights import Flights
from perimeter.limits.memory import LimitMemory
from perimeter.limits.tables import BUCKETS_SIZE
from perimeter.tokens.check import Check
from perimeter.tokens.look_ups import CookieLookUps, LookUps

SECOND = 1_000_000_000


class LookUpTests(TestCase):
    def setUp(self) -> None:
        self.now = 1000 * SECOND
        self.complete = False
        self.memory = LimitMemory(
            Buckets(memoryview(bytearray(BUCKETS_SIZE)).cast("Q"), lambda: self.now),
            Flights(memoryview(bytearray(8)).cast("Q")),
            b"s" * 32,
        )
        self.look_ups = self.made()

    def made(self) -> LookUps:
        return LookUps(self.memory, lambda: self.complete, "API tokens")

    def admitted(self, address: str = "192.0.2.7", most: int = 200) -> int:
        """How many look-ups in a row are admitted."""
        for number in range(most):
            try:
                self.look_ups.admit(address)
            except Overloaded:
                return number
        return most

    def test_attack_180_forged_tokens_without_a_check_keep_the_store_busy(self) -> None:
        self.assertEqual(self.admitted(), 50)
        self.now += SECOND // 50 - 1
        self.assertEqual(self.admitted(), 0)
        self.now += 1
        self.assertEqual(self.admitted(), 1)
        self.now += 60 * SECOND
        self.assertEqual(self.admitted(), 50)

    def test_the_token_may_be_good(self) -> None:
        self.admitted()
        refused = self.assertRaises(Overloaded, self.look_ups.admit, "192.0.2.7")
        self.assertEqual((refused.status, refused.retry_after), (503, 1))
        self.assertNotIsInstance(refused, InvalidToken)

    def test_each_client_has_its_own(self) -> None:
        self.assertEqual((self.admitted(), self.admitted("192.0.2.8")), (50, 50))
        self.assertEqual(self.admitted("2001:db8::1"), 50)
        self.assertEqual((self.admitted("2001:db8::2"), self.admitted("2001:db8:0:1::1")), (0, 50))

    def test_all_workers_count_together(self) -> None:
        self.admitted()
        self.look_ups = self.made()
        self.assertEqual(self.admitted(), 0)

    def test_what_is_not_limited(self) -> None:
        self.assertEqual(self.admitted(""), 200, "the operator")
        self.complete = True
        self.assertEqual(self.admitted(), 200, "all tokens are in memory")
        self.complete = False
        self.assertEqual(self.admitted(), 50, "and none of these counted")

    def test_each_kind_has_its_own(self) -> None:
        self.admitted()
        self.look_ups = LookUps(self.memory, lambda: False, "sessions")
        self.assertEqual(self.admitted(), 50)

    def test_attack_181_made_up_cookies_of_sessions_keep_the_store_busy(self) -> None:
        check = Check((b"k" * 32,))
        cookies = CookieLookUps(check, self.look_ups)
        for _ in range(200):
            cookies.admit(check.make().encode("ascii"), "192.0.2.7")
        self.assertEqual(self.admitted(), 50, "cookies with a check did not count")
        self.assertRaises(Overloaded, cookies.admit, b"A" * 43, "192.0.2.7")
        cookies.admit(check.make().encode("ascii"), "192.0.2.7")
        cookies.admit(b"A" * 43, "192.0.2.8")

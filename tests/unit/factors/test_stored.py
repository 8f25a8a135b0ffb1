"""Second factors in memory: looked up, and followed in what other processes write."""

from __future__ import annotations

from perimeter.errors import Unavailable
from perimeter.factors.factor import EnrollCode, Factor, FactorKind, RemovedFactor
from tests.unit.doubles.factors import FactorCase
from tests.unit.doubles.sessions import BOB, NAMESAKE, START

PHONE = Factor("local", "carol", FactorKind.TOTP, "1" * 16, "phone", b"sealed", START)


class StoredFactorTests(FactorCase):
    def test_all_of_them(self) -> None:
        self.assertEqual((len(self.factors), self.factors.all(), self.factors.realms()), (0, [], frozenset()))
        ours, theirs, namesake = self.with_totp(), self.with_totp(BOB), self.with_totp(NAMESAKE)
        self.assertEqual(self.factors.all(), [namesake, ours, theirs])
        self.assertEqual((len(self.factors), self.factors.realms()), (3, {"local", "corp"}))
        self.assertEqual(self.factors.of("local", "alice"), (ours,))

    def test_what_another_process_writes(self) -> None:
        self.store.others_write(PHONE)
        self.done(self.state.follow())
        self.assertEqual(self.factors.of("local", "carol"), (PHONE,))
        self.store.others_write(RemovedFactor(PHONE.id))
        self.done(self.state.follow())
        self.assertEqual(self.factors.of("local", "carol"), ())

    def test_a_factor_that_another_process_has_registered_a_moment_ago(self) -> None:
        self.store.others_write(self.with_totp_elsewhere())
        self.assertEqual(self.done(self.factor_book.use_code("local", "alice", self.code())), "totp")

    def with_totp_elsewhere(self) -> Factor:
        factor = self.with_totp()
        self.done(self.factor_book.remove("local", "alice", factor.id))
        self.clock.advance(1)
        return factor

    def test_codes_of_the_operator_are_forgotten(self) -> None:
        self.done(self.factors.add(EnrollCode("local", "carol", b"d" * 32, START + 10)))
        self.factors.forget(START + 9)
        self.assertIsNotNone(self.factors.enroll_of("local", "carol"))
        self.factors.forget(START + 10)
        self.assertIsNone(self.factors.enroll_of("local", "carol"))

    def test_what_cannot_be_written(self) -> None:
        factor = self.with_totp()
        self.store.fails = True
        self.fails(Unavailable, self.factors.add(PHONE))
        self.fails(Unavailable, self.factors.remove(RemovedFactor(factor.id)))
        self.assertEqual(self.factors.all(), [], "what is taken away does not count, written or not")

"""The second factors of users: each code is good once, and for its owner alone."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred

from perimeter.errors import FactorDemanded, NoSuchFactor, TooManyFactors, Unavailable, WrongFactor
from perimeter.factors.book import FactorBook, reset_factors
from perimeter.factors.factor import Factor, FactorKind, RecoveryCodes
from perimeter.factors.stored import FACTORS
from perimeter.run.build.state_kinds import STATE_KINDS
from perimeter.secrets_key import SecretsKey
from perimeter.state.once import ONCE
from perimeter.state.state import State
from tests.unit.doubles.auth import ManualThreads, offload_with
from tests.unit.doubles.factors import SECRET, FactorCase
from tests.unit.doubles.sessions import BOB, NAMESAKE, START, RecordingStore

ALICE = ("local", "alice")


class RegisterTests(FactorCase):
    def test_an_app_is_registered_with_a_code_that_it_shows(self) -> None:
        factor = self.done(self.factor_book.add_totp(*ALICE, "phone", [SECRET], self.code()))
        self.assertEqual(self.factor_book.factors_of(*ALICE), (factor,))
        self.assertEqual((factor.kind, factor.name, factor.created, factor.used), (FactorKind.TOTP, "phone", START, 0.0))
        self.assertRegex(factor.id, r"\A[0-9a-f]{16}\Z")
        self.assertEqual(self.factor_book.secret_of(factor), SECRET)
        self.assertNotIn(SECRET, factor.sealed)
        self.assertEqual(self.factor_book.factors_of("corp", "alice"), ())

    def test_the_code_of_the_registration_is_used_by_it(self) -> None:
        self.done(self.factor_book.add_totp(*ALICE, "phone", [SECRET], self.code()))
        self.fails(WrongFactor, self.factor_book.use_code(*ALICE, self.code()))
        self.fails(WrongFactor, self.factor_book.add_totp(*ALICE, "again", [SECRET], self.code()))
        self.assertEqual(len(self.factor_book.factors_of(*ALICE)), 1)

    def test_no_app_without_its_code(self) -> None:
        self.fails(WrongFactor, self.factor_book.add_totp(*ALICE, "phone", [SECRET], self.code(3)))
        self.assertEqual(self.factor_book.factors_of(*ALICE), ())

    def test_what_is_proposed_depends_on_the_browser(self) -> None:
        book = self.factor_book
        found = {*book.proposed_secrets(b"a"), *book.proposed_secrets(b"b"), *book.proposed_secrets(b"a", b"1")}
        self.assertEqual((len(found), {len(one) for one in found}), (3, {20}))
        self.assertEqual(book.proposed_secrets(b"a"), book.proposed_secrets(b"a"))

    def machine(self, *keys: bytes) -> FactorBook:
        """A book that shares the state, and has these keys."""
        return FactorBook(self.factors, SecretsKey(*keys), self.state.view(ONCE), self.clock)

    def test_an_app_that_another_machine_has_shown_while_the_key_is_replaced(self) -> None:
        before, after = self.machine(bytes(32), b"n" * 32), self.machine(b"n" * 32, bytes(32))
        shown = before.proposed_secrets(b"a")[0]
        self.assertNotEqual(after.proposed_secrets(b"a")[0], shown)
        factor = self.done(after.add_totp(*ALICE, "phone", after.proposed_secrets(b"a"), self.code(secret=shown)))
        self.assertEqual(before.secret_of(factor), shown)

    def test_the_code_of_a_registration_is_used_on_all_machines_while_the_key_is_replaced(self) -> None:
        first, second = bytes(32), b"n" * 32
        for one, other in (((first,), (first, second)), ((first, second), (second, first)), ((second, first), (second,))):
            with self.subTest((one, other)):
                secret = bytes([len(self.factor_book.factors_of(*ALICE))]) * 20
                self.done(self.machine(*one).add_totp(*ALICE, "phone", [secret], self.code(secret=secret)))
                again = self.machine(*other).add_totp(*ALICE, "again", [secret], self.code(secret=secret))
                self.fails(WrongFactor, again)

    def test_no_more_than_a_user_may_have(self) -> None:
        for number in range(20):
            self.done(self.factor_book.add(*ALICE, FactorKind.WEBAUTHN, f"key {number}", b"x", handle=b"%d" % number))
        self.fails(TooManyFactors, self.factor_book.add(*ALICE, FactorKind.WEBAUTHN, "one more", b"x"))
        self.done(self.factor_book.add("corp", "alice", FactorKind.WEBAUTHN, "mine", b"x"))

    def test_nothing_counts_that_cannot_be_written(self) -> None:
        self.store.fails = True
        self.fails(Unavailable, self.factor_book.add(*ALICE, FactorKind.TOTP, "phone", SECRET))
        self.assertEqual(self.factor_book.factors_of(*ALICE), ())

    def test_two_removals_at_the_same_moment_leave_one(self) -> None:
        self.threads = ManualThreads()
        self.use(RecordingStore())
        added = self.together(*(self.factor_book.add(*ALICE, FactorKind.TOTP, name, SECRET) for name in "ab"))
        factors = [self.done(one) for one in added]
        removals = self.together(*(self.factor_book.remove(*ALICE, one.id, demanded=True) for one in factors))
        self.assertEqual(self.done(removals[0]), factors[0])
        self.assertIn("at this moment", self.fails(FactorDemanded, removals[1]).detail)
        self.assertEqual(self.factor_book.factors_of(*ALICE), (factors[1],))

    def together(self, *work: Coroutine[Any, Any, Factor]) -> list[Deferred[Factor]]:
        """All of it has begun before any of it goes on."""
        begun = [ensureDeferred(one) for one in work]
        while self.threads.jobs:
            self.threads.step()
            self.clock.advance(0)
        return begun

    def test_the_last_one_that_is_demanded_stays(self) -> None:
        first, second = (self.done(self.factor_book.add(*ALICE, FactorKind.TOTP, name, SECRET)) for name in "ab")
        self.done(self.factor_book.remove(*ALICE, first.id, demanded=True))
        self.assertIn("the last", self.fails(FactorDemanded, self.factor_book.remove(*ALICE, second.id, demanded=True)).detail)
        self.done(self.factor_book.remove(*ALICE, second.id))
        self.assertEqual(self.factor_book.factors_of(*ALICE), ())

    def test_rename_and_remove_by_their_owner_alone(self) -> None:
        factor = self.with_totp()
        for other in (("corp", "alice"), ("local", "bob")):
            self.fails(NoSuchFactor, self.factor_book.rename(*other, factor.id, "mine"))
            self.fails(NoSuchFactor, self.factor_book.remove(*other, factor.id))
        self.assertEqual(self.done(self.factor_book.rename(*ALICE, factor.id, "x" * 101)).name, "x" * 100)
        self.assertEqual([one.name for one in self.factor_book.factors_of(*ALICE)], ["x" * 100])
        self.done(self.factor_book.remove(*ALICE, factor.id))
        self.assertEqual(self.factor_book.factors_of(*ALICE), ())
        self.fails(WrongFactor, self.factor_book.use_code(*ALICE, self.code()))

    def test_a_passkey_is_found_by_its_handle(self) -> None:
        factor = self.done(self.factor_book.add(*ALICE, FactorKind.WEBAUTHN, "key", b"x", handle=b"h" * 32, count=7))
        self.assertEqual(self.done(self.factor_book.with_handle(b"h" * 32)), factor)
        self.assertIsNone(self.done(self.factor_book.with_handle(b"")))
        self.done(self.factor_book.used(factor, 9))
        self.done(self.factor_book.used(factor, 8))
        found = self.done(self.factor_book.with_handle(b"h" * 32))
        assert found is not None
        self.assertEqual((found.count, found.used), (9, START))
        self.done(self.factor_book.remove(*ALICE, factor.id))
        self.assertIsNone(self.done(self.factor_book.with_handle(b"h" * 32)))


class UseTests(FactorCase):
    def test_a_code_of_the_app(self) -> None:
        factor = self.with_totp()
        self.assertEqual(self.done(self.factor_book.use_code(*ALICE, self.code())), "totp")
        used = self.factor_book.factors_of(*ALICE)[0]
        self.assertEqual((used.id, used.used, used.count), (factor.id, self.clock.seconds(), int(self.clock.seconds()) // 30))

    def test_attack_b3_a_code_is_good_once(self) -> None:
        self.with_totp()
        code = self.code()
        self.done(self.factor_book.use_code(*ALICE, code))
        self.fails(WrongFactor, self.factor_book.use_code(*ALICE, code))

    def test_attack_b3_a_code_of_an_earlier_step_than_the_last_one(self) -> None:
        self.with_totp()
        self.clock.advance(30)
        before = self.code(-1)
        self.done(self.factor_book.use_code(*ALICE, self.code()))
        self.fails(WrongFactor, self.factor_book.use_code(*ALICE, before))
        self.assertEqual(self.done(self.factor_book.use_code(*ALICE, self.code(1))), "totp")

    def test_attack_b3_another_process_has_used_the_code(self) -> None:
        self.with_totp()
        other = State(self.store, STATE_KINDS, self.clock, offload_with(self.threads, self.clock, count=1))
        other.replace(other.load())
        other.start()
        book = FactorBook(other.view(FACTORS), SecretsKey(bytes(range(32))), other.view(ONCE), self.clock)
        code = self.code()
        results = []
        for one in (self.factor_book, book):
            try:
                results.append(self.done(one.use_code(*ALICE, code)))
            except self.failureException:
                results.append("refused")
        self.assertEqual(sorted(results), ["refused", "totp"])

    def test_codes_of_others(self) -> None:
        self.with_totp()
        self.fails(WrongFactor, self.factor_book.use_code(BOB.realm, BOB.username, self.code()))
        self.fails(WrongFactor, self.factor_book.use_code(NAMESAKE.realm, NAMESAKE.username, self.code()))
        for wrong in ("", "000000", "not a code"):
            self.fails(WrongFactor, self.factor_book.use_code(*ALICE, wrong))

    def test_the_second_of_two_apps(self) -> None:
        self.with_totp()
        other = b"x" * 20
        self.done(self.factor_book.add_totp(*ALICE, "tablet", [other], self.code(secret=other)))
        self.clock.advance(60)
        self.assertEqual(self.done(self.factor_book.use_code(*ALICE, self.code(secret=other))), "totp")

    def test_nothing_is_accepted_if_it_cannot_be_claimed(self) -> None:
        self.with_totp()
        codes = self.done(self.factor_book.make_recovery_codes(*ALICE))
        self.store.fails = True
        self.fails(Unavailable, self.factor_book.use_code(*ALICE, self.code()))
        self.fails(Unavailable, self.factor_book.use_code(*ALICE, codes[0]))

    def test_another_secrets_key_decides_nothing(self) -> None:
        self.with_totp()
        book = FactorBook(self.factors, SecretsKey(bytes(32)), self.state.view(ONCE), self.clock)
        self.fails(Unavailable, book.use_code(*ALICE, self.code()))


class RecoveryTests(FactorCase):
    def test_recovery_codes_are_good_once_each(self) -> None:
        self.assertEqual(self.factor_book.recovery_left(*ALICE), 0)
        codes = self.done(self.factor_book.make_recovery_codes(*ALICE))
        self.assertEqual((len(set(codes)), self.factor_book.recovery_left(*ALICE)), (10, 10))
        self.assertEqual(self.done(self.factor_book.use_code(*ALICE, codes[3].upper())), "recovery")
        self.assertEqual(self.factor_book.recovery_left(*ALICE), 9)
        self.fails(WrongFactor, self.factor_book.use_code(*ALICE, codes[3]))
        self.fails(WrongFactor, self.factor_book.use_code("local", "bob", codes[4]))
        self.assertEqual(self.done(self.factor_book.use_code(*ALICE, codes[4])), "recovery")

    def test_attack_b3_a_recovery_code_twice_at_the_same_moment(self) -> None:
        codes = self.done(self.factor_book.make_recovery_codes(*ALICE))
        kept = self.factors.recovery_of(*ALICE)
        self.done(self.factor_book.use_code(*ALICE, codes[0]))
        assert kept is not None
        self.factors.apply(kept)  # what another process knows that has not read the log yet
        self.fails(WrongFactor, self.factor_book.use_code(*ALICE, codes[0]))

    def test_new_codes_replace_the_earlier_ones(self) -> None:
        old = self.done(self.factor_book.make_recovery_codes(*ALICE))
        new = self.done(self.factor_book.make_recovery_codes(*ALICE))
        self.fails(WrongFactor, self.factor_book.use_code(*ALICE, old[0]))
        self.assertEqual(self.done(self.factor_book.use_code(*ALICE, new[0])), "recovery")

    def test_the_state_has_no_code(self) -> None:
        codes = self.done(self.factor_book.make_recovery_codes(*ALICE))
        kept = self.factors.recovery_of(*ALICE)
        self.assertIsInstance(kept, RecoveryCodes)
        self.assertNotIn(codes[0].replace("-", ""), repr(kept))


class OperatorTests(FactorCase):
    def test_the_operators_code_is_good_once_for_a_day(self) -> None:
        code = self.operators_code()
        self.fails(WrongFactor, self.factor_book.use_enroll_code("local", "bob", code))
        self.fails(WrongFactor, self.factor_book.use_enroll_code(*ALICE, "287082"))
        self.clock.advance(86399)
        self.done(self.factor_book.use_enroll_code(*ALICE, code))
        self.fails(WrongFactor, self.factor_book.use_enroll_code(*ALICE, code))

    def test_the_operators_code_gets_old(self) -> None:
        code = self.operators_code()
        self.clock.advance(86400)
        self.fails(WrongFactor, self.factor_book.use_enroll_code(*ALICE, code))

    def test_a_later_code_replaces_an_earlier_one(self) -> None:
        first = self.operators_code()
        second = self.operators_code()
        self.fails(WrongFactor, self.factor_book.use_enroll_code(*ALICE, first))
        self.done(self.factor_book.use_enroll_code(*ALICE, second))

    def test_reset(self) -> None:
        self.with_totp()
        self.with_totp(BOB)
        codes = self.done(self.factor_book.make_recovery_codes(*ALICE))
        enroll = self.operators_code()
        self.clock.advance(1)
        self.assertEqual(self.done(reset_factors(self.factors, *ALICE, self.clock.seconds())), 1)
        self.assertEqual((self.factor_book.factors_of(*ALICE), self.factor_book.recovery_left(*ALICE)), ((), 0))
        for code in (self.code(), codes[0]):
            self.fails(WrongFactor, self.factor_book.use_code(*ALICE, code))
        self.fails(WrongFactor, self.factor_book.use_enroll_code(*ALICE, enroll))
        self.assertEqual(len(self.factor_book.factors_of("local", "bob")), 1)
        self.clock.advance(1)
        self.done(self.factor_book.add_totp(*ALICE, "new phone", [b"y" * 20], self.code(secret=b"y" * 20)))
        self.assertEqual([one.name for one in self.factor_book.factors_of(*ALICE)], ["new phone"])

"""Passkeys as pages use them: a second factor of one user, whose counter and challenge are kept."""

from __future__ import annotations

import attrs

from perimeter.errors import TooManyFactors, Unavailable, WrongFactor
from perimeter.factors.book import MOST_FACTORS
from perimeter.factors.challenges import Bound
from perimeter.factors.factor import Factor, FactorKind
from perimeter.factors.webauthn import registered
from perimeter.model import Principal
from perimeter.web.passkeys import Asked
from tests.unit.doubles.authenticator import PRESENT, Authenticator
from tests.unit.doubles.passkeys import PARTY, PasskeyCase
from tests.unit.doubles.sessions import ALICE, BOB, START

HERE = Bound(b"c" * 43, "session", "login_factor")


class PasskeyTests(PasskeyCase):
    def setUp(self) -> None:
        super().setUp()
        self.device = Authenticator()
        self.factor = self.added(self.device, ALICE)

    def added(self, device: Authenticator, owner: Principal) -> Factor:  # type: ignore[override]
        """``owner`` has added a passkey."""
        asked = self.passkeys.offer_new(owner, HERE)
        fields = {"challenge": asked.challenge, "answer": device.create(asked.options)}
        made: Factor = self.done(self.passkeys.add(owner, fields, HERE, "key"))
        return made

    def fields(self, device: Authenticator, asked: Asked | None) -> dict[str, str]:
        assert asked is not None
        return {"challenge": asked.challenge, "answer": device.get(asked.options)}

    def test_it_is_shown(self) -> None:
        self.device.flags = PRESENT
        fields = self.fields(self.device, self.passkeys.offer(ALICE, HERE))
        self.assertEqual(self.done(self.passkeys.prove(ALICE, fields, HERE)).id, self.factor.id)
        self.fails(WrongFactor, self.passkeys.prove(ALICE, fields, HERE))

    def test_attack_b4_an_answer_registers_one_passkey(self) -> None:
        asked = self.passkeys.offer_new(BOB, HERE)
        fields = {"challenge": asked.challenge, "answer": Authenticator().create(asked.options)}
        made = self.done(self.passkeys.add(BOB, fields, HERE, "key"))
        self.done(self.factor_book.remove("local", "bob", made.id))
        self.fails(WrongFactor, self.passkeys.add(BOB, fields, HERE, "key"))
        self.assertEqual(self.factor_names(BOB), [])

    def test_another_process_has_registered_it(self) -> None:
        device = Authenticator()
        asked = self.passkeys.offer_new(BOB, HERE)
        made, _ = registered(PARTY, device.create(asked.options), self.challenges.recall(asked.challenge, HERE).value, b"n")
        device.handle = b"n"
        theirs = Factor("local", "bob", FactorKind.WEBAUTHN, "f" * 16, "key", b"", START, made.handle)
        sealed = self.factor_book._key.seal(made.encode(), "\0".join(("second factor", "local", "bob", "webauthn", "f" * 16)))
        self.clock.advance(60)
        self.store.others_write(attrs.evolve(theirs, sealed=sealed))
        fields = self.fields(device, self.passkeys.offer_alone(HERE))
        factor, _ = self.done(self.passkeys.prove_alone(fields, HERE))
        self.assertEqual((factor.username, factor.id), ("bob", "f" * 16))

    def test_what_it_asks_for(self) -> None:
        self.assertIsNone(self.passkeys.offer(BOB, HERE))
        asked = self.passkeys.offer(ALICE, HERE)
        assert asked is not None
        self.assertIn('"userVerification": "preferred"', asked.options)
        self.assertIn('"transports": ["usb"]', asked.options)
        self.assertIn('"excludeCredentials": [{', self.passkeys.offer_new(ALICE, HERE).options)

    def test_a_user_has_one_number_which_does_not_name_them(self) -> None:
        one, other = self.challenges.issue(HERE), self.challenges.issue(HERE)
        self.assertEqual(self.passkeys._number(ALICE, one), self.passkeys._number(ALICE, other))
        users = [Principal(name, realm) for name, realm in (("ab", "c"), ("a", "bc"), ("c", "ab"))]
        numbers = {self.passkeys._number(user, one) for user in users}
        self.assertEqual(({len(one) for one in numbers}, len(numbers)), ({32}, 3))

    def test_attack_b4_the_passkey_of_another_user(self) -> None:
        device = Authenticator()
        self.added(device, BOB)
        asked = self.passkeys.offer(ALICE, HERE)
        self.fails(WrongFactor, self.passkeys.prove(ALICE, self.fields(device, asked), HERE))

    def test_attack_b4_an_answer_to_another_page(self) -> None:
        for other in (
            Bound(b"d" * 43, "session", "login_factor"),
            Bound(b"c" * 43, "", "login_factor"),
            Bound(b"c" * 43, "session", "x"),
        ):
            fields = self.fields(self.device, self.passkeys.offer(ALICE, other))
            self.fails(WrongFactor, self.passkeys.prove(ALICE, fields, HERE))

    def test_attack_b4_a_copy_is_logged(self) -> None:
        self.device.count = 3
        self.done(self.passkeys.prove(ALICE, self.fields(self.device, self.passkeys.offer(ALICE, HERE)), HERE))
        self.device.count = 2
        fields = self.fields(self.device, self.passkeys.offer(ALICE, HERE))
        self.fails(WrongFactor, self.passkeys.prove(ALICE, fields, HERE))
        self.assertEqual(self.factor_book.factors_of("local", "alice")[0].count, 3)

    def test_attack_169_what_is_wrong_is_not_written(self) -> None:
        self.store.fails = True
        asked = self.passkeys.offer(ALICE, HERE)
        self.fails(WrongFactor, self.passkeys.prove(ALICE, self.fields(Authenticator(), asked), HERE))
        self.device.key = Authenticator().key
        self.fails(WrongFactor, self.passkeys.prove(ALICE, self.fields(self.device, asked), HERE))

    def test_the_state_cannot_be_written(self) -> None:
        asked = self.passkeys.offer(ALICE, HERE)
        self.store.fails = True
        self.fails(Unavailable, self.passkeys.prove(ALICE, self.fields(self.device, asked), HERE))

    def test_a_user_has_a_limited_number(self) -> None:
        for _ in range(MOST_FACTORS - 1):
            self.added(Authenticator(), ALICE)
        asked = self.passkeys.offer_new(ALICE, HERE)
        fields = {"challenge": asked.challenge, "answer": Authenticator().create(asked.options)}
        self.fails(TooManyFactors, self.passkeys.add(ALICE, fields, HERE, "key"))

    def test_the_hosts_that_use_them(self) -> None:
        self.assertTrue(self.passkeys.usable_at(frozenset((b"https://gw.example", b"https://x.example"))))
        for origin in (b"https://x.example", b"http://gw.example", b"https://gw.example:444", b"https://sub.gw.example"):
            self.assertFalse(self.passkeys.usable_at(frozenset((origin,))), origin)

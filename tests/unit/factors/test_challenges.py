"""Challenges of passkeys: for one browser, page and time, and good once."""

from __future__ import annotations

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from perimeter.errors import StateUnavailable, WrongFactor
from perimeter.factors.challenges import Bound, ChallengeExpired, Challenges
from perimeter.secrets_key import SecretsKey

KEY = SecretsKey(b"k" * 32)
HERE = Bound(b"cookie", "session", "factor_use")


@attrs.define
class Claimed:
    """`perimeter.state.once.Claims`, of one process. ``fails``: it cannot be written."""

    names: dict[bytes, float] = attrs.field(factory=dict)
    fails: bool = False

    async def claim(self, name: bytes, until: float) -> bool:
        if self.fails:
            raise StateUnavailable("disk full")
        first = name not in self.names
        self.names.setdefault(name, until)
        return first


class ChallengeTests(TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_800_000_000.5)
        self.claims = Claimed()
        self.challenges = Challenges(KEY, self.claims, self.clock)

    def redeem(self, text: str, bound: Bound = HERE, challenges: Challenges | None = None) -> bytes:
        """The value of a challenge, which is used."""
        used = challenges or self.challenges
        challenge = used.recall(text, bound)
        self.successResultOf(Deferred.fromCoroutine(used.use(challenge)))
        return challenge.value

    async def _use(self, text: str, bound: Bound) -> None:
        await self.challenges.use(self.challenges.recall(text, bound))

    def refused(self, text: str, bound: Bound = HERE, kind: type[Exception] = WrongFactor) -> None:
        self.failureResultOf(Deferred.fromCoroutine(self._use(text, bound)), kind)

    def test_it_comes_back(self) -> None:
        made = self.challenges.issue(HERE)
        self.assertEqual(len(made.value), 32)
        other = Challenges(KEY, self.claims, self.clock)  # another worker
        self.assertEqual(self.redeem(made.text, challenges=other), made.value)
        self.assertEqual(self.claims.names, {b"challenge\0" + made.value: 1_800_000_300.0})
        self.assertNotEqual(self.challenges.issue(HERE).value, made.value)

    def test_attack_b4_a_challenge_is_good_once(self) -> None:
        made = self.challenges.issue(HERE)
        self.redeem(made.text)
        self.refused(made.text)

    def test_the_cookie_does_not_show(self) -> None:
        self.assertNotIn("cookie", repr(HERE).replace("cookie=", ""))

    def test_only_its_use_is_written(self) -> None:
        made = self.challenges.issue(HERE)
        self.assertEqual((self.challenges.recall(made.text, HERE), made.until), (made, 1_800_000_300))
        self.assertEqual(self.claims.names, {})

    def test_attack_b4_a_challenge_of_another_page(self) -> None:
        made = self.challenges.issue(HERE)
        for other in (
            attrs.evolve(HERE, cookie=b"another"),
            attrs.evolve(HERE, session="another"),
            attrs.evolve(HERE, purpose="login"),
        ):
            self.assertNotEqual(self.redeem(made.text, other), made.value)
        another_key = Challenges(SecretsKey(b"j" * 32), self.claims, self.clock)
        self.assertRaises(ChallengeExpired, another_key.recall, made.text, HERE)
        named = made.text[:-8] + another_key.issue(HERE).text[-8:]
        self.assertNotEqual(self.redeem(named, challenges=another_key), made.value)

    def test_it_comes_back_on_another_machine_while_the_key_is_replaced(self) -> None:
        new, old = b"n" * 32, b"k" * 32
        made = self.challenges.issue(HERE)
        both, turned = (Challenges(SecretsKey(*keys), self.claims, self.clock) for keys in ((old, new), (new, old)))
        self.assertEqual((both.recall(made.text, HERE), both.recall(made.text, HERE).key), (made, 0))
        self.assertEqual((turned.recall(made.text, HERE).value, turned.recall(made.text, HERE).key), (made.value, 1))
        later = turned.issue(HERE)
        self.assertEqual((both.recall(later.text, HERE).value, both.recall(later.text, HERE).key), (later.value, 1))
        self.assertRaises(ChallengeExpired, self.challenges.recall, later.text, HERE)

    def test_attack_b4_an_old_challenge(self) -> None:
        made, other = self.challenges.issue(HERE), self.challenges.issue(HERE)
        self.clock.advance(299.4)
        self.assertEqual(self.redeem(other.text), other.value)
        self.clock.advance(0.1)
        self.refused(made.text)

    def test_attack_b4_a_challenge_for_later(self) -> None:
        number, name = "A" * 22, self.challenges.issue(HERE).text[-8:]
        self.refused(f"{number}.1800000301.{name}")
        self.assertEqual(len(self.redeem(f"{number}.1800000300.{name}")), 32)

    def test_what_is_no_challenge(self) -> None:
        number, name = "A" * 22, self.challenges.issue(HERE).text[-8:]
        good = f"{number}.1800000100.{name}"
        for text in (
            "",
            ".",
            number,
            f"{number}.1800000100",
            f"A{good}",
            f"{good}\n",
            f"{number}.-1.{name}",
            "é",
            good[:-1] + "g",
        ):
            self.refused(text)
        self.assertEqual(self.claims.names, {})

    def test_the_state_is_down(self) -> None:
        made = self.challenges.issue(HERE)
        self.claims.fails = True
        self.refused(made.text, kind=StateUnavailable)

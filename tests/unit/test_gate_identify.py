"""Who is asking: what is remembered, what is asked anew, and that a client can narrow its realms and never widen them."""

from __future__ import annotations

import base64
from collections.abc import Awaitable

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial import unittest

from perimeter.errors import InvalidCredentialsRequest, InvalidToken, MissingCredentials, Refusal, Rejected
from perimeter.gate.identify import Identifier
from perimeter.http.grammar import parse_block
from perimeter.model import AuthenticationRequest, BasicCredentials, Credentials, HeaderBlock, Principal
from perimeter.tokens.verdict import Verdict

ALICE = Principal("alice", "local", ("admin",))


def block(*lines: str) -> HeaderBlock:
    return parse_block("".join(f"{line}\r\n" for line in ("Host: gw", *lines)).encode("latin-1"), 20)


def basic(pair: str) -> str:
    return "Authorization: Basic " + base64.b64encode(pair.encode()).decode()


class FakeChain:
    def __init__(self) -> None:
        self.remembered: dict[tuple[bytes, frozenset[str]], Principal] = {}
        self.asked: list[tuple[Credentials, AuthenticationRequest, bytes | None]] = []
        self.answer: Deferred[Principal] = Deferred()

    def lookup_basic(self, raw: bytes, realms: frozenset[str] = frozenset()) -> Principal | None:
        return self.remembered.get((raw, realms))

    def authenticate(
        self, credentials: Credentials, request: AuthenticationRequest, raw: bytes | None = None
    ) -> Awaitable[Principal]:
        self.asked.append((credentials, request, raw))
        return self.answer


class FakeVerifier:
    def __init__(self) -> None:
        self.asked: list[str] = []
        self.verdict: Verdict | None = Verdict(ALICE, 100.0)

    def verify(self, token: str) -> Verdict:
        self.asked.append(token)
        if self.verdict is None:
            raise InvalidToken
        return self.verdict


class IdentifierTests(unittest.TestCase):
    def setUp(self) -> None:
        self.chain = FakeChain()
        self.verifier = FakeVerifier()
        self.clock = Clock()
        self.identifier = Identifier(self.chain, self.verifier, self.clock.seconds)

    def identify(self, *lines: str) -> object:
        return self.identifier.identify(block(*lines), "192.0.2.7")

    def test_nobody(self) -> None:
        for lines in (
            (),
            ("Authorization: xxxxx",),
            ("Authorization: Digest x",),
            ("Authorization: ",),
            ("X-Auth-Realm: local",),
        ):
            self.assertIsNone(self.identify(*lines), lines)
        self.assertEqual(self.chain.asked, [])

    def test_token(self) -> None:
        self.assertIs(self.identify("Authorization: Bearer t1"), ALICE)
        self.assertIs(self.identify("Authorization: Bearer t1"), ALICE)
        self.assertEqual(self.verifier.asked, ["t1"])
        self.assertIs(self.identify("Authorization: bearer t1"), ALICE)
        self.assertEqual(self.verifier.asked, ["t1", "t1"])

    def test_attack_36_expired_verdict_is_verified_anew(self) -> None:
        self.identify("Authorization: Bearer t1")
        self.clock.advance(100)
        self.verifier.verdict = None
        with self.assertRaises(InvalidToken):
            self.identify("Authorization: Bearer t1")
        self.assertEqual(len(self.verifier.asked), 2)

    def test_refused_tokens_are_not_remembered(self) -> None:
        good, self.verifier.verdict = self.verifier.verdict, None
        with self.assertRaises(InvalidToken):
            self.identify("Authorization: Bearer t1")
        self.verifier.verdict = good
        self.assertIs(self.identify("Authorization: Bearer t1"), ALICE)

    def test_attack_39_forget(self) -> None:
        self.identify("Authorization: Bearer t1")
        self.identifier.forget()
        self.verifier.verdict = None
        with self.assertRaises(InvalidToken):
            self.identify("Authorization: Bearer t1")

    def test_attack_34_realms_narrow_remembered_tokens_too(self) -> None:
        for _ in range(2):
            self.assertIs(self.identify("Authorization: Bearer t1"), ALICE)
            self.assertIs(self.identify("Authorization: Bearer t1", "X-Auth-Realm: corp, local"), ALICE)
            for realms in ("corp", "", "Local", "*"):
                with self.assertRaises(InvalidToken, msg=realms):
                    self.identify("Authorization: Bearer t1", f"X-Auth-Realm: {realms}")

    def test_attack_34_a_token_of_an_excluded_realm_is_not_remembered(self) -> None:
        with self.assertRaises(InvalidToken):
            self.identify("Authorization: Bearer t1", "X-Auth-Realm: corp")
        self.verifier.verdict = None
        with self.assertRaises(InvalidToken):
            self.identify("Authorization: Bearer t1")

    def test_password_is_asked_of_the_chain(self) -> None:
        found = self.identify(basic("alice:pw"), "X-Auth-Realm: local")
        self.assertIs(found, self.chain.answer)
        raw = basic("alice:pw").partition(": ")[2].encode()
        expected = (BasicCredentials("alice", "pw"), AuthenticationRequest("192.0.2.7", frozenset(["local"])), raw)
        self.assertEqual(self.chain.asked, [expected])

    def test_password_that_is_remembered(self) -> None:
        raw = basic("alice:pw").partition(": ")[2].encode()
        self.chain.remembered[raw, frozenset()] = ALICE
        self.assertIs(self.identify(basic("alice:pw")), ALICE)
        self.assertEqual(self.chain.asked, [])

    def test_attack_34_a_remembered_password_counts_under_its_narrowing_only(self) -> None:
        raw = basic("alice:pw").partition(": ")[2].encode()
        self.chain.remembered[raw, frozenset()] = ALICE
        self.assertIs(self.identify(basic("alice:pw"), "X-Auth-Realm: corp"), self.chain.answer)

    def test_several_authorization_fields(self) -> None:
        self.identify("Authorization: Bearer t1")
        self.chain.remembered[b"Bearer t1", frozenset()] = ALICE
        for second in ("Authorization: Bearer t1", "Authorization: Bearer t2", basic("a:b"), "Authorization: "):
            with self.assertRaises(InvalidCredentialsRequest, msg=second):
                self.identify("Authorization: Bearer t1", second)

    def test_malformed(self) -> None:
        with self.assertRaises(InvalidCredentialsRequest):
            self.identify("Authorization: Bearer a b")
        with self.assertRaises(Rejected):
            self.identify("Authorization: Basic ***")

    def test_too_many_realms(self) -> None:
        with self.assertRaises(InvalidCredentialsRequest):
            self.identify("Authorization: Bearer t1", "X-Auth-Realm: " + ",".join(map(str, range(50))))


class AuthenticateTests(unittest.TestCase):
    """For the token endpoint: only a password buys a token."""

    def setUp(self) -> None:
        self.chain = FakeChain()
        self.verifier = FakeVerifier()
        self.identifier = Identifier(self.chain, self.verifier, Clock().seconds)

    def authenticate(self, *lines: str) -> Deferred[Principal]:
        return Deferred.fromCoroutine(self.identifier.authenticate(block(*lines), "192.0.2.7"))

    def refused(self, kind: type[Refusal], *lines: str) -> None:
        self.failureResultOf(self.authenticate(*lines), kind)

    def test_refusals(self) -> None:
        self.refused(MissingCredentials)
        self.refused(MissingCredentials, "Authorization: xxxxx")
        self.refused(InvalidToken, "Authorization: Bearer t1")
        self.refused(InvalidCredentialsRequest, basic("a:b"), basic("a:b"))
        self.assertEqual(self.verifier.asked, [])

    def test_password(self) -> None:
        waiting = self.authenticate(basic("alice:pw"))
        self.assertNoResult(waiting)
        self.chain.answer.callback(ALICE)
        self.assertIs(self.successResultOf(waiting), ALICE)

    def test_remembered(self) -> None:
        raw = basic("alice:pw").partition(": ")[2].encode()
        self.chain.remembered[raw, frozenset()] = ALICE
        self.assertIs(self.successResultOf(self.authenticate(basic("alice:pw"))), ALICE)
        self.assertEqual(self.chain.asked, [])

"""The user of a request: what is cached, what is looked up again, and that a client can only narrow its realms."""

from __future__ import annotations

import base64
from collections.abc import Awaitable
from typing import Any

import attrs
from twisted.internet.defer import Deferred, ensureDeferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial import unittest

from perimeter.errors import (
    ForeignToken,
    InvalidCredentialsRequest,
    InvalidToken,
    Overloaded,
    Refusal,
    Rejected,
    StateUnavailable,
    Unavailable,
    UnknownKey,
    UnknownToken,
)
from perimeter.gate.identify import Identifier
from perimeter.gate.sources.authorization import Authorization
from perimeter.gate.sources.connection import Connection
from perimeter.http.grammar import parse_block
from perimeter.limits.memory import LimitMemory
from perimeter.model import (
    TOKEN_PREFIX,
    AuthenticationRequest,
    BasicCredentials,
    BearerCredentials,
    ClientConnection,
    Credentials,
    Grant,
    GrantKind,
    HeaderBlock,
    Principal,
    Restriction,
)
from perimeter.secrets_key import SecretsKey
from perimeter.tokens.api_token import ApiToken, ApiTokenVerifier
from perimeter.tokens.check import TokenCheck
from perimeter.tokens.look_ups import LookUps
from perimeter.tokens.news import news_of
from perimeter.tokens.verdict import Verdict
from tests.unit.doubles.tokens_site import CHECK

ALICE = Principal("alice", "local", ("admin",))
CONNECTION = ClientConnection("198.51.100.9", 40000, "https", 443, "TLSv1.3")
REQUEST_LOCAL = AuthenticationRequest("192.0.2.7", frozenset(["local"]), "198.51.100.9")


def block(*lines: str) -> HeaderBlock:
    return parse_block("".join(f"{line}\r\n" for line in ("Host: gw", *lines)).encode("latin-1"), 20)


def basic(pair: str) -> str:
    return "Authorization: Basic " + base64.b64encode(pair.encode()).decode()


class FakeChain:
    takes_tokens = False
    takes_connections = False

    def __init__(self) -> None:
        self.remembered: dict[tuple[bytes, frozenset[str]], Principal] = {}
        self.asked: list[tuple[Credentials, AuthenticationRequest, bytes | None]] = []
        self.answer: Deferred[Principal] = Deferred()
        self.connections: list[AuthenticationRequest] = []
        self.vouched: Principal | None = ALICE
        self.recalled: list[Principal] = []
        self.recollection: Principal | Awaitable[Principal] | None = None

    def challenges(self) -> tuple[tuple[str, str], ...]:
        return (("basic", "local"),)

    def lookup_basic(self, raw: bytes, realms: frozenset[str] = frozenset()) -> Principal | None:
        return self.remembered.get((raw, realms))

    def authenticate(
        self, credentials: Credentials, request: AuthenticationRequest, raw: bytes | None = None
    ) -> Awaitable[Principal]:
        self.asked.append((credentials, request, raw))
        return self.answer

    async def identify_connection(self, request: AuthenticationRequest) -> Principal | None:
        self.connections.append(request)
        return self.vouched

    def remembered_until(self, raw: bytes, realms: frozenset[str] = frozenset()) -> float:
        return 60.0 if (raw, realms) in self.remembered else 0.0

    def recall(self, owner: Principal, request: AuthenticationRequest) -> Principal | Awaitable[Principal]:
        self.recalled.append(owner)
        return self.recollection or owner


class FakeApiTokens:
    def __init__(self) -> None:
        self.kept: dict[str, ApiToken] = {}

    def verify(self, token: str) -> ApiToken:
        if token not in self.kept:
            raise InvalidToken
        return self.kept[token]


class NoTokens:
    """A store without API tokens."""

    def find(self, digest: bytes) -> ApiToken | None:
        return None


class FakeRevocations:
    def __init__(self) -> None:
        self.epoch = 0
        self.gone: set[str] = set()
        #: whether it is not known what was revoked; grants that are good all the same
        self.stale = False
        self.spared: list[Grant | None] = []

    def check_fresh(self, grant: Grant | None = None) -> None:
        if self.stale and grant not in self.spared:
            raise StateUnavailable("stale")

    def good(self, principal: Principal) -> bool:
        return principal.grant is None or principal.grant.id not in self.gone

    def still_good(self, principal: Principal, epoch: int) -> bool:
        return self.good(principal)

    def revoke(self, id: str) -> None:
        self.gone.add(id)
        self.epoch += 1


class FakeVerifier:
    def __init__(self) -> None:
        self.asked: list[str] = []
        self.verdict: Verdict | None = Verdict(ALICE, 100.0)

    def verify(self, token: str) -> Verdict:
        self.asked.append(token)
        if token.startswith("foreign"):
            raise ForeignToken
        if self.verdict is None:
            raise InvalidToken
        return self.verdict


class IdentifierCase(unittest.TestCase):
    def setUp(self) -> None:
        self.chain = FakeChain()
        self.verifier = FakeVerifier()
        self.api_tokens = FakeApiTokens()
        self.revocations = FakeRevocations()
        self.clock = Clock()
        authorization = Authorization(self.chain, self.verifier, self.api_tokens, self.revocations, self.clock.seconds, 300)
        self.identifier = Identifier((authorization, Connection(self.chain)))
        self.verdicts = authorization._verdicts

    def identify(self, *lines: str) -> object:
        return self.identifier.identify(block(*lines), "192.0.2.7", CONNECTION)


class IdentifierTests(IdentifierCase):
    def test_without_usable_credentials(self) -> None:
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
        self.assertEqual(self.verifier.asked, ["t1"])

    def test_attack_51_when_credentials_will_be_verified_again(self) -> None:
        self.identify("Authorization: Bearer t1")
        self.chain.remembered[b"Basic YWxpY2U6eA==", frozenset()] = ALICE
        self.chain.remembered[b"Basic YWxpY2U6eQ==", frozenset({"a"})] = ALICE
        for lines, until in (
            (("Authorization: Bearer t1",), 100),
            (("Authorization: bearer  t1",), 100),
            (("Authorization: Bearer t2",), 0),
            (("Authorization: Bearer t1, Bearer t2",), 0),
            ((basic("alice:x"),), 60),
            ((basic("alice:y"),), 0),
            ((basic("alice:y"), "X-Auth-Realm: a"), 60),
            ((), 0),
        ):
            self.assertEqual(self.identifier.until(block(*lines), ALICE), until, lines)

    def test_attack_50_what_a_browser_adds_by_itself(self) -> None:
        for lines, by_itself in (
            ((basic("alice:x"),), True),
            (("Authorization: plain YWxpY2U6eA==",), True),
            (("Authorization: Bearer t",), False),
            (("Authorization: Bearer t, Bearer u",), False),
            (("Authorization: Bearer t, Basic YWxpY2U6eA==",), True),
            (("Authorization: Negotiate YWxpY2U6eA==",), True),
            (("X-Remote-User: alice",), True),
            ((), True),
        ):
            self.assertEqual(self.identifier.by_browser(block(*lines), ALICE), by_itself, lines)

    def test_attack_36_expired_verdict_is_verified_anew(self) -> None:
        self.identify("Authorization: Bearer t1")
        self.clock.advance(100)
        self.verifier.verdict = None
        with self.assertRaises(InvalidToken):
            self.identify("Authorization: Bearer t1")
        self.assertEqual(len(self.verifier.asked), 2)

    def test_attack_36_a_verdict_ends_for_every_spelling_at_once(self) -> None:
        for line in ("Authorization: Bearer t1", "Authorization: bearer  t1"):
            self.identify(line)
            self.clock.advance(99.75)
            self.identify(line)
            asked = len(self.verifier.asked)
            self.clock.advance(0.25)
            self.verifier.verdict = Verdict(ALICE, self.clock.seconds() + 100)
            self.identify(line)
            self.assertEqual(len(self.verifier.asked), asked + 1, line)

    def test_challenges(self) -> None:
        self.assertEqual(self.identifier.challenges(), (("basic", "local"),))

    def test_attack_8_a_token_is_the_client_s_on_any_connection(self) -> None:
        headers = block("Authorization: Bearer t1")
        self.assertIs(self.identifier.identify(headers, "192.0.2.7", CONNECTION, by_connection=False), ALICE)

    def test_attack_23_a_list_of_more_than_2048_bytes_is_not_remembered(self) -> None:
        for length, asked in ((2048, 1), (2049, 2)):
            self.verifier.asked.clear()
            self.identifier.forget()
            line = "Bearer t1, Basic "
            line = f"Authorization: {line}{'eDp5' * 600}"[: len("Authorization: ") + length]
            for _ in range(2):
                found = self.identify(line)
                if not isinstance(found, Principal):
                    found = self.successResultOf(Deferred.fromCoroutine(found))  # type: ignore[arg-type]
                self.assertIs(found, ALICE)
            self.assertEqual(line.partition(": ")[2].encode() in self.verdicts._young, asked == 1)

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
        expected = (BasicCredentials("alice", "pw"), REQUEST_LOCAL, raw)
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

    def news(self, *answers: object) -> list[InvalidToken]:
        """Look for what is unknown, with these answers in turn; returns the refusals for which it was looked."""
        looked: list[InvalidToken] = []
        left = list(answers)

        def news(error: InvalidToken, address: str) -> Any:
            looked.append(error)
            return left.pop(0)

        source = self.identifier._sources[0]
        self.patch(source, "_news", news)
        return looked

    def test_a_token_that_another_worker_has_issued_a_moment_ago(self) -> None:
        for text in ("foreign", TOKEN_PREFIX + "x"):
            waiting: Deferred[None] = Deferred()
            looked = self.news(waiting)
            if text == "foreign":
                self.patch(self.verifier, "verify", self.unknown_once(UnknownKey, Verdict(ALICE, 100.0)))
            else:
                self.patch(self.api_tokens, "verify", self.unknown_once(UnknownToken, ApiToken("id", b"", "ci", ALICE, 0.0)))
            asked = ensureDeferred(self.identify(f"Authorization: Bearer {text}"))  # type: ignore[arg-type]
            self.assertNoResult(asked)
            waiting.callback(None)
            self.assertEqual(self.successResultOf(asked).username, "alice")
            self.assertEqual(len(looked), 1)
            self.assertIsInstance(self.identify(f"Authorization: Bearer {text}"), Principal, "it is remembered")

    def unknown_once(self, error: type[InvalidToken], found: object) -> Any:
        calls: list[str] = []

        def verify(token: str) -> Any:
            calls.append(token)
            if len(calls) == 1:
                raise error
            return found

        return verify

    def test_an_owner_who_has_to_be_asked_after_the_look(self) -> None:
        self.news(succeed(None))
        self.patch(self.api_tokens, "verify", self.unknown_once(UnknownToken, ApiToken("id", b"", "ci", ALICE, 0.0)))
        self.chain.recollection = Deferred()
        asked = ensureDeferred(self.identify(f"Authorization: Bearer {TOKEN_PREFIX}x"))  # type: ignore[arg-type]
        self.assertNoResult(asked)
        self.chain.recollection.callback(ALICE)
        self.assertEqual(self.successResultOf(asked).username, "alice")

    def test_a_token_that_is_still_unknown_after_the_look(self) -> None:
        for takes_tokens in (False, True):
            self.chain.takes_tokens = takes_tokens
            self.news(succeed(None), None)
            asked = ensureDeferred(self.identify("Authorization: Bearer foreign"))  # type: ignore[arg-type]
            if takes_tokens:
                self.chain.answer.callback(ALICE)
                self.assertEqual(self.successResultOf(asked).username, "alice")
            else:
                self.failureResultOf(asked, ForeignToken)

    def test_an_unknown_token_where_nothing_can_be_new(self) -> None:
        looked = self.news(None, None)
        for text, error in ((TOKEN_PREFIX + "x", InvalidToken), ("foreign", ForeignToken)):
            with self.assertRaises(error):
                self.identify(f"Authorization: Bearer {text}")
        self.assertEqual([type(one) for one in looked], [InvalidToken, ForeignToken])
        self.chain.takes_tokens = True
        self.news(None)
        with self.assertRaises(InvalidToken):  # an API token is nobody else's
            self.identify(f"Authorization: Bearer {TOKEN_PREFIX}x")
        self.assertEqual(self.chain.asked, [])

    def test_attack_179_forged_tokens_are_not_looked_up(self) -> None:
        looked: list[int] = []

        def look(*key: object) -> Deferred[None]:
            looked.append(1)
            return succeed(None)

        source = self.identifier._sources[0]
        self.patch(source, "_api_tokens", ApiTokenVerifier(NoTokens(), self.clock, CHECK))
        self.patch(source, "_news", news_of(look, look, LookUps(LimitMemory.private(), lambda: False, "API tokens")))
        other_site = TokenCheck(SecretsKey(b"j" * 32))
        for _ in range(100):
            with self.assertRaises(InvalidToken):
                self.identify(f"Authorization: Bearer {other_site.make()}")
        self.assertEqual(looked, [])
        good = f"Authorization: Bearer {CHECK.make()}"
        self.failureResultOf(ensureDeferred(self.identify(good)), UnknownToken)  # type: ignore[arg-type]
        self.assertEqual(looked, [1])

    def test_attack_180_tokens_without_a_check_are_looked_up_at_a_limited_rate(self) -> None:
        asked: list[str] = []

        def news(error: InvalidToken, address: str) -> None:
            asked.append(address)
            raise Overloaded("too many")

        self.patch(self.identifier._sources[0], "_news", news)
        self.patch(self.identifier._sources[0], "_api_tokens", ApiTokenVerifier(NoTokens(), self.clock, CHECK))
        with self.assertRaises(Overloaded):
            self.identify(f"Authorization: Bearer {TOKEN_PREFIX}{'A' * 43}")
        self.assertEqual(asked, ["192.0.2.7"])

    def test_a_store_that_cannot_be_read_is_not_a_wrong_token(self) -> None:
        self.news(fail(Unavailable("the state cannot be read")))
        self.failureResultOf(ensureDeferred(self.identify(f"Authorization: Bearer {TOKEN_PREFIX}x")), Unavailable)  # type: ignore[arg-type]

    def test_foreign_tokens_are_for_those_who_take_them(self) -> None:
        with self.assertRaises(ForeignToken):
            self.identify("Authorization: Bearer foreign")
        self.chain.takes_tokens = True
        self.assertIs(self.identify("Authorization: Bearer foreign"), self.chain.answer)
        self.assertEqual(self.chain.asked[0][0], BearerCredentials("foreign"))
        self.assertIs(self.identify("Authorization: Bearer t1"), ALICE)
        self.assertEqual(len(self.chain.asked), 1, "our own tokens are shown to no authenticator")

    def test_attack_36_tokens_that_were_ours_are_not_passed_around(self) -> None:
        self.chain.takes_tokens = True
        self.verifier.verdict = None
        with self.assertRaises(InvalidToken):
            self.identify("Authorization: Bearer t1")
        self.assertEqual(self.chain.asked, [])

    def test_attack_23_a_token_is_remembered_without_what_stands_around_it(self) -> None:
        """More blanks, other letters or other users' credentials never match a cached credential."""
        for value in ("bearer t1", "Bearer" + " " * 9000 + "t1", "BEARER t1", "Bearer t1", "Bearer t1, Basic eDp5"):
            who = self.identify(f"Authorization: {value}")
            if not isinstance(who, Principal):
                who = self.successResultOf(Deferred.fromCoroutine(who))  # type: ignore[arg-type]
            self.assertIs(who, ALICE)
        later = self.identify("Authorization: Basic " + "eDp5" * 750 + ", Bearer t1")
        waiting = Deferred.fromCoroutine(later)  # type: ignore[arg-type]
        self.chain.answer.errback(Rejected())
        self.assertIs(self.successResultOf(waiting), ALICE)
        self.assertEqual(self.verifier.asked, ["t1"])
        verdicts = self.verdicts
        self.assertEqual(set(verdicts._young) | set(verdicts._old), {b"Bearer t1", b"Bearer t1, Basic eDp5"})
        with self.assertRaises(InvalidToken):
            self.identify("Authorization: bearer  t1", "X-Auth-Realm: other")

    def test_attack_34_a_list_that_was_narrowed_is_judged_anew(self) -> None:
        bob = Verdict(Principal("bob", "other"), 100.0)
        self.verifier.verdict = None
        self.patch(self.verifier, "verify", lambda token: {"a": Verdict(ALICE, 100.0), "b": bob}[token])

        def found(*lines: str) -> Principal:
            who = self.identify("Authorization: Bearer a, Bearer b", *lines)
            return who if isinstance(who, Principal) else self.successResultOf(Deferred.fromCoroutine(who))  # type: ignore[arg-type,no-any-return]

        self.assertEqual(found("X-Auth-Realm: other").username, "bob")
        self.assertEqual(found().username, "alice")
        self.assertEqual(found("X-Auth-Realm: local").username, "alice")

    def test_several_credentials_are_judged_in_their_order(self) -> None:
        pair = basic("alice:pw").partition(": ")[2]
        found = self.identify(f"Authorization: {pair}, Bearer t1")
        waiting = Deferred.fromCoroutine(found)  # type: ignore[arg-type]
        self.chain.answer.errback(Rejected())
        self.assertIs(self.successResultOf(waiting), ALICE)
        self.assertEqual((len(self.chain.asked), self.verifier.asked), (1, ["t1"]))
        self.assertIs(self.identify(f"Authorization: {pair}, Bearer t1"), ALICE)
        self.assertEqual(len(self.chain.asked), 1, "what was found for the whole value is remembered")

    def test_the_first_of_several_refusals_is_reported_unless_one_could_not_be_judged(self) -> None:
        pair = basic("alice:pw").partition(": ")[2]
        for error, expected in ((Rejected(), InvalidToken), (Unavailable(), Unavailable)):
            self.verifier.verdict = None
            self.chain.answer = Deferred()
            waiting = Deferred.fromCoroutine(self.identify(f"Authorization: Bearer t1, {pair}"))  # type: ignore[arg-type]
            self.chain.answer.errback(error)
            self.failureResultOf(waiting, expected)

    def test_a_connection_that_reports_nothing(self) -> None:
        self.chain.takes_connections = True
        for lines in ((), ("Authorization: Negotiate x",)):
            headers = block(*lines)
            self.assertIsNone(self.identifier.identify(headers, "192.0.2.7", CONNECTION, by_connection=False))
            later = self.identifier.identify(headers, "192.0.2.7", CONNECTION)
            self.assertTrue(hasattr(later, "close"))
            later.close()  # type: ignore[union-attr]

    def test_the_connection_speaks_where_the_request_does_not(self) -> None:
        self.assertIsNone(self.identify())
        self.chain.takes_connections = True
        for lines in ((), ("Authorization: xxxxx",)):
            found = self.identify("X-Auth-Realm: local", *lines)
            self.assertIs(self.successResultOf(Deferred.fromCoroutine(found)), ALICE)  # type: ignore[arg-type]
        request = self.chain.connections[0]
        self.assertEqual((request.address, request.peer, request.realms), ("192.0.2.7", "198.51.100.9", {"local"}))
        self.assertIs(self.identify("Authorization: Bearer t1"), ALICE)
        self.assertEqual(len(self.chain.connections), 2, "credentials come first")

    def test_wrong_credentials_are_not_mended_by_the_connection(self) -> None:
        self.chain.takes_connections = True
        self.verifier.verdict = None
        with self.assertRaises(InvalidToken):
            self.identify("Authorization: Bearer t1")
        self.assertEqual(self.chain.connections, [])

    def test_too_many_realms(self) -> None:
        with self.assertRaises(InvalidCredentialsRequest):
            self.identify("Authorization: Bearer t1", "X-Auth-Realm: " + ",".join(map(str, range(50))))


class RevocationTests(IdentifierCase):
    """A cached result is checked again after a revocation, and only then."""

    def setUp(self) -> None:
        super().setUp()
        self.verifier.verdict = Verdict(attrs.evolve(ALICE, grant=Grant("one", 0.0, 100.0)), 100.0)

    def test_attack_39_a_revoked_token_is_not_good_for_one_more_request(self) -> None:
        self.identify("Authorization: Bearer t1")
        self.verifier.verdict = None
        self.revocations.revoke("another")
        self.assertEqual(self.identify("Authorization: Bearer t1"), ALICE)
        self.revocations.revoke("one")
        for _ in range(2):
            with self.assertRaises(InvalidToken):
                self.identify("Authorization: Bearer t1")

    def test_attack_39_a_revoked_token_is_not_good_in_another_spelling(self) -> None:
        self.identify("Authorization: Bearer t1")
        self.revocations.revoke("another")
        self.identify("Authorization: bearer t1")
        self.assertEqual(self.verifier.asked, ["t1"], "it was found again, and is still good")
        self.verifier.verdict = None
        self.revocations.revoke("one")
        with self.assertRaises(InvalidToken):
            self.identify("Authorization: bearer t1")

    def test_attack_186_a_token_is_neither_good_nor_wrong_while_the_state_is_stale(self) -> None:
        self.identify("Authorization: Bearer t1")
        self.revocations.stale = True
        self.assertEqual(self.identify("Authorization: Bearer t1"), ALICE, "until the epoch goes up, within a second")
        self.revocations.epoch += 1
        for line in ("Authorization: Bearer t1", "Authorization: bearer t1", "Authorization: Bearer t2"):
            with self.assertRaises(StateUnavailable):
                self.identify(line)
        self.revocations.stale = False
        self.assertEqual(self.identify("Authorization: Bearer t1"), ALICE)
        self.assertEqual(self.verifier.asked, ["t1", "t2"], "what was remembered is remembered again")

    def test_a_spared_access_token_is_good_while_the_state_is_stale(self) -> None:
        self.revocations.stale = True
        self.revocations.spared = [Grant("one", 0.0, 100.0)]
        self.assertEqual(self.identify("Authorization: Bearer t1"), ALICE)
        self.revocations.epoch += 1
        self.assertEqual(self.identify("Authorization: Bearer t1"), ALICE)
        self.assertEqual(self.verifier.asked, ["t1"])

    def test_a_forged_token_is_wrong_also_while_the_state_is_stale(self) -> None:
        self.revocations.stale = True
        self.verifier.verdict = None
        with self.assertRaises(InvalidToken):
            self.identify("Authorization: Bearer t1")

    def test_nothing_is_looked_at_twice(self) -> None:
        self.identify("Authorization: Bearer t1")
        self.revocations.revoke("another")
        self.identify("Authorization: Bearer t1")
        self.revocations.gone.add("one")  # in the same epoch, which does not happen
        self.identify("Authorization: Bearer t1")
        self.assertEqual(self.verifier.asked, ["t1"])


class ApiTokenTests(IdentifierCase):
    TOKEN = TOKEN_PREFIX + "x"
    LINE = f"Authorization: Bearer {TOKEN_PREFIX}x"

    def setUp(self) -> None:
        super().setUp()
        restriction = Restriction(methods=frozenset(("GET",)))
        owner = attrs.evolve(ALICE, authenticator="users", roles=("then",))
        self.kept = self.api_tokens.kept[self.TOKEN] = ApiToken("7", b"", "ci", owner, 0.0, 1000.0, restriction)

    def test_its_owner_with_the_grant_of_the_token(self) -> None:
        found = self.identify(self.LINE)
        assert isinstance(found, Principal)
        self.assertEqual((found.username, found.authenticator, found.roles), ("alice", "token", ("then",)))
        self.assertEqual(found.grant, Grant("7", 0.0, 1000.0, GrantKind.API_TOKEN, self.kept.restriction))
        self.assertIs(self.identify(self.LINE), found)
        self.assertEqual((len(self.chain.recalled), self.verifier.asked), (1, []))

    def test_attack_186_an_api_token_is_neither_good_nor_wrong_while_the_state_is_stale(self) -> None:
        self.revocations.stale = True
        with self.assertRaises(StateUnavailable):
            self.identify(self.LINE)
        self.assertEqual(self.chain.recalled, [], "its owner is not asked for")

    def test_attack_186_the_state_becomes_stale_while_the_owner_is_looked_up(self) -> None:
        owner: Deferred[Principal] = Deferred()
        self.chain.recollection = owner
        finding = ensureDeferred(self.identify(self.LINE))  # type: ignore[arg-type]
        self.revocations.stale = True
        owner.callback(ALICE)
        self.failureResultOf(finding, StateUnavailable)
        self.assertEqual(len(self.verdicts), 0)

    def test_attack_39_its_owner_is_asked_for_again_after_a_while(self) -> None:
        self.identify(self.LINE)
        self.clock.advance(59.75)
        self.identify(self.LINE)
        self.assertEqual(len(self.chain.recalled), 1)
        self.clock.advance(0.25)
        self.chain.recollection = now = Deferred()
        waiting: Any = self.identify(self.LINE)
        now.callback(attrs.evolve(ALICE, roles=("now",)))
        self.assertEqual(self.successResultOf(Deferred.fromCoroutine(waiting)).roles, ("now",))
        self.assertEqual(self.identify(self.LINE).roles, ("now",))  # type: ignore[attr-defined]

    def test_attack_36_it_ends_when_it_was_to_end(self) -> None:
        self.api_tokens.kept[self.TOKEN] = attrs.evolve(self.kept, expires=30.0)
        self.identify(self.LINE)
        del self.api_tokens.kept[self.TOKEN]
        self.clock.advance(29.75)
        self.identify(self.LINE)
        self.clock.advance(0.25)
        with self.assertRaises(InvalidToken):
            self.identify(self.LINE)

    def test_attack_39_a_token_that_is_revoked_while_its_owner_is_asked_for(self) -> None:
        self.chain.recollection = now = Deferred()
        waiting: Any = self.identify(self.LINE)
        self.revocations.revoke("7")
        now.callback(ALICE)
        self.failureResultOf(Deferred.fromCoroutine(waiting), InvalidToken)

    def test_attack_41_an_owner_who_cannot_be_asked_for(self) -> None:
        self.chain.recollection = fail(Unavailable())
        waiting: Any = self.identify(self.LINE)
        self.failureResultOf(Deferred.fromCoroutine(waiting), Unavailable)

    def test_an_unknown_api_token_is_shown_to_no_authenticator(self) -> None:
        self.chain.takes_tokens = True
        with self.assertRaises(InvalidToken):
            self.identify(f"Authorization: Bearer {TOKEN_PREFIX}y")
        self.assertEqual((self.chain.asked, self.verifier.asked), ([], []))

    def test_a_realm_narrows_it(self) -> None:
        with self.assertRaises(InvalidToken):
            self.identify(self.LINE, "X-Auth-Realm: other")
        self.assertEqual(self.chain.recalled, [])

    def test_it_buys_no_token(self) -> None:
        self.chain.takes_tokens = True
        found = self.identifier.identify_first_hand(block(self.LINE), "192.0.2.7", CONNECTION)
        self.failureResultOf(Deferred.fromCoroutine(found), InvalidToken)  # type: ignore[arg-type]
        self.assertEqual((self.chain.asked, self.verifier.asked), ([], []))


class FirstHandTests(IdentifierCase):
    """For the token endpoint: only a password is accepted."""

    def authenticate(self, *lines: str) -> Deferred[Principal | None]:
        async def found() -> Principal | None:
            found = self.identifier.identify_first_hand(block(*lines), "192.0.2.7", CONNECTION)
            return found if found is None or isinstance(found, Principal) else await found

        return Deferred.fromCoroutine(found())

    def refused(self, kind: type[Refusal], *lines: str) -> None:
        self.failureResultOf(self.authenticate(*lines), kind)

    def test_refusals(self) -> None:
        self.assertIsNone(self.successResultOf(self.authenticate()))
        self.assertIsNone(self.successResultOf(self.authenticate("Authorization: xxxxx")))
        self.refused(InvalidToken, "Authorization: Bearer t1")
        self.refused(InvalidCredentialsRequest, basic("a:b"), basic("a:b"))
        self.assertEqual(self.verifier.asked, [])

    def test_password(self) -> None:
        waiting = self.authenticate(basic("alice:pw"))
        self.assertNoResult(waiting)
        self.chain.answer.callback(ALICE)
        self.assertIs(self.successResultOf(waiting), ALICE)

    def test_a_realm_narrows_it(self) -> None:
        self.authenticate(basic("alice:pw"), "X-Auth-Realm: local")
        self.assertEqual(self.chain.asked[0][1], REQUEST_LOCAL)

    def test_a_token_of_another_issuer_is_not_shown_where_no_authenticator_takes_tokens(self) -> None:
        self.refused(InvalidToken, "Authorization: Bearer foreign")
        self.assertEqual(self.chain.asked, [])

    def test_remembered(self) -> None:
        raw = basic("alice:pw").partition(": ")[2].encode()
        self.chain.remembered[raw, frozenset()] = ALICE
        self.assertIs(self.successResultOf(self.authenticate(basic("alice:pw"))), ALICE)
        self.assertEqual(self.chain.asked, [])

    def test_tokens_of_others_and_connections_buy_one_too(self) -> None:
        self.chain.takes_tokens = self.chain.takes_connections = True
        self.assertIs(self.successResultOf(self.authenticate()), ALICE)
        self.chain.vouched = None
        self.assertIsNone(self.successResultOf(self.authenticate()))
        self.refused(InvalidToken, "Authorization: Bearer t1")
        waiting = self.authenticate("Authorization: Bearer foreign")
        self.chain.answer.callback(ALICE)
        self.assertIs(self.successResultOf(waiting), ALICE)


class SessionSourceDouble:
    """A source by session that returns what a test says."""

    by_connection = False
    by_session = True
    by_authorization = False

    def __init__(self, found: Any) -> None:
        self.found = found

    def identify(self, headers: HeaderBlock, address: str, connection: ClientConnection) -> Any:
        return self.found


class SessionLookedUpTests(unittest.TestCase):
    """A session that has to be looked up may turn out to be none: then the sources after it are asked."""

    def identify(self, found: Any, chain: FakeChain | None = None) -> Any:
        sources: list[Any] = [SessionSourceDouble(found)]
        if chain is not None:
            sources.append(Connection(chain))
        return Identifier(sources).identify(block(), "192.0.2.7", CONNECTION)

    def test_the_user_of_a_session(self) -> None:
        other = Principal("bob", "local")
        self.assertIs(self.identify(other, FakeChain()), other)
        self.assertIs(self.successResultOf(ensureDeferred(self.identify(succeed(other), FakeChain()))), other)

    def test_no_session(self) -> None:
        chain = FakeChain()
        chain.takes_connections = True
        self.assertIs(self.successResultOf(ensureDeferred(self.identify(succeed(None), chain))), ALICE)
        chain.vouched = None
        self.assertIsNone(self.successResultOf(ensureDeferred(self.identify(succeed(None), chain))))
        self.assertIsNone(self.successResultOf(ensureDeferred(self.identify(succeed(None)))))

    def test_no_session_and_nothing_else(self) -> None:
        sources: list[Any] = [SessionSourceDouble(succeed(None)), SessionSourceDouble(None), SessionSourceDouble(ALICE)]
        found: Any = Identifier(sources).identify(block(), "192.0.2.7", CONNECTION)
        self.assertIs(self.successResultOf(ensureDeferred(found)), ALICE)

"""The chain: four outcomes, timeouts, narrowing, and the memory of verdicts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred, succeed
from twisted.logger import capturedLogs
from twisted.trial import unittest
from zope.interface import implementer

from perimeter.auth.chain.attempts import Counted, Key, MemoryAttempts
from perimeter.auth.chain.chain import AuthenticatorChain
from perimeter.auth.chain.nodes import Nodes
from perimeter.auth.chain.throttle import Throttle
from perimeter.auth.chain.watch import TimedOut
from perimeter.errors import InvalidToken, Overloaded, Rejected, StartupError, TooManyAttempts, Unavailable, Undecided
from perimeter.fair_queue import CLIENT
from perimeter.model import (
    AuthenticationRequest,
    BasicCredentials,
    BearerCredentials,
    Credentials,
    NegotiateCredentials,
    Principal,
    Recollection,
)
from perimeter.offload import Offload
from perimeter.plugin.authenticator import IAuthenticator, ICanonicalNames, IDecoyLogin, IRunningAuthenticator, ISchemes
from tests.unit.doubles.auth import REQUEST, ManualThreads, ThreadClock, offload_with
from tests.unit.doubles.node_counts import NodeCounts

ALICE = BasicCredentials("alice", "wonderland-42")
RAW = b"Basic YWxpY2U6d29uZGVybGFuZC00Mg=="

Answer = Callable[[Credentials, AuthenticationRequest], Any]


@implementer(IAuthenticator)
class Fake:
    """Answers with what ``answer`` returns: a value, an exception to raise, or a Deferred."""

    def __init__(self, answer: Any, realm: str = "r", name: str = "fake") -> None:
        self.name, self.realm, self.answer = name, realm, answer
        self.asked: list[Credentials] = []

    def authenticate(self, credentials: Credentials, request: AuthenticationRequest) -> Awaitable[Principal | None]:
        self.asked.append(credentials)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer if isinstance(self.answer, Deferred) else succeed(self.answer)


@implementer(ISchemes)
class Scheming(Fake):
    """A `Fake` that accepts the credentials of ``schemes``."""

    def __init__(self, schemes: tuple[str, ...], answer: Any, realm: str = "r", name: str = "fake") -> None:
        super().__init__(answer, realm, name)
        self.schemes = schemes


class Explaining(Scheming):
    """A `Scheming` that explains its answer."""

    def __init__(self, schemes: tuple[str, ...], answer: Any, step: str) -> None:
        super().__init__(schemes, answer)
        self.step = step

    def authenticate(self, credentials: Credentials, request: AuthenticationRequest) -> Awaitable[Principal | None]:
        request.explain(self.step)
        return super().authenticate(credentials, request)


@implementer(IRunningAuthenticator)
class Watched(Fake):
    changed: Callable[[], None] | None = None
    start_error: Exception | None = None
    stop_error: Exception | None = None
    stops = 0

    def start(self, changed: Callable[[], None]) -> None:
        if self.start_error is not None:
            raise self.start_error
        self.changed = changed

    def stop(self) -> None:
        self.changed = None
        self.stops += 1
        if self.stop_error is not None:
            raise self.stop_error


def principal(realm: str = "r") -> Principal:
    return Principal("alice", realm, ("admin",))


class ChainCase(unittest.TestCase):
    def setUp(self) -> None:
        self.clock = ThreadClock()
        self.clock.advance(1000)

    def chain(self, *authenticators: Fake, remember: float = 60, **options: Any) -> AuthenticatorChain:
        return AuthenticatorChain(authenticators, 5, remember, self.clock, **options)

    def ask(
        self,
        chain: AuthenticatorChain,
        credentials: Credentials = ALICE,
        request: AuthenticationRequest = REQUEST,
        raw: bytes | None = RAW,
    ) -> Deferred[Principal]:
        return ensureDeferred(chain.authenticate(credentials, request, raw))

    def down(self) -> tuple[Fake, AuthenticatorChain]:
        """An authenticator that has let a login wait for too long, and its chain."""
        fake = Fake(Deferred())
        chain = self.chain(fake)
        asked = self.ask(chain)
        self.clock.advance(5)
        self.failureResultOf(asked, Unavailable)
        return fake, chain


class OutcomeTests(ChainCase):
    def test_the_first_principal_wins_and_names_its_authenticator(self) -> None:
        first, second, third = Fake(None), Fake(principal(), name="second"), Fake(principal())
        found = self.successResultOf(self.ask(self.chain(first, second, third)))
        self.assertEqual((found.username, found.roles, found.authenticator), ("alice", ("admin",), "second"))
        self.assertEqual((len(first.asked), len(third.asked)), (1, 0))

    def test_rejected_stops_the_chain(self) -> None:
        second = Fake(principal())
        self.failureResultOf(self.ask(self.chain(Fake(Rejected()), second)), Rejected)
        self.assertEqual(second.asked, [])

    def test_unavailable_stops_the_chain(self) -> None:
        second = Fake(principal())
        self.failureResultOf(self.ask(self.chain(Fake(Unavailable()), second)), Unavailable)
        self.assertEqual(second.asked, [])

    def test_a_user_that_no_authenticator_knows_is_refused(self) -> None:
        self.failureResultOf(self.ask(self.chain(Fake(None), Fake(None))), Rejected)
        self.failureResultOf(self.ask(self.chain()), Rejected)
        self.failureResultOf(self.ask(self.chain(Scheming(("bearer",), None)), BearerCredentials("x")), InvalidToken)

    def test_a_failed_login_names_the_user_that_was_tried(self) -> None:
        for answer, refusal in ((None, Rejected), (Rejected(), Rejected), (Unavailable(), Unavailable)):
            failure = self.failureResultOf(self.ask(self.chain(Fake(answer))), refusal)
            self.assertEqual(failure.value.attempted_user, "alice")
        empty = self.failureResultOf(self.ask(self.chain(Fake(None)), BasicCredentials("bob", "")), Rejected)
        self.assertEqual(empty.value.attempted_user, "bob")
        token = self.failureResultOf(self.ask(self.chain(Scheming(("bearer",), None)), BearerCredentials("x")), InvalidToken)
        self.assertIsNone(token.value.attempted_user)

    def test_a_token_that_is_not_known_is_refused_with_what_each_authenticator_says(self) -> None:
        said: list[str] = []
        request = attrs.evolve(REQUEST, explain=said.append)
        explaining = [Explaining(("bearer",), None, step) for step in ("of another issuer", "no such key", "no such key")]
        failure = self.failureResultOf(self.ask(self.chain(*explaining), BearerCredentials("x"), request), InvalidToken)
        self.assertEqual(failure.value.detail, "no authenticator knows this token; of another issuer; no such key")
        self.assertEqual(said, ["of another issuer", "no such key", "no such key"])
        failure = self.failureResultOf(
            self.ask(self.chain(Explaining(("bearer",), None, "x" * 900)), BearerCredentials("x")), InvalidToken
        )
        self.assertEqual(len(failure.value.detail), 300)

    def test_attack_41_an_unforeseen_exception_fails_closed(self) -> None:
        second = Fake(principal())
        with capturedLogs() as events:
            self.failureResultOf(self.ask(self.chain(Fake(ZeroDivisionError("wonderland-42")), second)), Unavailable)
        self.assertEqual(second.asked, [])
        self.assertIn("ZeroDivisionError", str(events))
        self.assertNotIn("wonderland-42", str(events), "an exception's text may hold the password")

    def test_attack_41_a_cancellation_from_inside_fails_closed(self) -> None:
        second = Fake(principal())
        self.failureResultOf(self.ask(self.chain(Fake(CancelledError()), second)), Unavailable)
        self.assertEqual(second.asked, [])

    def test_attack_41_anything_but_a_principal_fails_closed(self) -> None:
        for answer in (True, "alice", object(), principal("another realm"), Principal("", "r")):
            self.failureResultOf(self.ask(self.chain(Fake(answer))), Unavailable)

    def test_attack_15_a_name_that_no_token_can_hold(self) -> None:
        for name in ("alice\ud800", "alice\r\nX-Auth-Roles: admin", "a\0b"):
            self.failureResultOf(self.ask(self.chain(Fake(Principal(name, "r")))), Unavailable)

    def test_attack_32_an_empty_password_reaches_no_authenticator(self) -> None:
        fake = Fake(principal())
        for credentials in (BasicCredentials("alice", ""), BasicCredentials("", "x")):
            self.failureResultOf(self.ask(self.chain(fake), credentials), Rejected)
        self.assertEqual(fake.asked, [])


class SchemeTests(ChainCase):
    def test_each_is_asked_for_what_it_wants_only(self) -> None:
        passwords = Fake(None)
        tokens = Scheming(("bearer",), None)
        both = Scheming(("basic", "bearer"), principal())
        chain = self.chain(passwords, tokens, both)
        self.successResultOf(self.ask(chain))
        self.successResultOf(self.ask(chain, BearerCredentials("x")))
        self.assertEqual((len(passwords.asked), len(tokens.asked), len(both.asked)), (1, 1, 2))
        self.assertIsInstance(passwords.asked[0], BasicCredentials)
        self.assertIsInstance(tokens.asked[0], BearerCredentials)

    def test_a_ticket_is_shown_to_those_that_take_tickets(self) -> None:
        tickets, tokens, passwords = Scheming(("negotiate",), principal()), Scheming(("bearer",), None), Fake(principal())
        chain = self.chain(passwords, tokens, tickets)
        self.assertTrue(chain.takes_negotiate)
        self.assertFalse(self.chain(passwords, tokens).takes_negotiate)
        self.successResultOf(ensureDeferred(chain.authenticate(NegotiateCredentials(b"token"), REQUEST)))
        self.assertEqual((len(passwords.asked), len(tokens.asked), len(tickets.asked)), (0, 0, 1))
        self.assertEqual(chain.challenges(), (("basic", "r"), ("bearer", "r"), ("negotiate", "r")))
        nobody = ensureDeferred(self.chain(passwords, tokens).authenticate(NegotiateCredentials(b"token"), REQUEST))
        self.failureResultOf(nobody, Rejected)

    def test_a_connection_is_shown_to_those_who_go_by_it(self) -> None:
        certificate, header, passwords = Scheming(("certificate",), None), Scheming(("header",), principal()), Fake(principal())
        chain = self.chain(passwords, certificate, header)
        found = self.successResultOf(ensureDeferred(chain.identify_connection(REQUEST)))
        assert found is not None
        self.assertEqual((len(passwords.asked), len(certificate.asked), len(header.asked)), (0, 0, 1), "there is no certificate")
        self.assertTrue(chain.takes_connections)
        self.assertFalse(chain.takes_tokens)
        self.assertIsNone(self.successResultOf(ensureDeferred(self.chain(passwords).identify_connection(REQUEST))))

    def test_unknown_schemes_stop_the_start(self) -> None:
        with self.assertRaises(StartupError):
            self.chain(Scheming(("digest",), None))

    def test_challenges_are_listed_once_each(self) -> None:
        self.assertEqual(self.chain(Fake(None, "a"), Fake(None, "b")).challenges(), (("basic", "a"), ("basic", "b")))
        chain = self.chain(Fake(None, "a"), Scheming(("bearer",), None, "b"), Scheming(("header",), None, "c"), Fake(None, "a"))
        self.assertEqual(chain.challenges(), (("basic", "a"), ("bearer", "b")))


class BreakerTests(ChainCase):
    def test_one_that_is_down_costs_one_timeout(self) -> None:
        down, chain = self.down()
        refused = self.failureResultOf(self.ask(chain, BasicCredentials("bob", "x")), Unavailable)
        self.assertEqual((len(down.asked), refused.value.retry_after), (1, 1))

    def test_one_request_tries_again_and_opens_the_way_for_all(self) -> None:
        fake, chain = self.down()
        self.clock.advance(1)
        trying: Deferred[Any] = Deferred()
        fake.answer = trying
        second = self.ask(chain)
        self.failureResultOf(self.ask(chain, BasicCredentials("bob", "x")), Unavailable)
        self.assertEqual(len(fake.asked), 2)
        trying.callback(principal())
        self.successResultOf(second)
        fake.answer = principal()
        self.successResultOf(self.ask(chain, BasicCredentials("bob", "x")))

    def test_an_authenticator_may_have_a_time_of_its_own(self) -> None:
        chain = self.chain(Fake(Deferred(), name="slow"), timeouts={"slow": 8})
        asked = self.ask(chain)
        self.clock.advance(7.9)
        self.assertNoResult(asked)
        self.clock.advance(0.1)
        self.failureResultOf(asked, Unavailable)

    def test_attack_41_faults_and_a_busy_gateway_do_not_shut_out_others(self) -> None:
        for error in (ZeroDivisionError(), Overloaded("full")):
            fake = Fake(error)
            chain = self.chain(fake)
            with capturedLogs():
                for _ in range(5):
                    self.failureResultOf(self.ask(chain), Unavailable)
            fake.answer = principal()
            self.successResultOf(self.ask(chain))

    def test_each_end_of_a_try_lets_the_next_request_ask(self) -> None:
        for error in (Rejected(), InvalidToken(), Undecided("odd account"), Overloaded("full"), ZeroDivisionError()):
            fake, chain = self.down()
            self.clock.advance(1)
            fake.answer = error
            with capturedLogs():
                self.failureResultOf(self.ask(chain))
            fake.answer = principal()
            self.successResultOf(self.ask(chain, BasicCredentials("bob", "x")))

    def test_a_quick_failure_is_measured_from_its_own_question(self) -> None:
        fake = Fake(Unavailable("refused"))
        chain = self.chain(fake)
        for _ in range(2):
            self.failureResultOf(self.ask(chain), Unavailable)
        self.assertFalse(chain.guarded[0].breaker.open)

    def test_a_login_that_is_given_up_goes_on_trying(self) -> None:
        fake, chain = self.down()
        self.clock.advance(1)
        fake.answer = trying = Deferred[Principal]()
        second = self.ask(chain)
        second.cancel()
        self.failureResultOf(second, CancelledError)
        self.failureResultOf(self.ask(chain, BasicCredentials("bob", "x")), Unavailable)
        trying.callback(principal())
        fake.answer = principal()
        self.successResultOf(self.ask(chain))

    def test_a_token_that_is_given_up_lets_the_next_one_try(self) -> None:
        fake = Scheming(("bearer",), Deferred())
        chain = self.chain(fake)
        first = self.ask(chain, BearerCredentials("x"))
        self.clock.advance(5)
        self.failureResultOf(first, Unavailable)
        self.clock.advance(1)
        fake.answer = Deferred()
        second = self.ask(chain, BearerCredentials("x"))
        second.cancel()
        self.failureResultOf(second, CancelledError)
        fake.answer = principal()
        self.successResultOf(self.ask(chain, BearerCredentials("x")))


class ThrottleTests(ChainCase):
    def throttled(self, *authenticators: Fake) -> AuthenticatorChain:
        return self.chain(*authenticators, throttle=Throttle(3, MemoryAttempts(), self.clock, allowed_from_address=3))

    def test_attack_190_a_wrong_password_is_answered_when_the_other_machines_can_know_it(self) -> None:
        counts = NodeCounts(self.clock)
        nodes = Nodes(counts, self.clock)
        throttle = Throttle(3, MemoryAttempts(), self.clock, allowed_from_address=3, nodes=nodes)
        verified: Deferred[None] = Deferred()
        asked = self.ask(self.chain(Fake(verified), throttle=throttle))
        hold = counts.hold = Deferred()
        verified.errback(Rejected())
        self.assertNoResult(asked)
        hold.callback(None)
        self.failureResultOf(asked, Rejected)

    def test_after_some_wrong_passwords_no_authenticator_is_asked(self) -> None:
        fake = Fake(Rejected())
        chain = self.throttled(fake)
        for _ in range(3):
            self.failureResultOf(self.ask(chain), Rejected)
        fake.answer = principal()
        refused = self.failureResultOf(self.ask(chain), TooManyAttempts)
        self.assertEqual((len(fake.asked), refused.value.retry_after), (3, 1))
        self.clock.advance(1)
        self.successResultOf(self.ask(chain))

    def test_attack_30_spellings_of_a_name_are_one(self) -> None:
        chain = self.throttled(Fake(Rejected(), "corp"))
        for number, name in enumerate(("john", "JOHN", "john@corp")):
            request = AuthenticationRequest(f"192.0.2.{number}")
            self.failureResultOf(self.ask(chain, BasicCredentials(name, "guess"), request), Rejected)
        for number, name in enumerate(("John@Corp", "CORP\\john", " john", "\uff4aohn")):
            request = AuthenticationRequest(f"198.51.100.{number}")
            self.failureResultOf(self.ask(chain, BasicCredentials(name, "guess"), request), TooManyAttempts)
        self.failureResultOf(self.ask(chain, BasicCredentials("john@other", "guess")), Rejected)

    def test_attack_30_an_authenticator_says_which_spellings_are_one(self) -> None:
        @implementer(ICanonicalNames)
        class Directory(Fake):
            def canonical_name(self, username: str) -> str:
                return username.rpartition("=")[2]

        chain = self.throttled(Directory(Rejected()))
        for name in ("cn=john", "uid=john", "john"):
            self.failureResultOf(self.ask(chain, BasicCredentials(name, "guess")), Rejected)
        self.failureResultOf(
            self.ask(chain, BasicCredentials("sn=john", "guess"), AuthenticationRequest("198.51.100.1")), TooManyAttempts
        )

    def test_attack_30_narrowing_moves_no_one_to_another_count(self) -> None:
        chain = self.throttled(Fake(Rejected(), "a"), Fake(Rejected(), "b"))
        narrowed = [AuthenticationRequest(f"192.0.2.{n}", frozenset(r)) for n, r in enumerate(("a", "ab", ""))]
        for request in narrowed:
            self.failureResultOf(self.ask(chain, request=request), Rejected)
        for realms in ("a", "ab", ""):
            request = AuthenticationRequest("198.51.100.1", frozenset(realms))
            self.failureResultOf(self.ask(chain, request=request), TooManyAttempts)

    def test_a_realm_that_no_authenticator_has_is_not_counted(self) -> None:
        chain = self.throttled(Fake(principal()))
        for _ in range(5):
            self.failureResultOf(self.ask(chain, request=AuthenticationRequest("192.0.2.1", frozenset({"x"}))), Rejected)
        self.successResultOf(self.ask(chain))

    def test_what_the_operator_sees_of_lockouts(self) -> None:
        chain = self.throttled(Fake(Rejected()))
        for number in range(3):  # the same guess counts once for its address
            self.failureResultOf(self.ask(chain, BasicCredentials("alice", f"guess {number}")), Rejected)
        for later, seconds in ((0, 1), (0.25, 1), (5, 0)):
            self.clock.advance(later)
            self.assertEqual([left for _, _, left in chain.refused()], [seconds, seconds])
        self.assertEqual(self.chain(Fake(None)).refused(), [])
        self.assertEqual(self.released(self.chain(Fake(None)), "alice"), [])

    def test_a_backend_that_is_down_counts_for_nothing(self) -> None:
        fake = Fake(Unavailable("down"))
        chain = self.throttled(fake)
        for _ in range(5):
            self.failureResultOf(self.ask(chain), Unavailable)
        fake.answer = principal()
        self.clock.advance(60)
        self.successResultOf(self.ask(chain))

    def test_who_is_remembered_is_not_made_to_wait(self) -> None:
        fake = Fake(principal())
        chain = self.throttled(fake)
        self.successResultOf(self.ask(chain))
        fake.answer = Rejected()
        for _ in range(3):
            self.failureResultOf(self.ask(chain, BasicCredentials("alice", "guess")), Rejected)
        self.failureResultOf(self.ask(chain, BasicCredentials("alice", "guess")), TooManyAttempts)
        self.assertIsNotNone(chain.lookup_basic(RAW))

    def test_identical_logins_count_once(self) -> None:
        fake = Fake(Deferred())
        chain = self.throttled(fake)
        logins = [self.ask(chain) for _ in range(6)]
        fake.answer.errback(Rejected())
        for login in logins:
            self.failureResultOf(login, Rejected)
        self.failureResultOf(self.ask(chain, BasicCredentials("alice", "other")), Rejected)

    def released(self, chain: AuthenticatorChain, text: str) -> list[str]:
        return list(map(str, self.successResultOf(Deferred.fromCoroutine(chain.release(text)))))

    def test_release(self) -> None:
        chain = self.throttled(Fake(Rejected(), "corp"))
        for _ in range(3):
            self.failureResultOf(self.ask(chain), Rejected)
        self.assertEqual(self.released(chain, "ALICE@corp"), ["name 'alice' of realm corp"])
        self.assertEqual(self.released(chain, "192.0.2.1"), ["address '192.0.2.1'"])
        self.failureResultOf(self.ask(chain), Rejected)
        self.assertEqual(self.released(chain, "nobody"), [])


class TimeoutTests(ChainCase):
    def test_a_slow_authenticator_is_cancelled_and_unavailable(self) -> None:
        cancelled: list[Any] = []
        second = Fake(principal())
        asked = self.ask(self.chain(Fake(Deferred(cancelled.append)), second))
        self.clock.advance(4.9)
        self.assertNoResult(asked)
        self.clock.advance(0.1)
        self.failureResultOf(asked, Unavailable)
        self.assertEqual((len(cancelled), second.asked), (1, []))

    def test_one_that_ignores_its_cancellation_is_unavailable_all_the_same(self) -> None:
        class Stubborn(Fake):
            async def authenticate(self, credentials: Credentials, request: AuthenticationRequest) -> Principal | None:
                try:
                    await Deferred()
                except CancelledError:
                    await Deferred()
                return principal()

        asked = self.ask(self.chain(Stubborn(None)))
        self.clock.advance(5)
        self.failureResultOf(asked, Unavailable)

    def test_cancelling_a_question_about_a_token_cancels_the_authenticator(self) -> None:
        cancelled: list[Any] = []
        asked = self.ask(self.chain(Scheming(("bearer",), Deferred(cancelled.append))), BearerCredentials("x"))
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        self.assertEqual((len(cancelled), self.clock.getDelayedCalls()), (1, []))

    def test_an_answer_leaves_no_timer(self) -> None:
        self.successResultOf(self.ask(self.chain(Fake(principal()))))
        self.assertEqual(self.clock.getDelayedCalls(), [])


class NarrowingTests(ChainCase):
    def test_attack_34_realms_only_narrow(self) -> None:
        first, second = Fake(principal("a"), "a"), Fake(principal("b"), "b")
        chain = self.chain(first, second)
        found = self.successResultOf(self.ask(chain, request=AuthenticationRequest("192.0.2.1", frozenset({"b"}))))
        self.assertEqual((found.realm, len(first.asked)), ("b", 1))
        self.failureResultOf(self.ask(chain, request=AuthenticationRequest("192.0.2.1", frozenset({"c"}))), Rejected)
        self.failureResultOf(self.ask(chain, request=AuthenticationRequest("192.0.2.1", frozenset({""}))), Rejected)
        self.assertEqual(len(first.asked), 1, "a realm that no authenticator has: none is asked")

    def narrowed(self, *realms: str) -> AuthenticationRequest:
        return AuthenticationRequest("192.0.2.1", frozenset(realms))

    def test_attack_49_narrowing_skips_no_authenticator_that_would_refuse(self) -> None:
        """Two realms have the name: where the whole chain refuses the password of one, no header makes it the other's."""
        staff, guests = Fake(Rejected(), "staff"), Fake(principal("guests"), "guests")
        chain = self.chain(staff, guests)
        self.failureResultOf(self.ask(chain), Rejected)
        for request in (self.narrowed("guests"), self.narrowed("guests", "other"), self.narrowed("staff", "guests")):
            self.failureResultOf(self.ask(chain, request=request), Rejected)
        self.assertEqual((len(staff.asked), len(guests.asked)), (4, 0))

    def test_attack_49_narrowing_spares_no_authenticator_that_is_down(self) -> None:
        chain = self.chain(Fake(Unavailable("down"), "staff"), Fake(principal("guests"), "guests"))
        self.failureResultOf(self.ask(chain, request=self.narrowed("guests")), Unavailable)

    def test_attack_49_nor_for_tokens_of_other_issuers(self) -> None:
        token = BearerCredentials("x")
        first, second = Scheming(("bearer",), InvalidToken(), "a"), Scheming(("bearer",), principal("b"), "b")
        self.failureResultOf(self.ask(self.chain(first, second), token, self.narrowed("b")), InvalidToken)
        first.answer = None
        self.assertEqual(self.successResultOf(self.ask(self.chain(first, second), token, self.narrowed("b"))).realm, "b")

    def test_attack_49_a_user_who_is_known_by_the_connection_is_not_made_anonymous(self) -> None:
        """Anonymous clients of a route with ``auth = optional`` may do what ``deny`` forbids to this user."""
        header = Scheming(("header",), principal("staff"), "staff")
        for realms in (("guests",), ("",)):
            asked = Deferred.fromCoroutine(self.chain(header).identify_connection(self.narrowed(*realms)))
            self.failureResultOf(asked, Rejected)
        asked = Deferred.fromCoroutine(self.chain(header).identify_connection(self.narrowed("staff", "x")))
        self.assertEqual(self.successResultOf(asked).realm, "staff")
        header.answer = None
        self.assertIsNone(
            self.successResultOf(Deferred.fromCoroutine(self.chain(header).identify_connection(self.narrowed("x"))))
        )

    def test_authenticators_behind_the_last_named_realm_are_not_asked(self) -> None:
        first, second, third = Fake(None, "a"), Fake(None, "b"), Fake(principal("c"), "c")
        self.failureResultOf(self.ask(self.chain(first, second, third), request=self.narrowed("b")), Rejected)
        self.assertEqual([len(one.asked) for one in (first, second, third)], [1, 1, 0])


class MemoryTests(ChainCase):
    def test_a_success_is_remembered_for_its_time(self) -> None:
        chain = self.chain(Fake(principal()))
        self.assertIsNone(chain.lookup_basic(RAW))
        found = self.successResultOf(self.ask(chain))
        self.clock.advance(59)
        self.assertIs(chain.lookup_basic(RAW), found)
        self.clock.advance(1)
        self.assertIsNone(chain.lookup_basic(RAW))

    def test_attack_51_when_a_password_will_be_verified_again(self) -> None:
        chain = self.chain(Fake(principal()))
        self.assertEqual(chain.remembered_until(RAW), 0)
        self.successResultOf(self.ask(chain))
        self.assertEqual(chain.remembered_until(RAW), self.clock.seconds() + 60)
        self.assertEqual(chain.remembered_until(RAW, frozenset({"r"})), 0)
        self.successResultOf(self.ask(chain, request=AuthenticationRequest("192.0.2.1", frozenset({"r"}))))
        self.assertEqual(chain.remembered_until(RAW, frozenset({"r"})), self.clock.seconds() + 60)

    def test_attack_51_the_password_of_one_user_is_forgotten(self) -> None:
        chain = self.chain(Fake(principal()))
        self.successResultOf(self.ask(chain))
        chain.forget_revoked()
        self.assertIsNotNone(chain.lookup_basic(RAW))
        chain.revoked_at = lambda user: 1.0 if user.username != "alice" else 0.0
        chain.forget_revoked()
        self.assertIsNotNone(chain.lookup_basic(RAW))
        chain.revoked_at = lambda user: 1.0 if user.username == "alice" else 0.0
        chain.forget_revoked()
        chain.revoked_at = lambda user: 0.0
        self.assertIsNone(chain.lookup_basic(RAW))

    def test_attack_88_the_password_of_a_revoked_user_does_not_count_from_that_moment(self) -> None:
        """The memory is looked through a little later, once for many revocations."""
        chain = self.chain(Fake(principal()))
        self.successResultOf(self.ask(chain))
        chain.doubt_users()
        self.assertIsNotNone(chain.lookup_basic(RAW), "another user was revoked")
        chain.revoked_at = lambda user: 1.0
        self.assertIsNone(chain.lookup_basic(RAW))
        chain.forget_revoked()
        self.assertIsNone(chain.lookup_basic(RAW))
        self.successResultOf(self.ask(chain))
        self.assertIsNotNone(chain.lookup_basic(RAW), "it was verified after the revocation")
        chain.doubt_users()
        self.assertIsNone(chain.lookup_basic(RAW))

    def test_attack_88_a_password_whose_verification_began_before_the_revocation_is_not_remembered(self) -> None:
        for revoked, remembered in ((1000.0, False), (999.75, True)):
            answer: Deferred[Principal] = Deferred()
            chain = self.chain(Fake(answer))
            asked = self.ask(chain)
            chain.revoked_at = lambda user, revoked=revoked: revoked  # type: ignore[misc]
            answer.callback(principal())
            self.successResultOf(asked)
            self.assertEqual(chain.lookup_basic(RAW) is not None, remembered)

    def test_attack_51_other_parts_hear_of_users_that_have_changed(self) -> None:
        watched = Watched(principal())
        chain = self.chain(watched)
        heard: list[bool] = []
        chain.start()
        assert watched.changed is not None
        watched.changed()
        chain.users_changed = lambda: heard.append(chain.lookup_basic(RAW) is None)
        self.successResultOf(self.ask(chain))
        watched.changed()
        self.assertEqual(heard, [True], "forgotten by then")
        chain.stop()
        self.assertEqual(heard, [True])

    def test_only_successes_are_remembered(self) -> None:
        for answer in (None, Rejected(), Unavailable()):
            chain = self.chain(Fake(answer))
            self.failureResultOf(self.ask(chain))
            self.assertIsNone(chain.lookup_basic(RAW))

    def test_zero_remembers_nothing(self) -> None:
        chain = self.chain(Fake(principal()), remember=0)
        self.successResultOf(self.ask(chain))
        self.assertIsNone(chain.lookup_basic(RAW))

    def test_tokens_are_not_remembered_here(self) -> None:
        chain = self.chain(Scheming(("bearer",), principal()))
        self.successResultOf(self.ask(chain, BearerCredentials("x"), raw=b"Bearer x"))
        self.assertIsNone(chain.lookup_basic(b"Bearer x"))

    def test_attack_33_a_verdict_holds_for_its_own_narrowing_only(self) -> None:
        chain = self.chain(Fake(principal("a"), "a"), Fake(principal("b"), "b"))
        narrowed = AuthenticationRequest("192.0.2.1", frozenset({"b"}))
        self.successResultOf(self.ask(chain, request=narrowed))
        self.assertIsNone(chain.lookup_basic(RAW))
        self.assertIsNone(chain.lookup_basic(RAW, frozenset({"a"})))
        self.assertIsNone(chain.lookup_basic(RAW, frozenset({"a", "b"})))
        found = chain.lookup_basic(RAW, frozenset({"b"}))
        assert found is not None
        self.assertEqual(found.realm, "b")

    def test_attack_33_realms_cannot_be_spelt_into_the_value(self) -> None:
        chain = self.chain(Fake(principal("a"), "a"))
        narrowed = AuthenticationRequest("192.0.2.1", frozenset({"a"}))
        self.successResultOf(self.ask(chain, request=narrowed, raw=RAW))
        self.assertIsNone(chain.lookup_basic(b"\0\0\0\1\0\0\0\1a" + RAW))
        self.assertIsNone(chain.lookup_basic(RAW[1:], frozenset({"a" + RAW[:1].decode()})))

    def test_it_is_bounded_and_keeps_what_is_used(self) -> None:
        chain = self.chain(Fake(principal()), capacity=2)
        self.successResultOf(self.ask(chain, raw=b"Basic 1"))
        self.successResultOf(self.ask(chain, raw=b"Basic 2"))
        chain.lookup_basic(b"Basic 1")
        self.successResultOf(self.ask(chain, raw=b"Basic 3"))
        remembered = [bool(chain.lookup_basic(b"Basic %d" % number)) for number in (1, 2, 3)]
        self.assertEqual(remembered, [True, False, True])

    def test_no_password_is_kept(self) -> None:
        chain = self.chain(Fake(principal()))
        self.successResultOf(self.ask(chain))
        self.assertNotIn(RAW, list(chain._memory._verdicts._entries))
        self.assertEqual({len(key) for key in chain._memory._verdicts._entries}, {16})

    def test_attack_39_a_change_of_users_ends_what_is_remembered(self) -> None:
        watched = Watched(principal())
        chain = self.chain(watched)
        chain.start()
        self.successResultOf(self.ask(chain))
        assert watched.changed is not None
        watched.changed()
        self.assertIsNone(chain.lookup_basic(RAW))

    def test_attack_39_a_verification_from_before_a_change_is_not_remembered_nor_shared(self) -> None:
        pending: Deferred[Principal] = Deferred()
        watched = Watched(pending)
        chain = self.chain(watched)
        first = self.ask(chain)
        chain.forget()
        watched.answer = Rejected()
        self.failureResultOf(self.ask(chain), Rejected)
        pending.callback(principal())
        self.successResultOf(first)
        self.assertIsNone(chain.lookup_basic(RAW))

    def test_stop_stops_and_forgets(self) -> None:
        watched = Watched(principal())
        chain = self.chain(watched)
        chain.start()
        self.successResultOf(self.ask(chain))
        chain.stop()
        self.assertIsNone(watched.changed)
        self.assertIsNone(chain.lookup_basic(RAW))


class StartTests(ChainCase):
    """All authenticators are started, or none (attack 41)."""

    def test_those_before_one_that_cannot_start_are_stopped_again(self) -> None:
        for error, logged in ((StartupError("no file"), 0), (ZeroDivisionError("a bug"), 1)):
            first, second, last = Watched(None, name="first"), Watched(None, name="second"), Watched(None, name="last")
            second.start_error = error
            with self.assertRaises(StartupError):
                self.chain(first, second, last).start()
            self.assertEqual((first.stops, second.stops, last.stops), (1, 0, 0))
            self.assertIsNone(last.changed)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), logged)

    def test_those_behind_one_that_need_not_be_started_are_started(self) -> None:
        last = Watched(None, name="last")
        self.chain(Fake(None), last).start()
        self.assertIsNotNone(last.changed)

    def test_one_that_cannot_stop_keeps_no_other_running(self) -> None:
        first, last = Watched(None, name="first"), Watched(None, name="last")
        chain = self.chain(first, last)
        chain.start()
        first.stop_error = ZeroDivisionError("a bug")
        chain.stop()
        self.assertEqual(last.stops, 1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class RecallTests(ChainCase):
    """The present principal of the owner of an API token."""

    OWNER = attrs.evolve(principal(), authenticator="fake", roles=("then",))

    def recall(self, chain: AuthenticatorChain, owner: Principal = OWNER) -> Any:
        """The answer, which comes at once."""
        found = chain.recall(owner, REQUEST)
        return found if isinstance(found, Principal) else self.successResultOf(found)

    def test_the_authenticator_that_vouched_is_asked_by_name(self) -> None:
        fake = Scheming(("basic", "recall"), principal())
        chain = self.chain(Scheming(("basic", "recall"), None, name="first"), fake)
        self.assertEqual(self.recall(chain).roles, ("admin",))
        self.assertEqual(fake.asked, [Recollection("alice")])

    def test_who_cannot_tell_leaves_it_as_it_was(self) -> None:
        fake = Scheming(("basic",), principal())
        self.assertIs(self.recall(self.chain(fake)), self.OWNER)
        self.assertEqual(fake.asked, [])

    def test_attack_39_an_owner_who_is_gone(self) -> None:
        for answer in (None, Rejected("two of this name"), attrs.evolve(principal(), username="ALICE")):
            found: Any = self.chain(Scheming(("recall",), answer)).recall(self.OWNER, REQUEST)
            self.failureResultOf(found, InvalidToken)

    def test_attack_39_who_vouched_is_not_configured_any_more(self) -> None:
        for fake in (Scheming(("recall",), principal(), name="other"), Scheming(("recall",), principal("q"), realm="q")):
            with self.assertRaises(InvalidToken):
                self.chain(fake).recall(self.OWNER, REQUEST)

    def test_attack_41_who_vouched_is_down(self) -> None:
        found: Any = self.chain(Scheming(("recall",), Unavailable())).recall(self.OWNER, REQUEST)
        self.failureResultOf(found, Unavailable)

    def test_attack_33_owners_of_one_name_are_reported_apart(self) -> None:
        one = Scheming(("recall",), Deferred(), realm="r", name="fake")
        two = Scheming(("recall",), Deferred(), realm="r", name="other")
        chain = self.chain(one, two)
        chain.recall(self.OWNER, REQUEST)
        chain.recall(self.OWNER, REQUEST)
        chain.recall(attrs.evolve(self.OWNER, authenticator="other"), REQUEST)
        self.assertEqual((len(one.asked), len(two.asked)), (1, 1))

    def test_attack_39_a_question_from_before_a_change_is_not_shared(self) -> None:
        fake = Scheming(("recall",), Deferred())
        chain = self.chain(fake)
        chain.recall(self.OWNER, REQUEST)
        chain.forget()
        fake.answer = principal()
        self.assertEqual(self.recall(chain).roles, ("admin",))
        self.assertEqual(len(fake.asked), 2)

    def test_a_recollection_is_no_credential_of_a_client(self) -> None:
        fake = Scheming(("basic", "bearer"), principal())
        self.failureResultOf(self.ask(self.chain(fake), Recollection("alice")))
        self.assertEqual(fake.asked, [])


class CoalescingTests(ChainCase):
    def setUp(self) -> None:
        super().setUp()
        self.cancelled: list[Any] = []
        self.pending: Deferred[Principal] = Deferred(self.cancelled.append)
        self.fake = Fake(self.pending)
        self.shared = self.chain(self.fake)

    def test_identical_logins_are_verified_once(self) -> None:
        logins = [self.ask(self.shared) for _ in range(3)]
        self.assertEqual(len(self.fake.asked), 1)
        self.pending.callback(principal())
        for login in logins:
            self.assertEqual(self.successResultOf(login).username, "alice")
        self.fake.answer = Rejected()
        self.failureResultOf(self.ask(self.shared), Rejected)

    def test_they_share_a_refusal_but_not_its_instance(self) -> None:
        logins = [self.ask(self.shared) for _ in range(2)]
        self.pending.errback(Unavailable("down", retry_after=7))
        errors = [self.failureResultOf(login, Unavailable).value for login in logins]
        self.assertIsNot(errors[0], errors[1])
        self.assertEqual([(error.detail, error.retry_after) for error in errors], [("down", 7)] * 2)

    def test_different_ones_are_not_mixed(self) -> None:
        narrowed = AuthenticationRequest("192.0.2.1", frozenset({"r"}))
        self.ask(self.shared)
        for credentials, request in (
            (BasicCredentials("alice", "other"), REQUEST),
            (BasicCredentials("alicew", "onderland-42"), REQUEST),
            (ALICE, narrowed),
        ):
            self.ask(self.shared, credentials, request)
        self.assertEqual(len(self.fake.asked), 4)

    def test_who_leaves_takes_nothing_from_the_others(self) -> None:
        first, second = self.ask(self.shared), self.ask(self.shared)
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.assertEqual(self.cancelled, [])
        self.pending.callback(principal())
        self.successResultOf(second)

    def test_attack_47_the_last_to_leave_does_not_end_the_verification_of_a_password(self) -> None:
        logins = [self.ask(self.shared) for _ in range(2)]
        for login in logins:
            login.cancel()
            self.failureResultOf(login, CancelledError)
        self.assertEqual(self.cancelled, [])
        again = self.ask(self.shared)
        self.assertEqual(len(self.fake.asked), 1, "the same password joins the verification under way")
        self.pending.callback(principal())
        self.successResultOf(again)

    def test_the_last_to_leave_ends_a_question_about_an_owner(self) -> None:
        chain = self.chain(Scheming(("basic", "recall"), self.pending))
        for question in [chain.recall(Principal("alice", "r", (), "fake"), REQUEST) for _ in range(2)]:
            assert isinstance(question, Deferred)
            question.cancel()
            self.failureResultOf(question, CancelledError)
        self.assertEqual(len(self.cancelled), 1)


@implementer(IDecoyLogin)
class Decoying(Fake):
    """A `Fake` that can spend the time of a refusal; ``decoy`` waits for ``spending`` unless that is None."""

    def __init__(self, answer: Any, realm: str = "r", name: str = "fake") -> None:
        super().__init__(answer, realm, name)
        self.spent = 0
        self.spending: Any = None

    async def decoy(self, request: AuthenticationRequest) -> None:
        self.spent += 1
        if isinstance(self.spending, Exception):
            raise self.spending
        if self.spending is not None:
            await self.spending


class GuessingTests(ChainCase):
    """47: a guess counts and costs the same, whether or not the client waits for its answer."""

    def setUp(self) -> None:
        super().setUp()
        self.fake = Fake(None)
        self.attempts = MemoryAttempts()
        self.throttled = self.chain(self.fake, throttle=Throttle(3, self.attempts, self.clock, allowed_from_address=3))

    def leave(self, password: str, address: str = "192.0.2.1") -> Deferred[Principal]:
        """Guess and leave before the authenticator has answered."""
        self.fake.answer = answer = Deferred[Principal]()
        asked = self.ask(self.throttled, BasicCredentials("alice", password), AuthenticationRequest(address))
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        return answer

    def test_attack_47_a_guess_counts_when_its_client_has_left(self) -> None:
        for number in range(3):
            self.leave(f"guess {number}").errback(Rejected())
        self.assertEqual({one.failures for _, one, _ in self.throttled.refused()}, {3})
        self.fake.answer = principal()
        self.failureResultOf(self.ask(self.throttled), TooManyAttempts)

    def test_attack_47_clients_that_never_finish_lock_a_name_out_only_by_counted_guesses(self) -> None:
        """Each wave of guesses fills the slots of the name; guesses that got a slot are counted, and their delay ends."""
        key = Key(Counted.NAME, "alice", "r")
        for wave in range(1, 5):
            answers: list[Deferred[Principal]] = []
            begun = len(self.fake.asked)
            for number in range(14):
                self.fake.answer = Deferred[Principal]()
                answers.append(self.fake.answer)
                guess = BasicCredentials("alice", f"guess {wave}.{number}")
                asked = self.ask(self.throttled, guess, AuthenticationRequest(f"198.51.100.{number}"))
                asked.cancel()
                self.failureResultOf(asked, CancelledError, TooManyAttempts)
            begun = len(self.fake.asked) - begun
            before = self.attempts.find(key)
            for answer in answers[:begun]:
                answer.errback(Rejected())
            now = self.attempts.find(key)
            assert now is not None
            self.assertEqual(now.failures, (0 if before is None else before.failures) + begun)
            self.assertEqual(begun, 3 if wave == 1 else 1)
            self.clock.advance(max(0, now.until - self.clock.seconds()))
        self.fake.answer = principal()
        self.successResultOf(self.ask(self.throttled, request=AuthenticationRequest("203.0.113.5")))

    def test_attack_47_a_right_password_without_its_client_costs_the_same_the_next_time(self) -> None:
        self.leave("wonderland-42").callback(principal())
        asked = len(self.fake.asked)
        self.fake.answer = Rejected()
        self.failureResultOf(self.ask(self.throttled), Rejected)
        self.assertEqual(len(self.fake.asked), asked + 1, "nothing was remembered")

    def test_attack_47_no_attempt_is_left_in_flight(self) -> None:
        self.leave("guess").callback(None)  # type: ignore[arg-type]
        self.assertEqual(self.throttled.throttle._flying, {})  # type: ignore[union-attr]

    def test_attack_47_waiting_for_a_thread_takes_no_authenticator_down(self) -> None:
        """A guesser fills the queue: logins that waited too long get a Retry-After, and others can still log in."""
        threads = ManualThreads()
        offload = offload_with(threads, self.clock, count=1)
        offload.run(principal)

        class Hashing(Fake):
            async def authenticate(self, credentials: Credentials, request: AuthenticationRequest) -> Principal | None:
                return await offload.run(principal)

        chain = self.chain(Hashing(None))
        for number in range(5):
            request = AuthenticationRequest(f"198.51.100.{number % 2}")
            asked = self.ask(chain, BasicCredentials("alice", f"guess {number}"), request)
            self.clock.advance(119.9)
            self.assertNoResult(asked)
            self.clock.advance(0.1)
            refusal = self.failureResultOf(asked, Overloaded).value
            self.assertIn(refusal.retry_after, (1, 2))
            self.assertIn("had no free thread for 120 s", refusal.detail)
        threads.step()
        asked = self.ask(chain)
        threads.step()
        self.successResultOf(asked)

    def test_the_time_in_the_queue_is_no_part_of_the_timeout(self) -> None:
        """A login waits for 20 s, its hash takes 4.9 s: it gets in. One whose hash takes 5 s does not."""
        for taken, refusal in ((4.9, None), (5.0, TimedOut)):
            threads = ManualThreads()
            offload = offload_with(threads, self.clock, count=1)
            before = offload.run(principal)

            class Hashing(Fake):
                async def authenticate(
                    self, credentials: Credentials, request: AuthenticationRequest, offload: Offload = offload
                ) -> Principal | None:
                    return await offload.run(principal)

            asked = self.ask(self.chain(Hashing(None), queue_timeout=30))
            self.clock.advance(20)
            self.assertNoResult(asked)
            threads.step()
            self.successResultOf(before)
            self.clock.advance(taken)
            if refusal is None:
                threads.step()
                self.successResultOf(asked)
            else:
                self.failureResultOf(asked, refusal)
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_waiting_twice_has_one_limit(self) -> None:
        """An authenticator with two jobs: 20 s and then 9.9 s in the queue are within 30 s, another 0.1 s is not."""
        threads = ManualThreads()
        offload = offload_with(threads, self.clock, count=1)

        class Hashing(Fake):
            async def authenticate(self, credentials: Credentials, request: AuthenticationRequest) -> Principal | None:
                await offload.run(principal)
                return await offload.run(principal)

        offload.run(principal)
        asked = self.ask(self.chain(Hashing(None), queue_timeout=30))
        self.clock.advance(20)
        threads.step()
        offload.run(principal)
        threads.step()
        self.clock.advance(9.9)
        self.assertNoResult(asked)
        self.clock.advance(0.1)
        self.failureResultOf(asked, Overloaded)

    def test_attack_47_each_network_has_a_line_of_its_own(self) -> None:
        clients: list[str] = []

        class Noting(Fake):
            async def authenticate(self, credentials: Credentials, request: AuthenticationRequest) -> Principal | None:
                clients.append(CLIENT.get())
                return principal()

        for address in ("192.0.2.1", "2001:db8::1", "2001:db8::2", "::ffff:192.0.2.1", "", "unix"):
            self.successResultOf(self.ask(self.chain(Noting(None)), request=AuthenticationRequest(address)))
        self.assertEqual(clients, ["192.0.2.1", "2001:db8::/64", "2001:db8::/64", "192.0.2.1", "", "unix"])
        self.assertEqual(CLIENT.get(), "")


class EqualCostTests(ChainCase):
    """52: the answer costs the same, no matter which of several authenticators decides."""

    def test_attack_52_every_verdict_costs_what_all_authenticators_cost(self) -> None:
        for answers, asked, spent in (
            ((Rejected(), None, None), (1, 0, 0), (0, 1, 1)),
            ((None, Rejected(), None), (1, 1, 0), (0, 0, 1)),
            ((None, None, None), (1, 1, 1), (0, 0, 0)),
            ((principal(), None, None), (1, 0, 0), (0, 1, 1)),
            ((None, principal(), None), (1, 1, 0), (0, 0, 1)),
        ):
            fakes = [Decoying(answer) for answer in answers]
            self.ask(self.chain(*fakes)).addErrback(lambda failure: failure.trap(Rejected))
            self.assertEqual(tuple(len(one.asked) for one in fakes), asked)
            self.assertEqual(tuple(one.spent for one in fakes), spent)

    def test_attack_52_the_verdict_waits_for_them(self) -> None:
        for answer, expected in ((Rejected(), Rejected), (principal(), None)):
            second = Decoying(None)
            second.spending = spending = Deferred[None]()
            asked = self.ask(self.chain(Fake(answer), second))
            self.assertNoResult(asked)
            spending.callback(None)
            if expected is None:
                self.successResultOf(asked)
            else:
                self.failureResultOf(asked, expected)

    def test_attack_52_what_a_decoy_raises_changes_no_verdict(self) -> None:
        for error in (Unavailable(), Rejected(), Overloaded(), ZeroDivisionError()):
            second = Decoying(None)
            second.spending = error
            with capturedLogs():
                self.successResultOf(self.ask(self.chain(Fake(principal()), second)))
                self.failureResultOf(self.ask(self.chain(Fake(Rejected()), second)), Rejected)

    def test_attack_52_a_decoy_that_hangs_has_the_time_of_an_answer(self) -> None:
        second = Decoying(None)
        second.spending = Deferred()
        asked = self.ask(self.chain(Fake(principal()), second))
        self.clock.advance(5)
        self.successResultOf(asked)

    def test_tokens_and_narrowed_logins_cost_what_they_ask_for(self) -> None:
        second = Decoying(None, "other")
        self.successResultOf(
            self.ask(self.chain(Fake(principal()), second), request=AuthenticationRequest("192.0.2.1", frozenset({"r"})))
        )
        self.ask(self.chain(Scheming(("bearer",), principal()), second), BearerCredentials("x"))
        self.assertEqual(second.spent, 0)

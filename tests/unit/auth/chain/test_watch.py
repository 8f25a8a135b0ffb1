"""The results that the chain and the augmenters report to the metrics."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import TestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from perimeter.auth.augment.augmented import augmenters_of
from perimeter.auth.augment.match import MatchAugmenterFactory, MatchAugmenterSettings
from perimeter.auth.chain.attempts import MemoryAttempts
from perimeter.auth.chain.chain import AuthenticatorChain
from perimeter.auth.chain.throttle import Throttle
from perimeter.auth.chain.watch import WatchedAugmenter
from perimeter.config.site.augmenter import AugmenterSettings
from perimeter.errors import InvalidToken, Rejected, TooManyAttempts, Unavailable
from perimeter.model import AuthenticationRequest, BasicCredentials, BearerCredentials, Principal
from perimeter.plugin.augmenter import IAugmenter
from perimeter.plugin.services import AuthServices
from tests.unit.auth.chain.test_chain import ChainCase, Fake, Scheming, principal
from tests.unit.doubles.auth import REQUEST, ImmediateThreads, ThreadClock, offload_with


class Notes:
    """Keeps what is reported to it."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def decided(self, result: str, realm: str, seconds: float) -> None:
        self.told.append(("chain", result, realm, seconds))

    def asked(self, name: str, result: str, seconds: float) -> None:
        self.told.append((name, result, seconds))

    def augmented(self, name: str, result: str, seconds: float) -> None:
        self.told.append(("augmenter", name, result, seconds))


class WatchCase(ChainCase):
    def setUp(self) -> None:
        super().setUp()
        self.notes = Notes()

    def chain(self, *authenticators: Fake, remember: float = 60, **options: Any) -> AuthenticatorChain:
        return super().chain(*authenticators, remember=remember, watch=self.notes, **options)

    def told(self) -> list[tuple[Any, ...]]:
        told, self.notes.told = self.notes.told, []
        return told


class ChainTests(WatchCase):
    def test_who_answered_what_and_how_it_ended(self) -> None:
        for answer, error, result, end in (
            (Rejected(), Rejected, "error", "all_failed"),
            (None, Rejected, "error", "all_failed"),
            (Unavailable(), Unavailable, "unavailable", "unavailable"),
            (ZeroDivisionError(), Unavailable, "unavailable", "unavailable"),
            (principal("another"), Unavailable, "unavailable", "unavailable"),
        ):
            with capturedLogs():
                self.failureResultOf(self.ask(self.chain(Fake(answer, name="one"))), error)
            self.assertEqual(self.told(), [("one", result, 0.0), ("chain", end, "unknown", 0.0)], answer)

    def test_success_and_how_long_it_took(self) -> None:
        answer: Deferred[Principal] = Deferred()
        asked = self.ask(self.chain(Fake(None, name="one"), Fake(answer, "corp", "two")))
        self.clock.advance(0.25)
        answer.callback(principal("corp"))
        self.assertEqual(self.successResultOf(asked).username, "alice")
        self.assertEqual(self.told(), [("one", "error", 0.0), ("two", "success", 0.25), ("chain", "success", "corp", 0.25)])

    def test_a_timeout_is_counted_apart_from_other_failures(self) -> None:
        asked = self.ask(self.chain(Fake(Deferred(), name="one")))
        self.clock.advance(5)
        self.failureResultOf(asked, Unavailable)
        self.assertEqual(self.told(), [("one", "timeout", 5.0), ("chain", "unavailable", "unknown", 5.0)])

    def test_one_that_is_left_alone_was_not_asked(self) -> None:
        chain = self.chain(Fake(Deferred(), name="one"))
        asked = self.ask(chain)
        self.clock.advance(5)
        self.failureResultOf(asked, Unavailable)
        self.told()
        self.failureResultOf(self.ask(chain, BasicCredentials("bob", "x")), Unavailable)
        self.assertEqual(self.told(), [("chain", "unavailable", "unknown", 0.0)])

    def test_a_loser_and_a_client_that_left_are_not_results(self) -> None:
        quick: Deferred[Principal] = Deferred()
        asked = self.ask(self.chain(Fake(Deferred(), "a", "slow"), Fake(quick, "b", "quick"), at_once=True))
        quick.callback(principal("b"))
        self.successResultOf(asked)
        self.assertEqual(self.told(), [("quick", "success", 0.0), ("chain", "success", "b", 0.0)])
        asked = self.ask(self.chain(Scheming(("bearer",), Deferred())), BearerCredentials("x"))
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        self.assertEqual(self.told(), [])

    def test_tokens(self) -> None:
        self.failureResultOf(self.ask(self.chain(Scheming(("bearer",), InvalidToken())), BearerCredentials("x")), InvalidToken)
        self.assertEqual(self.told(), [("fake", "error", 0.0), ("chain", "all_failed", "unknown", 0.0)])

    def test_too_many_attempts(self) -> None:
        chain = self.chain(Fake(Rejected()), throttle=Throttle(1, MemoryAttempts(), self.clock, allowed_from_address=1))
        self.failureResultOf(self.ask(chain), Rejected)
        self.told()
        self.failureResultOf(self.ask(chain), TooManyAttempts)
        self.assertEqual(self.told(), [("chain", "too_many_attempts", "unknown", 0.0)])

    def test_a_connection_that_says_nothing_is_no_failure(self) -> None:
        chain = self.chain(Scheming(("header",), None, "a", "silent"), Scheming(("header",), principal("b"), "b", "knows"))
        self.successResultOf(ensureDeferred(chain.identify_connection(REQUEST)))
        self.assertEqual(self.told(), [("knows", "success", 0.0)])


@implementer(IAugmenter)
class Slow:
    name, realm = "slow", "r"

    def __init__(self, clock: Clock, answer: Exception | None = None) -> None:
        self.clock, self.answer, self.stopped = clock, answer, False

    async def augment(self, found: Principal, request: AuthenticationRequest) -> Principal:
        self.clock.advance(0.5)
        if self.answer is not None:
            raise self.answer
        return found

    def stop(self) -> None:
        self.stopped = True


class AugmenterTests(TestCase):
    def setUp(self) -> None:
        self.notes, self.clock = Notes(), ThreadClock()
        self.clock.advance(1000)

    def augment(self, inner: Slow) -> Deferred[Principal]:
        watched = WatchedAugmenter(inner, self.notes, self.clock.seconds)
        verifyObject(IAugmenter, watched)
        self.assertEqual((watched.name, watched.realm), ("slow", "r"))
        return ensureDeferred(watched.augment(principal(), REQUEST))

    def test_success(self) -> None:
        self.assertEqual(self.successResultOf(self.augment(Slow(self.clock))), principal())
        self.assertEqual(self.notes.told, [("augmenter", "slow", "success", 0.5)])

    def test_attack_41_a_failure_is_reported_and_stays_one(self) -> None:
        self.failureResultOf(self.augment(Slow(self.clock, Unavailable())), Unavailable)
        self.assertEqual(self.notes.told, [("augmenter", "slow", "error", 0.5)])

    def test_who_left_is_not_counted(self) -> None:
        self.failureResultOf(self.augment(Slow(self.clock, CancelledError())), CancelledError)
        self.assertEqual(self.notes.told, [])

    def test_it_is_stopped_too(self) -> None:
        inner = Slow(self.clock)
        WatchedAugmenter(inner, self.notes, self.clock.seconds).stop()
        self.assertTrue(inner.stopped)

    def test_every_augmenter_is_watched(self) -> None:
        services = AuthServices(self.clock, offload_with(ImmediateThreads(), self.clock))
        settings = [AugmenterSettings("staff", "match", "r", MatchAugmenterSettings(username=("alice",), add_roles=("staff",)))]
        (augmenter,) = augmenters_of(settings, {"match": MatchAugmenterFactory()}, services, self.notes)
        self.assertEqual(self.successResultOf(ensureDeferred(augmenter.augment(principal(), REQUEST))).roles, ("admin", "staff"))
        self.assertEqual(self.notes.told, [("augmenter", "staff", "success", 0.0)])

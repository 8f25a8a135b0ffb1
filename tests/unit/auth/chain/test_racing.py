"""All authenticators asked at once: which answer wins, which queries are cancelled, and the answer if none vouches."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.logger import capturedLogs

from perimeter.auth.chain.attempts import MemoryAttempts
from perimeter.auth.chain.chain import AuthenticatorChain
from perimeter.auth.chain.throttle import Throttle
from perimeter.errors import ExpiredToken, InvalidToken, Rejected, TooManyAttempts, Unavailable
from perimeter.model import AuthenticationRequest, BasicCredentials, BearerCredentials, Principal
from tests.unit.auth.chain.test_chain import ChainCase, Fake, Scheming, principal
from tests.unit.doubles.auth import REQUEST


class RaceCase(ChainCase):
    def chain(self, *authenticators: Fake, remember: float = 60, **options: Any) -> AuthenticatorChain:
        return super().chain(*authenticators, remember=remember, at_once=True, **options)


class RacingTests(RaceCase):
    def test_all_authenticators_are_asked_before_one_has_answered(self) -> None:
        fakes = [Fake(Deferred(), str(number)) for number in range(3)]
        asked = self.ask(self.chain(*fakes))
        self.assertEqual([len(one.asked) for one in fakes], [1, 1, 1])
        self.assertNoResult(asked)

    def test_the_first_to_vouch_wins_and_the_others_are_cancelled(self) -> None:
        told: list[str] = []
        slow: Deferred[Principal] = Deferred(lambda _: told.append("slow"))
        quick: Deferred[Principal] = Deferred(lambda _: told.append("quick"))
        asked = self.ask(self.chain(Fake(slow, "a", "slow"), Fake(quick, "b", "quick")))
        quick.callback(principal("b"))
        self.assertEqual(self.successResultOf(asked).authenticator, "quick")
        self.assertEqual(told, ["slow"])
        self.assertEqual(self.clock.getDelayedCalls(), [], "no timer is left")

    def test_a_cancelled_loser_counts_neither_for_nor_against_its_backend(self) -> None:
        slow, quick = Fake(Deferred(), "a", "slow"), Fake(principal("b"), "b", "quick")
        chain = self.chain(slow, quick)
        for _ in range(5):
            slow.answer = Deferred()
            self.successResultOf(self.ask(chain, raw=None))
        self.assertFalse(chain.guarded[0].breaker.open)

    def test_who_knows_at_once_spares_the_rest_the_password(self) -> None:
        late = Fake(Deferred(), "b")
        self.successResultOf(self.ask(self.chain(Fake(principal()), late)))
        self.assertEqual(late.asked, [])

    def test_a_loser_that_answers_later_changes_nothing(self) -> None:
        stubborn: Deferred[Principal] = Deferred()
        quick: Deferred[Principal] = Deferred()
        asked = self.ask(self.chain(Fake(stubborn, "a"), Fake(quick, "b", "quick")))
        quick.callback(principal("b"))
        self.assertEqual(self.successResultOf(asked).realm, "b")
        stubborn.callback(principal("a"))
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_a_slow_loser_is_waited_for_if_no_other_vouches(self) -> None:
        slow: Deferred[Principal | None] = Deferred()
        asked = self.ask(self.chain(Fake(slow, "a"), Fake(Rejected(), "b"), Fake(None, "c")))
        self.assertNoResult(asked)
        slow.callback(principal("a"))
        self.assertEqual(self.successResultOf(asked).realm, "a")

    def test_each_has_its_own_time(self) -> None:
        chain = self.chain(Fake(Deferred(), "a", "quick"), Fake(Deferred(), "b", "slow"), timeouts={"quick": 1, "slow": 3})
        asked = self.ask(chain)
        self.clock.advance(1)
        self.assertTrue(chain.guarded[0].breaker.open)
        self.assertNoResult(asked)
        self.clock.advance(2)
        self.failureResultOf(asked, Unavailable)

    def test_one_wins_while_another_is_down(self) -> None:
        down, up = Fake(Deferred(), "a", "down"), Fake(None, "b", "up")
        chain = self.chain(down, up)
        first = self.ask(chain)
        self.clock.advance(5)
        self.failureResultOf(first, Unavailable)
        up.answer = principal("b")
        self.assertEqual(self.successResultOf(self.ask(chain)).authenticator, "up")
        self.assertEqual(len(down.asked), 1, "its breaker is open")

    def test_attack_41_could_not_tell_weighs_more_than_wrong_and_that_more_than_not_mine(self) -> None:
        for answers, expected in (
            ((None, None), Rejected),
            ((None, Rejected()), Rejected),
            ((Rejected(), Unavailable()), Unavailable),
            ((Unavailable(), Rejected()), Unavailable),
            ((None, Unavailable()), Unavailable),
            ((ZeroDivisionError(), Rejected()), Unavailable),
            ((principal("another realm"), None), Unavailable),
        ):
            with capturedLogs():
                fakes = [Fake(answer, str(number)) for number, answer in enumerate(answers)]
                self.failureResultOf(self.ask(self.chain(*fakes)), expected)

    def test_the_refusal_of_the_undecided_authenticator_is_reported(self) -> None:
        for answers in (
            (Rejected("wrong"), Unavailable("down", retry_after=7)),
            (Unavailable("down", retry_after=7), Rejected()),
        ):
            chain = self.chain(*(Fake(answer, str(number)) for number, answer in enumerate(answers)))
            refusal = self.failureResultOf(self.ask(chain), Unavailable).value
            self.assertEqual((refusal.detail, refusal.retry_after), ("down", 7))

    def test_no_authenticator_to_ask_is_a_refusal(self) -> None:
        self.failureResultOf(self.ask(self.chain()), Rejected)
        self.failureResultOf(self.ask(self.chain(Scheming(("bearer",), None)), BearerCredentials("x")), InvalidToken)

    def test_of_several_refusals_the_first_in_order_is_reported(self) -> None:
        chain = self.chain(Scheming(("bearer",), ExpiredToken(), "a"), Scheming(("bearer",), InvalidToken(), "b"))
        self.failureResultOf(self.ask(chain, BearerCredentials("x")), ExpiredToken)

    def test_a_client_may_narrow_whom_it_shows_its_password(self) -> None:
        here, there = Fake(principal("here"), "here"), Fake(Deferred(), "there")
        asked = self.ask(self.chain(there, here), request=AuthenticationRequest("192.0.2.1", frozenset(["here"])))
        self.assertEqual(self.successResultOf(asked).realm, "here")
        self.assertEqual(there.asked, [])

    def test_a_connection_is_judged_in_order(self) -> None:
        first, second = Scheming(("header",), principal("a"), "a"), Scheming(("header",), principal("b"), "b")
        found = self.successResultOf(ensureDeferred(self.chain(first, second).identify_connection(REQUEST)))
        assert found is not None
        self.assertEqual((found.realm, second.asked), ("a", []))

    def test_a_client_that_leaves_cancels_all_questions_about_a_token(self) -> None:
        told: list[int] = []
        fakes = [
            Scheming(("bearer",), Deferred(lambda _, number=number: told.append(number)), str(number)) for number in range(3)
        ]
        asked = self.ask(self.chain(*fakes), BearerCredentials("x"))
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        self.assertEqual(told, [0, 1, 2])

    def test_in_order_is_the_default(self) -> None:
        second = Fake(principal(), "b")
        asked = self.ask(AuthenticatorChain([Fake(Deferred(), "a"), second], 5, 60, self.clock))
        self.assertNoResult(asked)
        self.assertEqual(second.asked, [])


class CountingTests(RaceCase):
    """A race counts as one attempt, no matter how many authenticators take part."""

    def throttled(self, *authenticators: Fake) -> AuthenticatorChain:
        return self.chain(*authenticators, throttle=Throttle(3, MemoryAttempts(), self.clock, allowed_from_address=3))

    def test_a_wrong_password_is_one_attempt(self) -> None:
        chain = self.throttled(Fake(Rejected(), "a"), Fake(Rejected(), "b"), Fake(None, "c"))
        for _ in range(3):
            self.failureResultOf(self.ask(chain), Rejected)
        self.failureResultOf(self.ask(chain), TooManyAttempts)

    def test_a_directory_that_is_down_delays_no_login(self) -> None:
        chain = self.throttled(Fake(None, "a"), Fake(Unavailable(), "b"))
        for _ in range(10):
            self.failureResultOf(self.ask(chain), Unavailable)

    def test_attack_30_guesses_count_while_another_directory_is_down(self) -> None:
        chain = self.throttled(Fake(Rejected(), "a"), Fake(Unavailable(), "b"))
        for number in range(3):
            self.failureResultOf(self.ask(chain, BasicCredentials("alice", f"guess {number}")), Unavailable)
        self.failureResultOf(self.ask(chain, BasicCredentials("alice", "guess 3")), TooManyAttempts)

    def test_attack_47_leaving_before_the_answer_does_not_hide_a_guess(self) -> None:
        for first in (Rejected(), None):
            slow = Fake(None, "b")
            chain = self.throttled(Fake(first, "a"), slow)
            for number in range(3):
                slow.answer = answer = Deferred[None]()
                asked = self.ask(chain, BasicCredentials("alice", f"guess {number}"))
                asked.cancel()
                self.failureResultOf(asked, CancelledError)
                answer.callback(None)
            self.failureResultOf(self.ask(chain, BasicCredentials("alice", "guess 3")), TooManyAttempts)

"""A state that several machines share, on a machine that hears nothing of the others."""

from __future__ import annotations

from math import inf

from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs

from perimeter.errors import NotWritten, StateUnavailable
from perimeter.model import Grant, GrantKind, Principal
from perimeter.state.freshness import SHORT, Freshness
from perimeter.tokens.api_token import ApiToken, mint
from perimeter.tokens.issuer import TokenIssuer
from perimeter.tokens.revocation import Removed
from perimeter.tokens.stored import TOKENS
from tests.unit.doubles.auth import ManualThreads
from tests.unit.doubles.sessions import SessionCase
from tests.unit.doubles.tokens_site import TokenCase
from tests.unit.state.test_freshness import Page

ALICE = Principal("alice", "local", (), "users")
ACCESS, API, SESSION = GrantKind.ACCESS_TOKEN, GrantKind.API_TOKEN, GrantKind.SESSION


def token() -> ApiToken:
    return mint("ci", ALICE, 0.0, inf)[1]


class StaleCase(SessionCase):
    spared = 0.0

    def setUp(self) -> None:
        super().setUp()
        self.heard = self.state.freshness = Freshness("redis", 60.0, self.spared, self.clock.seconds)
        self.tokens = self.state.view(TOKENS)
        self.hear()
        self.kept = token()
        self.done(self.tokens.add(self.kept))

    def hear(self) -> None:
        """The log of the engine is read to its end, then the local log."""
        self.heard.compared(0.0)
        self.heard.heard()
        self.done(self.state.follow())
        self.state.grow_old()

    def silence(self, seconds: float = 61.0) -> None:
        self.clock.advance(seconds)
        self.state.grow_old()


class StaleTests(StaleCase):
    def test_nothing_is_added_claimed_or_looked_up(self) -> None:
        self.silence()
        self.assertTrue(self.state.stale)
        looking = self.state.catch_up()
        assert looking is not None
        asked: list[Deferred[object]] = [
            self.state.add(token()),
            self.state.claim(b"x" * 32, inf),
            self.state.find("tokens", ("id", self.kept.id)),
            looking,
        ]
        for one in asked:
            error = self.failureResultOf(one, StateUnavailable).value
            self.assertEqual((error.status, error.retry_after), (503, 5))
        self.assertEqual(self.store.written, [[self.kept]])

    def test_what_is_taken_away_is_in_force_and_written(self) -> None:
        self.silence()
        self.done(self.tokens.remove(self.kept))
        self.assertIsNone(self.tokens.find(self.kept.digest))
        self.assertEqual(self.store.written, [[self.kept], [Removed(self.kept.id)]])

    def test_a_removal_that_cannot_be_written_says_that_it_is_in_force(self) -> None:
        self.store.fails = True
        error = self.failureResultOf(self.tokens.remove(self.kept), NotWritten).value
        self.assertEqual((error.detail, error.status, error.reason), ("disk full", 503, "state_unavailable"))
        self.assertIsNone(self.tokens.find(self.kept.digest))

    def test_what_is_under_way_is_not_cut(self) -> None:
        cut: list[bool] = []
        self.state.on_removed.add(lambda: cut.append(True))
        self.silence()
        self.assertEqual(cut, [])
        self.assertTrue(self.tokens.good(Principal("alice", "local", grant=Grant(self.kept.id, 0.0, inf, API))))

    def test_a_start_before_anything_was_heard_is_no_error(self) -> None:
        self.state.freshness = Freshness("redis", 60.0, clock=self.clock.seconds)
        with capturedLogs() as events:
            self.assertTrue(self.state.grow_old())
        self.assertEqual([event["log_level"].name for event in events], ["info"])
        self.assertIn("until Redis has been heard", str(events[0]["log_format"]))

    def test_remembered_decisions_are_made_again_while_it_is_stale_and_after_it(self) -> None:
        before = self.tokens.epoch, self.stored.epoch
        self.silence(60.0)
        self.assertEqual((self.tokens.epoch, self.stored.epoch), before)
        with capturedLogs() as events:
            self.clock.advance(0.5)
            self.assertEqual([self.state.grow_old(), self.state.grow_old()], [True, False])
            self.silence(1.0)
        self.assertEqual((self.tokens.epoch, self.stored.epoch), (before[0] + 3, before[1] + 3))
        self.assertEqual([event["log_level"].name for event in events], ["error"])
        self.assertIn("Redis has not been heard for 60 s", str(events[0]["reason"]))
        self.assertTrue(self.state.stale)
        with capturedLogs() as events:
            self.hear()
        self.assertFalse(self.state.stale)
        self.assertEqual([event["log_level"].name for event in events], ["info"])
        self.assertEqual((self.tokens.epoch, self.stored.epoch), (before[0] + 4, before[1] + 4))
        self.silence(1.0)
        self.assertEqual((self.tokens.epoch, self.stored.epoch), (before[0] + 4, before[1] + 4))

    def test_attack_186_what_was_decided_while_it_was_fresh_for_a_moment_is_decided_again(self) -> None:
        self.silence()
        self.heard.heard()
        before = self.tokens.epoch, self.stored.epoch
        self.assertFalse(self.state.stale)
        self.clock.advance(61.0)
        self.assertFalse(self.state.grow_old(), "it was stale at the last look as well")
        self.assertEqual((self.tokens.epoch, self.stored.epoch), (before[0] + 1, before[1] + 1))

    def test_the_operator_reads_why(self) -> None:
        self.assertEqual(self.state.problem(), "")
        self.silence()
        self.assertEqual(
            self.state.problem(),
            "tokens and sessions get 503: Redis has not been heard for 61 s (stale_limit is 60 s)",
        )

    def test_a_worker_that_does_not_read_the_local_log_becomes_stale(self) -> None:
        page = Page()
        self.state.join(page.seat(0))
        other = Freshness("redis", 60.0, clock=self.clock.seconds)
        other.join(page.seat(1))
        other.compared(0.0)
        for hangs in (False, True):
            if hangs:
                self.state._thread._pool = ManualThreads()
            for _ in range(61):
                self.clock.advance(1.0)
                other.heard()
                self.state.follow()
                self.state.grow_old()
            self.assertEqual(self.state.stale, hangs)

    def test_no_grant_is_spared(self) -> None:
        self.silence()
        for grant in (None, Grant("a", 0.0, 1.0, ACCESS), Grant("b", 0.0, 1.0, API), Grant("c", 0.0, 1.0, SESSION)):
            with self.assertRaises(StateUnavailable):
                self.tokens.check_fresh(grant)

    def test_while_it_is_fresh_nothing_is_refused(self) -> None:
        for grant in (None, Grant("a", 0.0, inf, ACCESS)):
            self.tokens.check_fresh(grant)
        self.stored.check_fresh()


class SparedTests(StaleCase):
    spared = SHORT

    def test_attack_189_only_short_access_tokens_are_spared(self) -> None:
        self.silence()
        self.tokens.check_fresh(Grant("short", 1000.0, 1000.0 + SHORT, ACCESS))
        for grant in (
            None,
            Grant("long", 1000.0, 1000.5 + SHORT, ACCESS),
            Grant("API", 1000.0, 1060.0, API),
            Grant("session", 1000.0, 1060.0, SESSION),
        ):
            with self.assertRaises(StateUnavailable):
                self.tokens.check_fresh(grant)
        with self.assertRaises(StateUnavailable):
            self.stored.check_fresh()

    def test_nothing_else_is_spared(self) -> None:
        self.silence()
        self.failureResultOf(self.state.add(token()), StateUnavailable)


class IssuedTests(TokenCase):
    """Tokens as they are issued, with times in whole seconds."""

    def test_a_token_that_lives_for_fifteen_minutes_is_spared(self) -> None:
        for fraction in (0.0, 0.25, 0.5, 0.999):
            self.clock.advance(fraction)
            for lifetime, spared in ((900.0, True), (901.5, False)):
                grant = self.verifier.verify(self.token(lifetime)).principal.grant
                assert grant is not None
                self.assertEqual(grant.expires - grant.issued <= SHORT, spared, (fraction, lifetime))

    def test_no_token_is_issued_that_would_not_be_good(self) -> None:
        asked: list[float] = []

        def check(grant: Grant) -> None:
            asked.append(grant.expires - grant.issued)
            if asked[-1] > SHORT:
                raise StateUnavailable("stale")

        issuer = TokenIssuer(self.keyring, self.settings, self.clock, check)
        self.assertEqual(issuer.issue(ALICE, 900.0).expires_in, 900)
        with self.assertRaises(StateUnavailable):
            issuer.issue(ALICE, 3600.0)
        self.assertEqual(asked, [900.0, 3600.0])
        issuer.issue_assertion(ALICE, "app", 3600.0)

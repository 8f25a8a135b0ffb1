"""API tokens of users: made, listed, ended, and revoked by the holder."""

from __future__ import annotations

from math import inf
from typing import Any

import attrs
from twisted.internet.defer import ensureDeferred

from perimeter.errors import InvalidToken, NoSuchToken, TooManyTokens
from perimeter.model import Grant, GrantKind, Principal, Restriction
from perimeter.run.build.state_kinds import STATE_KINDS
from perimeter.sessions.stored import SESSIONS
from perimeter.state.memory import MemoryStore
from perimeter.state.state import State
from perimeter.tokens import book as book_module
from perimeter.tokens.api_token import ApiToken
from perimeter.tokens.book import TokenBook
from perimeter.tokens.revoking import Revoker
from perimeter.tokens.stored import TOKENS
from tests.unit.doubles.auth import ImmediateThreads, ThreadClock, offload_with
from tests.unit.doubles.tokens_site import ALICE, CHECK, NOW, TokenCase

BOB = Principal("bob", "local")
HOUR = 3600.0
DAY = 86400.0


class BookTests(TokenCase):
    def setUp(self) -> None:
        super().setUp()
        self.time = ThreadClock()
        self.time.advance(NOW)
        state = State(MemoryStore(), STATE_KINDS, self.time, offload_with(ImmediateThreads(), self.time, count=1))
        state.replace(state.load())
        self.stored = state.view(TOKENS)
        self.sessions = state.view(SESSIONS)
        self.book = self.made_with(0)

    def made_with(self, longest: float) -> TokenBook:
        return TokenBook(self.stored, Revoker(self.stored, self.verifier, self.sessions), self.time, longest, CHECK)

    def done(self, work: Any) -> Any:
        return self.successResultOf(ensureDeferred(work))

    def fails(self, work: Any, kind: type[Exception]) -> Exception:
        return self.failureResultOf(ensureDeferred(work), kind).value  # type: ignore[no-any-return]

    def make(self, name: str = "ci", lifetime: float | None = None, owner: Principal = ALICE) -> tuple[str, ApiToken]:
        return self.done(self.book.make(owner, name, lifetime, None))  # type: ignore[no-any-return]

    def test_a_token_has_its_owner_without_the_owner_s_grant(self) -> None:
        limits = Restriction(frozenset(("app",)))
        owner = attrs.evolve(ALICE, grant=Grant("id", NOW, inf))
        text, kept = self.done(self.book.make(owner, "ci", 0, limits))
        self.assertIs(self.stored.find(book_module.digest_of(text)), kept)
        self.assertEqual((kept.name, kept.owner, kept.restriction, kept.passing), ("ci", ALICE, limits, False))

    def test_lifetimes(self) -> None:
        for longest, asked, lifetime in (
            (0, None, 30 * DAY),
            (0, 0, inf),
            (0, 300 * DAY, 300 * DAY),
            (DAY, None, DAY),
            (60 * DAY, None, 30 * DAY),
            (DAY, DAY, DAY),
            (DAY, 1, 1),
        ):
            self.book = self.made_with(longest)
            _, kept = self.make(lifetime=asked)
            self.assertEqual((kept.created, kept.expires), (NOW, NOW + lifetime), (longest, asked))

    def test_a_lifetime_that_is_not_allowed(self) -> None:
        self.book = self.made_with(DAY)
        for asked in (0, DAY + 1, -1, inf):
            self.assertIn("86400 seconds", str(self.fails(self.book.make(ALICE, "ci", asked, None), ValueError)))
        self.assertEqual(self.book.owned(ALICE), [])

    def test_a_passing_token_lives_for_an_hour_or_less(self) -> None:
        for longest, lifetime in ((0, HOUR), (60, 60), (DAY, HOUR)):
            self.book = self.made_with(longest)
            text = self.done(self.book.passing(ALICE))
            kept = self.stored.find(book_module.digest_of(text))
            assert kept is not None
            self.assertEqual((kept.name, kept.passing, kept.expires), ("", True, NOW + lifetime))

    def test_the_number_of_named_tokens_is_bounded_for_each_user(self) -> None:
        self.patch(book_module, "MOST_NAMED", 2)
        self.make("a")
        self.done(self.book.passing(ALICE))
        _, second = self.make("b", lifetime=60)
        self.fails(self.book.make(ALICE, "c", None, None), TooManyTokens)
        self.make("a", owner=BOB)
        self.time.advance(60)  # the second one has ended
        self.make("c")
        self.fails(self.book.make(ALICE, "d", None, None), TooManyTokens)
        self.assertNotIn(second, self.book.owned(ALICE))

    def test_attack_23_a_user_may_have_two_hundred_named_tokens(self) -> None:
        for number in range(200):
            self.make(str(number))
        self.fails(self.book.make(ALICE, "one more", None, None), TooManyTokens)

    def test_owned_are_the_user_s_own_with_the_oldest_first(self) -> None:
        made = []
        for name in ("z", "a", "m"):
            made.append(self.make(name)[1])
            self.time.advance(1)
        self.make("bobs", owner=BOB)
        self.assertEqual(self.book.owned(ALICE), made)
        self.assertEqual(self.book.owned(Principal("alice", "other realm")), [])

    def test_names_the_token_that_the_client_came_with(self) -> None:
        text, kept = self.make()
        other, second = self.make("other")
        grant = Grant(kept.id, NOW, inf, GrantKind.API_TOKEN)
        self.assertTrue(self.book.names(kept.id, grant))
        self.assertTrue(self.book.names(text, grant))
        for which in (second.id, other, "", "no such token"):
            self.assertIs(self.book.names(which, grant), False, which)
        # an access token is not an API token, even with the id of one
        self.assertIs(self.book.names(kept.id, Grant(kept.id, NOW, inf)), False)

    def test_remove_by_id_or_by_the_token(self) -> None:
        for by in (0, 1):
            text, kept = self.make()
            _, other = self.make("other")
            self.assertIs(self.done(self.book.remove(ALICE, (text, kept.id)[by])), kept)
            self.assertEqual(self.book.owned(ALICE), [other])
            self.done(self.book.remove(ALICE, other.id))
            self.fails(self.book.remove(ALICE, kept.id), NoSuchToken)

    def test_attack_37_no_user_removes_the_token_of_another(self) -> None:
        text, kept = self.make(owner=BOB)
        for which in (text, kept.id):
            self.fails(self.book.remove(ALICE, which), NoSuchToken)
        self.assertEqual(self.book.owned(BOB), [kept])

    def test_revoke_an_api_token(self) -> None:
        text, kept = self.make(owner=BOB)
        self.assertEqual(self.done(self.book.revoke(text, "192.0.2.7")), BOB)
        self.assertIsNone(self.stored.find(kept.digest))
        self.assertIsNone(self.done(self.book.revoke(text, "192.0.2.7")))

    def test_revoke_an_access_token(self) -> None:
        text = self.token()
        principal = self.verifier.verify(text).principal
        self.assertTrue(self.stored.good(principal))
        revoked = self.done(self.book.revoke(text, "192.0.2.7"))
        self.assertEqual((revoked.username, revoked.realm), ("alice", "local"))
        self.assertFalse(self.stored.good(principal))

    def test_revoke_what_is_no_token_of_the_gateway(self) -> None:
        for text in ("", "x", "pat_unknown", self.token()[:-5]):
            self.assertIsNone(self.done(self.book.revoke(text, "192.0.2.7")), text)
        self.assertRaises(InvalidToken, self.verifier.verify, "x")

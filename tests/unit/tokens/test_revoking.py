"""Ending tokens by the operator: by id, by user, by the token itself, each whole or not at all."""

from __future__ import annotations

from math import inf
from typing import Any

import attrs
from twisted.internet.defer import ensureDeferred

from perimeter.errors import InvalidToken, NoSuchToken, Unavailable
from perimeter.model import Grant, Principal
from perimeter.run.build.state_kinds import STATE_KINDS
from perimeter.sessions.stored import SESSIONS
from perimeter.state.changes import Cursor
from perimeter.state.memory import MemoryStore
from perimeter.state.state import State
from perimeter.tokens.api_token import ApiToken, grant_of, mint
from perimeter.tokens.revoking import Ended, Revocation, Revoker
from perimeter.tokens.stored import TOKENS
from tests.unit.doubles.auth import ImmediateThreads, ThreadClock, offload_with
from tests.unit.doubles.tokens_site import ALICE, NOW, TokenCase

BOB = Principal("bob", "corp")


class Store(MemoryStore):
    """Writes fail while ``fails`` is true."""

    fails = False

    def write(self, changes: Any) -> Cursor:
        if self.fails:
            raise Unavailable("disk full")
        return super().write(changes)


class RevokerCase(TokenCase):
    def setUp(self) -> None:
        super().setUp()
        self.time = ThreadClock()
        self.time.advance(NOW)
        self.store = Store()
        state = State(self.store, STATE_KINDS, self.time, offload_with(ImmediateThreads(), self.time, count=1))
        state.replace(state.load())
        self.stored = state.view(TOKENS)
        self.sessions = state.view(SESSIONS)
        self.revoker = Revoker(self.stored, self.verifier, self.sessions)

    def made(self, name: str = "ci", owner: Principal = ALICE) -> tuple[str, ApiToken]:
        text, kept = mint(name, owner, NOW, inf)
        self.successResultOf(self.stored.add(kept))
        return text, kept

    def revoke(self, **wanted: Any) -> Ended:
        return self.successResultOf(ensureDeferred(self.revoker.revoke(Revocation(**wanted))))  # type: ignore[no-any-return]

    def refused(self, kind: type[Exception], **wanted: Any) -> None:
        self.failureResultOf(ensureDeferred(self.revoker.revoke(Revocation(**wanted))), kind)

    def left(self) -> list[str]:
        return sorted(token.name for token in self.stored.all())


class RevokerTests(RevokerCase):
    def test_nothing(self) -> None:
        self.made()
        self.assertEqual(self.revoke(), Ended(0, 0, user=False))
        self.assertEqual(self.left(), ["ci"])

    def test_by_id(self) -> None:
        kept = [self.made(name)[1] for name in "abc"]
        self.assertEqual(self.revoke(ids=(kept[0].id, kept[2].id, kept[0].id)), Ended(2))
        self.assertEqual(self.left(), ["b"])

    def test_an_unknown_id_ends_nothing(self) -> None:
        _, kept = self.made()
        self.refused(NoSuchToken, ids=(kept.id, "unknown"))
        self.assertEqual(self.left(), ["ci"])

    def test_by_the_token_itself(self) -> None:
        text, _ = self.made()
        self.made("other")
        self.assertEqual(self.revoke(token=text), Ended(1))
        self.assertEqual(self.left(), ["other"])
        self.refused(InvalidToken, token=text)

    def test_an_access_token(self) -> None:
        text = self.token()
        self.assertEqual(self.revoke(token=text), Ended(0, 1))
        self.assertFalse(self.stored.good(self.verifier.verify(text).principal))

    def test_a_wrong_token_ends_nothing(self) -> None:
        _, kept = self.made()
        self.refused(InvalidToken, ids=(kept.id,), token="x")
        self.assertEqual(self.left(), ["ci"])

    def test_a_user(self) -> None:
        self.made("a")
        self.made("b")
        self.made("bobs", BOB)
        self.made("namesake", Principal("alice", "corp"))
        access = self.verifier.verify(self.token()).principal
        self.assertEqual(self.revoke(user=("local", "alice")), Ended(2, user=True))
        self.assertEqual(self.left(), ["bobs", "namesake"])
        self.assertFalse(self.stored.good(access))

    def test_all_at_once(self) -> None:
        _, first = self.made("first", BOB)
        second, _ = self.made("second", BOB)
        self.made("third")
        ended = self.revoke(ids=(first.id,), token=second, user=("local", "alice"))
        self.assertEqual((ended, self.left()), (Ended(3, user=True), []))

    def test_without_access_tokens(self) -> None:
        self.revoker = Revoker(self.stored, None, self.sessions)
        self.refused(InvalidToken, token=self.token())
        self.assertEqual(self.revoke(token=self.made()[0]), Ended(1))

    def test_attack_41_what_cannot_be_written_is_in_force_and_reported(self) -> None:
        text, kept = self.made()
        self.made("other")
        self.store.fails = True
        self.refused(Unavailable, ids=(kept.id,))
        self.assertEqual(self.left(), ["other"])
        self.refused(InvalidToken, token=text)
        self.refused(Unavailable, user=("local", "alice"))
        self.assertEqual(self.left(), [])

    def test_realms(self) -> None:
        self.assertEqual(self.revoker.realms(), frozenset())
        self.made("a")
        self.made("b", BOB)
        self.assertEqual(self.revoker.realms(), {"local", "corp"})

    def test_no_token_in_the_repr(self) -> None:
        self.assertNotIn("secret", repr(Revocation(token="secret")))


class ForgettingTests(RevokerCase):
    """Expired entries are dropped, and no others."""

    def test_a_token_is_dropped_when_it_has_expired(self) -> None:
        _, kept = mint("short", ALICE, NOW, NOW + 60)
        self.successResultOf(self.stored.add(kept))
        self.stored.forget(NOW + 59)
        self.assertIs(self.stored.find(kept.digest), kept)
        self.stored.forget(NOW + 60)
        self.assertIsNone(self.stored.find(kept.digest))

    def test_a_revoked_grant_is_kept_until_it_would_have_expired(self) -> None:
        text = self.token()
        principal = self.verifier.verify(text).principal
        assert principal.grant is not None
        self.revoke(token=text)
        for moment, good in ((principal.grant.expires - 1, False), (principal.grant.expires + 3600, True)):
            self.stored.forget(moment)
            self.assertEqual(self.stored.good(principal), good)


class AdmittedBeforeTests(RevokerCase):
    """Who was admitted without a token is concerned too, if everything of theirs was revoked since."""

    def test_attack_51_everything_of_a_user(self) -> None:
        before = self.stored.users_revoked
        self.assertTrue(self.stored.good_since(ALICE, 1))
        self.assertEqual(self.stored.revoked_at(ALICE), 0)
        self.time.advance(5)
        self.revoke(user=("local", "alice"))
        self.assertEqual((self.stored.users_revoked, self.stored.revoked_at(ALICE)), (before + 1, NOW + 5))
        for since, good in ((NOW, False), (NOW + 5, False), (NOW + 5.1, True)):
            self.assertEqual(self.stored.good_since(ALICE, since), good, since)
        self.assertTrue(self.stored.good_since(BOB, NOW))
        self.assertTrue(self.stored.good_since(attrs.evolve(ALICE, realm="corp"), NOW))

    def test_a_token_counts_for_itself(self) -> None:
        _, kept = self.made()
        holder = attrs.evolve(ALICE, grant=grant_of(kept))
        self.assertTrue(self.stored.good_since(holder, NOW))
        self.revoke(user=("local", "alice"))
        self.assertFalse(self.stored.good_since(holder, NOW + 100))
        issued = attrs.evolve(ALICE, grant=Grant("id", NOW + 1, inf))
        self.assertTrue(self.stored.good_since(issued, NOW), "issued after the revocation")

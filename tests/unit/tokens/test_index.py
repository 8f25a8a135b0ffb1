"""The index of tokens and revocations: what is found, and the moment from which it is dropped."""

from __future__ import annotations

from math import inf

from twisted.trial.unittest import TestCase

from perimeter.model import Principal
from perimeter.tokens.api_token import ApiToken, mint
from perimeter.tokens.index import TokenIndex
from perimeter.tokens.revocation import Removed, RevokedGrant, RevokedUser

ALICE = Principal("alice", "local")


def token(created: float = 0.0, expires: float = inf, *, passing: bool = False) -> ApiToken:
    return mint("ci", ALICE, created, expires, passing=passing)[1]


class IndexTests(TestCase):
    def setUp(self) -> None:
        self.index = TokenIndex()

    def test_a_removed_token_leaves_nothing(self) -> None:
        for passing in (False, True):
            first, second = token(passing=passing), token(passing=passing)
            owners = self.index.passing if passing else self.index.named
            self.index.apply(first)
            self.index.apply(second)
            self.index.apply(Removed(first.id))
            self.assertEqual(owners, {("local", "alice"): {second.id: second}})
            self.index.apply(Removed(second.id))
            self.index.apply(Removed(second.id))
            self.assertEqual((self.index.by_id, self.index.by_digest, owners), ({}, {}, {}))

    def test_attack_39_a_token_from_before_the_revocation_of_its_user_is_not_added(self) -> None:
        self.index.apply(RevokedUser("local", "alice", 100.0))
        for created, kept in ((99.0, False), (100.0, False), (100.25, True)):
            one = token(created)
            self.index.apply(one)
            self.assertEqual(one.id in self.index.by_id, kept, created)

    def test_what_has_ended_is_dropped_at_that_moment(self) -> None:
        one = token(expires=5.0)
        for change in (one, RevokedUser("local", "bob", 1.0, 5.0)):
            self.index.apply(change)
        self.index.forget(4.75)
        self.assertEqual((len(self.index.by_id), len(self.index.users)), (1, 1))
        self.index.forget(5.0)
        self.assertEqual((self.index.by_id, self.index.users), ({}, {}))

    def test_revoked_access_tokens_are_dropped_by_the_hour_of_their_end(self) -> None:
        self.index.apply(RevokedGrant("jti", 7199.0))
        self.index.forget(7199.75)
        self.assertTrue(self.index.grants.has("jti", 7199.0))
        self.index.forget(7200.0)
        self.assertEqual(self.index.grants.hours, {})

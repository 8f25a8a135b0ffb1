"""API tokens and revocations in SQLite and in the change log: what is written is read again, and what ended is deleted."""

from __future__ import annotations

import json
from ipaddress import ip_network
from math import inf

import attrs
from twisted.trial.unittest import TestCase

from perimeter.model import Principal, Restriction
from perimeter.state.changes import Change
from perimeter.tokens.api_token import ApiToken, mint
from perimeter.tokens.revocation import Removed, RevokedGrant, RevokedUser
from perimeter.tokens.tables import CODECS, RECORDS, TokenTable
from tests.unit.doubles.tables import TableCase

ALICE = Principal("alice", "local", ("admin", "a,b"), "ldap", {"mail": "é@x"}, {"data": ("read", "write")})
BOB = Principal("bob", "corp")
LIMITS = Restriction(frozenset(("b", "a")), frozenset(("PUT", "GET")), (ip_network("192.0.2.0/24"), ip_network("2001:db8::/32")))


def token(owner: Principal = ALICE, created: float = 10.0, expires: float = inf, passing: bool = False) -> ApiToken:
    return mint("ci", owner, created, expires, passing=passing)[1]


class TableTests(TableCase):
    TABLE = TokenTable

    def test_a_revocation_that_is_written_once_more_ends_no_newer_token(self) -> None:
        older, newer = token(created=10.0), token(created=10.5)
        user = RevokedUser("local", "alice", 10.0)
        self.write(older, newer, user, user)
        self.assertEqual(self.held(), [user, newer])

    def test_a_token_is_read_as_it_was_written(self) -> None:
        limited = mint("ci", ALICE, 10.0, 20.5, LIMITS)[1]
        plain, passing = token(BOB, 11.0), token(ALICE, 12.0, 3612.0, passing=True)
        self.write(limited, plain, passing)
        self.assertEqual(self.held(), [limited, plain, passing])
        for kept, found in zip((limited, plain, passing), self.held(), strict=True):
            assert isinstance(found, ApiToken)
            # not part of the equality of principals
            self.assertEqual(
                (found.owner.authenticator, found.owner.attributes, found.owner.scopes, found.restriction, found.passing),
                (kept.owner.authenticator, kept.owner.attributes, kept.owner.scopes, kept.restriction, kept.passing),
            )
            self.assertIs(type(found.passing), bool)

    def test_revoked_users_come_first_and_tokens_last_with_the_oldest_first(self) -> None:
        old, new = token(created=10.0), token(created=11.0)
        grant, user = RevokedGrant("jti", 7.0), RevokedUser("corp", "bob", 3.0, 9.0)
        self.write(new, old, grant, user)
        self.assertEqual(self.held(), [user, grant, old, new])

    def test_a_removed_token_is_gone_and_the_others_stay(self) -> None:
        one, other = token(), token()
        self.write(one, other, Removed(one.id))
        self.assertEqual(self.held(), [other])

    def test_a_grant_may_be_revoked_twice(self) -> None:
        self.write(RevokedGrant("jti", 7.0), RevokedGrant("jti", 8.0))
        self.assertEqual(self.held(), [RevokedGrant("jti", 8.0)])

    def test_attack_39_a_revoked_user_has_no_token_from_before(self) -> None:
        mine, namesake, others = token(), token(Principal("alice", "corp")), token(Principal("carol", "local"))
        self.write(mine, namesake, others, RevokedUser("local", "alice", 10.0))
        late, same, newer = token(created=9.5), token(created=10.0), token(created=10.25)
        self.write(late, same, newer)
        self.assertEqual(self.held(), [RevokedUser("local", "alice", 10.0, inf), namesake, others, newer])

    def test_an_earlier_revocation_takes_nothing_back(self) -> None:
        self.write(RevokedUser("local", "alice", 10.0, 90.0), RevokedUser("local", "alice", 5.0, 60.0))
        self.assertEqual(self.held(), [RevokedUser("local", "alice", 10.0, 90.0)])
        self.write(RevokedUser("local", "alice", 20.0, 100.0))
        self.assertEqual(self.held(), [RevokedUser("local", "alice", 20.0, 100.0)])

    def test_what_has_ended_is_deleted_at_that_moment(self) -> None:
        kept = [RevokedUser("local", "alice", 3.0, 5.0), RevokedGrant("jti", 5.0), token(BOB, 1.0, 5.0)]
        endless = token(BOB, 2.0)
        self.write(*kept, endless)
        self.table.forget(self.database.execute, 4.75)
        self.assertEqual(self.held(), [*kept, endless])
        self.table.forget(self.database.execute, 5.0)
        self.assertEqual(self.held(), [endless])


class CodecTests(TestCase):
    def test_each_change_is_read_as_it_was_written(self) -> None:
        changes: dict[str, list[Change]] = {
            "api_token": [mint("ci", ALICE, 1.0, 2.5, LIMITS)[1], token(passing=True), token(BOB)],
            "api_token_removed": [Removed("x"), Removed("y", passing=True)],
            "grant_revoked": [RevokedGrant("jti", 7.5)],
            "user_revoked": [RevokedUser("local", "rød", 3.0), RevokedUser("corp", "bob", 3.0, 9.0)],
        }
        self.assertEqual(CODECS.keys(), changes.keys())
        for word, codec in CODECS.items():
            for change in changes[word]:
                self.assertIsInstance(change, codec.change)
                self.assertEqual(codec.decode(codec.encode(change)), change)

    def test_the_text_of_a_token(self) -> None:
        """Processes of two versions may share a log, so the text keeps its form."""
        kept = ApiToken("7", b"\x01\xff", "ci", BOB, 1.0, 2.0, Restriction(frozenset("ba"), frozenset(), ()), passing=True)
        owner = '{"roles": [], "authenticator": "", "attributes": {}, "scopes": {}}'
        limits = '{"routes": ["a", "b"], "methods": [], "networks": []}'
        self.assertEqual(
            json.loads(CODECS["api_token"].encode(kept)), ["7", "01ff", "ci", "corp", "bob", owner, 1.0, 2.0, limits, 1]
        )
        proved = attrs.evolve(kept, second=5.5)
        text = CODECS["api_token"].encode(proved)
        self.assertEqual(json.loads(text)[9:], [1, 5.5])
        self.assertEqual(CODECS["api_token"].decode(text), proved)
        self.assertEqual(CODECS["api_token_removed"].decode('["x"]'), Removed("x", passing=False))


class RecordTests(TestCase):
    def test_keys_and_ends(self) -> None:
        kept = mint("ci", ALICE, 10.0, 20.0)[1]
        owner = ("owner", ALICE.realm, ALICE.username)
        self.assertEqual(RECORDS.keys(kept), (("digest", kept.digest.hex()), ("id", kept.id), owner))
        self.assertEqual(RECORDS.ends(kept), 20.0)
        for change, key, left in (
            (Removed(kept.id), ("id", kept.id), False),
            (RevokedUser(ALICE.realm, ALICE.username, 10.0), owner, False),
            (RevokedUser(ALICE.realm, ALICE.username, 9.5), owner, True),
        ):
            effect = RECORDS.effect(change)
            assert effect is not None
            self.assertEqual(effect.keys, (key,))
            self.assertEqual(effect.applied(kept) is kept, left)
        self.assertIsNone(RECORDS.effect(RevokedGrant("jti", 20.0)))
        self.assertIsNone(RECORDS.effect(kept))

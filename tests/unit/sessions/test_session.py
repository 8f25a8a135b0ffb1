"""What is kept of a session, and the values that end it."""

from __future__ import annotations

import re
from hashlib import sha256

import attrs
from twisted.trial.unittest import TestCase

from perimeter.model import Grant, GrantKind, SessionUse
from perimeter.sessions.session import EndedSession, EndedUser, Seen, digest_of, grant_of, mint
from tests.unit.doubles.sessions import ALICE, START, session


class SessionTests(TestCase):
    def test_a_new_session(self) -> None:
        owner = attrs.evolve(ALICE, grant=Grant("7", 0.0, 9.0))
        cookie, kept = mint(owner, 10.0, 20.0, 5.0, (("password", 10.0),), "192.0.2.7", "Firefox")
        self.assertRegex(cookie, re.compile(r"\A[A-Za-z0-9_-]{43}\Z"))
        self.assertRegex(kept.id, re.compile(r"\A[0-9a-f]{16}\Z"))
        self.assertEqual(kept.digest, sha256(cookie.encode()).digest())
        self.assertEqual(kept.digest, digest_of(cookie.encode()))
        self.assertEqual((kept.owner, kept.owner.grant), (ALICE, None))
        self.assertEqual((kept.owner.authenticator, kept.owner.attributes), (ALICE.authenticator, ALICE.attributes))
        self.assertEqual((kept.created, kept.expires, kept.idle), (10.0, 20.0, 5.0))
        self.assertEqual((kept.proved, kept.address, kept.agent), ((("password", 10.0),), "192.0.2.7", "Firefox"))

    def test_attack_25_no_two_sessions_share_a_cookie_or_an_id(self) -> None:
        made = [mint(ALICE, 0.0, 1.0, 0.0, (), "", "") for _ in range(100)]
        self.assertEqual(len({cookie for cookie, _ in made}), 100)
        self.assertEqual(len({kept.id for _, kept in made}), 100)

    def test_the_cookie_and_its_digest_are_not_shown(self) -> None:
        cookie, kept = mint(ALICE, 0.0, 1.0, 0.0, (), "", "")
        self.assertNotIn(cookie, repr(kept))
        self.assertNotIn(repr(kept.digest), repr(kept))
        self.assertNotIn(kept.digest.hex(), repr(kept))

    def test_the_grant_of_a_request(self) -> None:
        kept, use = session(), SessionUse(START)
        grant = grant_of(kept, use)
        self.assertEqual(grant, Grant(kept.id, START, START + 43200, GrantKind.SESSION))
        self.assertIs(grant.use, use)
        self.assertIsNone(grant.restriction)

    def test_what_adds_and_what_may_be_lost(self) -> None:
        user = EndedUser("local", "alice", 1.0, 2.0)
        changes = (session(), Seen(()), EndedSession("7"), user)
        self.assertEqual([change.adds for change in changes], [True, True, False, False])
        self.assertEqual([change.passing for change in changes], [False, True, False, False])


class EndedUserTests(TestCase):
    def test_attack_39_a_session_from_before_is_covered(self) -> None:
        user = EndedUser("local", "alice", 10.0, 20.0)
        for created, covered in ((9.75, True), (10.0, True), (10.25, False)):
            self.assertIs(user.covers(session(created=created)), covered, created)

    def test_two_ends_are_one_that_takes_nothing_back(self) -> None:
        early, late = EndedUser("local", "alice", 10.0, 40.0), EndedUser("local", "alice", 20.0, 30.0)
        both = EndedUser("local", "alice", 20.0, 40.0)
        self.assertEqual((early.merged(late), late.merged(early)), (both, both))
        self.assertEqual(early.merged(None), early)

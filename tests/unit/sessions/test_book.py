"""The sessions of users: how they begin, which cookie counts, and who may end them."""

from __future__ import annotations

import attrs

from perimeter.errors import NoSuchSession, Overloaded, Unavailable
from perimeter.model import Grant, GrantKind, Principal
from perimeter.run.session_operations import end_sessions
from perimeter.sessions import stored as stored_module
from perimeter.sessions.book import SessionBook
from perimeter.sessions.sealing import unseal
from perimeter.sessions.session import EndedSession, Origin, Session, digest_of, mint
from perimeter.tokens.check import Check
from tests.unit.doubles.sessions import ALICE, BOB, NAMESAKE, START, SessionCase, Settings


class BeginTests(SessionCase):
    def test_a_session_begins(self) -> None:
        cookie, begun = self.begin(agent="Firefox/1", address="2001:db8::1", methods=("passkey",))
        self.assertEqual(begun.digest, digest_of(cookie))
        self.assertEqual((begun.owner, begun.created), (ALICE, START))
        self.assertEqual((begun.expires, begun.idle), (START + 43200, 3600.0))
        self.assertEqual((begun.address, begun.agent, begun.proved), ("2001:db8::1", "Firefox/1", (("passkey", START),)))
        self.assertIs(self.stored.with_id(begun.id), begun)
        self.assertEqual(self.begin()[1].proved, (("password", START),))

    def test_the_user_agent_is_cut(self) -> None:
        self.assertEqual(self.begin(agent="a" * 201)[1].agent, "a" * 200)

    def test_who_wants_to_stay_signed_in(self) -> None:
        self.assertEqual(self.begin(stay=True)[1].expires, START + 43200, "it is not offered")
        self.book = SessionBook(self.stored, self.clock, Settings(stay=86400.0))
        stays, not_asked = self.begin(stay=True)[1], self.begin()[1]
        self.assertEqual((stays.expires, stays.idle), (START + 86400, 0.0))
        self.assertEqual((not_asked.expires, not_asked.idle), (START + 43200, 3600.0))

    def test_the_cookies_have_a_check(self) -> None:
        check = Check((b"k" * 32,))
        self.book = SessionBook(self.stored, self.clock, Settings(), check)
        cookie, begun = self.begin()
        self.assertTrue(check.good(cookie))
        self.assertTrue(check.good(self.done(self.book.strengthen(cookie, begun, "totp"))[0].encode()))
        parent = self.begin()[1]
        child = self.done(self.book.begin_child(parent.id, address="", agent="", old=None, key=b""))
        self.assertTrue(check.good(child[0].encode()))

    def test_a_session_ends_with_the_word_of_the_authenticator(self) -> None:
        owner = attrs.evolve(ALICE, until=START + 60)
        self.assertEqual(self.begin(owner)[1].expires, START + 60)

    def test_attack_25_the_session_that_the_browser_had_ends(self) -> None:
        planted, old = self.begin(BOB)
        cookie, begun = self.begin(old=planted)
        self.assertNotEqual(cookie, planted)
        self.assertNotEqual(begun.id, old.id)
        self.assertIsNone(self.book.current(planted))
        self.assertEqual(self.stored.all(), [begun])

    def test_attack_25_a_cookie_that_is_of_no_session_becomes_none(self) -> None:
        planted = b"A" * 43
        cookie, begun = self.begin(old=planted)
        self.assertNotEqual(cookie, planted)
        self.assertIsNone(self.book.current(planted))
        self.assertIs(self.book.current(cookie), begun)

    def test_proofs_from_before(self) -> None:
        begun = self.begin(methods=("totp",), earlier=(("password", START - 9),))[1]
        self.assertEqual(begun.proved, (("password", START - 9), ("totp", START)))
        self.assertEqual(begun.second, START)
        self.assertEqual(self.begin(methods=("provider:corp",), earlier=(("factor:corp", START - 5),))[1].second, START - 5)
        self.assertEqual(self.begin(methods=("provider:corp", "password"))[1].second, 0.0)

    def test_one_more_proof(self) -> None:
        cookie, begun = self.begin(origin=Origin(secret=b"secret"))
        self.clock.advance(60)
        new, stronger = self.done(self.book.strengthen(cookie, begun, "totp"))
        self.assertEqual(stronger.proved, (("password", START), ("totp", START + 60)))
        self.assertEqual((stronger.created, stronger.expires, stronger.idle), (START + 60, begun.expires, begun.idle))
        self.assertEqual((stronger.owner, stronger.address, stronger.agent), (begun.owner, begun.address, begun.agent))
        self.assertNotIn(stronger.id, (begun.id, ""))
        self.assertEqual(unseal(new.encode(), stronger.sealed), b"secret")
        self.assertIsNone(self.book.current(cookie))
        self.assertIs(self.book.current(new.encode()), stronger)
        self.clock.advance(60)
        _, again = self.done(self.book.strengthen(new.encode(), stronger, "totp"))
        self.assertEqual(again.proved, (("password", START), ("totp", START + 120)))

    def test_a_session_goes_on_if_its_new_proof_cannot_be_written(self) -> None:
        cookie, begun = self.begin()
        self.store.fails = True
        self.fails(Unavailable, self.book.strengthen(cookie, begun, "totp"))
        self.assertIs(self.book.current(cookie), begun)

    def test_when_all_sessions_of_a_user_were_ended(self) -> None:
        self.assertIs(self.stored.ended_since(ALICE, START), False)
        self.done(self.stored.end_user("local", "alice"))
        for since, ended in ((START - 1, True), (START, True), (START + 1, False)):
            self.assertIs(self.stored.ended_since(ALICE, since), ended)
        self.assertIs(self.stored.ended_since(BOB, START), False)

    def test_the_old_session_stays_if_no_new_one_can_be_written(self) -> None:
        cookie, old = self.begin()
        self.store.fails = True
        self.fails(Unavailable, self.book.begin(ALICE, address="", agent="", old=cookie))
        self.assertIs(self.book.current(cookie), old)

    def test_the_sign_in_goes_on_if_the_end_of_the_old_one_cannot_be_written(self) -> None:
        cookie, _ = self.begin()
        write = self.store.write
        self.store.write = lambda changes: self.fail() if not changes[0].adds else write(changes)  # type: ignore[method-assign, return-value]
        begun = self.begin(old=cookie)[1]
        self.flushLoggedErrors()
        self.assertEqual(self.stored.all(), [begun])

    def test_the_oldest_session_ends_if_there_are_too_many(self) -> None:
        self.book = SessionBook(self.stored, self.clock, Settings(max_sessions=3))
        begun = []
        for _ in range(5):
            begun.append(self.begin()[1])
            self.clock.advance(1)
        bobs = self.begin(BOB)[1]
        self.assertEqual(self.stored.all(), [*begun[2:], bobs])

    def test_the_session_that_begins_stays(self) -> None:
        self.book = SessionBook(self.stored, self.clock, Settings(max_sessions=1))
        first = self.begin()[1]
        self.clock.advance(-5)  # the clock was put back: the new one looks older
        second = self.begin()[1]
        self.assertEqual(self.stored.owned("local", "alice"), [second])
        self.assertIsNone(self.stored.with_id(first.id))

    def test_what_is_over_takes_no_room(self) -> None:
        self.book = SessionBook(self.stored, self.clock, Settings(max_sessions=2, idle=60.0))
        self.begin()
        self.clock.advance(60)
        kept = [self.begin()[1], self.begin()[1]]
        self.assertEqual(self.stored.owned("local", "alice"), kept)

    def test_there_may_be_too_many_of_all_users(self) -> None:
        self.patch(stored_module, "MOST_SESSIONS", 1)
        cookie, kept = self.begin()
        self.fails(Overloaded, self.book.begin(ALICE, address="", agent="", old=cookie))
        self.assertIs(self.book.current(cookie), kept)


class CurrentTests(SessionCase):
    settings = Settings(idle=60.0, lifetime=100.0)

    def test_a_cookie_counts_until_it_was_not_used_for_too_long(self) -> None:
        cookie, begun = self.begin()
        self.clock.advance(59.75)
        self.assertIs(self.book.current(cookie), begun)
        self.clock.advance(0.25)
        self.assertIsNone(self.book.current(cookie))

    def test_a_use_puts_the_end_off_until_the_lifetime_is_over(self) -> None:
        cookie, begun = self.begin()
        use = self.stored.grant(begun).use
        assert use is not None
        use.at = START + 59.75
        self.clock.advance(99.75)
        self.assertIs(self.book.current(cookie), begun)
        use.at = START + 99
        self.clock.advance(0.25)
        self.assertIsNone(self.book.current(cookie))

    def test_another_cookie_is_of_no_session(self) -> None:
        cookie, _ = self.begin()
        self.assertIsNone(self.book.current(cookie[:-1] + b"_" if cookie[-1:] != b"_" else cookie[:-1] + b"-"))

    def test_a_proof_is_fresh_for_a_time(self) -> None:
        _, begun = self.begin()
        twice = attrs.evolve(begun, proved=(("password", START + 10), ("totp", START + 5)))
        self.clock.advance(899.75)
        self.assertTrue(self.book.fresh(begun))
        self.clock.advance(0.25)
        self.assertFalse(self.book.fresh(begun))
        self.clock.advance(9.75)
        self.assertTrue(self.book.fresh(twice))
        self.clock.advance(0.25)
        self.assertFalse(self.book.fresh(twice))

    def test_the_session_of_a_request(self) -> None:
        _, begun = self.begin()

        def by(kind: GrantKind) -> Principal:
            return attrs.evolve(ALICE, grant=Grant(begun.id, 0.0, 1.0, kind))

        self.assertIs(self.book.session_of(by(GrantKind.SESSION)), begun)
        self.assertIsNone(self.book.session_of(by(GrantKind.API_TOKEN)))
        self.assertIsNone(self.book.session_of(ALICE))
        self.done(self.stored.end(begun))
        self.assertIsNone(self.book.session_of(by(GrantKind.SESSION)))


class EndTests(SessionCase):
    def setUp(self) -> None:
        super().setUp()
        self.first, self.second = (self.begin(), self.begin())
        self.bobs, self.namesakes = self.begin(BOB), self.begin(NAMESAKE)

    def left(self) -> list[Session]:
        return self.stored.all()

    def test_the_sessions_of_a_user(self) -> None:
        self.assertEqual(self.book.owned(ALICE), [self.first[1], self.second[1]])

    def test_a_user_ends_a_session(self) -> None:
        self.assertIs(self.done(self.book.end(ALICE, self.first[1].id)), self.first[1])
        self.assertEqual(self.book.owned(ALICE), [self.second[1]])

    def elsewhere(self) -> tuple[bytes, Session]:
        """A session that another worker has begun a moment ago."""
        cookie, begun = mint(ALICE, START, START + 7200, 0.0, (("password", START),), "192.0.2.7", "Firefox")
        self.store.others_write(begun)
        return cookie.encode(), begun

    def test_a_user_ends_a_session_that_another_worker_has_begun(self) -> None:
        for end in (
            lambda cookie, begun: self.book.end(ALICE, begun.id),
            lambda cookie, begun: self.book.end_cookie(cookie),
            lambda cookie, begun: end_sessions(["local"], self.stored, [begun.id], None),
        ):
            cookie, begun = self.elsewhere()
            self.done(end(cookie, begun))
            self.assertIsNone(self.stored.with_id(begun.id))
            self.assertEqual(list(self.store.written[-1]), [EndedSession(begun.id)])
            self.clock.advance(1)

    def test_attack_37_a_user_ends_no_session_of_another_user(self) -> None:
        for id in (self.bobs[1].id, self.namesakes[1].id, "7", ""):
            self.assertEqual(self.fails(NoSuchSession, self.book.end(ALICE, id)).status, 404)
        self.assertEqual(len(self.left()), 4)

    def test_a_session_that_is_over_cannot_be_ended(self) -> None:
        self.clock.advance(3600)
        self.fails(NoSuchSession, self.book.end(ALICE, self.first[1].id))

    def test_a_user_ends_all_others(self) -> None:
        third = self.begin()
        self.assertEqual(self.done(self.book.end_others(ALICE, self.second[1].id)), 2)
        self.assertEqual(self.left(), [self.second[1], self.bobs[1], self.namesakes[1]])
        self.assertIsNone(self.book.current(third[0]))
        self.assertEqual(self.done(self.book.end_others(ALICE, self.second[1].id)), 0)

    def test_a_user_ends_all(self) -> None:
        self.assertEqual(self.done(self.book.end_all(ALICE)), 2)
        self.assertEqual(self.left(), [self.bobs[1], self.namesakes[1]])

    def test_attack_25_a_cookie_is_worth_nothing_after_the_sign_out(self) -> None:
        cookie, begun = self.first
        self.assertIs(self.done(self.book.end_cookie(cookie)), begun)
        self.assertIsNone(self.book.current(cookie))
        self.assertIsNone(self.done(self.book.end_cookie(cookie)))
        self.assertEqual(self.left(), [self.second[1], self.bobs[1], self.namesakes[1]])

    def test_attack_41_what_cannot_be_written_has_ended_and_is_reported(self) -> None:
        self.store.fails = True
        self.fails(Unavailable, self.book.end(ALICE, self.first[1].id))
        self.fails(Unavailable, self.book.end_others(ALICE, ""))
        self.fails(Unavailable, self.book.end_all(NAMESAKE))
        self.fails(Unavailable, self.book.end_cookie(self.bobs[0]))
        self.flushLoggedErrors()
        self.assertEqual(self.left(), [])

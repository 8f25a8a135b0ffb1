"""Sign-ins that wait for a second factor: bounded in number, time and tries, and no session."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path

import attrs

from perimeter.errors import TooManyAttempts, Unavailable, WrongFactor
from perimeter.factors import pending as pending_module
from perimeter.factors.pending import LIFETIME, MOST_OF_ADDRESS, PendingIndex, PendingSignIn
from perimeter.model import Principal
from perimeter.run.build.state_kinds import STATE_KINDS
from perimeter.sessions.sealing import Unsealable
from perimeter.state.sqlite import SqliteStore
from tests.unit.doubles.factors import FactorCase
from tests.unit.doubles.sessions import ALICE, BOB, START

PROVED = (("password", START),)


class PendingTests(FactorCase):
    def waiting(self, owner: Principal = ALICE, address: str = "192.0.2.7") -> tuple[bytes, PendingSignIn]:
        """One that begins now."""
        cookie = self.done(self.pending_book.begin(owner, PROVED, address, b"payload")).encode()
        found = self.done(self.pending_book.find(cookie))
        assert isinstance(found, PendingSignIn)
        return cookie, found

    def test_what_is_kept(self) -> None:
        cookie, found = self.waiting()
        self.assertEqual(len(cookie), 43)
        self.assertEqual((found.owner, found.proved, found.created, found.address), (ALICE, PROVED, START, "192.0.2.7"))
        self.assertEqual(self.pending_book.payload(cookie, found), b"payload")
        self.assertRaises(Unsealable, self.pending_book.payload, b"x" * 43, found)
        self.assertNotIn(b"payload", found.sealed)

    def test_attack_77_it_is_no_session(self) -> None:
        cookie, _ = self.waiting()
        self.assertIsNone(self.book.current(cookie))
        session, _ = self.begin()
        self.assertIsNone(self.done(self.pending_book.find(session)))

    def test_it_ends_after_five_minutes(self) -> None:
        cookie, found = self.waiting()
        self.clock.advance(LIFETIME - 1)
        self.assertEqual(self.done(self.pending_book.find(cookie)), found)
        self.clock.advance(1)
        self.assertIsNone(self.done(self.pending_book.find(cookie)))
        self.pending.forget(self.clock.seconds() - 1)
        self.assertEqual(len(self.pending), 1)
        self.pending.forget(self.clock.seconds())
        self.assertEqual(len(self.pending), 0)

    def test_it_ends_with_all_sessions_of_its_user(self) -> None:
        (cookie, _), (other, _) = self.waiting(), self.waiting(BOB)
        self.done(self.stored.end_user("local", "alice"))
        self.assertIsNone(self.done(self.pending_book.find(cookie)))
        self.assertIsNotNone(self.done(self.pending_book.find(other)))
        self.clock.advance(1)
        self.waiting()

    def test_attack_b3_it_is_finished_once(self) -> None:
        cookie, found = self.waiting()
        self.done(self.pending_book.finish(found))
        self.assertIsNone(self.done(self.pending_book.find(cookie)))
        self.fails(WrongFactor, self.pending_book.finish(found))

    def test_attack_b3_five_codes_can_be_tried(self) -> None:
        cookie, found = self.waiting()
        for _ in range(5):
            self.done(self.pending_book.count_try(found))
            self.assertIsNotNone(self.pending_book.current(cookie))
        self.fails(TooManyAttempts, self.pending_book.count_try(found))
        self.assertIsNone(self.pending_book.current(cookie))
        self.fails(TooManyAttempts, self.pending_book.count_try(found))

    def test_attack_b3_many_codes_at_the_same_moment(self) -> None:
        _, found = self.waiting()
        outcomes = list[str]()
        for _ in range(100):
            try:
                self.done(self.pending_book.count_try(found))
                outcomes.append("checked")
            except self.failureException:
                outcomes.append("refused")
        self.assertEqual(outcomes.count("checked"), 5)

    def test_tries_in_a_session_are_counted_by_its_id(self) -> None:
        for id in ("a", "b"):
            for _ in range(5):
                self.done(self.pending_book.count_try_of_session(id))
            self.fails(TooManyAttempts, self.pending_book.count_try_of_session(id))

    def test_nothing_is_checked_that_cannot_be_counted(self) -> None:
        _, found = self.waiting()
        self.store.fails = True
        self.fails(Unavailable, self.pending_book.count_try(found))
        self.fails(Unavailable, self.pending_book.begin(ALICE, PROVED, "", b""))

    def test_another_process_has_begun_it(self) -> None:
        cookie, found = self.waiting()
        self.done(self.pending.end(found))
        self.clock.advance(1)
        self.store.others_write(found)
        self.assertEqual(self.done(self.pending_book.find(cookie)), found)


class BoundTests(FactorCase):
    def test_so_many_from_one_address(self) -> None:
        cookies = [self.done(self.pending_book.begin(ALICE, PROVED, "a", b"")).encode() for _ in range(MOST_OF_ADDRESS + 1)]
        self.assertIsNone(self.pending_book.current(cookies[0]))
        self.assertTrue(all(self.pending_book.current(one) for one in cookies[1:]))
        self.done(self.pending_book.begin(ALICE, PROVED, "b", b""))
        self.assertIsNotNone(self.pending_book.current(cookies[1]))

    def test_so_many_in_all(self) -> None:
        self.patch(pending_module, "MOST", 3)
        cookies = [self.done(self.pending_book.begin(ALICE, PROVED, f"a{n}", b"")).encode() for n in range(4)]
        self.assertEqual([self.pending_book.current(one) is not None for one in cookies], [False, True, True, True])

    def test_nothing_is_left_of_one_that_is_over(self) -> None:
        index, numbers = PendingIndex(), count()
        for _ in range(3):
            one = PendingSignIn(b"%d" % next(numbers), ALICE, PROVED, START, "a", b"")
            index.apply(one)
            index.apply(one)
        for number in range(3):
            index.drop(b"%d" % number)
            index.drop(b"%d" % number)
        self.assertEqual((index.by_digest, index.of_address), ({}, {}))


class TableTests(FactorCase):
    def test_what_sqlite_keeps(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir()
        store = SqliteStore(directory, STATE_KINDS, self.clock.seconds)
        self.addCleanup(store.close)
        one = PendingSignIn(b"d", ALICE, PROVED, START, "192.0.2.7", b"sealed")
        other = attrs.evolve(one, digest=b"e")
        store.write([one, other])
        self.assertEqual([*store.load()[0]["pending"]], [one, other])
        self.assertEqual(store.since(0)[0], [one, other])  # type: ignore[index]
        store.write([pending_module.EndedPending(b"d")])
        self.assertEqual([*store.load()[0]["pending"]], [other])
        store.forget(START + LIFETIME - 1)
        self.assertEqual([*store.load()[0]["pending"]], [other])
        store.forget(START + LIFETIME)
        self.assertEqual([*store.load()[0]["pending"]], [])

    def test_the_words_of_the_log(self) -> None:
        one = PendingSignIn(b"d", ALICE, PROVED, START, "192.0.2.7", b"sealed")
        word, text = STATE_KINDS.encode(one)
        self.assertEqual((word, json.loads(text)[0], STATE_KINDS.decode(word, text)), ("pending", "64", one))
        ended = pending_module.EndedPending(b"d")
        self.assertEqual(STATE_KINDS.encode(ended), ("pending_ended", '["64"]'))
        self.assertEqual(STATE_KINDS.decode("pending_ended", '["64"]'), ended)
        self.assertTrue(one.adds and one.passing and ended.passing and not ended.adds)

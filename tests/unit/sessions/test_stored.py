"""The sessions of a state: when they count, how they end, and how seldom their use is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs

from perimeter.errors import Overloaded, Unavailable
from perimeter.model import Grant, GrantKind, Principal
from perimeter.run.build.state_kinds import STATE_KINDS
from perimeter.sessions import stored as stored_module
from perimeter.sessions.session import EndedSession, EndedUser, Seen, Session
from perimeter.sessions.stored import SESSIONS
from perimeter.state import write_queue
from perimeter.state.changes import Gap
from perimeter.state.page import Page
from perimeter.state.sqlite import SqliteStore
from perimeter.state.state import State
from tests.unit.doubles.auth import ManualThreads, offload_with
from tests.unit.doubles.sessions import ALICE, BOB, NAMESAKE, START, SessionCase, session


class StoredCase(SessionCase):
    def principal(self, kept: Session) -> Principal:
        return attrs.evolve(kept.owner, grant=self.stored.grant(kept))

    def good(self, kept: Session) -> bool:
        return self.stored.good(attrs.evolve(kept.owner, grant=Grant(kept.id, 0.0, 0.0, GrantKind.SESSION)))


class LookUpTests(StoredCase):
    def test_a_session_is_found_once_it_is_written(self) -> None:
        kept = self.added()
        self.assertIs(self.stored.find(kept.digest), kept)
        self.assertIs(self.stored.with_id(kept.id), kept)
        self.assertEqual((self.stored.seen_at(kept.id), len(self.stored)), (START, 1))
        self.assertIsNone(self.stored.find(b"\0" * 32))
        self.assertIsNone(self.stored.with_id("7"))
        with self.assertRaises(KeyError):
            self.stored.seen_at("7")

    def test_the_sessions_of_a_user_and_all_of_them(self) -> None:
        second = self.added(created=START + 1)
        first, bobs, namesakes = (
            self.added(),
            self.added(owner=BOB, created=START + 2),
            self.added(owner=NAMESAKE, created=START + 3),
        )
        self.assertEqual(self.stored.owned("local", "alice"), [first, second])
        self.assertEqual(self.stored.owned("corp", "alice"), [namesakes])
        self.assertEqual(self.stored.owned("local", "carol"), [])
        self.assertEqual(self.stored.all(), [first, second, bobs, namesakes])
        self.assertEqual(self.stored.realms(), {"local", "corp"})

    def test_pages(self) -> None:
        first, second, third = self.added(), self.added(owner=BOB), self.added()
        self.added(expires=START)
        for page, found in (
            (Page(START, 10), [first, second, third]),
            (Page(START, 2), [first, second]),
            (Page(START, 2, 2), [third]),
            (Page(START, 2, latest=True), [third, second]),
            (Page(START, 10, user="alice"), [first, third]),
            (Page(START, 10, realm="corp"), []),
        ):
            self.assertEqual(self.done(self.stored.page(page)), found, page)

    def test_what_is_over_is_in_no_list(self) -> None:
        kept = self.added(idle=60.0)
        self.clock.advance(59.75)
        self.assertEqual((self.stored.all(), self.stored.owned("local", "alice")), ([kept], [kept]))
        self.clock.advance(0.25)
        self.assertEqual((self.stored.all(), self.stored.owned("local", "alice")), ([], []))
        self.assertIs(self.stored.find(kept.digest), kept)
        self.assertEqual(self.stored.ends(kept), START + 60)

    def test_when_a_session_ends(self) -> None:
        kept = self.added(idle=60.0)
        self.assertEqual(self.stored.ends(kept), START + 60)
        self.principal(kept).grant.use.at = START + 5  # type: ignore[union-attr]
        self.assertEqual((self.stored.ends(kept), self.stored.seen_at(kept.id)), (START + 65, START + 5))
        self.done(self.stored.end(kept))
        self.assertEqual(self.stored.ends(kept), 0.0)

    def test_what_has_ended_is_dropped(self) -> None:
        self.added(expires=START + 60)
        self.stored.forget(START + 60)
        self.assertEqual(len(self.stored), 0)

    def test_the_grant_of_a_request(self) -> None:
        kept = self.added()
        grant = self.stored.grant(kept)
        self.assertEqual(grant, Grant(kept.id, kept.created, kept.expires, GrantKind.SESSION))
        self.assertIs(grant.use, self.stored.grant(kept).use)

    def test_who_came_without_a_session_is_good(self) -> None:
        kept = self.added()
        self.assertTrue(self.good(kept))
        self.done(self.stored.end(kept))
        self.assertFalse(self.good(kept))
        self.assertTrue(self.stored.good(ALICE))
        for kind in (GrantKind.API_TOKEN, GrantKind.ACCESS_TOKEN):
            self.assertTrue(self.stored.good(attrs.evolve(ALICE, grant=Grant(kept.id, 0.0, 0.0, kind))))


class EndTests(StoredCase):
    def test_attack_25_an_ended_session_is_gone_at_once(self) -> None:
        kept, other = self.added(), self.added()
        epoch = self.stored.epoch
        self.done(self.stored.end(kept))
        self.assertIsNone(self.stored.find(kept.digest))
        self.assertIsNone(self.stored.with_id(kept.id))
        self.assertEqual(self.stored.epoch, epoch + 1)
        self.assertEqual(self.store.written[-1], [EndedSession(kept.id)])
        self.assertTrue(self.good(other))

    def test_all_sessions_of_a_user_end(self) -> None:
        first, second = self.added(), self.added(created=START - 1)
        others = [self.added(owner=BOB), self.added(owner=NAMESAKE)]
        self.added(expires=START)  # over
        self.assertEqual(self.done(self.stored.end_user("local", "alice")), [second, first])
        self.assertEqual(self.stored.all(), others)
        self.assertEqual(self.store.written[-1], [EndedUser("local", "alice", START, START + 86400)])

    def test_attack_41_what_cannot_be_written_has_ended_nevertheless(self) -> None:
        kept, other = self.added(), self.added(owner=BOB)
        self.store.fails = True
        self.fails(Unavailable, self.stored.end(kept))
        self.fails(Unavailable, self.stored.end_user("local", "bob"))
        self.assertFalse(self.good(kept) or self.good(other))
        self.flushLoggedErrors()
        self.store.fails = False
        self.done(self.state.tend())
        self.assertEqual(
            next(change for batch in self.store.written[-2:] for change in batch if not change.adds), EndedSession(kept.id)
        )

    def test_attack_39_a_session_on_its_way_does_not_live_when_its_user_is_ended(self) -> None:
        self.threads = ManualThreads()
        self.use(self.store)
        kept = session()
        adding = self.stored.add(kept)
        ending = self.stored.end_user("local", "alice")
        self.threads.step()
        self.threads.step()
        self.done(adding)
        self.assertEqual(self.done(ending), [])
        self.assertIsNone(self.stored.find(kept.digest))
        self.assertFalse(self.good(kept))

    def test_what_is_open_is_cut(self) -> None:
        cut: list[int] = []
        kept, other = self.added(), self.added()
        self.state.on_removed.add(lambda: cut.append(1))
        self.added()
        self.principal(other).grant.use.at = START + 61  # type: ignore[union-attr]
        self.clock.advance(61)
        self.done(self.stored.keep_uses())
        self.assertEqual(cut, [], "neither a new session nor a use cuts anything")
        self.done(self.stored.end(kept))
        self.assertEqual(cut, [1])


class NumberTests(StoredCase):
    def test_there_is_an_upper_limit(self) -> None:
        self.assertEqual(stored_module.MOST_SESSIONS, 10_000_000)
        self.patch(stored_module, "MOST_SESSIONS", 2)
        first, _ = self.added(), self.added()
        error = self.fails(Overloaded, self.stored.add(session()))
        self.assertIn("too many sessions", error.detail)
        self.assertEqual(error.status, 503)
        self.done(self.stored.end(first))
        self.added()
        self.fails(Overloaded, self.stored.add(session()))

    def test_those_on_their_way_count(self) -> None:
        self.patch(stored_module, "MOST_SESSIONS", 2)
        self.threads = ManualThreads()
        self.use(self.store)
        self.stored.add(session())
        self.stored.add(session())
        self.fails(Overloaded, self.stored.add(session()))

    def test_those_that_could_not_be_written_do_not_count(self) -> None:
        self.patch(stored_module, "MOST_SESSIONS", 1)
        self.store.fails = True
        self.fails(Unavailable, self.stored.add(session()))
        self.store.fails = False
        self.added()


class UseTests(StoredCase):
    def used(self, kept: Session, at: float) -> None:
        """A request by ``kept``, at ``at`` seconds after the start."""
        self.clock.advance(START + at - self.clock.seconds())
        use = self.stored.grant(kept).use
        assert use is not None
        use.at = START + at

    def seen(self) -> list[Seen]:
        """What was written of uses, one change after the other."""
        return [change for batch in self.store.written for change in batch if isinstance(change, Seen)]

    def test_a_use_is_written_once_a_minute(self) -> None:
        kept = self.added()
        self.used(kept, 59.75)
        self.done(self.stored.keep_uses())
        self.assertEqual(self.seen(), [])
        self.clock.advance(0.25)
        self.done(self.stored.keep_uses())
        self.assertEqual(self.seen(), [Seen(((kept.id, START + 59.75, 0.0),))])
        self.used(kept, 119.5)
        self.done(self.stored.keep_uses())
        self.used(kept, 119.75)
        self.done(self.stored.keep_uses())
        self.assertEqual(self.seen()[1:], [Seen(((kept.id, START + 119.75, 0.0),))])
        self.clock.advance(1000)
        self.done(self.stored.keep_uses())
        self.assertEqual(len(self.seen()), 2)

    def test_a_look_up_that_is_no_use_is_not_written(self) -> None:
        kept = self.added()
        self.clock.advance(61)
        self.stored.grant(kept)
        self.done(self.stored.keep_uses())
        self.assertEqual(self.seen(), [])

    def test_a_session_that_has_ended_is_not_written(self) -> None:
        kept = self.added()
        self.used(kept, 61)
        self.done(self.stored.end(kept))
        self.done(self.stored.keep_uses())
        self.assertEqual(self.seen(), [])

    def test_all_that_are_due_are_in_one_transaction(self) -> None:
        many = [self.added() for _ in range(1001)]
        before = len(self.store.written)
        epoch = self.stored.epoch
        for kept in many:
            self.used(kept, 61)
        self.done(self.stored.keep_uses())
        self.assertEqual(sorted(len(seen.uses) for seen in self.seen()), [1, 1000])
        self.assertEqual(len(self.store.written), before + 2)
        self.assertEqual(self.stored.epoch, epoch)

    def test_what_cannot_be_written_is_tried_again(self) -> None:
        kept = self.added()
        self.used(kept, 61)
        self.store.fails = True
        self.done(self.stored.keep_uses())
        self.assertEqual((self.seen(), self.stored.seen_at(kept.id)), ([], START + 61))
        self.store.fails = False
        self.done(self.stored.keep_uses())
        self.assertEqual(self.seen(), [Seen(((kept.id, START + 61, 0.0),))])

    def test_too_many_changes_wait(self) -> None:
        self.patch(write_queue, "MOST_WAITING", 0)
        self.threads = ManualThreads()
        self.use(self.store)
        kept = session()
        self.stored.apply(kept)
        self.used(kept, 61)
        self.done(self.stored.keep_uses())
        self.assertEqual(list(self.stored._used), [kept.id])

    def test_a_stop_writes_all_uses(self) -> None:
        kept, unused = self.added(), self.added()
        self.used(kept, 1)
        self.done(self.stored.keep_all_uses())
        self.assertEqual(self.seen(), [Seen(((kept.id, START + 1, 0.0),))])
        self.done(self.stored.keep_all_uses())
        self.assertEqual(len(self.seen()), 1)
        self.assertEqual(self.stored.seen_at(unused.id), START)


class RestartTests(StoredCase):
    """With the database of the gateway, which another process opens, or the same one after its end."""

    def setUp(self) -> None:
        super().setUp()
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.use(self.open())

    def open(self) -> SqliteStore:
        store = SqliteStore(self.directory, STATE_KINDS, self.clock.seconds)
        self.addCleanup(store.close)
        return store

    def other(self) -> Any:
        """Another process with the same database."""
        state = State(self.open(), STATE_KINDS, self.clock, offload_with(self.threads, self.clock, count=1))
        state.replace(state.load())
        state.start()
        return state

    def test_attack_25_a_session_survives_a_restart_and_its_end_does_too(self) -> None:
        kept, ended = self.added(), self.added()
        self.done(self.stored.end(ended))
        self.principal(kept).grant.use.at = START + 61  # type: ignore[union-attr]
        self.clock.advance(61)
        self.done(self.stored.keep_uses())
        sessions = self.other().view(SESSIONS)
        self.assertEqual(sessions.all(), [kept])
        self.assertEqual(sessions.seen_at(kept.id), START + 61)
        self.assertIsNone(sessions.find(ended.digest))

    def test_attack_39_the_end_of_a_user_survives_a_restart(self) -> None:
        self.added()
        self.done(self.stored.end_user("local", "alice"))
        other = self.other().view(SESSIONS)
        self.assertEqual(other.all(), [])
        self.done(other.add(session()))
        self.assertEqual(other.all(), [])
        self.clock.advance(0.25)
        newer = session(created=START + 0.25)
        self.done(other.add(newer))
        self.assertEqual(other.all(), [newer])

    def test_attack_25_the_end_in_another_process_is_seen(self) -> None:
        other = self.other()
        sessions = other.view(SESSIONS)
        first, second, bobs = self.added(), self.added(), self.added(owner=BOB)
        self.done(other.follow())
        self.assertEqual(sessions.all(), [first, second, bobs])
        epoch, cut = self.stored.epoch, []
        self.state.on_removed.add(lambda: cut.append(1))
        self.done(sessions.end(first))
        self.done(self.state.follow())
        self.assertEqual((self.stored.all(), self.stored.epoch, cut), ([second, bobs], epoch + 1, [1]))
        self.done(sessions.end_user("local", "alice"))
        self.done(self.state.follow())
        self.assertEqual((self.stored.all(), cut), ([bobs], [1, 1]))

    def test_a_use_in_another_process_counts_and_cuts_nothing(self) -> None:
        other = self.other()
        kept = self.added()
        self.done(other.follow())
        self.clock.advance(61)
        use = other.view(SESSIONS).grant(kept).use
        use.at = START + 61
        self.done(other.view(SESSIONS).keep_uses())
        epoch, cut = self.stored.epoch, []
        self.state.on_removed.add(lambda: cut.append(1))
        self.done(self.state.follow())
        self.assertEqual((self.stored.seen_at(kept.id), self.stored.epoch, cut), (START + 61, epoch, []))

    def test_the_longest_time_without_a_use_survives_a_restart(self) -> None:
        """A route that admits only shorter ones would else admit a browser that was left alone, after any restart."""
        kept = self.added()
        use = self.stored.grant(kept).use
        assert use is not None
        use.at, use.gap = START + 61, 55.0
        self.clock.advance(61)
        running = self.other()
        self.done(self.stored.keep_uses())
        self.done(running.follow())
        for state in (running, self.other()):
            found = state.view(SESSIONS).grant(kept).use
            assert found is not None
            self.assertEqual((found.at, found.kept, found.gap), (START + 61, START + 61, 55.0))

    def test_a_longer_time_without_a_use_in_another_process_survives_a_gap_in_the_log(self) -> None:
        kept = self.added()
        use, other = self.stored.grant(kept).use, self.other().view(SESSIONS)
        theirs = other.grant(kept).use
        assert use is not None
        assert theirs is not None
        self.patch(self.state._store, "since", lambda cursor: Gap())
        for own, gap, longest in ((10.0, 20.0, 20.0), (30.0, 25.0, 30.0)):
            use.gap, theirs.gap = own, gap
            self.clock.advance(61)
            theirs.at = self.clock.seconds()
            self.done(other.keep_uses())
            self.done(self.state.follow())
            self.assertEqual(use.gap, longest)

    def test_a_gap_in_the_log_loses_no_use(self) -> None:
        kept, newer = self.added(), session(created=START + 1)
        grant = self.stored.grant(kept)
        assert grant.use is not None
        grant.use.at = START + 9
        other = self.other()
        self.done(other.view(SESSIONS).add(newer))
        store = self.state._store
        self.patch(store, "since", lambda cursor: Gap())
        self.done(self.state.follow())
        self.assertEqual(self.stored.all(), [kept, newer])
        self.assertEqual(self.stored.seen_at(kept.id), START + 9)
        self.assertIs(self.stored.grant(kept).use, grant.use, "what a remembered verdict has is what the end is counted from")
        self.assertEqual(grant.use.kept, START)
        self.clock.advance(60)
        self.done(other.view(SESSIONS).end(kept))
        self.done(self.state.follow())
        self.assertEqual(self.stored.all(), [newer])

    def test_a_use_that_the_store_knows_is_not_lost_by_a_gap(self) -> None:
        kept = self.added()
        grant = self.stored.grant(kept)
        self.clock.advance(61)
        other = self.other().view(SESSIONS)
        other.grant(kept).use.at = START + 61
        self.done(other.keep_uses())
        store = self.state._store
        self.patch(store, "since", lambda cursor: Gap())
        self.done(self.state.follow())
        assert grant.use is not None
        self.assertEqual((grant.use.at, grant.use.kept), (START + 61, START + 61))

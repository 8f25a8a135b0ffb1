"""Records that are not all in memory: those that are looked up, those that are dropped, and what ends meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from pathlib import Path
from typing import Any

from twisted.trial.unittest import TestCase

from perimeter.errors import InvalidToken, NoSuchSession, StateUnavailable, Unavailable
from perimeter.model import Principal
from perimeter.run.build.state_kinds import STATE_KINDS
from perimeter.run.session_operations import end_sessions, list_sessions
from perimeter.run.token_operations import list_tokens
from perimeter.sessions.session import Origin, Renewal, Renewed, Session, Vouched, digest_of, grant_of
from perimeter.state import partial
from perimeter.state.changes import Change, Extent
from perimeter.state.direct import DirectState
from perimeter.state.page import Page
from perimeter.state.partial import PartialIndex
from perimeter.state.sqlite import SqliteStore
from perimeter.state.writer import LookupKey
from perimeter.tokens import stored as tokens_module
from perimeter.tokens.api_token import ApiToken, mint
from perimeter.tokens.api_token import grant_of as token_grant
from perimeter.tokens.book import TokenBook
from perimeter.tokens.news import news_of_tokens
from perimeter.tokens.revocation import Removed, RevokedUser
from perimeter.tokens.revoking import Revoker
from perimeter.tokens.stored import TOKENS
from tests.unit.doubles.auth import ManualThreads
from tests.unit.doubles.sessions import ALICE, BOB, NAMESAKE, START, SessionCase, session
from tests.unit.doubles.tokens_site import CHECK

THERE = Vouched("corp", "https://id.example", "alice-1", "sid-1")


class PartialCase(SessionCase):
    """A state over SQLite none of whose records are in memory at the start; ``kept`` of them may be."""

    kept = 2

    def setUp(self) -> None:
        super().setUp()
        self.patch(partial, "LEAST_KEPT", self.kept)
        self.patch(partial, "MOST_KEPT", self.kept)
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.reopen()

    def opened(self, whole_up_to: int = -1) -> SqliteStore:
        store = SqliteStore(self.directory, STATE_KINDS, self.clock.seconds, whole_up_to=whole_up_to)
        self.addCleanup(store.close)
        return store

    def reopen(self, whole_up_to: int = -1, find: Any = None) -> None:
        self.sqlite = self.opened(whole_up_to)
        if find is not None:
            self.patch(self.sqlite, "find", find)
        self.use(self.sqlite)
        self.tokens = self.state.view(TOKENS)
        revoker = Revoker(self.tokens, None, self.stored, news_of_tokens(self.tokens.learn))
        self.tokens_of = TokenBook(self.tokens, revoker, self.clock, 0, CHECK)

    def learnt(self, digest: bytes) -> Session | None:
        work = self.stored.learn(("digest", digest.hex()))
        assert work is not None
        self.done(work)
        return self.stored.find(digest)

    def token(self, owner: Principal = ALICE, **more: Any) -> tuple[str, ApiToken]:
        text, kept = mint("ci", owner, self.clock.seconds(), inf, **more)
        self.done(self.tokens.add(kept))
        return text, kept

    def learnt_token(self, kept: ApiToken) -> ApiToken | None:
        work = self.tokens.learn(("digest", kept.digest.hex()))
        assert work is not None
        self.done(work)
        return self.tokens.find(kept.digest)


class Bare(PartialIndex):
    def apply(self, change: Change) -> None: ...

    def forget(self, now: float) -> None: ...


class IndexTests(TestCase):
    def test_the_records_up_to_a_number_are_all_in_memory(self) -> None:
        for count, whole in ((2, True), (3, False)):
            index = Bare()
            self.assertEqual((index.complete, index.counted), (True, 0))
            index.measure(Extent(count, 2))
            self.assertEqual((index.complete, index.counted), (whole, count))

    def test_a_partial_index_keeps_a_bounded_number(self) -> None:
        for whole_up_to, kept in ((-1, 50_000), (0, 2_000), (2_001, 2_001), (50_000, 50_000), (50_001, 50_000)):
            index = Bare()
            index.measure(Extent(10**9, whole_up_to))
            self.assertEqual(index.most_kept, kept)

    def test_an_index_that_has_grown_too_large_drops_what_was_used_longest_ago(self) -> None:
        self.patch(partial, "LEAST_KEPT", 3)
        index = Bare()
        index.measure(Extent(0, 3))
        present: list[str] = []
        for id in "abc":
            present.append(id)
            self.assertEqual(index.came(id, len(present), lambda: present), [])
        index.touch("a")
        self.assertTrue(index.complete)
        present.append("d")
        self.assertEqual(index.came("d", 4, lambda: present), ["a"])
        self.assertFalse(index.complete)
        index.touch("a")
        self.assertEqual(index.came("d", 4, lambda: present), ["b"])
        index.went("b")
        self.assertEqual(index.came("e", 5, lambda: present), ["c"])
        self.assertEqual(index.came("f", 6, lambda: present), ["c", "a"], "two at a time")

    def test_ends_are_remembered_for_two_rounds(self) -> None:
        index = Bare()
        index.note_end("whole")
        self.assertFalse(index.has_ended("whole"))
        index.measure(Extent(1, 0))
        index.note_end("one")
        self.assertEqual((index.has_ended("one"), index.has_ended("other")), (True, False))
        index.forget_ends()
        self.assertTrue(index.has_ended("one"))
        index.forget_ends()
        self.assertFalse(index.has_ended("one"))

    def test_another_index_remembers_them_too(self) -> None:
        before, index, whole = Bare(), Bare(), Bare()
        before.measure(Extent(1, 0))
        index.measure(Extent(1, 0))
        before.note_end("one")
        before.forget_ends()
        before.note_end("two")
        for one in (index, whole):
            one.take_ends(before)
        self.assertEqual([(index.has_ended(id), whole.has_ended(id)) for id in ("one", "two")], [(True, False)] * 2)


class TokenTests(PartialCase):
    def test_a_token_is_found_when_it_is_wanted(self) -> None:
        text, kept = self.token()
        self.reopen()
        self.assertIsNone(self.tokens.find(kept.digest))
        self.assertEqual(self.learnt_token(kept), kept)
        self.assertIs(self.tokens.with_id(kept.id), self.tokens.find(kept.digest))
        self.assertIsNone(self.learnt_token(mint("", ALICE, 0.0, inf)[1]))
        self.assertEqual(self.done(self.tokens_of.revoke(text, "192.0.2.7")), ALICE)
        self.assertIsNone(self.learnt_token(kept))

    def test_attack_181_a_token_that_does_not_exist_is_looked_up_once_in_five_seconds(self) -> None:
        _, kept = self.token()
        self.done(self.tokens.remove(kept))
        asked: list[LookupKey] = []

        def find(kind: str, key: LookupKey) -> Sequence[Change]:
            asked.append(key)
            return SqliteStore.find(self.sqlite, kind, key)

        self.reopen(find=find)
        key = ("digest", kept.digest.hex())
        self.assertIsNone(self.learnt_token(kept))
        self.clock.advance(4.75)
        self.assertIsNone(self.tokens.learn(key))
        self.assertEqual(asked, [key])
        self.clock.advance(0.25)
        self.assertIsNone(self.learnt_token(kept))
        self.assertEqual(asked, [key, key])
        self.assertIsNotNone(self.tokens.learn(("id", kept.id)))
        self.assertIsNotNone(self.tokens.learn(("id", kept.id)), "only digests cannot come later")
        self.state.replace(self.state.load())
        self.assertIsNone(self.learnt_token(kept), "it is looked up again after everything was loaded")

    def test_few_tokens_are_all_in_memory(self) -> None:
        kept = [self.token()[1] for _ in range(2)]
        self.reopen(2)
        self.assertEqual((self.tokens.complete, self.tokens.all(), len(self.tokens)), (True, kept, 2))
        self.token()
        self.assertEqual((self.tokens.complete, len(self.tokens.all())), (False, 2), "one too many: one was dropped")
        self.reopen(2)
        self.assertEqual((self.tokens.complete, self.tokens.all(), len(self.tokens)), (False, [], 3))

    def test_what_was_used_longest_ago_is_dropped(self) -> None:
        one, two, three = (self.token()[1] for _ in range(3))
        self.assertEqual({token.id for token in self.tokens.all()}, {two.id, three.id})
        self.tokens.find(two.digest)
        self.assertIsNotNone(self.learnt_token(one))
        self.assertEqual({token.id for token in self.tokens.all()}, {one.id, two.id})

    def test_a_token_that_was_dropped_is_still_good(self) -> None:
        principal = self.principal(self.token()[1])
        for _ in range(2):
            self.token(BOB)
        self.assertEqual(len(self.tokens.all()), 2)
        self.assertTrue(self.tokens.good(principal))
        self.assertTrue(self.tokens.still_good(principal, 0))

    def principal(self, kept: ApiToken) -> Principal:
        return Principal(kept.owner.username, kept.owner.realm, grant=token_grant(kept))

    def test_attack_175_a_token_that_was_dropped_and_ends_is_good_no_more(self) -> None:
        ends: list[Any] = [lambda one: Removed(one.id), lambda one: RevokedUser("local", "alice", self.clock.seconds())]
        for end in ends:
            kept = self.token()[1]
            principal = self.principal(kept)
            for _ in range(2):
                self.token(BOB)
            self.assertIsNone(self.tokens.with_id(kept.id))
            self.assertTrue(self.tokens.good(principal))
            self.done(self.state.remove(end(kept)))
            self.assertFalse(self.tokens.good(principal))
            self.assertIsNone(self.learnt_token(kept))
            self.clock.advance(1)

    def test_attack_175_a_token_that_ends_while_it_is_looked_up_does_not_come_back(self) -> None:
        ends: list[Any] = [lambda one: Removed(one.id), lambda one: RevokedUser("local", "alice", self.clock.seconds())]
        for end in ends:
            kept = self.token()[1]
            self.reopen()
            self.state._thread._pool = manual = ManualThreads()
            looking = self.tokens.learn(("digest", kept.digest.hex()))
            assert looking is not None
            ended = self.state.remove(end(kept))
            manual.step()  # the look-up, which finds it
            self.done(looking)
            self.assertIsNone(self.tokens.find(kept.digest))
            self.assertEqual(self.tokens.all(), [])
            manual.step()
            self.done(ended)
            self.state._thread._pool = self.threads

    def test_attack_175_a_token_whose_end_cannot_be_written_is_not_found_again(self) -> None:
        kept = self.token()[1]
        self.reopen()
        self.patch(self.sqlite, "write", self.full)
        self.fails(Unavailable, self.state.remove(Removed(kept.id)))
        for _ in range(3):
            self.clock.advance(600)
            self.done(self.state.tend())
            self.assertIsNone(self.learnt_token(kept))
        self.state.replace(self.state.load())
        self.assertIsNone(self.learnt_token(kept))

    def full(self, changes: object) -> int:
        raise StateUnavailable("disk full")

    def test_attack_175_what_was_verified_before_a_gap_is_looked_up_again(self) -> None:
        kept = self.token()[1]
        principal = self.principal(kept)
        self.assertTrue(self.tokens.still_good(principal, self.tokens.epoch))
        epoch = self.tokens.epoch
        self.state.replace(self.state.load())
        self.tokens.removed()
        self.assertEqual(self.tokens.doubts, 1)
        self.assertFalse(self.tokens.still_good(principal, epoch))
        self.assertTrue(self.tokens.still_good(principal, self.tokens.epoch))
        self.assertIsNotNone(self.learnt_token(kept))
        self.assertTrue(self.tokens.still_good(principal, epoch))

    def test_a_store_that_does_not_answer_is_no_missing_token(self) -> None:
        kept = self.token()[1]
        self.reopen()
        self.sqlite.close()
        work = self.tokens.learn(("digest", kept.digest.hex()))
        assert work is not None
        self.fails(StateUnavailable, work)
        self.fails(StateUnavailable, self.tokens_of.make(ALICE, "x", None, None))

    def test_a_store_that_hangs_is_waited_for_two_seconds(self) -> None:
        self.state._thread._pool = ManualThreads()
        work = self.tokens.learn(("digest", "00"))
        assert work is not None
        self.clock.advance(1.99)
        self.assertNoResult(work)
        self.clock.advance(0.01)
        self.fails(StateUnavailable, work)

    def test_the_tokens_of_a_user(self) -> None:
        kept = [self.token()[1] for _ in range(5)]
        self.token(NAMESAKE)
        self.reopen()
        self.done(self.tokens_of.gather(ALICE))
        self.assertLessEqual(len(self.tokens.owned("local", "alice")), 5)
        self.reopen()
        self.tokens._index.most_kept = 10
        self.done(self.tokens_of.gather(ALICE))
        self.assertEqual(self.tokens.owned("local", "alice"), kept)
        self.assertEqual(self.done(self.tokens_of.remove(ALICE, kept[3].id)), kept[3])
        self.assertEqual(self.done(self.tokens.revoke_user("local", "alice")), [*kept[:3], kept[4]])

    def test_a_revocation_that_is_heard_once_more_ends_no_newer_token(self) -> None:
        user = RevokedUser("local", "alice", self.clock.seconds())
        self.done(self.state.remove(user))
        self.clock.advance(0.5)
        kept = self.token()[1]
        self.tokens.apply(user)
        self.assertIs(self.tokens.find(kept.digest), kept)

    def test_attack_39_tokens_that_were_made_while_the_clock_was_ahead_end_with_the_others(self) -> None:
        self.tokens._index.most_kept = 10
        ahead = mint("ci", ALICE, self.clock.seconds() + 3600, inf)[1]
        self.done(self.tokens.add(ahead))
        kept = self.token()[1]
        self.assertEqual(self.done(self.tokens.revoke_user("local", "alice")), [kept, ahead])
        self.assertEqual((self.learnt_token(kept), self.learnt_token(ahead)), (None, None))

    def test_what_cannot_be_counted_is_counted_with_the_next_token(self) -> None:
        self.patch(tokens_module, "MOST_PASSING", 3)
        self.tokens._index.most_kept = 10
        self.token(passing=True)
        self.assertEqual(self.tokens._unchecked, {("local", "alice"): 50})
        self.reopen(find=self.unreadable)
        self.token(passing=True)
        self.assertEqual(self.tokens._unchecked, {})

    def unreadable(self, kind: str, key: tuple[str, ...]) -> list[Change]:
        raise StateUnavailable("a record cannot be read")

    def test_no_more_tokens_than_allowed(self) -> None:
        self.patch(tokens_module, "MOST_PASSING", 3)
        self.patch(tokens_module, "_UNCHECKED", 2)
        self.tokens._index.most_kept = 10
        for _ in range(9):
            self.token(passing=True)
        page = Page(self.clock.seconds(), 100, passing=True)
        self.assertLessEqual(len(self.done(self.tokens.page(page))), 3 + 2)

    def test_lists_come_from_the_store(self) -> None:
        for name in ("a", "b", "c"):
            self.token(Principal(name, "local", (), "users"))
        self.token(NAMESAKE, passing=True)
        self.reopen()
        self.tokens._index.most_kept = 10

        def listed(**more: Any) -> list[str]:
            page = self.done(self.tokens.page(Page(**{"now": self.clock.seconds(), "most": 10, **more})))
            return [one.owner.username for one in page]

        self.assertEqual(listed(), ["a", "b", "c"])
        self.assertEqual(listed(passing=True, latest=True), ["alice", "c", "b", "a"])
        self.assertEqual(listed(most=1, first=1), ["b"])
        self.assertEqual(listed(user="c"), ["c"])
        self.assertEqual(listed(realm="corp"), [])
        self.assertEqual(listed(now=inf), [])
        self.reopen()
        shown = self.done(list_tokens([], self.tokens, None, "corp", passing=True))
        self.assertEqual([one["username"] for one in shown["tokens"]], ["alice"])
        self.fails(ValueError, list_tokens([], self.tokens, None, "nowhere", passing=True))

    def test_a_command_without_a_gateway_looks_up_too(self) -> None:
        text, kept = self.token()
        state = DirectState(self.opened(), STATE_KINDS, self.clock.seconds)
        tokens = state.view(TOKENS)
        self.assertEqual(tokens.all(), [])
        revoker = Revoker(tokens, None, self.stored, news_of_tokens(tokens.learn))
        self.assertEqual(self.done(revoker.end(text, "")), ALICE)
        self.fails(InvalidToken, revoker.end(text, ""))
        self.reopen()
        self.assertIsNone(self.learnt_token(kept))


class SessionTests(PartialCase):
    def test_a_session_is_found_when_it_is_wanted(self) -> None:
        kept = self.added()
        self.reopen()
        self.assertIsNone(self.stored.find(kept.digest))
        self.assertEqual(self.learnt(kept.digest), kept)
        self.assertIsNone(self.learnt(session().digest))

    def test_the_last_use_is_found_with_it(self) -> None:
        kept = self.added()
        self.stored.grant(kept).use.at = START + 100  # type: ignore[union-attr]
        self.clock.advance(100)
        self.done(self.stored.keep_uses())
        self.reopen()
        self.learnt(kept.digest)
        self.assertEqual(self.stored.seen_at(kept.id), START + 100)

    def test_a_family_comes_and_goes_together(self) -> None:
        cookie, parent = self.begin()
        child = self.done(self.book.begin_child(parent.id, address="", agent="", old=None, key=b"k" * 32))[1]
        for found in (parent, child):
            self.reopen()
            self.learnt(found.digest)
            self.assertEqual(self.stored.root(child), parent)
            self.assertEqual(self.stored.children(parent), [child])
        for _ in range(2):
            self.added(owner=BOB)
        self.assertEqual((self.stored.with_id(parent.id), self.stored.with_id(child.id)), (None, None))
        self.assertTrue(self.stored.lost(child))
        self.assertRaises(StateUnavailable, self.stored.check_kept, child)
        self.done(self.stored.end_sign_in(child))
        self.assertFalse(self.stored.lost(child))
        self.stored.check_kept(child)
        self.assertEqual((self.learnt(parent.digest), self.learnt(child.digest)), (None, None))
        self.assertIsNone(self.book.current(cookie))

    def used(self, kept: Session) -> Principal:
        return Principal(kept.owner.username, kept.owner.realm, grant=self.stored.grant(kept))

    def test_a_use_survives_that_the_session_was_dropped(self) -> None:
        kept = self.added()
        principal = self.used(kept)
        assert principal.grant is not None
        use = principal.grant.use
        assert use is not None
        for _ in range(2):
            self.added(owner=BOB)
        self.assertTrue(self.stored.good(principal))
        self.assertIsNone(self.stored.use(kept.id))
        use.at = START + 70
        self.clock.advance(70)
        self.assertEqual(self.stored.unkept_uses(10), [])
        self.done(self.stored.keep_uses())
        self.learnt(kept.digest)
        self.assertIs(self.stored.use(kept.id), use)
        self.reopen()
        self.learnt(kept.digest)
        self.assertEqual(self.stored.seen_at(kept.id), START + 70)

    def test_uses_that_other_workers_have_seen_count_for_sessions_that_are_not_in_memory(self) -> None:
        kept = self.added(idle=30.0)
        self.reopen()
        self.stored.heard_uses([(kept.id, START + 20, 0.0)])
        self.clock.advance(40)
        self.learnt(kept.digest)
        self.assertEqual(self.stored.ends(kept), START + 50)

    def test_attack_176_a_session_that_was_dropped_and_ends_is_good_no_more(self) -> None:
        kept = self.added()
        child = session()
        ends: list[Any] = [
            lambda: self.stored.end(kept),
            lambda: self.stored.end_user("local", "alice"),
            lambda: self.stored.end_vouched("corp", "alice-1", ""),
            lambda: self.stored.end_vouched("corp", "", "sid-1"),
        ]
        for end in ends:
            now = self.clock.seconds()
            _, kept = self.begin(origin=Origin("", THERE))
            child = self.done(self.book.begin_child(kept.id, address="", agent="", old=None, key=b"k" * 32))[1]
            users = [self.used(one) for one in (kept, child)]
            for _ in range(2):
                self.added(owner=BOB, created=now)
            self.assertIsNone(self.stored.with_id(kept.id))
            self.assertEqual([self.stored.good(one) for one in users], [True, True])
            self.done(end())
            self.assertEqual([self.stored.good(one) for one in users], [False, False])
            self.assertEqual((self.learnt(kept.digest), self.learnt(child.digest)), (None, None))
            self.clock.advance(10)

    def test_attack_176_a_session_that_ends_while_it_is_looked_up_does_not_come_back(self) -> None:
        ends: list[Any] = [
            lambda one: self.stored.end(one),
            lambda one: self.stored.end_user("local", "alice"),
            lambda one: self.stored.end_vouched("corp", "", "sid-1"),
        ]
        for end in ends:
            _, kept = self.begin(origin=Origin("", THERE))
            child = self.done(self.book.begin_child(kept.id, address="", agent="", old=None, key=b"k" * 32))[1]
            for wanted in (kept, child):
                self.reopen()
                self.state._thread._pool = manual = ManualThreads()
                looking = self.stored.learn(("digest", wanted.digest.hex()))
                assert looking is not None
                manual.step()
                ended = end(kept)
                while manual.jobs:
                    manual.step()
                self.done(looking)
                self.assertIsNone(self.stored.find(wanted.digest))
                self.assertEqual(self.stored.all(), [])
                self.done(ended)
                self.clock.advance(10)
                _, kept = self.begin_again()
                child = self.done(self.book.begin_child(kept.id, address="", agent="", old=None, key=b"k" * 32))[1]
            self.done(self.stored.end_user("local", "alice"))
            self.clock.advance(10)

    def begin_again(self) -> tuple[bytes, Session]:
        self.reopen()
        return self.begin(
            origin=Origin("", Vouched("corp", "https://id.example", "alice-1", "sid-1" + str(self.clock.seconds())))
        )

    def test_attack_177_a_renewal_during_a_look_up_is_not_undone(self) -> None:
        _, kept = self.begin(origin=Origin("", THERE, b"secret", Renewal(START + 10)))
        self.reopen()
        self.state._thread._pool = manual = ManualThreads()
        owner = Principal("alice", "local", ("dev",), "users")
        looking = self.stored.learn(("digest", kept.digest.hex()))
        assert looking is not None
        manual.step()  # it is read
        self.stored.apply(Renewed(kept.id, owner, THERE, b"new", Renewal(START + 99)))  # another worker has written this
        self.sqlite.write([Renewed(kept.id, owner, THERE, b"new", Renewal(START + 99))])
        while manual.jobs:
            manual.step()
        self.done(looking)
        found = self.stored.find(kept.digest)
        assert found is not None
        self.assertEqual((found.owner.roles, found.sealed, found.renewal), (("dev",), b"new", Renewal(START + 99)))

    def test_attack_177_roles_that_were_lost_while_a_session_was_not_in_memory_are_lost(self) -> None:
        _, kept = self.begin(origin=Origin("", THERE, b"secret", Renewal(START + 10)))
        principal = self.used(kept)
        for _ in range(2):
            self.added(owner=BOB)
        owner = Principal("alice", "local", (), "users")
        self.done(self.stored.renew(Renewed(kept.id, owner, THERE, b"new", Renewal(START + 99))))
        found = self.learnt(kept.digest)
        assert found is not None
        self.assertEqual(found.owner.roles, ())
        assert principal.grant is not None
        self.assertIsNot(self.stored.use(kept.id), principal.grant.use, "what is remembered of it counts no more")

    def test_how_many_there_are(self) -> None:
        for _ in range(5):
            self.added()
        self.assertEqual(len(self.stored), 5)
        self.sqlite.write([session()])
        self.clock.advance(600)
        self.done(self.state.tend())
        self.assertEqual(len(self.stored), 6)

    def test_a_gap_keeps_what_is_in_use(self) -> None:
        kept = self.added()
        principal = self.used(kept)
        self.state.replace(self.state.load())
        self.assertIsNone(self.stored.with_id(kept.id))
        self.assertTrue(self.stored.good(principal))
        self.done(self.stored.end(kept))
        self.assertFalse(self.stored.good(principal))

    def test_grants_of_what_is_not_known_are_not_good(self) -> None:
        kept = session()
        stranger = Principal("alice", "local", grant=grant_of(kept, self.stored._index.uses.get("") or _use()))
        self.assertFalse(self.stored.good(stranger))


def _use() -> Any:
    from perimeter.model import SessionUse

    return SessionUse(START)


class BookTests(PartialCase):
    """Books and lists, with room for all that they look up at a time."""

    kept = 30

    def test_the_book_looks_up_what_it_needs(self) -> None:
        sessions = [self.begin() for _ in range(3)]
        ids = [one.id for _, one in sessions]
        self.reopen()
        self.done(self.book.gather(ALICE))
        self.assertEqual([one.id for one in self.book.owned(ALICE)], ids)
        for work in (
            lambda: self.book.end(ALICE, ids[0]),
            lambda: self.book.end_cookie(sessions[1][0]),
            lambda: end_sessions(["local"], self.stored, [ids[2]], None),
        ):
            self.reopen()
            self.assertIsNotNone(self.done(work()))
        self.reopen()
        self.done(self.book.gather(ALICE))
        self.assertEqual(self.book.owned(ALICE), [])
        self.fails(NoSuchSession, self.book.end(ALICE, ids[0]))

    def test_the_oldest_ends_and_the_earlier_one_of_the_browser(self) -> None:
        cookies = [self.begin()[0] for _ in range(20)]
        self.reopen()
        self.begin()
        self.assertIsNone(self.learnt(digest_of(cookies[0])))
        self.reopen()
        self.begin(old=cookies[5])
        self.assertIsNone(self.learnt(digest_of(cookies[5])))
        self.done(self.book.end_others(ALICE, "none"))
        self.assertEqual(self.done(self.stored.page(Page(self.clock.seconds(), 10))), [])

    def test_all_of_a_provider_end(self) -> None:
        for sid in ("", "sid-1"):
            _, kept = self.begin(origin=Origin("", THERE))
            self.reopen()
            ended = self.done(self.book.end_vouched("corp", "alice-1", sid))
            self.assertEqual([one.id for one in ended], [kept.id])
            self.clock.advance(1)

    def test_lists_come_from_the_store(self) -> None:
        first, bobs = self.added(), self.added(owner=BOB, created=START + 1)
        over = self.added(idle=5.0)
        _, parent = self.begin(owner=NAMESAKE)
        self.done(self.book.begin_child(parent.id, address="", agent="", old=None, key=b"k" * 32))
        self.clock.advance(6)
        self.reopen()

        def listed(**more: Any) -> list[str]:
            page = self.done(self.stored.page(Page(**{"now": self.clock.seconds(), "most": 10, **more})))
            return [one.id for one in page]

        self.assertEqual(listed(), [first.id, parent.id, bobs.id])
        self.assertEqual(listed(latest=True, most=1), [bobs.id])
        self.assertEqual(listed(user="alice", realm="local"), [first.id])
        self.assertNotIn(over.id, listed())
        self.assertEqual(self.stored.children(parent)[0].parent, parent.id)
        shown = self.done(list_sessions([], self.stored, None, "corp"))["sessions"]
        self.assertEqual([one["id"] for one in shown], [parent.id])
        self.fails(ValueError, list_sessions([], self.stored, None, "nowhere"))


class StateTests(PartialCase):
    def test_equal_look_ups_are_one(self) -> None:
        asked: list[Any] = []
        self.reopen(find=lambda *what: asked.append(what) or [])
        self.state._thread._pool = manual = ManualThreads()
        looking = [self.state.find("tokens", ("id", name)) for name in ("a", "b", "b", "c", "c")]
        manual.step()
        manual.step()
        self.assertEqual(asked, [("tokens", ("id", name)) for name in ("a", "b", "c")])
        self.assertEqual([self.done(one) for one in looking], [[]] * 5)

    def test_a_look_up_that_fails_fails_alone(self) -> None:
        def find(kind: str, key: tuple[str, ...]) -> list[Any]:
            if key == ("id", "b"):
                raise StateUnavailable("unreadable")
            return []

        self.reopen(find=find)
        self.state._thread._pool = manual = ManualThreads()
        looking = [self.state.find("tokens", ("id", name)) for name in ("a", "b", "c")]
        manual.step()
        manual.step()
        self.assertEqual([self.done(looking[0]), self.done(looking[2])], [[], []])
        self.fails(StateUnavailable, looking[1])

    def test_records_that_change_all_the_time_are_unavailable(self) -> None:
        _, kept = self.begin(origin=Origin("", THERE, b"secret", Renewal(START + 10)))
        find = self.sqlite.find

        def changing(kind: str, key: tuple[str, ...]) -> Any:
            self.stored.apply(Renewed(kept.id, ALICE, THERE, b"", Renewal(START)))
            return find(kind, key)

        self.reopen(find=changing)
        work = self.stored.learn(("digest", kept.digest.hex()))
        assert work is not None
        self.fails(StateUnavailable, work)

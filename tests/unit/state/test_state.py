"""The state: what is kept, what is revoked, and that neither a disk nor another process brings back a removed entry."""

from __future__ import annotations

import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from ipaddress import ip_network
from math import inf
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock
from twisted.trial import unittest
from zope.interface.verify import verifyObject

from perimeter.errors import ExpiredToken, InvalidToken, Overloaded, StartupError, Unavailable
from perimeter.model import Grant, GrantKind, Principal, Restriction
from perimeter.offload import GRACE, Offload
from perimeter.run.build.state_kinds import STATE_KINDS
from perimeter.state import sqlite as sqlite_module
from perimeter.state import state as state_module
from perimeter.state import write_queue
from perimeter.state.changes import Change, Cursor, Gap, Held
from perimeter.state.memory import MemoryStore
from perimeter.state.sqlite import SqliteStore
from perimeter.state.state import State
from perimeter.state.store import IStateStore
from perimeter.tokens import stored as stored_module
from perimeter.tokens.api_token import ApiToken, ApiTokenVerifier, digest_of, mint
from perimeter.tokens.revocation import Removed, RevokedGrant, RevokedUser
from perimeter.tokens.stored import TOKENS
from tests.unit.doubles.auth import ImmediateThreads, ManualThreads, ThreadClock

ALICE = Principal("alice", "local", ("admin", "a,b"), "users", {"team": "rød"}, {"svc": ("read",)})
LIMITS = Restriction(frozenset(("app",)), frozenset(("GET",)), (ip_network("192.0.2.0/24"), ip_network("2001:db8::/32")))


def token(name: str = "ci", owner: Principal = ALICE, *, expires: float = inf, passing: bool = False) -> ApiToken:
    return mint(name, owner, 0.0, expires, LIMITS, passing=passing)[1]


class SqliteTests(unittest.TestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.now = 10000.0
        self.store = self.open()

    def open(self) -> SqliteStore:
        store = SqliteStore(self.directory, STATE_KINDS, lambda: self.now)
        self.addCleanup(store.close)
        return store

    def held(self, store: SqliteStore | None = None) -> list[Change]:
        """The contents of the store: revoked users, revoked grants, API tokens."""
        return list((store or self.store).load()[0]["tokens"])

    def test_both_stores_are_stores(self) -> None:
        verifyObject(IStateStore, self.store)
        verifyObject(IStateStore, MemoryStore())

    def test_everything_comes_back_as_it_was(self) -> None:
        kept, passing = token(), token("", passing=True, expires=9.5)
        grant, user = RevokedGrant("jti", 7.0), RevokedUser("local", "bob", 3.0, 8.0)
        self.store.write([kept, passing, grant, user])
        self.store.close()
        held = self.held(self.open())
        self.assertEqual(held, [user, grant, kept, passing])
        assert isinstance(held[2], ApiToken)
        owner = held[2].owner
        self.assertEqual((owner.attributes, owner.scopes, owner.authenticator), (ALICE.attributes, ALICE.scopes, "users"))

    def test_the_token_itself_is_not_kept(self) -> None:
        text, kept = mint("ci", ALICE, 0.0, inf)
        self.store.write([kept])
        raw = b"".join(path.read_bytes() for path in self.directory.iterdir())
        self.assertIn(kept.digest, raw)
        self.assertNotIn(text.encode(), raw)
        self.assertNotIn(text.split("_", 1)[1].encode(), raw)
        self.assertNotIn(kept.digest.hex(), repr(kept))

    def test_all_or_nothing(self) -> None:
        kept = token()
        self.store.write([kept])
        with self.assertRaises(Unavailable):
            self.store.write([Removed(kept.id), token("other"), kept, kept])
        self.assertEqual(self.held(), [kept])

    def test_what_has_ended_is_dropped(self) -> None:
        self.store.write([token(expires=5.0), RevokedGrant("j", 5.0), RevokedUser("r", "u", 1.0, 5.0)])
        self.store.forget(4.0)
        self.assertEqual(len(self.held()), 3)
        self.store.forget(5.0)
        self.assertEqual(self.held(), [])

    def test_no_other_user_may_read_it(self) -> None:
        self.store.write([token()])
        for path in self.directory.iterdir():
            self.assertEqual(path.stat().st_mode & 0o777, 0o600, path.name)
        self.store.close()
        self.store.path.chmod(0o644)
        with self.assertRaisesRegex(StartupError, "chmod 600"):
            self.open()

    def test_attack_41_a_damaged_file_stops_the_start(self) -> None:
        self.store.close()
        self.store.path.write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
        with self.assertRaisesRegex(StartupError, r"state\.db: cannot be used"):
            self.open()
        self.store.path.write_bytes(b"not a database" * 100)
        with self.assertRaisesRegex(StartupError, r"state\.db: cannot be used"):
            self.open()

    def test_attack_41_a_row_that_cannot_be_read_stops_the_start(self) -> None:
        self.store.write([token()])
        with sqlite3.connect(self.store.path) as db:
            db.execute("UPDATE api_token SET restriction = '{'")
        db.close()
        with self.assertRaises(StartupError):
            self.open().load()

    def test_attack_41_a_file_of_another_user(self) -> None:
        if os.geteuid():
            raise unittest.SkipTest("only root can give a file away")
        os.chown(self.store.path, 12345, 12345)
        with self.assertRaisesRegex(StartupError, "belongs to user 12345, not to user 0"):
            self.open()
        os.chown(self.directory, 12345, 12345)
        self.open()

    def test_what_the_administrator_makes_is_the_gateways(self) -> None:
        if os.geteuid():
            raise unittest.SkipTest("only root can give a file away")
        other = self.directory / "other"
        other.mkdir()
        os.chown(other, 12345, 23456)
        store = SqliteStore(other, STATE_KINDS)
        store.write([token()])
        self.assertEqual({(path.stat().st_uid, path.stat().st_gid) for path in other.iterdir()}, {(12345, 23456)})
        store.close()

    def test_a_newer_format_is_left_alone(self) -> None:
        with sqlite3.connect(self.store.path) as db:
            db.execute("PRAGMA user_version = 99")
        db.close()
        with self.assertRaisesRegex(StartupError, "newer version"):
            self.open()

    def test_a_link_in_its_place(self) -> None:
        self.store.close()
        moved = self.store.path.rename(self.directory / "elsewhere")
        self.store.path.symlink_to(moved)
        with self.assertRaises(StartupError):
            self.open()

    def test_attack_39_a_user_revoked_again_gets_nothing_back(self) -> None:
        """Neither a clock that was set back nor a shorter lifetime of tokens ends a revocation early."""
        self.store.write([RevokedUser("local", "bob", 100.0, 900.0)])
        self.store.write([RevokedUser("local", "bob", 50.0, 60.0)])
        self.assertEqual(self.held(), [RevokedUser("local", "bob", 100.0, 900.0)])
        self.store.write([RevokedUser("local", "bob", 200.0)])
        self.assertEqual(self.held(), [RevokedUser("local", "bob", 200.0, inf)])
        self.store.forget(1e12)
        self.assertEqual(len(self.held()), 1)

    def test_attack_39_a_token_that_is_written_after_its_user_was_revoked(self) -> None:
        early, late = mint("ci", ALICE, 99.0, inf)[1], mint("ci", ALICE, 101.0, inf)[1]
        self.store.write([token(), RevokedUser("local", "alice", 100.0)])
        self.store.write([early, late])
        self.assertEqual(self.held()[1:], [late])

    def test_attack_41_a_transaction_that_cannot_be_ended_is_not_the_last(self) -> None:
        class Full:
            """The disk is full at the end of one transaction."""

            def __init__(self, db: sqlite3.Connection) -> None:
                self.db = db
                self.commits = 0

            def execute(self, sql: str, *values: object) -> sqlite3.Cursor:
                self.commits += sql == "COMMIT"
                if sql == "COMMIT" and self.commits == 1:
                    raise sqlite3.OperationalError("database or disk is full")
                return self.db.execute(sql, *values)

            @property
            def in_transaction(self) -> bool:
                return self.db.in_transaction

        self.patch(self.store, "_db", Full(self.store._db))
        kept = token()
        with self.assertRaises(Unavailable):
            self.store.write([token()])
        self.store.write([kept])
        self.assertEqual(self.held(), [kept])
        self.store._db = self.store._db.db  # type: ignore[attr-defined]

    def test_attack_41_a_file_that_is_replaced(self) -> None:
        moved = self.store.path.rename(self.directory / "moved.db")
        for _ in range(2):
            with self.assertRaisesRegex(Unavailable, "replaced or removed"):
                self.store.write([token()])
            for asked in (lambda: self.store.since(0), lambda: self.store.forget(0.0)):
                self.assertRaises(Unavailable, asked)
            self.store.path.touch()
        self.store.path.unlink()
        self.store.path.symlink_to(moved.absolute())
        with self.assertRaisesRegex(Unavailable, "replaced or removed"):
            self.store.write([token()])
        moved.rename(self.store.path)
        self.store.write([token()])

    def test_a_full_disk_is_unavailable(self) -> None:
        self.store._db.execute("PRAGMA max_page_count = 1")
        with self.assertRaises(Unavailable):
            self.store.write([token(f"t{number}") for number in range(100)])
        self.assertEqual(self.held(), [])


class FlakyStore(MemoryStore):
    """Keeps a list of what was written, and fails when a test asks for it."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[list[Change]] = []
        self.fails = False
        #: the entries of the log after the cursor, the entries that are loaded after a gap, and the dropped ones
        self.log: list[Change] = []
        self.elsewhere: list[Change] | None = None
        self.dropped: list[float] = []

    def write(self, changes: Sequence[Change]) -> Cursor:
        if self.fails:
            raise Unavailable("disk full")
        self.written.append(list(changes))
        self.log += changes
        return super().write(changes)

    def others_write(self, *changes: Change) -> None:
        """Another process has written these."""
        self.log += changes
        super().write(changes)

    def since(self, cursor: Cursor) -> Any:
        if self.elsewhere is not None:
            return Gap()
        return self.log[cursor:][: sqlite_module.BATCH], min(len(self.log), cursor + sqlite_module.BATCH)

    def load(self) -> tuple[Held, Cursor]:
        held, self.elsewhere = self.elsewhere, None
        return {"tokens": held or []}, len(self.log)

    def forget(self, now: float) -> None:
        self.dropped.append(now)


class StateCase(unittest.TestCase):
    threads_class: type[ManualThreads] = ImmediateThreads

    def setUp(self) -> None:
        self.clock = ThreadClock()
        self.threads = self.threads_class()
        self.store = FlakyStore()
        self.state = State(self.store, STATE_KINDS, self.clock, Offload(self.clock, threads=1, pool=self.threads))
        self.state.replace(self.state.load())
        self.state.start()
        self.tokens = self.state.view(TOKENS)
        self.told: list[int] = []
        self.state.on_removed.add(lambda: self.told.append(self.tokens.epoch))

    def grant_of(self, kept: ApiToken) -> Principal:
        return Principal("alice", "local", grant=Grant(kept.id, 0.0, kept.expires, GrantKind.API_TOKEN))

    def access(self, jti: str = "jti", issued: float = 0.0, expires: float = 90000.0, username: str = "alice") -> Principal:
        return Principal(username, "local", grant=Grant(jti, issued, expires))


class StateTests(StateCase):
    def test_an_api_token_is_known_until_it_is_removed(self) -> None:
        kept = token()
        self.successResultOf(self.tokens.add(kept))
        self.assertIs(self.tokens.find(kept.digest), kept)
        self.assertEqual(self.tokens.owned("local", "alice"), [kept])
        self.assertTrue(self.tokens.good(self.grant_of(kept)))
        self.assertEqual(self.told, [])
        self.successResultOf(self.tokens.remove(kept))
        self.assertIsNone(self.tokens.find(kept.digest))
        self.assertEqual(self.tokens.owned("local", "alice"), [])
        self.assertFalse(self.tokens.good(self.grant_of(kept)))
        self.assertEqual(self.told, [1])
        self.assertEqual(self.store.written, [[kept], [Removed(kept.id)]])

    def test_attack_37_realms_are_kept_apart(self) -> None:
        self.successResultOf(self.tokens.add(token(owner=Principal("alice", "elsewhere"))))
        self.assertEqual(self.tokens.owned("local", "alice"), [])

    def test_expired_ones_are_not_listed(self) -> None:
        self.successResultOf(self.tokens.add(token(expires=10.0)))
        self.clock.advance(10)
        self.assertEqual(self.tokens.owned("local", "alice"), [])

    def test_attack_39_an_api_token_ends_at_its_second(self) -> None:
        text, kept = mint("ci", ALICE, 0.0, 10.0)
        self.successResultOf(self.tokens.add(kept))
        verifier = ApiTokenVerifier(self.tokens, self.clock)
        self.clock.advance(9.75)
        self.assertIs(verifier.verify(text), kept)
        self.clock.advance(0.25)
        self.assertRaises(ExpiredToken, verifier.verify, text)
        self.assertRaises(InvalidToken, verifier.verify, mint("ci", ALICE, 0.0, inf)[0])
        self.assertRaises(InvalidToken, ApiTokenVerifier(None, self.clock).verify, text)

    def test_an_access_token_is_revoked_by_its_jti(self) -> None:
        self.assertTrue(self.tokens.good(self.access()))
        grant = self.access().grant
        assert grant is not None
        self.successResultOf(self.tokens.revoke(grant))
        self.assertFalse(self.tokens.good(self.access()))
        self.assertTrue(self.tokens.good(self.access("other")))
        self.assertTrue(self.tokens.good(Principal("alice", "local")), "a user who came with a password")

    def test_a_user_loses_every_token_of_both_kinds(self) -> None:
        kept, other = token(), token(owner=Principal("bob", "local"))
        for one in (kept, other):
            self.successResultOf(self.tokens.add(one))
        self.clock.advance(100)
        self.assertEqual(self.successResultOf(self.tokens.revoke_user("local", "alice")), [kept])
        self.assertFalse(self.tokens.good(self.grant_of(kept)))
        self.assertTrue(self.tokens.good(self.grant_of(other)))
        self.assertFalse(self.tokens.good(self.access(issued=100.0)))
        self.assertTrue(self.tokens.good(self.access(issued=101.0)), "a later one")
        self.assertTrue(self.tokens.good(self.access(issued=100.0, username="bob")))

    def test_what_has_ended_is_forgotten(self) -> None:
        self.successResultOf(self.tokens.add(token(expires=5000.0)))
        grant = self.access(expires=7000.0).grant
        assert grant is not None
        self.successResultOf(self.tokens.revoke(grant))
        self.tokens._index.apply(RevokedUser("local", "bob", 0.0, 5000.0))
        self.clock.advance(6999)
        self.successResultOf(self.state.tend())
        self.assertFalse(self.tokens.good(self.access(expires=7000.0)))
        self.clock.advance(7201)
        self.successResultOf(self.state.tend())
        index = self.tokens._index
        self.assertEqual(
            (index.by_digest, index.named, index.passing, index.by_id, index.grants.hours, index.users), ({}, {}, {}, {}, {}, {})
        )
        self.assertEqual(self.store.dropped, [6999.0, 14200.0])

    def test_what_has_ended_is_dropped_every_ten_minutes(self) -> None:
        for step, dropped in ((599.75, []), (0.25, [600.0]), (599.75, [600.0]), (0.25, [600.0, 1200.0])):
            self.clock.advance(step)
            self.successResultOf(self.state.tend())
            self.assertEqual(self.store.dropped, dropped)

    def test_passing_tokens_are_bounded(self) -> None:
        self.patch(stored_module, "MOST_PASSING", 3)
        named = token()
        self.successResultOf(self.tokens.add(named))
        passing = [token(f"{number}", passing=True) for number in range(5)]
        for one in passing:
            self.successResultOf(self.tokens.add(one))
        self.assertEqual(self.tokens.owned("local", "alice"), [named, *passing[2:]])


class FailingTests(StateCase):
    """A disk whose operations fail."""

    def test_attack_41_what_cannot_be_written_was_not_given(self) -> None:
        self.store.fails = True
        kept = token()
        self.failureResultOf(self.tokens.add(kept), Unavailable)
        self.assertIsNone(self.tokens.find(kept.digest))

    def test_attack_41_what_cannot_be_written_is_revoked_all_the_same(self) -> None:
        kept = token()
        self.successResultOf(self.tokens.add(kept))
        self.store.fails = True
        self.failureResultOf(self.tokens.remove(kept), Unavailable)
        self.assertFalse(self.tokens.good(self.grant_of(kept)))
        self.successResultOf(self.state.tend())
        self.assertEqual(self.store.written, [[kept]])
        self.store.fails = False
        self.successResultOf(self.state.tend())
        self.assertEqual(self.store.written, [[kept], [Removed(kept.id)]])
        self.successResultOf(self.state.tend())
        self.assertEqual(len(self.store.written), 2)

    def test_attack_41_what_is_owed_is_written_before_the_end(self) -> None:
        kept = token()
        self.successResultOf(self.tokens.add(kept))
        self.store.fails = True
        self.failureResultOf(self.tokens.remove(kept), Unavailable)
        self.assertEqual(self.state.problem(), "1 revocations are in force, but not on disk yet")
        self.store.fails = False
        self.successResultOf(self.state.stop())
        self.assertEqual(self.store.written, [[kept], [Removed(kept.id)]])
        self.assertEqual(self.state.problem(), "")

    def test_an_unforeseen_error_is_unavailable_too(self) -> None:
        self.patch(self.store, "write", lambda changes: 1 / 0)
        self.failureResultOf(self.tokens.add(token()), Unavailable)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_a_picture_that_cannot_be_read_changes_nothing(self) -> None:
        kept = token()
        self.successResultOf(self.tokens.add(kept))

        def damaged() -> tuple[Held, Cursor]:
            raise StartupError("state.db: cannot be used")

        self.store.elsewhere = []
        self.patch(self.store, "load", damaged)
        for _ in range(3):
            self.successResultOf(self.state.follow())
        self.assertIs(self.tokens.find(kept.digest), kept)


class OrderTests(StateCase):
    """While one change is being written, others are requested."""

    threads_class = ManualThreads

    def test_what_comes_meanwhile_is_written_together(self) -> None:
        tokens = [token(f"{number}") for number in range(4)]
        waiting = [self.tokens.add(one) for one in tokens]
        self.threads.step()
        self.successResultOf(waiting[0])
        self.assertNoResult(waiting[1])
        self.assertIsNone(self.tokens.find(tokens[1].digest), "not before it is written")
        self.threads.step()
        for one in waiting[1:]:
            self.successResultOf(one)
        self.assertEqual(self.store.written, [tokens[:1], tokens[1:]])

    def test_attack_39_revoked_at_once_and_confirmed_when_written(self) -> None:
        grant = self.access().grant
        assert grant is not None
        waiting = self.tokens.revoke(grant)
        self.assertFalse(self.tokens.good(self.access()))
        self.assertEqual(self.told, [1])
        self.assertNoResult(waiting)
        self.threads.step()
        self.successResultOf(waiting)

    def test_attack_23_who_leaves_is_counted_all_the_same(self) -> None:
        """A change for a client that has left is in the file, so it must be in memory as well."""
        kept = token()
        adding = self.tokens.add(kept)
        self.assertEqual(self.tokens.count("local", "alice"), 1)
        adding.cancel()
        self.failureResultOf(adding, CancelledError)
        self.assertEqual(self.tokens.count("local", "alice"), 1)
        self.threads.step()
        self.assertEqual((self.store.written, self.tokens.find(kept.digest)), ([[kept]], kept))
        self.assertEqual(self.tokens.count("local", "alice"), 1)
        removing = self.tokens.remove(kept)
        removing.cancel()
        self.failureResultOf(removing, CancelledError)
        self.threads.step()
        self.successResultOf(self.state.tend())
        self.assertEqual(self.store.written, [[kept], [Removed(kept.id)]], "once")
        self.assertEqual((self.tokens.count("local", "alice"), dict(self.tokens._coming)), (0, {}))

    def test_attack_41_the_end_waits_for_what_is_being_written(self) -> None:
        kept, other = token(), token()
        adding = [self.tokens.add(kept), self.tokens.add(other)]
        stopping = self.state.stop()
        self.assertNoResult(stopping)
        self.threads.step()
        self.threads.step()
        self.assertNoResult(stopping)
        self.threads.step()  # the store is closed
        for one in (*adding, stopping):
            self.successResultOf(one)
        self.assertEqual(self.store.written, [[kept], [other]])
        self.failureResultOf(self.tokens.add(token()), Unavailable)

    def test_the_end_does_not_wait_for_ever(self) -> None:
        self.tokens.add(token())
        stopping = self.state.stop()
        self.clock.advance(10)
        self.assertNoResult(stopping)
        self.clock.advance(GRACE - 0.25)
        self.assertNoResult(stopping)
        self.clock.advance(0.25)
        self.successResultOf(stopping)
        self.threads.step()

    def test_attack_23_too_many_at_once(self) -> None:
        self.patch(write_queue, "MOST_WAITING", 2)
        waiting = [self.tokens.add(token()) for _ in range(3)]  # one under way, two waiting
        self.failureResultOf(self.tokens.add(token()), Overloaded)
        grant = self.access().grant
        assert grant is not None
        waiting.append(self.tokens.revoke(grant))  # never refused
        self.threads.step()
        self.threads.step()
        for one in waiting:
            self.successResultOf(one)

    def test_attack_23_a_thousand_additions_wait_and_no_more(self) -> None:
        for _ in range(1001):  # one under way, a thousand waiting
            self.assertNoResult(self.tokens.add(token()))
        self.failureResultOf(self.tokens.add(token()), Overloaded)
        self.threads.step()
        self.threads.step()

    def step_all(self) -> None:
        while self.threads.jobs:
            self.threads.step()

    def test_attack_39_a_gap_brings_nothing_back(self) -> None:
        """A change that is being written while the store is read is missing from the result."""
        kept, theirs = token(), token("theirs")
        adding = self.tokens.add(kept)
        self.threads.step()
        self.successResultOf(adding)
        grant = self.access().grant
        assert grant is not None
        self.store.elsewhere = [kept, theirs]
        following = self.state.follow()
        self.threads.step()  # a gap
        removing, revoking = self.tokens.remove(kept), self.tokens.revoke(grant)
        self.threads.step()  # everything is read, with the token still in it
        self.successResultOf(following)
        self.assertIs(self.tokens.find(theirs.digest), theirs)
        self.assertFalse(self.tokens.good(self.grant_of(kept)))
        self.assertIsNone(self.tokens.find(kept.digest))
        self.assertFalse(self.tokens.good(self.access()))
        self.step_all()
        self.successResultOf(removing)
        self.successResultOf(revoking)

    def test_a_token_that_is_added_while_the_store_is_read_is_kept(self) -> None:
        self.store.elsewhere = []
        following = self.state.follow()
        self.threads.step()
        kept = token()
        adding = self.tokens.add(kept)
        self.threads.step()
        self.successResultOf(following)
        self.threads.step()
        self.successResultOf(adding)
        self.assertIs(self.tokens.find(kept.digest), kept)

    def test_attack_39_the_log_brings_nothing_back(self) -> None:
        """The log has a token that is being removed here."""
        kept = token()
        self.store.others_write(kept)
        following = self.state.follow()
        self.step_all()
        self.successResultOf(following)
        self.store.others_write(token("theirs"), kept)  # the state before the removal
        following = self.state.follow()
        removing = self.tokens.remove(kept)
        self.threads.step()
        self.assertIsNone(self.tokens.find(kept.digest))
        self.step_all()
        self.successResultOf(following)
        self.successResultOf(removing)
        self.assertIsNone(self.tokens.find(kept.digest))

    def test_attack_39_two_readers_at_once_bring_nothing_back(self) -> None:
        """Each read begins where the previous one ended."""
        self.patch(sqlite_module, "BATCH", 1)
        kept = token()
        self.store.others_write(kept, Removed(kept.id))
        following = [self.state.follow() for _ in range(3)]
        found = []
        while self.threads.jobs:
            self.threads.step()
            found.append(self.tokens.find(kept.digest))
        for one in following:
            self.successResultOf(one)
        self.assertEqual([kept, *[None] * (len(found) - 1)], found)

    def test_own_changes_are_not_applied_twice(self) -> None:
        """A reader that waits for a write does not apply that write's changes again."""
        kept = token()
        adding = self.tokens.add(kept)
        following = self.state.follow()
        self.threads.step()
        self.successResultOf(adding)
        removing = self.tokens.remove(kept)
        self.threads.step()
        self.assertIsNone(self.tokens.find(kept.digest))
        self.step_all()
        self.successResultOf(following)
        self.successResultOf(removing)
        self.assertIsNone(self.tokens.find(kept.digest))


class FollowTests(StateCase):
    """Changes of other processes."""

    def test_a_token_of_another_process(self) -> None:
        theirs = token("theirs")
        self.store.others_write(theirs)
        self.successResultOf(self.state.follow())
        self.assertIs(self.tokens.find(theirs.digest), theirs)
        self.assertEqual((self.told, self.tokens.epoch), ([], 0), "no verdict is checked again for what is added")

    def test_attack_39_a_revocation_of_another_process(self) -> None:
        kept = token()
        self.successResultOf(self.tokens.add(kept))
        for change, asked in (
            (Removed(kept.id), self.grant_of(kept)),
            (RevokedGrant("jti", 90000.0), self.access()),
            (RevokedUser("local", "bob", 5.0), self.access("other", 1.0, username="bob")),
        ):
            self.assertTrue(self.tokens.good(asked))
            self.store.others_write(change)
            self.successResultOf(self.state.follow())
            self.assertFalse(self.tokens.good(asked))
        self.assertEqual(self.told, [1, 2, 3])

    def test_a_token_that_made_room_elsewhere_cuts_no_connection(self) -> None:
        kept = token()
        self.successResultOf(self.tokens.add(kept))
        self.store.others_write(Removed(kept.id, passing=True))
        self.successResultOf(self.state.follow())
        self.assertIsNone(self.tokens.find(kept.digest))
        self.assertEqual((self.told, self.tokens.epoch), ([], 1))

    def test_attack_39_what_was_loaded_after_a_gap_may_lack_anything(self) -> None:
        self.store.elsewhere = []
        self.successResultOf(self.state.follow())
        self.assertEqual((self.told, self.tokens.epoch), ([1], 1), "remembered verdicts are checked again")

    def test_a_state_that_loaded_nothing_follows_the_log_from_its_beginning(self) -> None:
        theirs = token("theirs")
        self.store.others_write(theirs)
        state = State(self.store, STATE_KINDS, self.clock, Offload(self.clock, threads=1, pool=ImmediateThreads()))
        state.start()
        self.successResultOf(state.follow())
        self.assertIs(state.view(TOKENS).find(theirs.digest), theirs)

    def test_own_changes_are_read_again_only_after_those_of_others(self) -> None:
        asked: list[Cursor] = []
        since = self.store.since

        def watched(cursor: Cursor) -> Any:
            asked.append(cursor)
            return since(cursor)

        self.patch(self.store, "since", watched)
        self.successResultOf(self.tokens.add(token()))
        self.successResultOf(self.state.follow())
        self.assertEqual(asked, [1])
        self.store.fails = True
        self.failureResultOf(self.tokens.add(token()), Unavailable)
        self.store.fails = False
        self.store.others_write(token())
        self.successResultOf(self.tokens.add(token()))
        self.successResultOf(self.state.follow())
        self.assertEqual(asked, [1, 1, 3])

    def test_nothing_is_loaded_again_for_a_change(self) -> None:
        self.patch(self.store, "load", lambda: 1 / 0)
        self.store.others_write(token())
        self.successResultOf(self.state.follow())
        self.assertEqual(len(self.tokens.all()), 1)

    def test_a_long_log_is_read_in_parts(self) -> None:
        self.patch(sqlite_module, "BATCH", 3)
        self.store.others_write(*(token(f"{number}") for number in range(10)))
        self.successResultOf(self.state.follow())
        self.assertEqual(len(self.tokens.all()), 10)

    def test_own_changes_between_those_of_others(self) -> None:
        mine, theirs = token("mine"), token("theirs")
        self.store.others_write(theirs)
        self.successResultOf(self.tokens.add(mine))
        self.assertIsNone(self.tokens.find(theirs.digest))
        self.successResultOf(self.state.follow())
        self.assertEqual({one.name for one in self.tokens.all()}, {"mine", "theirs"})

    def test_a_store_that_cannot_be_read_is_reported_once(self) -> None:
        seen: list[str] = []
        self.patch(state_module._log, "error", lambda text, **values: seen.append(text.format(**values)))

        def broken(cursor: Cursor) -> Any:
            raise Unavailable("disk gone")

        working = self.store.since
        for _ in range(2):
            self.store.since = broken  # type: ignore[method-assign]
            for _ in range(3):
                self.successResultOf(self.state.follow())
            self.store.since = working  # type: ignore[method-assign]
            self.successResultOf(self.state.follow())
        self.assertEqual(seen, ["changes of other processes are not seen: disk gone"] * 2)


class MintTests(unittest.TestCase):
    def test_no_two_are_alike(self) -> None:
        made = [mint("", ALICE, 0.0, inf) for _ in range(100)]
        self.assertEqual(len({text for text, _ in made}), 100)
        self.assertEqual(len({kept.id for _, kept in made}), 100)
        for text, kept in made:
            self.assertRegex(text, r"\Aperimeter_[A-Za-z0-9_-]{43}\Z")
            self.assertEqual(kept.digest, digest_of(text))
            self.assertNotIn(kept.id, text)


class UmaskTests(unittest.TestCase):
    def test_the_mode_does_not_depend_on_the_umask(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir()
        self.addCleanup(os.umask, os.umask(0))
        store = SqliteStore(directory, STATE_KINDS)
        self.addCleanup(store.close)
        self.assertEqual(store.path.stat().st_mode & 0o777, 0o600)


class ThreadTests(unittest.TestCase):
    """The state with a thread of its own."""

    def test_the_store_is_used_by_one_thread_and_the_queue_is_bounded(self) -> None:
        begun, free = threading.Event(), threading.Event()
        calls: queue.Queue[Callable[[], None]] = queue.Queue()

        class Hanging(FlakyStore):
            def write(self, changes: Sequence[Change]) -> Cursor:
                begun.set()
                free.wait(30)
                return super().write(changes)

        class Reactor(Clock):
            def callFromThread(self, function: Callable[..., None], *arguments: object) -> None:
                calls.put(lambda: function(*arguments))

        clock = Reactor()
        state = State(Hanging(), STATE_KINDS, clock)
        state.start()
        self.addCleanup(free.set)
        written = state.view(TOKENS).add(token())
        self.assertTrue(begun.wait(30))
        for waiting in (1, 2, 3, 4, 4):
            clock.advance(600)
            state.tend()
            self.assertEqual(state._thread.waiting, waiting)
        self.assertNoResult(written)
        free.set()
        stopping = state.stop()
        while not stopping.called:
            calls.get(timeout=30)()
        self.successResultOf(written)

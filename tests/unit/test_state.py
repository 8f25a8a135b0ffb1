"""The state: what is kept, what is revoked, and that neither a disk nor another process brings back what was taken away."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from ipaddress import ip_network
from math import inf
from pathlib import Path

from twisted.internet.defer import CancelledError
from twisted.trial import unittest
from zope.interface.verify import verifyObject

from perimeter.errors import Overloaded, StartupError, Unavailable
from perimeter.model import Grant, Principal, Restriction
from perimeter.offload import GRACE
from perimeter.state import state as state_module
from perimeter.state.changes import Change, Held, Removed, RevokedGrant, RevokedUser
from perimeter.state.memory import MemoryStore
from perimeter.state.sqlite import SqliteStore
from perimeter.state.state import State
from perimeter.state.store import IStateStore
from perimeter.tokens.api_token import ApiToken, digest_of, mint
from tests.unit.auth_doubles import ImmediateThreads, ManualThreads, ThreadClock, offload_with

ALICE = Principal("alice", "local", ("admin", "a,b"), "users", {"team": "rød"}, {"svc": ("read",)})
LIMITS = Restriction(frozenset(("app",)), frozenset(("GET",)), (ip_network("192.0.2.0/24"), ip_network("2001:db8::/32")))


def token(name: str = "ci", owner: Principal = ALICE, *, expires: float = inf, passing: bool = False) -> ApiToken:
    return mint(name, owner, 0.0, expires, LIMITS, passing=passing)[1]


class SqliteTests(unittest.TestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.store = self.open()

    def open(self) -> SqliteStore:
        store = SqliteStore(self.directory)
        self.addCleanup(store.close)
        return store

    def test_both_stores_are_stores(self) -> None:
        verifyObject(IStateStore, self.store)
        verifyObject(IStateStore, MemoryStore())

    def test_everything_comes_back_as_it_was(self) -> None:
        kept, passing = token(), token("", passing=True, expires=9.5)
        grant, user = RevokedGrant("jti", 7.0), RevokedUser("local", "bob", 3.0, 8.0)
        self.store.write([kept, passing, grant, user])
        self.store.close()
        held = self.open().load()
        self.assertEqual((list(held.tokens), held.grants, held.users), ([kept, passing], [grant], [user]))
        owner = held.tokens[0].owner
        self.assertEqual((owner.attributes, owner.scopes, owner.authenticator), (ALICE.attributes, ALICE.scopes, "users"))

    def test_the_token_itself_is_not_kept(self) -> None:
        text, kept = mint("ci", ALICE, 0.0, inf)
        self.store.write([kept])
        octets = b"".join(path.read_bytes() for path in self.directory.iterdir())
        self.assertIn(kept.digest, octets)
        self.assertNotIn(text.encode(), octets)
        self.assertNotIn(text.split("_", 1)[1].encode(), octets)
        self.assertNotIn(kept.digest.hex(), repr(kept))

    def test_all_or_nothing(self) -> None:
        kept = token()
        self.store.write([kept])
        with self.assertRaises(Unavailable):
            self.store.write([Removed(kept.id), token("other"), kept, kept])
        self.assertEqual(list(self.store.load().tokens), [kept])

    def test_what_has_ended_is_dropped(self) -> None:
        self.store.write([token(expires=5.0), RevokedGrant("j", 5.0), RevokedUser("r", "u", 1.0, 5.0)])
        self.store.forget(4.0)
        self.assertEqual(len(self.store.load().tokens), 1)
        self.store.forget(5.0)
        self.assertEqual(self.store.load(), Held([], [], []))

    def test_another_process_is_noticed(self) -> None:
        other = self.open()
        self.store.load()
        self.assertFalse(self.store.changed())
        self.store.write([token()])
        self.assertFalse(self.store.changed(), "one's own changes are known")
        other.write([token()])
        self.assertTrue(self.store.changed())
        self.assertEqual(len(self.store.load().tokens), 2)
        self.assertFalse(self.store.changed())

    def test_nobody_else_may_read_it(self) -> None:
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

    def test_attack_41_a_file_of_somebody_else(self) -> None:
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
        store = SqliteStore(other)
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
        """Neither by a clock that was put back, nor by a configuration under which tokens live for less time than they did."""
        self.store.write([RevokedUser("local", "bob", 100.0, 900.0)])
        self.store.write([RevokedUser("local", "bob", 50.0, 60.0)])
        self.assertEqual(self.store.load().users, [RevokedUser("local", "bob", 100.0, 900.0)])
        self.store.write([RevokedUser("local", "bob", 200.0)])
        self.assertEqual(self.store.load().users, [RevokedUser("local", "bob", 200.0, inf)])
        self.store.forget(1e12)
        self.assertEqual(len(self.store.load().users), 1)

    def test_attack_39_a_token_that_is_written_after_its_user_was_revoked(self) -> None:
        early, late = mint("ci", ALICE, 99.0, inf)[1], mint("ci", ALICE, 101.0, inf)[1]
        self.store.write([token(), RevokedUser("local", "alice", 100.0)])
        self.store.write([early, late])
        self.assertEqual(list(self.store.load().tokens), [late])

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
        self.assertEqual(list(self.store.load().tokens), [kept])
        self.store._db = self.store._db.db  # type: ignore[attr-defined]

    def test_attack_41_a_file_that_is_replaced(self) -> None:
        moved = self.store.path.rename(self.directory / "moved.db")
        for _ in range(2):
            with self.assertRaisesRegex(Unavailable, "replaced or removed"):
                self.store.write([token()])
            for asked in (self.store.changed, lambda: self.store.forget(0.0)):
                self.assertRaises(Unavailable, asked)
            self.store.path.touch()
        moved.rename(self.store.path)
        self.store.write([token()])

    def test_a_full_disk_is_unavailable(self) -> None:
        self.store._db.execute("PRAGMA max_page_count = 1")
        with self.assertRaises(Unavailable):
            self.store.write([token(f"t{number}") for number in range(100)])
        self.assertEqual(list(self.store.load().tokens), [])


class FlakyStore(MemoryStore):
    """Keeps a list of what was written, and fails when told to."""

    def __init__(self) -> None:
        self.written: list[list[Change]] = []
        self.fails = False
        self.elsewhere: Held | None = None
        self.dropped: list[float] = []

    def write(self, changes: Sequence[Change]) -> None:
        if self.fails:
            raise Unavailable("disk full")
        self.written.append(list(changes))

    def changed(self) -> bool:
        return self.elsewhere is not None

    def load(self) -> Held:
        held, self.elsewhere = self.elsewhere, None
        return held or Held()

    def forget(self, now: float) -> None:
        self.dropped.append(now)


class StateCase(unittest.TestCase):
    threads_class: type[ManualThreads] = ImmediateThreads

    def setUp(self) -> None:
        self.clock = ThreadClock()
        self.threads = self.threads_class()
        self.store = FlakyStore()
        self.state = State(self.store, self.clock, offload_with(self.threads, self.clock, count=1))
        self.told: list[int] = []
        self.state.on_revoked.add(lambda: self.told.append(self.state.epoch))

    def grant_of(self, kept: ApiToken) -> Principal:
        return Principal("alice", "local", grant=Grant(kept.id, 0.0, kept.expires, True))

    def access(self, jti: str = "jti", issued: float = 0.0, expires: float = 90000.0, username: str = "alice") -> Principal:
        return Principal(username, "local", grant=Grant(jti, issued, expires))


class StateTests(StateCase):
    def test_an_api_token_is_known_until_it_is_removed(self) -> None:
        kept = token()
        self.successResultOf(self.state.add(kept))
        self.assertIs(self.state.find(kept.digest), kept)
        self.assertEqual(self.state.owned("local", "alice"), [kept])
        self.assertTrue(self.state.good(self.grant_of(kept)))
        self.assertEqual(self.told, [])
        self.successResultOf(self.state.remove(kept))
        self.assertIsNone(self.state.find(kept.digest))
        self.assertEqual(self.state.owned("local", "alice"), [])
        self.assertFalse(self.state.good(self.grant_of(kept)))
        self.assertEqual(self.told, [1])
        self.assertEqual(self.store.written, [[kept], [Removed(kept.id)]])

    def test_attack_37_realms_are_kept_apart(self) -> None:
        self.successResultOf(self.state.add(token(owner=Principal("alice", "elsewhere"))))
        self.assertEqual(self.state.owned("local", "alice"), [])

    def test_expired_ones_are_not_listed(self) -> None:
        self.successResultOf(self.state.add(token(expires=10.0)))
        self.clock.advance(10)
        self.assertEqual(self.state.owned("local", "alice"), [])

    def test_an_access_token_is_revoked_by_its_jti(self) -> None:
        self.assertTrue(self.state.good(self.access()))
        grant = self.access().grant
        assert grant is not None
        self.successResultOf(self.state.revoke(grant))
        self.assertFalse(self.state.good(self.access()))
        self.assertTrue(self.state.good(self.access("other")))
        self.assertTrue(self.state.good(Principal("alice", "local")), "whoever came with a password")

    def test_a_user_loses_every_token_of_both_kinds(self) -> None:
        kept, other = token(), token(owner=Principal("bob", "local"))
        for one in (kept, other):
            self.successResultOf(self.state.add(one))
        self.clock.advance(100)
        self.assertEqual(self.successResultOf(self.state.revoke_user("local", "alice")), [kept])
        self.assertFalse(self.state.good(self.grant_of(kept)))
        self.assertTrue(self.state.good(self.grant_of(other)))
        self.assertFalse(self.state.good(self.access(issued=100.0)))
        self.assertTrue(self.state.good(self.access(issued=101.0)), "a later one")
        self.assertTrue(self.state.good(self.access(issued=100.0, username="bob")))

    def test_what_has_ended_is_forgotten(self) -> None:
        self.successResultOf(self.state.add(token(expires=5000.0)))
        grant = self.access(expires=7000.0).grant
        assert grant is not None
        self.successResultOf(self.state.revoke(grant))
        self.state._index.apply(RevokedUser("local", "bob", 0.0, 5000.0))
        self.clock.advance(6999)
        self.successResultOf(self.state.look())
        self.assertFalse(self.state.good(self.access(expires=7000.0)))
        self.clock.advance(7201)
        self.successResultOf(self.state.look())
        index = self.state._index
        self.assertEqual(
            (index.by_digest, index.named, index.passing, index.ids, index.grants, index.users), ({}, {}, {}, set(), {}, {})
        )
        self.assertEqual(self.store.dropped, [6999.0, 14200.0])

    def test_passing_tokens_are_bounded(self) -> None:
        self.patch(state_module, "MOST_PASSING", 3)
        named = token()
        self.successResultOf(self.state.add(named))
        passing = [token(f"{number}", passing=True) for number in range(5)]
        for one in passing:
            self.successResultOf(self.state.add(one))
        self.assertEqual(self.state.owned("local", "alice"), [named, *passing[2:]])


class FailingTests(StateCase):
    """A disk that does not do as it is told."""

    def test_attack_41_what_cannot_be_written_was_not_given(self) -> None:
        self.store.fails = True
        kept = token()
        self.failureResultOf(self.state.add(kept), Unavailable)
        self.assertIsNone(self.state.find(kept.digest))

    def test_attack_41_what_cannot_be_written_is_revoked_all_the_same(self) -> None:
        kept = token()
        self.successResultOf(self.state.add(kept))
        self.store.fails = True
        self.failureResultOf(self.state.remove(kept), Unavailable)
        self.assertFalse(self.state.good(self.grant_of(kept)))
        self.successResultOf(self.state.look())
        self.assertEqual(self.store.written, [[kept]])
        self.store.fails = False
        self.successResultOf(self.state.look())
        self.assertEqual(self.store.written, [[kept], [Removed(kept.id)]])
        self.successResultOf(self.state.look())
        self.assertEqual(len(self.store.written), 2)

    def test_attack_41_what_is_owed_is_written_before_the_end(self) -> None:
        kept = token()
        self.successResultOf(self.state.add(kept))
        self.store.fails = True
        self.failureResultOf(self.state.remove(kept), Unavailable)
        self.store.fails = False
        self.successResultOf(self.state.stop())
        self.assertEqual(self.store.written, [[kept], [Removed(kept.id)]])

    def test_what_nobody_foresaw_is_unavailable_too(self) -> None:
        self.patch(self.store, "write", lambda changes: 1 / 0)
        self.failureResultOf(self.state.add(token()), Unavailable)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_a_picture_that_cannot_be_read_changes_nothing(self) -> None:
        kept = token()
        self.successResultOf(self.state.add(kept))

        def damaged() -> Held:
            raise StartupError("state.db: cannot be used")

        self.store.elsewhere = Held()
        self.patch(self.store, "load", damaged)
        self.successResultOf(self.state.look())
        self.assertIs(self.state.find(kept.digest), kept)


class OrderTests(StateCase):
    """While one thing is being written, others come."""

    threads_class = ManualThreads

    def test_what_comes_meanwhile_is_written_together(self) -> None:
        tokens = [token(f"{number}") for number in range(4)]
        waiting = [self.state.add(one) for one in tokens]
        self.threads.step()
        self.successResultOf(waiting[0])
        self.assertNoResult(waiting[1])
        self.assertIsNone(self.state.find(tokens[1].digest), "not before it is written")
        self.threads.step()
        for one in waiting[1:]:
            self.successResultOf(one)
        self.assertEqual(self.store.written, [tokens[:1], tokens[1:]])

    def test_attack_39_revoked_at_once_and_told_when_written(self) -> None:
        grant = self.access().grant
        assert grant is not None
        waiting = self.state.revoke(grant)
        self.assertFalse(self.state.good(self.access()))
        self.assertEqual(self.told, [1])
        self.assertNoResult(waiting)
        self.threads.step()
        self.successResultOf(waiting)

    def test_attack_23_who_leaves_is_counted_all_the_same(self) -> None:
        """What is written for a client that has left is in the file, so it must be known as well."""
        kept = token()
        adding = self.state.add(kept)
        self.assertEqual(self.state.count("local", "alice"), 1)
        adding.cancel()
        self.failureResultOf(adding, CancelledError)
        self.assertEqual(self.state.count("local", "alice"), 1)
        self.threads.step()
        self.assertEqual((self.store.written, self.state.find(kept.digest)), ([[kept]], kept))
        self.assertEqual(self.state.count("local", "alice"), 1)
        removing = self.state.remove(kept)
        removing.cancel()
        self.failureResultOf(removing, CancelledError)
        self.threads.step()
        looking = self.state.look()
        self.threads.step()
        self.successResultOf(looking)
        self.assertEqual(self.store.written, [[kept], [Removed(kept.id)]], "once")
        self.assertEqual((self.state.count("local", "alice"), dict(self.state._coming)), (0, {}))

    def test_attack_41_the_end_waits_for_what_is_being_written(self) -> None:
        kept, other = token(), token()
        adding = [self.state.add(kept), self.state.add(other)]
        stopping = self.state.stop()
        self.assertNoResult(stopping)
        self.threads.step()
        self.threads.step()
        for one in (*adding, stopping):
            self.successResultOf(one)
        self.assertEqual(self.store.written, [[kept], [other]])
        self.failureResultOf(self.state.add(token()), Unavailable)

    def test_the_end_does_not_wait_for_ever(self) -> None:
        self.state.add(token())
        stopping = self.state.stop()
        self.clock.advance(state_module._LAST)
        self.assertNoResult(stopping)
        self.clock.advance(GRACE)
        self.successResultOf(stopping)
        self.threads.step()

    def test_attack_23_too_many_at_once(self) -> None:
        self.patch(state_module, "MOST_WAITING", 2)
        waiting = [self.state.add(token()) for _ in range(3)]  # one under way, two waiting
        self.failureResultOf(self.state.add(token()), Overloaded)
        grant = self.access().grant
        assert grant is not None
        waiting.append(self.state.revoke(grant))  # never refused
        self.threads.step()
        self.threads.step()
        for one in waiting:
            self.successResultOf(one)

    def test_attack_39_another_process_brings_nothing_back(self) -> None:
        """What is on its way to the store while the store is read is not in that picture."""
        kept, theirs = token(), token("theirs")
        adding = self.state.add(kept)
        self.threads.step()
        self.successResultOf(adding)
        grant = self.access().grant
        assert grant is not None
        self.store.elsewhere = Held([kept, theirs])
        looking = self.state.look()
        self.threads.step()  # has anything changed?
        removing, revoking = self.state.remove(kept), self.state.revoke(grant)
        self.threads.step()  # the picture, with the token still in it
        self.successResultOf(looking)
        self.assertIs(self.state.find(theirs.digest), theirs)
        self.assertFalse(self.state.good(self.grant_of(kept)))
        self.assertIsNone(self.state.find(kept.digest))
        self.assertFalse(self.state.good(self.access()))
        while self.threads.jobs:
            self.threads.step()
        self.successResultOf(removing)
        self.successResultOf(revoking)

    def test_a_token_that_is_added_while_another_process_is_read_is_kept(self) -> None:
        self.store.elsewhere = Held()
        looking = self.state.look()
        self.threads.step()
        kept = token()
        adding = self.state.add(kept)
        self.threads.step()
        self.successResultOf(looking)
        self.threads.step()
        self.successResultOf(adding)
        self.assertIs(self.state.find(kept.digest), kept)


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
        store = SqliteStore(directory)
        self.addCleanup(store.close)
        self.assertEqual(store.path.stat().st_mode & 0o777, 0o600)

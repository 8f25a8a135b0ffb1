"""The realm file as an authenticator: logins, and a file that changes while it is in use."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.logger import capturedLogs
from twisted.trial import unittest
from zope.interface.verify import verifyObject

from perimeter.auth.chain.chain import AuthenticatorChain
from perimeter.auth.kinds import realm_file as realmfile
from perimeter.auth.kinds.realm_file import RealmFileAuthenticator, RealmFileError, RealmFileFactory, RealmFileSettings
from perimeter.errors import Overloaded, Rejected, Unavailable
from perimeter.model import BasicCredentials, BearerCredentials, Credentials, Principal
from perimeter.plugin.authenticator import IAuthenticatorFactory, IProbe, IRunningAuthenticator
from perimeter.plugin.services import AuthServices
from tests.unit.doubles.auth import (
    CHEAP_ARGON2,
    CHEAP_BCRYPT,
    REQUEST,
    ImmediateThreads,
    ManualThreads,
    ThreadClock,
    offload_with,
)


class RealmFileCase(unittest.TestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.clock = ThreadClock()
        self.changes = 0
        self.moment = 1_000_000_000

    def write(self, text: str) -> None:
        """Another version of the file, renamed into place, with a time stamp far in the past that no other version has."""
        fresh = self.path.with_suffix(".new")
        fresh.write_text(text)
        self.moment += 1
        os.utime(fresh, (self.moment, self.moment))
        fresh.replace(self.path)

    def open(self, text: str, threads: ManualThreads | None = None, queue: int = 64) -> RealmFileAuthenticator:
        self.write(text)
        offload = offload_with(threads or ImmediateThreads(), self.clock, count=1, queue=queue)
        settings = RealmFileSettings(self.path)
        found = RealmFileFactory().build("local", "site", settings, AuthServices(self.clock, offload))
        found.start(self.changed)
        self.addCleanup(found.stop)
        return found

    def changed(self) -> None:
        self.changes += 1

    def login(self, authenticator: RealmFileAuthenticator, credentials: Credentials) -> Deferred[Principal | None]:
        return ensureDeferred(authenticator.authenticate(credentials, REQUEST))


class LoginTests(RealmFileCase):
    def test_it_fulfils_its_interfaces(self) -> None:
        verifyObject(IRunningAuthenticator, self.open("alice: xx"))
        verifyObject(IAuthenticatorFactory, RealmFileFactory())

    def test_outcomes(self) -> None:
        local = self.open(f"alice: {CHEAP_ARGON2},admin,user")
        found = self.successResultOf(self.login(local, BasicCredentials("alice", "argon2")))
        self.assertEqual(found, Principal("alice", "site", ("admin", "user"), "local"))
        self.failureResultOf(self.login(local, BasicCredentials("alice", "wrong")), Rejected)
        self.assertIsNone(self.successResultOf(self.login(local, BasicCredentials("bob", "argon2"))))
        self.assertIsNone(self.successResultOf(self.login(local, BearerCredentials("argon2"))))

    def test_attack_32_an_empty_password_is_refused_before_any_hash(self) -> None:
        threads = ManualThreads()
        self.failureResultOf(self.login(self.open("alice: xx", threads), BasicCredentials("alice", "")), Rejected)
        self.assertEqual(len(threads.jobs), 0)

    def test_attack_29_an_unknown_user_takes_a_thread_too(self) -> None:
        threads = ManualThreads()
        local = self.open(f"alice: {CHEAP_ARGON2}\nold: MD5:5ebe2294ecd0e0f08eab7690d2a6ee69", threads, queue=2)
        logins = [self.login(local, BasicCredentials(name, "wrong")) for name in ("nobody", "alice", "old")]
        for login in logins:
            self.assertNoResult(login)
        for name in ("nobody", "alice", "old"):
            self.failureResultOf(self.login(local, BasicCredentials(name, "wrong")), Overloaded)
        for _ in logins:
            threads.step()
        self.assertIsNone(self.successResultOf(logins[0]))
        for login in logins[1:]:
            self.failureResultOf(login, Rejected)

    def test_a_file_that_cannot_be_used_stops_the_start(self) -> None:
        for spoil in (
            lambda: self.path.unlink(),
            lambda: self.path.write_text("alice"),
            lambda: (self.path.unlink(), self.path.mkdir()),
        ):
            self.write("alice: xx")
            spoil()
            with self.assertRaises(RealmFileError) as caught:
                RealmFileAuthenticator("local", "site", self.path, self.clock, offload_with(ImmediateThreads(), self.clock))
            self.assertTrue(str(caught.exception).startswith(str(self.path)))
            if self.path.is_dir():
                self.path.rmdir()

    def test_a_fifo_or_a_huge_file_does_not_hold_the_start(self) -> None:
        os.mkfifo(self.path)
        with self.assertRaises(RealmFileError):
            RealmFileAuthenticator("local", "site", self.path, self.clock, offload_with(ImmediateThreads(), self.clock))
        self.path.unlink()
        self.patch(realmfile, "MAX_SIZE", 10)
        with self.assertRaises(RealmFileError):
            self.open("alice: 0123456789")

    def test_legacy_passwords_are_warned_of(self) -> None:
        with capturedLogs() as events:
            local = self.open("alice: xx")
        self.assertIn("plain text", local.warnings[0])
        self.assertEqual([event["finding"] for event in events if "finding" in event], list(local.warnings))


class ReloadTests(RealmFileCase):
    def knows(self, local: RealmFileAuthenticator, name: str, password: str) -> bool:
        try:
            return self.successResultOf(self.login(local, BasicCredentials(name, password))) is not None
        except self.failureException:
            return False

    def errors(self, events: list[dict[str, object]]) -> list[str]:
        return [str(event["error"]) for event in events if "error" in event]

    def test_a_changed_file_is_read_within_a_second(self) -> None:
        local = self.open("alice: one")
        self.write("alice: two\nbob: three")
        self.assertTrue(self.knows(local, "alice", "one"))
        self.clock.advance(1)
        self.assertFalse(self.knows(local, "alice", "one"))
        self.assertTrue(self.knows(local, "alice", "two"))
        self.assertTrue(self.knows(local, "bob", "three"))
        self.assertEqual(self.changes, 1)

    def test_a_probe_reports_a_version_that_is_not_in_use(self) -> None:
        local = self.open("alice: one")
        self.assertTrue(verifyObject(IProbe, local))
        self.successResultOf(Deferred.fromCoroutine(local.probe()))
        self.write("alice: two\nbob:")
        self.clock.advance(1)
        error = self.failureResultOf(Deferred.fromCoroutine(local.probe()), Unavailable).value
        self.assertIn(":2: user 'bob' has no password", error.detail)
        self.assertTrue(error.detail.endswith("; the users read before stay in force"))
        self.write("alice: two")
        self.clock.advance(1)
        self.successResultOf(Deferred.fromCoroutine(local.probe()))

    def test_an_unchanged_file_is_left_alone(self) -> None:
        self.open("alice: one")
        self.patch(realmfile, "read_users", lambda data, file: self.fail("it was parsed again"))
        for _ in range(3):
            self.clock.advance(1)
        os.utime(self.path, (1, 1))
        self.clock.advance(1)
        self.assertEqual(self.changes, 0, "touched, and the same")

    def test_a_second_change_within_one_tick_of_the_clock_is_seen(self) -> None:
        local = self.open("alice: one")
        self.patch(realmfile, "_stamp", lambda _: (1, 2, 3, 4, 5))
        for password in ("two", "333", "444"):
            self.path.write_text(f"alice: {password}")
            self.clock.advance(1)
            self.assertTrue(self.knows(local, "alice", password), "the stamp is the same, but too young to prove anything")

    def test_a_broken_file_keeps_the_last_good_one_and_is_logged_once(self) -> None:
        local = self.open("alice: one")
        with capturedLogs() as events:
            self.write("alice")
            for _ in range(3):
                self.clock.advance(1)
        self.assertEqual(len(self.errors(events)), 1)
        self.assertIn(f"{self.path}:1:", self.errors(events)[0])
        self.assertTrue(self.knows(local, "alice", "one"))
        self.assertEqual(self.changes, 0)
        with capturedLogs() as events:
            self.write("alice: one\nbob")
            for _ in range(3):
                self.clock.advance(1)
        self.assertEqual(len(self.errors(events)), 1, "another change, another line")
        self.write("alice: two")
        self.clock.advance(1)
        self.assertTrue(self.knows(local, "alice", "two"))
        self.assertEqual(self.changes, 1)

    def test_a_vanished_file_keeps_the_last_good_one_and_is_logged_once(self) -> None:
        local = self.open("alice: one")
        self.path.unlink()
        with capturedLogs() as events:
            for _ in range(3):
                self.clock.advance(1)
        self.assertEqual(len(self.errors(events)), 1)
        self.assertTrue(self.knows(local, "alice", "one"))
        self.write("bob: two")
        self.clock.advance(1)
        self.assertFalse(self.knows(local, "alice", "one"))
        self.assertTrue(self.knows(local, "bob", "two"))

    def test_a_look_that_hangs_is_not_repeated(self) -> None:
        threads = ManualThreads()
        self.open("alice: one", threads)
        for _ in range(5):
            self.clock.advance(1)
        self.assertEqual(len(threads.jobs), 1)
        threads.step()
        self.clock.advance(1)
        self.assertEqual(len(threads.jobs), 1)

    def test_a_full_queue_ends_no_polling(self) -> None:
        threads = ManualThreads()
        local = self.open("alice: one", threads, queue=0)
        blocker = self.login(local, BasicCredentials("alice", "one"))
        self.write("alice: two")
        self.clock.advance(1)
        threads.step()
        self.successResultOf(blocker)
        self.clock.advance(1)
        threads.step()
        self.assertEqual(self.changes, 1)

    def test_nothing_is_looked_at_after_stop(self) -> None:
        local = self.open("alice: one")
        local.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_attack_39_a_removed_user_is_forgotten_by_the_chain(self) -> None:
        local = self.open(f"alice: {CHEAP_BCRYPT}\nbob: xx")
        chain = AuthenticatorChain([local], 5, 3600, self.clock)
        local.stop()
        chain.start()
        self.addCleanup(chain.stop)
        raw = b"Basic YWxpY2U6eA=="
        self.successResultOf(ensureDeferred(chain.authenticate(BasicCredentials("alice", "x"), REQUEST, raw)))
        self.assertIsNotNone(chain.lookup_basic(raw))
        self.write("bob: xx")
        self.clock.advance(1)
        self.assertIsNone(chain.lookup_basic(raw))
        self.failureResultOf(ensureDeferred(chain.authenticate(BasicCredentials("alice", "x"), REQUEST, raw)), Rejected)

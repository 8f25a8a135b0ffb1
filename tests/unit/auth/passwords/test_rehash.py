"""``rehash = yes``: a better hash is in the file after a login, and nothing else of it has changed."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.logger import capturedLogs
from twisted.trial import unittest

from perimeter.auth.kinds.realm_file import RealmFileAuthenticator, RealmFileFactory, RealmFileSettings
from perimeter.auth.passwords import rehash, rewriting
from perimeter.auth.passwords.formats import take
from perimeter.auth.passwords.making import good_as_new, make
from perimeter.auth.passwords.rewriting import NotRewritten
from perimeter.auth.passwords.users import read_users
from perimeter.errors import Rejected
from perimeter.model import BasicCredentials, Principal
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

FILE = (
    b"\xef\xbb\xbf# users\r\n"
    b"alice = {SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=,admin, \\\r\n"
    b"   ops\r\n"
    b"\r\n"
    b"mary\\ ann\tMD5:5ebe2294ecd0e0f08eab7690d2a6ee69\n"
    b"jos\xc3\xa9: secret,r\xc3\xb4le\r"
    b"! the last one\n"
    b"bob: secret"
)
"""All passwords are "secret"; every kind of line end."""


class RehashCase(unittest.TestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.clock = ThreadClock()
        self.forgotten = 0

    def open(self, data: bytes = FILE, threads: ManualThreads | None = None, improve: bool = True) -> RealmFileAuthenticator:
        self.path.write_bytes(data)
        os.utime(self.path, (1_000_000_000, 1_000_000_000))
        offload = offload_with(threads or ImmediateThreads(), self.clock, count=1)
        settings = RealmFileSettings(self.path, improve)
        found = RealmFileFactory().build("local", "site", settings, AuthServices(self.clock, offload))
        found.start(self.forget)
        self.addCleanup(found.stop)
        return found

    def forget(self) -> None:
        self.forgotten += 1

    def login(self, local: RealmFileAuthenticator, name: str, password: str = "secret") -> Deferred[Principal | None]:
        return ensureDeferred(local.authenticate(BasicCredentials(name, password), REQUEST))

    def scheme(self, name: str) -> str:
        return read_users(self.path.read_bytes(), "f").by_name[name].password.scheme


class RehashTests(RehashCase):
    def test_a_login_replaces_the_hash_and_nothing_else(self) -> None:
        local = self.open()
        before = self.path.read_bytes().split(b"\n")
        self.assertEqual(self.successResultOf(self.login(local, "alice")), Principal("alice", "site", ("admin", "ops"), "local"))
        after = self.path.read_bytes()
        self.assertTrue(after.startswith(b"\xef\xbb\xbf# users\r\nalice: $argon2id$v=19$m=65536,t=3,p=4$"), after)
        self.assertEqual(after.split(b"\n")[2:], before[3:])
        self.assertEqual(self.successResultOf(self.login(local, "alice")), Principal("alice", "site", ("admin", "ops"), "local"))
        self.assertEqual(self.path.read_bytes(), after)

    def test_every_line_can_be_replaced(self) -> None:
        local = self.open()
        for name in ("bob", "josé", "mary ann", "alice"):
            self.successResultOf(self.login(local, name))
        users = read_users(self.path.read_bytes(), "f").by_name
        self.assertEqual({user.password.scheme for user in users.values()}, {"argon2id"})
        self.assertEqual([user.roles for user in users.values()], [("admin", "ops"), (), ("rôle",), ()])
        self.assertIn(b"! the last one\nbob: $argon2id$", self.path.read_bytes())

    def test_a_wrong_password_changes_nothing(self) -> None:
        local = self.open()
        for name in ("alice", "bob"):
            self.failureResultOf(self.login(local, name, "wrong"), Rejected)
        self.assertIsNone(self.successResultOf(self.login(local, "nobody")))
        self.assertEqual(self.path.read_bytes(), FILE)

    def test_not_without_the_option(self) -> None:
        self.successResultOf(self.login(self.open(improve=False), "alice"))
        self.assertEqual(self.path.read_bytes(), FILE)

    def test_nothing_is_forgotten_for_it(self) -> None:
        local = self.open()
        self.successResultOf(self.login(local, "alice"))
        self.clock.advance(5)
        self.assertEqual(self.forgotten, 0)
        self.path.write_bytes(self.path.read_bytes().replace(b"admin,ops", b"ops"))
        self.clock.advance(5)
        self.assertEqual(self.forgotten, 1)

    def test_a_change_of_others_beside_it_is_noticed(self) -> None:
        threads = ManualThreads()
        local = self.open(threads=threads)
        login = self.login(local, "alice")
        threads.step()
        self.successResultOf(login)
        self.path.write_bytes(FILE.replace(b"bob: secret", b"bob: another"))
        while threads.jobs:
            threads.step()
        self.assertEqual((self.scheme("alice"), self.forgotten), ("argon2id", 1))

    def test_the_login_does_not_wait_for_it(self) -> None:
        threads = ManualThreads()
        local = self.open(threads=threads)
        login = self.login(local, "alice")
        threads.step()
        self.successResultOf(login)
        self.assertEqual(self.path.read_bytes(), FILE)
        self.assertEqual(len(threads.jobs), 1)

    def test_a_password_that_was_changed_meanwhile_stays(self) -> None:
        threads = ManualThreads()
        local = self.open(threads=threads)
        login = self.login(local, "alice")
        threads.step()
        self.successResultOf(login)
        changed = FILE.replace(b"{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", CHEAP_BCRYPT.encode())
        self.path.write_bytes(changed)
        while threads.jobs:
            threads.step()
        self.assertEqual(self.path.read_bytes(), changed)

    def test_a_user_who_was_removed_meanwhile_stays_away(self) -> None:
        threads = ManualThreads()
        local = self.open(threads=threads)
        login = self.login(local, "bob")
        threads.step()
        self.successResultOf(login)
        self.path.write_bytes(b"alice: secret\n")
        while threads.jobs:
            threads.step()
        self.assertEqual(self.path.read_bytes(), b"alice: secret\n")

    def test_many_at_once_are_written_together(self) -> None:
        threads = ManualThreads()
        local = self.open(threads=threads)
        writes: list[object] = []
        rewrite = rewriting.rewrite
        self.patch(rehash, "rewrite", lambda path, change: (writes.append(path), rewrite(path, change)))
        logins = [self.login(local, name) for name in ("alice", "bob", "josé", "alice")]
        while threads.jobs:
            threads.step()
        for login in logins:
            self.successResultOf(login)
        self.assertEqual({self.scheme(name) for name in ("alice", "bob", "josé")}, {"argon2id"})
        self.assertLess(len(writes), 3)

    def test_a_file_that_cannot_be_written_is_a_warning_and_no_failed_login(self) -> None:
        def refused(path: Path, change: object) -> None:
            raise NotRewritten(f"{path} cannot be written: Read-only file system")

        local = self.open()
        self.patch(rehash, "rewrite", refused)
        with capturedLogs() as events:
            for name in ("alice", "bob", "alice"):
                self.assertIsNotNone(self.successResultOf(self.login(local, name)))
        self.assertEqual(
            [event["complaint"] for event in events if "complaint" in event],
            [f"{self.path} cannot be written: Read-only file system"],
        )
        self.assertNotIn("secret", str([event.get("complaint") for event in events]))

    def test_a_broken_file_is_left_alone(self) -> None:
        threads = ManualThreads()
        local = self.open(threads=threads)
        login = self.login(local, "alice")
        threads.step()
        self.successResultOf(login)
        self.path.write_bytes(b"alice: secret\nbob\n")
        while threads.jobs:
            threads.step()
        self.assertEqual(self.path.read_bytes(), b"alice: secret\nbob\n")

    def test_what_is_good_as_new(self) -> None:
        good = make("x")
        for text, expected in (
            (good, True),
            (good.replace("m=65536,t=3", "m=98304,t=2"), True),
            (good.replace("m=65536,t=3", "m=98304,t=1"), False),
            (good.replace("m=65536", "m=65535"), False),
            (good.replace("m=65536,t=3", "m=32768,t=9"), False),
            (good.replace("$argon2id", "$argon2i"), False),
            (CHEAP_ARGON2, False),
            (CHEAP_BCRYPT, False),
            ("{plain}x", False),
        ):
            self.assertEqual(good_as_new(take(text)[0]), expected, text)

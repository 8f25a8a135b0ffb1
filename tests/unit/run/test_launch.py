"""How the start of the daemon ends, for the process that asked for it. `tests.integration.test_twistd` forks in earnest."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from twisted.logger import LogLevel, globalLogPublisher
from twisted.trial import unittest

from perimeter.auth.registry import installed_kinds
from perimeter.config.site.load import load_site
from perimeter.errors import StartupError
from perimeter.run.build.state_dir import prepare_state_dir
from perimeter.run.build.user import DaemonUser
from perimeter.run.launch import Launch, forget_own_pid

SITE = """\
[perimeter]
state_dir = var
[listener plain]
port = 8080
interface = 127.0.0.1
[authenticator local]
type = realmfile
path = users.realm
[upstream sample]
servers = sample:
[route all]
path = /
upstream = sample
audit = logs/route.log
[audit]
path = access.log
"""


class LaunchTests(unittest.TestCase):
    def failed(self, launch: Launch) -> list[str]:
        """The critical lines of a start that has failed."""
        lines: list[str] = []

        def observer(event: dict[str, object]) -> None:
            if event["log_level"] is LogLevel.critical:
                lines.append(str(event["error"]))

        globalLogPublisher.addObserver(observer)  # type: ignore[arg-type]
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        ended = self.assertRaises(SystemExit, launch.failed, "no port")
        self.assertEqual(ended.code, 1)
        return lines

    def test_in_the_foreground(self) -> None:
        launch = Launch()
        launch.ready()
        self.assertEqual(self.failed(launch), ["no port"])

    def test_a_failed_start_leaves_no_pid_file(self) -> None:
        pidfile = Path(self.mktemp())
        pidfile.write_text("1")
        self.assertEqual(self.failed(Launch(pidfile=str(pidfile))), ["no port"])
        self.assertFalse(pidfile.exists())
        self.assertEqual(self.failed(Launch(pidfile=str(pidfile))), ["no port"])  # it was never written

    def test_a_left_over_pid_file_is_forgotten(self) -> None:
        pidfile = Path(self.mktemp())
        forget_own_pid(pidfile)
        for text, kept in ((str(os.getpid()), False), (f"{os.getpid()}\n", False), ("1", True), ("", True), ("x", True)):
            pidfile.write_text(text)
            forget_own_pid(pidfile)
            self.assertEqual(pidfile.exists(), kept, text)


class DaemonUserTests(unittest.TestCase):
    """As the present user: only root can become another one."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        (self.directory / "site.ini").write_text(SITE)
        (self.directory / "users.realm").write_text("alice: secret\n")
        self.config = load_site(self.directory / "site.ini", kinds=installed_kinds())
        entry = pwd.getpwuid(os.geteuid())
        self.user = DaemonUser(entry.pw_uid, entry.pw_gid, entry.pw_name)

    def test_nothing_changes_for_the_present_user(self) -> None:
        before = (os.getresuid(), os.getresgid(), os.getgroups())
        with self.user.acting():
            self.assertEqual((os.getresuid(), os.getresgid(), os.getgroups()), before)
        self.user.refuse_unwritable(self.config)
        self.assertEqual(self.user.unreadable(self.config), [])

    def test_state_directory_is_made_with_what_is_missing_above_it(self) -> None:
        for user in (None, self.user):
            path = self.directory / f"for-{user is None}" / "a" / "state"
            prepare_state_dir(path, user)
            prepare_state_dir(path, user)
            self.assertEqual((path.stat().st_mode & 0o777, path.stat().st_uid), (0o700, os.geteuid()))

    def test_a_state_directory_that_cannot_be_made(self) -> None:
        for user in (None, self.user):
            error = self.assertRaises(StartupError, prepare_state_dir, Path("/proc/perimeter/state"), user)
            self.assertIn("state_dir /proc/perimeter/state: ", str(error))

"""``twistd perimeter`` as the manual writes it: in the foreground, in the background, as PID 1, and as another user."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest import SkipTest

import psutil

from tests.integration.harness import SOURCE, START_TIMEOUT, USERS, Gateway, GatewayCase, site
from tests.integration.ports import eventually

ROUTES = "[upstream sample]\nservers = sample:\n\n[route all]\npath = /\nupstream = sample\nauth = none\n"

TWISTD = [sys.executable, "-c", "import sys; sys.argv[0] = 'twistd'; from twisted.scripts.twistd import run; run()"]

SECONDS = 30.0
"""Longest time until a command has to return. It takes one or two seconds on a machine with nothing else to do."""


class TwistdCase(GatewayCase):
    """A configuration in a directory that every user may enter, and commands that are run there."""

    before: tuple[str, ...] = ()
    """The command that runs twistd."""

    def setUp(self) -> None:
        self.place = Path(tempfile.mkdtemp(prefix="perimeter-twistd-"))
        self.addCleanup(shutil.rmtree, self.place, ignore_errors=True)
        self.place.chmod(0o755)
        self.served = Gateway(self.place, site(ROUTES), USERS)  # its files, ports and connections: it is never started by itself

    def environ(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(SOURCE)}

    def twistd(self, *options: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run ``twistd OPTIONS perimeter --config …`` to its end. What it has started in the background is killed at the end."""
        self.addCleanup(self.end_daemons)
        command = [*self.before, *TWISTD, *options, "perimeter", "--config", str(self.served.config)]
        return subprocess.run(
            command, cwd=cwd or self.place, env=self.environ(), capture_output=True, text=True, timeout=SECONDS, check=False
        )

    def daemons(self) -> list[psutil.Process]:
        """The processes that were started with this test's configuration."""
        found = []
        for process in psutil.process_iter():
            try:
                if str(self.served.config) in process.cmdline():
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def end_daemons(self) -> None:
        for process in self.daemons():
            with contextlib.suppress(psutil.NoSuchProcess):  # a worker ends with its manager
                process.kill()
                process.wait(SECONDS)

    def status(self) -> int:
        with self.served.connect("http") as wire:
            return wire.get("/").status

    def take_port(self) -> None:
        taken = socket.create_server(("127.0.0.1", self.served["http"]))
        self.addCleanup(taken.close)


class PidFileTests(TwistdCase):
    def started(self, *options: str, before: tuple[str, ...] = (), cwd: Path | None = None) -> subprocess.Popen[bytes]:
        """A gateway in the foreground that has logged that it is ready."""
        command = [*before, *TWISTD, "--nodaemon", *options, "perimeter", "--config", str(self.served.config)]
        with (self.place / "gateway.log").open("wb") as log:
            process = subprocess.Popen(
                command, cwd=cwd or self.place, env=self.environ(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self.addCleanup(self.ended, process)
        eventually(
            lambda: " ready: " in self.served.log or process.poll() is not None, "a line with ready", timeout=START_TIMEOUT
        )
        self.assertIsNone(process.poll(), self.served.log)
        return process

    def ended(self, process: subprocess.Popen[bytes]) -> None:
        """Kill, as a container is killed."""
        process.kill()
        process.wait()
        self.end_daemons()

    def test_no_pid_file_unless_it_is_asked_for(self) -> None:
        self.ended(self.started())
        self.assertEqual([path.name for path in self.place.glob("*.pid")], [])
        self.started("--pidfile=twistd.pid")
        self.assertEqual([path.name for path in self.place.glob("*.pid")], ["twistd.pid"])

    def test_a_file_of_another_daemon_does_not_stop_a_start(self) -> None:
        (self.place / "twistd.pid").write_text(str(os.getpid()))
        self.started()
        self.assertEqual(self.status(), 200)

    def test_working_directory_that_cannot_be_written(self) -> None:
        # not even root can make a file in /proc
        self.started(cwd=Path("/proc"))
        self.assertEqual(self.status(), 200)

    def test_killed_and_started_again_as_pid_1(self) -> None:
        self.need("unshare")
        namespace = ("unshare", "--pid", "--fork", "--kill-child")
        if os.geteuid():
            namespace += ("--user", "--map-root-user")
        for options in ((), ("--pidfile=asked-for.pid",)):
            for _ in range(2):
                process = self.started(*options, before=namespace)
                self.assertEqual(self.status(), 200)
                self.ended(process)
                eventually(lambda: not self.daemons(), "the end of the gateway")

    def test_a_running_daemon_still_stops_a_second_one_with_its_pid_file(self) -> None:
        self.started("--pidfile=twistd.pid")
        second = self.twistd("--nodaemon", "--pidfile=twistd.pid")
        self.assertNotEqual(second.returncode, 0)
        self.assertIn("is running", second.stderr)


class BackgroundTests(TwistdCase):
    def refused(self, *options: str) -> str:
        """What the command prints when it fails."""
        result = self.twistd(*options)
        self.assertEqual(result.returncode, 1, result)
        self.assertNotIn("Traceback", result.stderr + result.stdout)
        self.assertEqual(self.daemons(), [])
        return result.stderr

    def test_returns_when_the_gateway_serves(self) -> None:
        result = self.twistd("--pidfile=gateway.pid")
        self.assertEqual((result.returncode, result.stdout, result.stderr), (0, "", ""))
        self.assertEqual(self.status(), 200)
        (daemon,) = self.daemons()
        self.assertEqual((self.place / "gateway.pid").read_text(), str(daemon.pid))
        self.assertNotEqual(os.getsid(daemon.pid), os.getsid(0))
        self.assertEqual({os.readlink(f"/proc/{daemon.pid}/fd/{number}") for number in range(3)}, {"/dev/null"})
        self.assertIn(" ready: ", (self.place / "twistd.log").read_text())
        os.kill(daemon.pid, signal.SIGTERM)
        daemon.wait(SECONDS)
        self.assertFalse((self.place / "gateway.pid").exists())

    def test_port_that_is_taken(self) -> None:
        self.take_port()
        shown = self.refused("--pidfile=gateway.pid")
        self.assertIn(f"listener http: cannot listen on 127.0.0.1:{self.served['http']}: address already in use", shown)
        self.assertIn(f"not started; see {self.place / 'twistd.log'}", shown)
        self.assertIn("address already in use", (self.place / "twistd.log").read_text())
        self.assertFalse((self.place / "gateway.pid").exists())

    def test_configuration_with_a_fault(self) -> None:
        self.served.configure(site(ROUTES.replace("path = /", "paht = /")))
        self.assertIn("did you mean path?", self.refused())

    def test_key_that_cannot_be_read(self) -> None:
        # the key of a TLS listener is read after the fork; permissions do not stop root
        config = site(ROUTES, tls=True).replace("tls = yes", "tls = yes\ncertificate = gw.crt\nprivate_key = gw.key")
        self.served.configure(config)
        (self.place / "gw.crt").write_text("no certificate")
        (self.place / "gw.key").write_text("no key")
        self.assertIn("gw.crt", self.refused())

    def test_audit_log_that_cannot_be_written(self) -> None:
        self.served.configure(site(ROUTES).replace("path = access.log", "path = /proc/access.log"))
        self.assertIn("/proc/access.log: the audit log cannot be opened", self.refused())

    def test_state_that_cannot_be_used(self) -> None:
        (self.place / "state").mkdir(mode=0o700)
        (self.place / "state" / "keyring.json").write_text("{}")
        (self.place / "state" / "keyring.json").chmod(0o600)
        self.assertIn("keyring.json: damaged", self.refused())

    def test_log_that_cannot_be_written(self) -> None:
        self.assertIn("/proc/twistd.log: the log cannot be written", self.refused("--logfile=/proc/twistd.log"))

    def test_log_to_standard_output(self) -> None:
        self.assertIn("--logfile -", self.refused("--logfile=-"))

    def test_pid_file_and_directory_that_cannot_be_used(self) -> None:
        self.assertIn("--pidfile /nowhere/gateway.pid", self.refused("--pidfile=/nowhere/gateway.pid"))
        self.assertIn("--rundir /nowhere", self.refused("--rundir=/nowhere"))

    def test_configuration_is_found_again_from_another_directory(self) -> None:
        self.addCleanup(lambda: os.kill(int((self.place / "gateway.pid").read_text()), signal.SIGKILL))
        command = [*TWISTD, "--rundir=/", f"--pidfile={self.place}/gateway.pid", "perimeter", "--config", "site.ini"]
        subprocess.run(command, cwd=self.place, env=self.environ(), check=True, timeout=SECONDS)
        self.served.configure(site(ROUTES.replace("path = /", "path = /only")))
        os.kill(int((self.place / "gateway.pid").read_text()), signal.SIGHUP)
        eventually(lambda: self.status() == 404, "the new configuration in force")

    def test_daemon_that_dies_without_a_word(self) -> None:
        # the end of the daemon ends the wait, whatever has ended it
        (self.place / "sitecustomize.py").write_text(DYING)
        self.assertIn("the gateway was not started", self.refused())

    def environ(self) -> dict[str, str]:
        return {**super().environ(), "PYTHONPATH": f"{self.place}{os.pathsep}{SOURCE}"}


#: Kills the daemon, which is the child of a child.
DYING = """
import os, signal
forks = []
def forked():
    forks.append(os.getpid())
    if len(forks) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
os.register_at_fork(after_in_child=forked)
"""


class OtherUserTests(TwistdCase):
    """``twistd --uid``, which only root can use."""

    def setUp(self) -> None:
        super().setUp()
        if os.geteuid():
            raise SkipTest("only root can become another user")
        self.user = pwd.getpwnam("nobody")
        self.other = ("--uid=nobody", f"--gid={self.user.pw_gid}")
        (self.place / "logs").mkdir()
        self.served.configure(site(ROUTES).replace("path = access.log", "path = logs/access.log"))

    def owned(self, *names: str) -> None:
        for name in names:
            os.chown(self.place / name, self.user.pw_uid, self.user.pw_gid)

    def refused(self) -> str:
        result = self.twistd(*self.other)
        self.assertEqual(result.returncode, 1, result)
        self.assertEqual(self.daemons(), [])
        return result.stderr

    def test_serves_and_owns_what_it_writes(self) -> None:
        self.owned("logs")
        result = self.twistd(*self.other)
        self.assertEqual(result.returncode, 0, result)
        self.assertEqual(self.status(), 200)
        (daemon,) = self.daemons()
        self.assertEqual((set(daemon.uids()), set(daemon.gids())), ({self.user.pw_uid}, {self.user.pw_gid}))
        written = [self.place / "twistd.log", self.place / "state", *(self.place / "state").iterdir()]
        written += [self.place / "logs" / "access.log"]
        self.assertEqual({path.name for path in written if path.stat().st_uid != self.user.pw_uid}, set())
        self.assertIn("state.db", {path.name for path in written})
        self.assertEqual(stat.S_IMODE((self.place / "state").stat().st_mode), 0o700)
        # and a reload, which has no privileges any more
        os.kill(daemon.pid, signal.SIGHUP)
        eventually(lambda: "reloaded: " in (self.place / "twistd.log").read_text(), "a reload")
        self.assertEqual(self.status(), 200)
        self.assertEqual(len((self.place / "logs" / "access.log").read_text().splitlines()), 2)

    def test_self_signed_certificate_is_made_by_the_user(self) -> None:
        self.owned("logs")
        config = site(ROUTES, tls=True).replace("path = access.log", "path = logs/access.log")
        self.served.configure(config)
        self.assertEqual(self.twistd(*self.other).returncode, 0)
        key = (self.place / "state" / "selfsigned.key").stat()
        self.assertEqual((key.st_uid, stat.S_IMODE(key.st_mode)), (self.user.pw_uid, 0o600))

    def test_files_that_root_has_left(self) -> None:
        self.assertEqual(self.twistd().returncode, 0)
        self.end_daemons()
        shown = self.refused()
        for name in ("state", "state/keyring.json", "state/state.db", "logs/access.log"):
            self.assertIn(str(self.place / name), shown)
        advice = re.search(r"; (chown -R .*), or start", shown)
        assert advice is not None, shown
        subprocess.run(advice[1].split(), check=True)
        self.assertEqual(self.twistd(*self.other).returncode, 0)
        self.assertEqual(self.status(), 200)

    def test_directory_of_the_audit_log_that_the_user_may_not_write(self) -> None:
        shown = self.refused()
        self.assertIn(f"user nobody may not read and write {self.place / 'logs'};", shown)

    def test_file_that_only_root_may_read_is_named_in_the_log(self) -> None:
        self.owned("logs")
        (self.place / "users.realm").chmod(0o600)
        self.assertEqual(self.twistd(*self.other).returncode, 0)
        self.assertEqual(self.status(), 200)
        self.assertIn(f"{self.place / 'users.realm'}: user nobody may not read it", (self.place / "twistd.log").read_text())
        self.assertNotIn("site.ini: user", (self.place / "twistd.log").read_text())

    def test_user_that_is_not_there(self) -> None:
        result = self.twistd("--uid=54321")
        self.assertEqual(result.returncode, 1)
        self.assertIn("--uid 54321: there is no such user", result.stderr)

    def test_attack_63_links_of_the_user_are_not_followed_as_root(self) -> None:
        self.owned("logs")
        victim = self.place / "victim"
        victim.write_text("kept\n")
        victim.chmod(0o600)
        (self.place / "state").mkdir(mode=0o700)
        self.owned("state")
        for link in ("logs/access.log", "state/state.db", "state/keyring.lock"):
            for target in (victim, self.place / "made"):  # what is there is not written, and what is not there is not made
                (self.place / link).unlink(missing_ok=True)
                (self.place / link).symlink_to(target)
                self.refused()
            (self.place / link).unlink()
        self.assertEqual((victim.read_text(), victim.stat().st_uid), ("kept\n", 0))
        self.assertFalse((self.place / "made").exists())

"""Several workers as twistd starts them: in the background, as another user, with a log file or syslog."""

from __future__ import annotations

import os
import pwd
import re
import signal
import stat
import sys
from pathlib import Path
from unittest import SkipTest

import psutil

from tests.integration import test_twistd
from tests.integration.harness import site
from tests.integration.ports import eventually
from tests.integration.test_twistd import ROUTES, SECONDS


class WorkersTwistdCase(test_twistd.TwistdCase):
    def setUp(self) -> None:
        super().setUp()
        self.configure(site(ROUTES))

    def configure(self, text: str) -> None:
        self.served.configure(text.replace("[perimeter]\n", "[perimeter]\nworkers = 2\n"))

    def manager(self) -> psutil.Process:
        (found,) = (one for one in self.daemons() if "perimeter.manager" in one.cmdline())
        return found

    def log(self) -> str:
        return (self.place / "twistd.log").read_text()


class BackgroundTests(WorkersTwistdCase):
    def test_returns_when_all_workers_serve(self) -> None:
        result = self.twistd("--pidfile=gateway.pid")
        self.assertEqual((result.returncode, result.stdout, result.stderr), (0, "", ""))
        self.assertEqual(self.status(), 200)
        manager = self.manager()
        self.assertEqual((self.place / "gateway.pid").read_text(), str(manager.pid))
        self.assertEqual(len(self.daemons()), 3)
        self.assertEqual({os.readlink(f"/proc/{manager.pid}/fd/{number}") for number in range(3)}, {"/dev/null"})
        self.assertIn(" ready: ", self.log())
        self.assertIn(" slot=0: ", self.log())
        worker = manager.children()[0]
        worker.send_signal(signal.SIGABRT)
        eventually(lambda: "most recent call first" in self.log(), "the place at which the worker was is in the log")
        eventually(lambda: len(self.daemons()) == 3, "another worker")
        manager.send_signal(signal.SIGTERM)
        manager.wait(SECONDS)
        self.assertEqual(self.daemons(), [])
        self.assertFalse((self.place / "gateway.pid").exists())

    def test_fault_is_shown_where_the_command_was_given(self) -> None:
        config = site(ROUTES, tls=True).replace("tls = yes", "tls = yes\ncertificate = gw.crt\nprivate_key = gw.key")
        self.configure(config)
        (self.place / "gw.crt").write_text("no certificate")
        (self.place / "gw.key").write_text("no key")
        result = self.twistd("--pidfile=gateway.pid")
        self.assertEqual(result.returncode, 1)
        self.assertIn("gw.crt: the file contains no certificate", result.stderr)
        self.assertIn(f"not started; see {self.place / 'twistd.log'}", result.stderr)
        self.assertEqual(self.daemons(), [])
        self.assertFalse((self.place / "gateway.pid").exists())

    def test_options_that_need_one_process(self) -> None:
        result = self.twistd(f"--chroot={self.place}")
        self.assertEqual(result.returncode, 1)
        self.assertIn("--chroot: ", result.stderr)


class OtherUserTests(WorkersTwistdCase):
    """``twistd --uid``, which only root can use."""

    def setUp(self) -> None:
        super().setUp()
        if os.geteuid():
            raise SkipTest("only root can become another user")
        self.user = pwd.getpwnam("nobody")
        (self.place / "logs").mkdir()
        os.chown(self.place / "logs", self.user.pw_uid, self.user.pw_gid)
        self.before = _interpreter_for_all(self.place / "entered")
        self.text = site(ROUTES).replace("path = access.log", "path = logs/access.log")
        self.configure(self.text)

    def started(self) -> None:
        result = self.twistd("--uid=nobody", f"--gid={self.user.pw_gid}")
        self.assertEqual((result.returncode, result.stderr), (0, ""), result)

    def test_no_process_is_root_when_workers_start(self) -> None:
        low = next(port for port in range(700, 1000) if not _listens(port))
        self.configure(re.sub(r"port = \d+", f"port = {low}", self.served.with_ports(self.text)))
        self.served.ports["http"] = low
        self.started()
        self.assertEqual(self.status(), 200)
        ids = (self.user.pw_uid, self.user.pw_gid)
        for process in self.daemons():
            self.assertEqual((set(process.uids()), set(process.gids())), ({ids[0]}, {ids[1]}))
            groups = _groups(process.pid)
            self.assertNotIn(0, groups)
        written = [self.place / "twistd.log", *(self.place / "state").iterdir(), self.place / "logs" / "access.log"]
        self.assertEqual({path.name for path in written if path.stat().st_uid != self.user.pw_uid}, set())
        self.assertEqual(stat.S_IMODE((self.place / "state").stat().st_mode), 0o700)
        # a worker that is started later is no other user, and uses the same low port
        self.manager().children()[0].kill()
        eventually(lambda: len(self.daemons()) == 3 and self.status() == 200, "another worker")
        self.assertEqual({process.uids().real for process in self.daemons()}, {self.user.pw_uid})
        self.manager().send_signal(signal.SIGHUP)
        eventually(lambda: "reloaded: " in self.log(), "a reload")
        self.assertEqual(self.status(), 200)
        # another low port needs a privilege that nobody has any more
        other = next(port for port in range(low + 1, 1020) if not _listens(port))
        self.configure(re.sub(r"port = \d+", f"port = {other}", self.served.with_ports(self.text)))
        self.manager().send_signal(signal.SIGHUP)
        eventually(lambda: "not reloaded: " in self.log(), "the refusal")
        self.assertIn("ports below 1024 need root or CAP_NET_BIND_SERVICE", self.log())
        self.assertEqual(self.status(), 200)

    def test_file_that_only_root_may_read_is_refused(self) -> None:
        (self.place / "users.realm").chmod(0o600)
        result = self.twistd("--uid=nobody", f"--gid={self.user.pw_gid}")
        self.assertEqual(result.returncode, 1)
        self.assertIn(f"user nobody may not read {self.place / 'users.realm'}; with several workers", result.stderr)
        self.assertEqual(self.daemons(), [])


def _interpreter_for_all(place: Path) -> tuple[str, ...]:
    """A command that runs another one where every user may enter the directories of the interpreter, such as /root.

    ``place`` is an empty directory to be made, in which they are mounted for that command alone.

    The processes of several workers are executed by the user of the gateway.
    """
    interpreter = Path(sys.executable).resolve()
    closed = [path for path in reversed(interpreter.parents) if not path.stat().st_mode & stat.S_IXOTH]
    if not closed:
        return ()
    entry = interpreter.relative_to(closed[0]).parts[0]
    (place / entry).mkdir(parents=True)
    script = f'mount --bind {closed[0]}/{entry} {place}/{entry} && mount --rbind {place} {closed[0]} && exec "$@"'
    return ("unshare", "--mount", "sh", "-c", script, "sh")


def _listens(port: int) -> bool:
    return any(one.laddr.port == port for one in psutil.net_connections("tcp") if one.status == psutil.CONN_LISTEN)


def _groups(pid: int) -> set[int]:
    with open(f"/proc/{pid}/status") as status:
        (line,) = (line for line in status if line.startswith("Groups:"))
    return {int(word) for word in line.split()[1:]}

"""How listening sockets are opened, and what it means that one cannot be opened."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
from twisted.trial.unittest import TestCase

from perimeter.errors import StartupError
from perimeter.net.binding import Owner, bind, bind_fault, inherited_socket, listening_socket
from perimeter.workers.plan import Address


class InheritedTests(TestCase):
    def test_copies_stay_non_blocking(self) -> None:
        listening = listening_socket("127.0.0.1", 0)
        inherited = inherited_socket(os.dup(listening.fileno()))
        for one in (listening, inherited, inherited.dup()):
            self.addCleanup(one.close)
            self.assertFalse(os.get_blocking(one.fileno()))
            self.assertRaises(BlockingIOError, one.accept)


class BindTests(TestCase):
    def test_ports(self) -> None:
        for problem, port, words in (
            (PermissionError(errno.EACCES, "Permission denied"), 443, "ports below 1024 need root or CAP_NET_BIND_SERVICE"),
            (PermissionError(errno.EACCES, "Permission denied"), 1023, "ports below 1024 need root"),
            (PermissionError(errno.EACCES, "Permission denied"), 1024, "permission denied"),
            (OSError(errno.EADDRINUSE, "x"), 80, "address already in use: another program listens there"),
            (OSError(errno.EADDRNOTAVAIL, "x"), 80, "this machine does not have the address in interface"),
            (socket.gaierror(), 80, "this is not an IP address"),
            (OSError(errno.EIO, "Input error"), 80, "input error"),
        ):
            said = bind_fault(problem, port)
            self.assertIn(words, said)
            self.assertEqual("1024" in said, port < 1024 and problem.errno == errno.EACCES)


@attrs.define
class User:
    """The user of this process, as `perimeter.run.build.user.DaemonUser`. ``denied`` is what acting as them may not do."""

    uid: int = attrs.field(factory=os.getuid)
    gid: int = attrs.field(factory=os.getgid)
    denied: bool = False
    acted: int = 0

    @contextmanager
    def acting(self) -> Iterator[None]:
        self.acted += 1
        if self.denied:
            raise PermissionError(errno.EACCES, "Permission denied")
        yield


class UnixSocketTests(TestCase):
    def setUp(self) -> None:
        # the path of a socket is short, and those of trial are long
        directory = tempfile.mkdtemp(prefix="perimeter-test-")
        self.addCleanup(shutil.rmtree, directory)
        self.path = f"{directory}/s"
        self.place = Address("web", f"unix:{self.path}", 0)

    def bound(self, mode: int = 0o660, owner: Owner | None = None) -> socket.socket:
        listening = bind(attrs.evolve(self.place, mode=mode), owner)
        self.addCleanup(listening.close)
        return listening

    def mode(self) -> int:
        return stat.S_IMODE(os.stat(self.path).st_mode)

    def test_a_client_connects(self) -> None:
        listening = self.bound()
        self.assertFalse(listening.getblocking())
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(self.path)
            accepted, _ = listening.accept()
            accepted.close()

    def test_permissions_whatever_the_umask(self) -> None:
        for umask in (0o000, 0o022, 0o077):
            for mode in (0o600, 0o660, 0o666):
                before = os.umask(umask)
                try:
                    self.bound(mode).close()
                finally:
                    os.umask(before)
                self.assertEqual(self.mode(), mode)

    def test_attack_116_the_socket_never_has_more_permissions(self) -> None:
        modes = []
        change = os.chmod

        def changed(path: str, mode: int) -> None:
            modes.append(self.mode())
            change(path, mode)

        self.patch(os, "chmod", changed)
        before = os.umask(0)
        try:
            self.bound(0o600)
        finally:
            os.umask(before)
        self.assertEqual(modes, [0o600])

    def test_a_socket_that_nobody_listens_on_is_replaced(self) -> None:
        self.bound().close()
        with socket.socket(socket.AF_UNIX) as client:
            self.assertRaises(ConnectionRefusedError, client.connect, self.path)
        listening = self.bound()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(self.path)
            listening.accept()[0].close()

    def test_attack_116_a_socket_in_use_is_not_replaced(self) -> None:
        first = self.bound()
        with self.assertRaisesRegex(
            StartupError, f"listener web: cannot listen on unix:{self.path}: another program listens there"
        ):
            bind(self.place)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(self.path)
            first.accept()[0].close()

    def test_attack_116_a_socket_with_a_full_queue_is_not_replaced(self) -> None:
        busy = socket.socket(socket.AF_UNIX)
        self.addCleanup(busy.close)
        busy.bind(self.path)
        busy.listen(0)
        waiting = socket.socket(socket.AF_UNIX)
        self.addCleanup(waiting.close)
        waiting.connect(self.path)
        with self.assertRaisesRegex(StartupError, "another program listens there"):
            bind(self.place)

    def test_attack_116_a_file_that_is_no_socket_is_not_removed(self) -> None:
        Path(self.path).write_text("data")
        with self.assertRaisesRegex(StartupError, "a file that is not a socket is there"):
            bind(self.place)
        self.assertEqual(Path(self.path).read_text(), "data")

    def test_a_directory_that_does_not_exist(self) -> None:
        place = Address("web", f"unix:{self.path}-none/s", 0)
        with self.assertRaisesRegex(StartupError, f"there is no directory {self.path}-none: make it"):
            bind(place)

    def test_the_user_of_the_daemon_makes_it(self) -> None:
        user = User()
        self.bound(owner=user)
        self.assertEqual(user.acted, 1)

    def test_root_makes_it_where_the_user_may_not(self) -> None:
        given = []
        self.patch(os, "chown", lambda *arguments, **options: given.append((arguments, options)))
        self.bound(owner=User(7, 8, denied=True))
        self.assertEqual(given, [((self.path, 7, 8), {"follow_symlinks": False})])


class NeighbourTests(TestCase):
    """Another interface, and the same port as that of a socket in use."""

    def setUp(self) -> None:
        self.before = listening_socket("127.0.0.1", 0)
        self.addCleanup(self.before.close)
        self.port = self.before.getsockname()[1]

    def test_a_wider_and_a_narrower_interface(self) -> None:
        for interface in ("", "0.0.0.0"):
            wide = bind(Address("web", interface, self.port), None, [self.before])
            try:
                for one in (wide, self.before):
                    self.assertEqual(one.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT), 0)
                with socket.create_connection(("127.0.0.2", self.port)):
                    wide.accept()[0].close()
                with socket.create_connection(("127.0.0.1", self.port)):
                    self.before.accept()[0].close()
                self.before.close()
                with socket.create_connection(("127.0.0.1", self.port)):
                    wide.accept()[0].close()
                self.before = bind(Address("web", "127.0.0.1", self.port), None, [wide])
                self.addCleanup(self.before.close)
            finally:
                wide.close()

    def test_attack_119_no_port_of_another_program_is_shared(self) -> None:
        place = Address("web", "", self.port)
        other = listening_socket("127.0.0.1", 0)
        self.addCleanup(other.close)
        for beside in ([], [other]):
            with self.assertRaisesRegex(StartupError, "address already in use"):
                bind(place, None, beside)
        for one in (self.before, other):
            self.assertEqual(one.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT), 0)

    def test_a_socket_belongs_to_the_user_of_the_daemon(self) -> None:
        given = []
        self.patch(os, "fchown", lambda descriptor, uid, gid: given.append((uid, gid)))
        bind(Address("web", "127.0.0.1", 0), User(7, 8)).close()
        self.assertEqual(given, [(7, 8)])

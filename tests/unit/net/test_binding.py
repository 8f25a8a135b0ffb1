"""What it means that a listening socket cannot be opened."""

from __future__ import annotations

import errno
import socket

from twisted.trial.unittest import TestCase

from perimeter.net.binding import bind_fault


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

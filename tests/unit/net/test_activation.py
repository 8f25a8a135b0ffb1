"""Sockets from systemd: which variables count, and which listener gets which socket."""

from __future__ import annotations

import os
import socket

from twisted.trial.unittest import SynchronousTestCase

from perimeter.errors import StartupError
from perimeter.net.activation import Activated, activated, matched
from perimeter.workers.plan import Address


class ActivationCase(SynchronousTestCase):
    def listening(self, host: str = "127.0.0.1", *, kind: int = socket.SOCK_STREAM, listen: bool = True) -> socket.socket:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        found = socket.socket(family, kind)
        self.addCleanup(found.close)
        found.bind((host, 0))
        if listen:
            found.listen()
        return found

    def passed(self, *sockets: socket.socket) -> int:
        """Descriptors in a row, as systemd passes them; returns the first."""
        first = 200
        for number, one in enumerate(sockets):
            os.dup2(one.fileno(), first + number)
        return first


class VariablesTests(ActivationCase):
    def test_sockets_and_their_names(self) -> None:
        one, two = self.listening(), self.listening("::1")
        environ = {"LISTEN_PID": "12", "LISTEN_FDS": "2", "LISTEN_FDNAMES": "https:unknown", "HOME": "/"}
        found = activated(environ, 12, self.passed(one, two))
        for each in found:
            self.addCleanup(each.socket.close)
        self.assertEqual([each.name for each in found], ["https", ""])
        self.assertEqual([each.socket.getsockname()[:2] for each in found], [one.getsockname()[:2], two.getsockname()[:2]])
        self.assertEqual(environ, {"HOME": "/"})
        for each in found:
            self.assertFalse(os.get_inheritable(each.socket.fileno()))
            self.assertFalse(each.socket.getblocking())
            self.assertEqual(each.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY), 1)

    def test_those_of_another_process_are_not_taken(self) -> None:
        for environ in (
            {"LISTEN_PID": "13", "LISTEN_FDS": "1"},
            {"LISTEN_FDS": "1"},
            {"LISTEN_PID": "12", "LISTEN_FDS": "x"},
            {"LISTEN_PID": "12"},
            {"LISTEN_PID": "12", "LISTEN_FDS": "0"},
        ):
            self.assertEqual(activated(dict(environ), 12, 200), [])

    def test_what_is_not_a_listening_tcp_socket_is_refused(self) -> None:
        for one, words in (
            (self.listening(kind=socket.SOCK_DGRAM, listen=False), "is not a TCP or unix socket"),
            (self.listening(listen=False), "does not listen"),
        ):
            error = self.assertRaises(
                StartupError, activated, {"LISTEN_PID": "12", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "a"}, 12, self.passed(one)
            )
            self.assertIn(words, str(error))
            self.assertIn("(a)", str(error))
        reading, writing = os.pipe()
        self.addCleanup(os.close, writing)
        error = self.assertRaises(StartupError, activated, {"LISTEN_PID": "12", "LISTEN_FDS": "1"}, 12, reading)
        self.assertIn("is not a socket", str(error))
        os.close(reading)


class MatchedTests(ActivationCase):
    def setUp(self) -> None:
        self.one, self.two = self.listening(), self.listening()

    def port(self, found: socket.socket) -> int:
        return int(found.getsockname()[1])

    def test_the_address_comes_first(self) -> None:
        addresses = [Address("a", "127.0.0.1", self.port(self.one)), Address("b", "127.0.0.1", self.port(self.two))]
        found = matched(addresses, [Activated("a", self.two), Activated("b", self.one)])
        self.assertEqual(found, {addresses[0]: self.one, addresses[1]: self.two})

    def test_then_the_name(self) -> None:
        address = Address("https", "127.0.0.1", 443)
        self.assertEqual(matched([address], [Activated("https", self.one)]), {address: self.one})

    def test_all_interfaces(self) -> None:
        everywhere = self.listening("::")
        address = Address("https", "", self.port(everywhere))
        self.assertEqual(matched([address], [Activated("", everywhere)]), {address: everywhere})
        self.assertRaises(StartupError, matched, [Address("https", "", self.port(self.one))], [Activated("", self.one)])

    def test_nothing_passed_is_nothing_wrong(self) -> None:
        self.assertEqual(matched([Address("a", "", 1)], []), {})

    def test_a_listener_without_a_socket_and_a_socket_without_a_listener_are_faults(self) -> None:
        addresses = [Address("a", "", 8443), Address("b", "", 81)]
        port = self.port(self.two)
        error = self.assertRaises(StartupError, matched, addresses, [Activated("a", self.one), Activated("x", self.two)])
        first, second = str(error).splitlines()
        self.assertIn("listener b: systemd has passed sockets, but none for *:81", first)
        self.assertIn(f"a socket for 127.0.0.1:{port} (x)", second)

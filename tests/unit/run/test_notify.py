"""The notifications for systemd, on real datagram sockets."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from perimeter.run.notify import Notifier, Watchdog


class NotifierCase(TestCase):
    """A listening socket in a directory of its own."""

    def setUp(self) -> None:
        # AF_UNIX paths have at most 108 bytes, and trial's directories may be deep
        self.path = f"/tmp/notify-{os.getpid()}-{id(self)}"
        self.listener = self.listen(self.path)

    def listen(self, address: str) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        listener.setblocking(False)
        listener.bind(address)
        self.addCleanup(listener.close)
        if address.startswith("/"):
            self.addCleanup(Path(address).unlink, missing_ok=True)
        return listener

    def heard(self, listener: socket.socket | None = None) -> list[str]:
        datagrams: list[str] = []
        while True:
            try:
                datagrams.append((listener or self.listener).recv(4096).decode())
            except BlockingIOError:
                return datagrams


class NotifierTests(NotifierCase):
    def test_states(self) -> None:
        notifier = Notifier(self.path, monotonic_ns=lambda: 12_345_678)
        self.assertTrue(notifier.ready("serving 3 routes"))
        self.assertTrue(notifier.reloading())
        self.assertTrue(notifier.stopping("draining"))
        self.assertTrue(notifier.status("2 connections"))
        self.assertTrue(notifier.alive())
        self.assertEqual(
            self.heard(),
            [
                "READY=1\nSTATUS=serving 3 routes",
                "RELOADING=1\nMONOTONIC_USEC=12345",
                "STOPPING=1\nSTATUS=draining",
                "STATUS=2 connections",
                "WATCHDOG=1",
            ],
        )

    def test_abstract_socket(self) -> None:
        name = f"perimeter-{os.getpid()}-{id(self)}"
        listener = self.listen("\0" + name)
        self.assertTrue(Notifier("@" + name).ready())
        self.assertEqual(self.heard(listener), ["READY=1"])

    def test_status_is_one_line(self) -> None:
        Notifier(self.path).status("a bad file:\nREADY=1\r\n")
        self.assertEqual(self.heard(), ["STATUS=a bad file: READY=1"])

    def test_empty_status_is_not_sent(self) -> None:
        self.assertFalse(Notifier(self.path).status(" \n"))
        self.assertEqual(self.heard(), [])

    def test_without_a_usable_address(self) -> None:
        for address in (None, "", "/", "relative", "vsock:2:1234"):
            notifier = Notifier(address, watchdog=1.0)
            self.assertFalse(notifier.ready())
            self.assertIsNone(notifier.watchdog)

    def test_listener_gone(self) -> None:
        self.listener.close()
        self.assertFalse(Notifier(self.path).ready())

    def test_full_queue_does_not_block(self) -> None:
        notifier = Notifier(self.path)
        while notifier.alive():
            pass
        self.assertIn("WATCHDOG=1", self.heard())
        self.assertTrue(notifier.alive())


class EnvironmentTests(NotifierCase):
    def test_socket_and_watchdog(self) -> None:
        notifier = Notifier.from_environment({"NOTIFY_SOCKET": self.path, "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "42"}, 42)
        self.assertEqual(notifier.watchdog, 15.0)
        self.assertTrue(notifier.ready())
        self.assertEqual(self.heard(), ["READY=1"])

    def test_watchdog_without_pid(self) -> None:
        notifier = Notifier.from_environment({"NOTIFY_SOCKET": self.path, "WATCHDOG_USEC": "1000000"}, 42)
        self.assertEqual(notifier.watchdog, 0.5)

    def test_watchdog_of_another_process(self) -> None:
        environ = {"NOTIFY_SOCKET": self.path, "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "41"}
        self.assertIsNone(Notifier.from_environment(environ, 42).watchdog)

    def test_nonsense(self) -> None:
        for usec in ("", "0", "-1", "soon", "٣"):
            notifier = Notifier.from_environment({"NOTIFY_SOCKET": self.path, "WATCHDOG_USEC": usec}, 42)
            self.assertIsNone(notifier.watchdog, usec)

    def test_unset(self) -> None:
        self.assertFalse(Notifier.from_environment({}, 42).ready())


class WatchdogTests(NotifierCase):
    def test_beats_while_it_runs(self) -> None:
        clock = Clock()
        watchdog = Watchdog(Notifier(self.path, watchdog=5.0), clock)
        watchdog.startService()
        self.assertEqual(self.heard(), ["WATCHDOG=1"])
        clock.advance(4.9)
        self.assertEqual(self.heard(), [])
        clock.pump([0.1, 5.0])
        self.assertEqual(self.heard(), ["WATCHDOG=1"] * 2)
        watchdog.stopService()
        clock.advance(60)
        self.assertEqual(self.heard(), [])
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_off(self) -> None:
        clock = Clock()
        watchdog = Watchdog(Notifier(self.path), clock)
        watchdog.startService()
        self.assertEqual(clock.getDelayedCalls(), [])
        watchdog.stopService()
        self.assertEqual(self.heard(), [])

"""Reports the state of the daemon to systemd: ready, reloading, stopping, alive. Without systemd it does nothing.

The protocol is sd_notify(3): one datagram of ``NAME=value`` lines to the socket that ``$NOTIFY_SOCKET`` names.
`perimeter.run.daemon` decides when to report what.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping

from twisted.application.service import Service
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall


class Notifier:
    """Sends state changes to a service manager.

    ``address`` is the value of ``$NOTIFY_SOCKET``: an absolute path, or ``@`` and an abstract name. Any other value, such as None
    or the empty string, turns the notifier off. ``watchdog`` is the number of seconds between two calls of `alive` that the
    service manager expects (half of its time limit), or None.

    Each method returns whether the kernel has taken the datagram. It never blocks and never raises: the gateway goes on serving
    if the service manager has gone away or is too busy to read.
    """

    def __init__(
        self,
        address: str | None,
        *,
        watchdog: float | None = None,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._address: bytes | None = None
        if address and len(address) > 1 and address[0] in "@/":
            name = os.fsencode(address)
            self._address = b"\0" + name[1:] if address[0] == "@" else name
        self.watchdog = watchdog if self._address else None
        self._monotonic_ns = monotonic_ns

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], pid: int) -> Notifier:
        """The notifier that the environment describes. ``pid`` is this process: the watchdog may be meant for another one."""
        watchdog: float | None = None
        usec = environ.get("WATCHDOG_USEC", "")
        if usec.isascii() and usec.isdigit() and int(usec) > 0 and environ.get("WATCHDOG_PID", str(pid)) == str(pid):
            watchdog = int(usec) / 2_000_000
        return cls(environ.get("NOTIFY_SOCKET"), watchdog=watchdog)

    def ready(self, status: str = "") -> bool:
        """The start, or a reload, is complete."""
        return self._send("READY=1", *_status(status))

    def reloading(self, status: str = "") -> bool:
        """A reload has begun; `ready` ends it, whether it changed anything or not."""
        # Type=notify-reload (systemd 253) distinguishes reloads by this time.
        return self._send("RELOADING=1", f"MONOTONIC_USEC={self._monotonic_ns() // 1000}", *_status(status))

    def stopping(self, status: str = "") -> bool:
        """The daemon has begun to stop."""
        return self._send("STOPPING=1", *_status(status))

    def status(self, text: str) -> bool:
        """One line for ``systemctl status``."""
        return self._send(*_status(text))

    def alive(self) -> bool:
        """The event loop is running."""
        return self._send("WATCHDOG=1")

    def _send(self, *lines: str) -> bool:
        if self._address is None or not lines:
            return False
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) as sender:
                sender.sendto("\n".join(lines).encode(), self._address)
        except OSError:
            return False
        return True


def _status(text: str) -> tuple[str, ...]:
    """``text`` as a STATUS line, or nothing. A line end in ``text`` would begin another assignment."""
    one_line = " ".join(text.split())
    return (f"STATUS={one_line}",) if one_line else ()


class Watchdog(Service):
    """Calls `Notifier.alive` as often as the service manager expects it.

    It runs on the reactor, so it stops if the reactor hangs, and the service manager restarts the daemon.
    """

    def __init__(self, notifier: Notifier, clock: IReactorTime) -> None:
        self._notifier = notifier
        self._call: LoopingCall = LoopingCall(notifier.alive)
        self._call.clock = clock

    def startService(self) -> None:
        """Begin, with the first call at once."""
        super().startService()  # type: ignore[no-untyped-call]
        if self._notifier.watchdog is not None:
            self._call.start(self._notifier.watchdog)

    def stopService(self) -> None:
        """End the calls."""
        super().stopService()  # type: ignore[no-untyped-call]
        if self._call.running:
            self._call.stop()

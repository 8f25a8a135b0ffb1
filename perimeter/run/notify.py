"""Tells systemd how the daemon is doing: ready, reloading, stopping, alive. Says nothing where nobody listens.

The protocol is sd_notify(3): one datagram of ``NAME=value`` lines to the socket that ``$NOTIFY_SOCKET`` names. When to say what
is left to whoever knows: `perimeter.run` for the gateway as a whole.
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

    ``address`` is the value of ``$NOTIFY_SOCKET``: an absolute path, or ``@`` and an abstract name; anything else, None and the
    empty string too, turns the notifier off. ``watchdog`` is how often the service manager wants to hear `alive`, in seconds
    (half of the time after which it would give up), or None.

    Each method returns whether the datagram was handed to the kernel. It never blocks and never raises: a service manager that
    has gone away, or that is too busy to read, is no reason to stop serving.
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
        """A notifier as the service manager asked for it. ``pid`` is this process: the watchdog may be meant for another."""
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
        # Type=notify-reload (systemd 253) tells a reload from an earlier one by this time
        return self._send("RELOADING=1", f"MONOTONIC_USEC={self._monotonic_ns() // 1000}", *_status(status))

    def stopping(self, status: str = "") -> bool:
        """The end has begun."""
        return self._send("STOPPING=1", *_status(status))

    def status(self, text: str) -> bool:
        """One line for ``systemctl status``."""
        return self._send(*_status(text))

    def alive(self) -> bool:
        """The event loop turns."""
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
    """``text`` as a STATUS line, or nothing. A line end in it would start another assignment."""
    one_line = " ".join(text.split())
    return (f"STATUS={one_line}",) if one_line else ()


class Watchdog(Service):
    """Says `Notifier.alive` as often as the service manager wants to hear it, for as long as it runs.

    It runs on the reactor, so a reactor that hangs falls silent, and is restarted.
    """

    def __init__(self, notifier: Notifier, clock: IReactorTime) -> None:
        self._notifier = notifier
        self._call: LoopingCall = LoopingCall(notifier.alive)
        self._call.clock = clock

    def startService(self) -> None:
        """Begin, with a first sign of life at once."""
        super().startService()  # type: ignore[no-untyped-call]
        if self._notifier.watchdog is not None:
            self._call.start(self._notifier.watchdog)

    def stopService(self) -> None:
        """Fall silent."""
        super().stopService()  # type: ignore[no-untyped-call]
        if self._call.running:
            self._call.stop()

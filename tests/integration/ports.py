"""Ports that are free, and waiting for a fact that cannot announce itself."""

from __future__ import annotations

import errno
import random
import socket
import threading
import time
from collections.abc import Callable

RANGE = (20000, 32000)
"""Below the ports that Linux hands out to outgoing connections, so that no connection takes one between choice and use."""

_random = random.SystemRandom()


def free_port() -> int:
    """A port that nothing is bound to, on any address, at this moment."""
    while True:
        port = _random.randrange(*RANGE)
        with socket.socket(socket.AF_INET6) as probe:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            try:
                probe.bind(("::", port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
            else:
                return port


def eventually(fact: Callable[[], object], what: str, timeout: float = 10.0) -> None:
    """Return once ``fact()`` is true; fail with ``what`` after ``timeout`` seconds."""
    end = time.monotonic() + timeout
    pause = threading.Event()
    while not fact():
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout} s: {what}")
        pause.wait(0.02)

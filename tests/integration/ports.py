"""Finds free ports, and waits for conditions."""

from __future__ import annotations

import errno
import random
import socket
import threading
import time
from collections.abc import Callable

RANGE = (20000, 32000)
"""Below the ports that Linux uses for outgoing connections, so that no connection takes a port between its choice and its use."""

_random = random.SystemRandom()
_given: set[int] = set()
"""Ports that this process has been given. A port on which nothing is to listen must not be given a second time."""


def free_port() -> int:
    """Return a port that is in use on no address at this moment, and that was not returned before."""
    while True:
        port = _random.randrange(*RANGE)
        if port in _given:
            continue
        with socket.socket(socket.AF_INET6) as probe:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            try:
                probe.bind(("::", port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
            else:
                _given.add(port)
                return port


def eventually(fact: Callable[[], object], what: str, timeout: float = 10.0) -> None:
    """Return once ``fact()`` is true; fail with ``what`` after ``timeout`` seconds.

    A fact is looked at again after a twentieth of the time since the begin, between 10 ms and 100 ms: looking costs time, too.
    """
    began = time.monotonic()
    pause = threading.Event()
    while not fact():
        waited = time.monotonic() - began
        if waited > timeout:
            raise AssertionError(f"not within {timeout} s: {what}")
        pause.wait(min(max(waited / 20, 0.01), 0.1))

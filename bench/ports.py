"""Finds free ports."""

from __future__ import annotations

import errno
import random
import socket

RANGE = (20000, 32000)
"""Below the ports that Linux uses for outgoing connections, so that no connection takes a port between its choice and its use."""

_random = random.SystemRandom()
_given: set[int] = set()


def free_port() -> int:
    """Return a port that is not in use and was not returned before."""
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

"""Ports that are free."""

from __future__ import annotations

import errno
import random
import socket

RANGE = (20000, 32000)
"""Below the ports that Linux hands out to outgoing connections, so that no connection takes one between choice and use."""

_random = random.SystemRandom()
_given: set[int] = set()


def free_port() -> int:
    """A port that nothing is bound to, and that was not given before."""
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

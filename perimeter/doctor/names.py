"""The names of servers: whether a look-up finds them, and how long it takes."""

from __future__ import annotations

import socket
import time
from typing import Final

from perimeter.doctor.finding import Finding, Grade, Name
from perimeter.doctor.subject import Server

SLOW: Final = 1.0
"""Seconds after which a look-up is reported."""


def see(server: Server) -> list[Finding]:
    """Look up the name of a server. Blocks until the resolver answers."""
    began = time.monotonic()
    try:
        socket.getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a name"
        message = f"the name {server.host} cannot be looked up: {reason}"
        remedy = "correct the name, or /etc/resolv.conf and /etc/hosts of this machine"
        return [Finding(Name.NAME_UNKNOWN, Grade.FAILS, server.place, message, remedy)]
    taken = time.monotonic() - began
    if taken < SLOW:
        return []
    message = f"the look-up of the name {server.host} took {taken:.1f} s: new connections wait for it"
    remedy = "look at the name servers in /etc/resolv.conf: the first may be down; or write the address"
    return [Finding(Name.NAME_SLOW, Grade.SOON, server.place, message, remedy)]

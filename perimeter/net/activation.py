"""Listening sockets that systemd has opened for this process (sd_listen_fds(3), "socket activation").

The process needs no privilege for low ports then, and no connection is refused while the service is restarted: it waits in the
socket, which systemd keeps. The manager of several workers uses this module, so it imports neither TLS nor the reactor.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from contextlib import suppress
from ipaddress import ip_address
from typing import Final

import attrs

from perimeter.errors import StartupError
from perimeter.workers.plan import Address

FIRST: Final = 3
"""The first descriptor that systemd passes."""

_VARIABLES: Final = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID")
_MOST: Final = 1000


@attrs.frozen(eq=False)
class Activated:
    """A listening ``socket`` from systemd. ``name`` is its FileDescriptorName=, by default the name of the socket unit."""

    name: str
    socket: socket.socket

    def __str__(self) -> str:
        name = self.name or "without a name"
        if self.socket.family == socket.AF_UNIX:
            return f"unix:{self.socket.getsockname()} ({name})"
        host, port = self.socket.getsockname()[:2]
        return f"{f'[{host}]' if ':' in host else host}:{port} ({name})"


def activated(environ: MutableMapping[str, str], pid: int, first: int = FIRST) -> list[Activated]:
    """The sockets that ``environ`` promises to the process ``pid``; the variables are removed, so that child processes do not see
    them.

    Raises `StartupError` for a descriptor that is not a listening TCP or unix socket.
    """
    told = {name: environ.pop(name, "") for name in _VARIABLES}
    count = told["LISTEN_FDS"]
    if told["LISTEN_PID"] != str(pid) or not (count.isascii() and count.isdigit()):
        return []
    names = told["LISTEN_FDNAMES"].split(":")
    found = []
    for number in range(min(int(count[:9]), _MOST)):
        name = names[number] if number < len(names) else ""
        found.append(Activated("" if name == "unknown" else name, _listening(first + number, name)))
    return found


def _listening(descriptor: int, name: str) -> socket.socket:
    """The socket of a descriptor, as a listener needs it."""
    fault = f"systemd has passed descriptor {descriptor} ({name or 'without a name'}), which"
    try:
        os.set_inheritable(descriptor, False)
        found = socket.socket(fileno=descriptor)
    except OSError as problem:
        raise StartupError(f"{fault} is not a socket ({problem.strerror})") from None
    if found.family not in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX) or found.type != socket.SOCK_STREAM:
        raise StartupError(f"{fault} is not a TCP or unix socket: use ListenStream= with a port or a path in the socket unit")
    if not found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise StartupError(f"{fault} does not listen: the socket unit must not have Accept=yes")
    found.setblocking(False)
    if found.family == socket.AF_UNIX:
        return found
    # accepted sockets inherit these options
    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return found


def matched(addresses: Iterable[Address], found: Sequence[Activated]) -> Mapping[Address, socket.socket]:
    """The socket of each listener: the one with its address, or else the one with its name. Empty if systemd has passed none.

    Raises `StartupError` for a listener without a socket, and for a socket without a listener: a part of the site would not be
    reachable, or would hang.
    """
    if not found:
        return {}
    left = list(found)
    sockets: dict[Address, socket.socket] = {}
    waiting = list(addresses)
    for fits in (_same_address, _same_name):
        for address in [one for one in waiting if one not in sockets]:
            one = next((candidate for candidate in left if fits(address, candidate)), None)
            if one is not None:
                left.remove(one)
                sockets[address] = one.socket
    missing = [address for address in waiting if address not in sockets]
    problems = [
        f"listener {one.name}: systemd has passed sockets, but none for {one} or with this name; "
        "add it to the socket unit (ListenStream=, FileDescriptorName=)"
        for one in missing
    ]
    problems += [f"systemd has passed a socket for {one}, and no listener has this address or name" for one in left]
    if problems:
        for one in found:
            one.socket.close()
        raise StartupError("\n".join(problems))
    return sockets


def _same_address(address: Address, candidate: Activated) -> bool:
    if candidate.socket.family == socket.AF_UNIX or address.path:
        return candidate.socket.family == socket.AF_UNIX and candidate.socket.getsockname() == address.path
    host, port = candidate.socket.getsockname()[:2]
    if not address.port or port != address.port:
        return False
    if not address.interface:
        return host in ("::", "0.0.0.0")  # noqa: S104
    with suppress(ValueError):
        return ip_address(host.partition("%")[0]) == ip_address(address.interface)
    return False


def _same_name(address: Address, candidate: Activated) -> bool:
    return bool(candidate.name) and candidate.name == address.name

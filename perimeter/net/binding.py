"""Opens listening sockets. The manager of several workers imports this module, so it imports neither TLS nor the reactor."""

from __future__ import annotations

import errno
import os
import socket
from errno import EAFNOSUPPORT
from typing import Any

from perimeter.descriptors import system_reason
from perimeter.errors import StartupError

BACKLOG = 20000
"""Connections that wait to be accepted. The kernel lowers it to net.core.somaxconn."""


def bind(name: str, interface: str, port: int) -> socket.socket:
    """Return a listening socket of the listener ``name`` (no interface: all, IPv4 and IPv6). Raises `StartupError`."""
    try:
        return listening_socket(interface, port)
    except OSError as problem:
        host = f"[{interface}]" if ":" in interface else interface or "*"
        raise StartupError(f"listener {name}: cannot listen on {host}:{port}: {bind_fault(problem, port)}") from problem


def listening_socket(interface: str, port: int, backlog: int = BACKLOG) -> socket.socket:
    """Return a non-blocking listening socket. ``interface`` is an IP address, or empty for all addresses. Raises `OSError`."""
    if interface:
        family, _, _, _, name = socket.getaddrinfo(
            interface, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        )[0]
        return _bound(family, name, backlog, only_v6=True)
    try:
        return _bound(socket.AF_INET6, ("::", port), backlog, only_v6=False)
    except OSError as problem:
        if problem.errno != EAFNOSUPPORT and os.path.exists("/proc/net/if_inet6"):
            raise
        # The kernel has no IPv6.
        return _bound(socket.AF_INET, ("", port), backlog, only_v6=False)


def inherited_socket(descriptor: int) -> socket.socket:
    """The listening socket that another process has opened. The object owns the descriptor."""
    listening = socket.socket(fileno=descriptor)
    listening.setblocking(False)  # it is, but the object has to know: its copies would be blocking, and with them all others
    return listening


def _bound(family: int, name: tuple[Any, ...], backlog: int, *, only_v6: bool) -> socket.socket:
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setblocking(False)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only_v6)
        # On Linux, accepted sockets inherit these options, which saves two system calls for each of them.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        listening.bind(name)
        listening.listen(backlog)
    except BaseException:
        listening.close()
        raise
    return listening


def bind_fault(problem: OSError, port: int) -> str:
    """The reason, in words, why a socket cannot listen on ``port``."""
    if problem.errno in (errno.EACCES, errno.EPERM) and 0 < port < 1024:
        return (
            "permission denied: ports below 1024 need root or CAP_NET_BIND_SERVICE: start with root and --uid, set "
            "AmbientCapabilities=CAP_NET_BIND_SERVICE in the systemd unit, or use a higher port"
        )
    if problem.errno == errno.EADDRINUSE:
        return "address already in use: another program listens there (ss -ltnp shows which), or set another port"
    if problem.errno == errno.EADDRNOTAVAIL:
        return "cannot assign requested address: this machine does not have the address in interface"
    if isinstance(problem, socket.gaierror):
        return "this is not an IP address"
    reason = system_reason(problem)
    return reason[:1].lower() + reason[1:]

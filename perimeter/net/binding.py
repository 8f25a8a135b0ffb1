"""Opens listening sockets. The manager of several workers imports this module, so it imports neither TLS nor the reactor."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from errno import EADDRINUSE, EAFNOSUPPORT
from typing import Any, Protocol

from perimeter.descriptors import system_reason
from perimeter.errors import StartupError
from perimeter.workers.plan import Address

BACKLOG = 20000
"""Connections that wait to be accepted. The kernel lowers it to net.core.somaxconn."""


class Owner(Protocol):
    """The user that the process becomes after its sockets are bound (`perimeter.run.build.user`)."""

    @property
    def uid(self) -> int:
        """The number of the user."""

    @property
    def gid(self) -> int:
        """The number of their group."""

    def acting(self) -> AbstractContextManager[None]:
        """Act as this user until the end of the block."""


def bind(address: Address, owner: Owner | None = None, beside: Iterable[socket.socket] = ()) -> socket.socket:
    """Return a listening socket for ``address``, which belongs to ``owner``, if there is one. Raises `StartupError`.

    ``beside`` are the listening sockets of the configuration in force: the new socket may be for some of their connections, such
    as one for all interfaces instead of one for the loopback interface.
    """
    try:
        if address.path:
            return _unix_socket(address.path, address.mode, owner)
        try:
            listening = listening_socket(address.interface, address.port)
        except OSError as problem:
            neighbours = [one for one in beside if one.family != socket.AF_UNIX and one.getsockname()[1] == address.port]
            if problem.errno != EADDRINUSE or not neighbours:
                raise
            with _shared(neighbours):
                listening = listening_socket(address.interface, address.port, shared=True)
    except OSError as problem:
        fault = _socket_fault(problem, address.path) if address.path else bind_fault(problem, address.port)
        raise StartupError(f"listener {address.name}: cannot listen on {address}: {fault}") from problem
    if owner is not None:
        os.fchown(listening.fileno(), owner.uid, owner.gid)  # Linux lets only sockets of one user share a port, see `_shared`
    return listening


@contextmanager
def _shared(sockets: Iterable[socket.socket]) -> Iterator[None]:
    """Let another socket with SO_REUSEPORT have the port of these ones, for the time of the block.

    A connection then goes to the socket whose address fits best. Linux allows it to sockets of one user only (socket(7)).
    """
    for one in sockets:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        yield
    finally:
        for one in sockets:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 0)


def _unix_socket(path: str, mode: int, owner: Owner | None) -> socket.socket:
    """The socket at ``path``, made as ``owner``, if they may make files in its directory.

    Otherwise root makes it, in a directory in which the owner cannot replace it.
    """
    if owner is None:
        return _bound_path(path, mode)
    try:
        with owner.acting():
            return _bound_path(path, mode)
    except PermissionError:
        listening = _bound_path(path, mode)
    os.chown(path, owner.uid, owner.gid, follow_symlinks=False)
    return listening


def _bound_path(path: str, mode: int) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listening.setblocking(False)
        # The kernel makes the file with the permissions of the socket, less the umask: never with more than ``mode``.
        os.fchmod(listening.fileno(), mode)
        try:
            listening.bind(path)
        except OSError as problem:
            if problem.errno != EADDRINUSE:
                raise
            _remove_unused(path)
            listening.bind(path)
        os.chmod(path, mode)
        listening.listen(BACKLOG)
    except BaseException:
        listening.close()
        raise
    return listening


def _remove_unused(path: str) -> None:
    """Remove the socket that a process has left at ``path``. Raises `OSError` if it is another file, or if a process listens."""
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        raise OSError(errno.EEXIST, "a file that is not a socket is there")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.setblocking(False)
        try:
            asking.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except BlockingIOError:
            pass  # its queue is full
    raise OSError(EADDRINUSE, os.strerror(EADDRINUSE))


def _socket_fault(problem: OSError, path: str) -> str:
    """The reason, in words, why no socket can be made at ``path``."""
    if problem.errno == EADDRINUSE:
        return "another program listens there"
    if problem.errno == errno.EEXIST:
        return "a file that is not a socket is there; the gateway does not remove it"
    directory = os.path.dirname(path)
    if problem.errno == errno.ENOENT:
        return f"there is no directory {directory}: make it (RuntimeDirectory= of the service)"
    if problem.errno in (errno.EACCES, errno.EPERM):
        return f"permission denied: the user of the gateway has to make a file in {directory} (RuntimeDirectory= of the service)"
    reason = system_reason(problem)
    return reason[:1].lower() + reason[1:]


def listening_socket(interface: str, port: int, backlog: int = BACKLOG, shared: bool = False) -> socket.socket:
    """Return a non-blocking listening socket. ``interface`` is an IP address, or empty for all addresses. Raises `OSError`.

    ``shared``: other sockets may have the port, if they are set up for that.
    """
    if interface:
        family, _, _, _, name = socket.getaddrinfo(
            interface, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        )[0]
        return _bound(family, name, backlog, only_v6=True, shared=shared)
    try:
        return _bound(socket.AF_INET6, ("::", port), backlog, only_v6=False, shared=shared)
    except OSError as problem:
        if problem.errno != EAFNOSUPPORT and os.path.exists("/proc/net/if_inet6"):
            raise
        # The kernel has no IPv6.
        return _bound(socket.AF_INET, ("", port), backlog, only_v6=False, shared=shared)


def inherited_socket(descriptor: int) -> socket.socket:
    """The listening socket that another process has opened. The object owns the descriptor."""
    listening = socket.socket(fileno=descriptor)
    listening.setblocking(False)  # it is, but the object has to know: its copies would be blocking, and with them all others
    return listening


def _bound(family: int, name: tuple[Any, ...], backlog: int, *, only_v6: bool, shared: bool) -> socket.socket:
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setblocking(False)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only_v6)
        # On Linux, accepted sockets inherit these options, which saves two system calls for each of them.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if shared:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listening.bind(name)
        listening.listen(backlog)
        if shared:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 0)
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

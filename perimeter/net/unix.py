"""The transport of connections to unix sockets."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from twisted.internet.address import UNIXAddress
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IDelayedCall

from perimeter.descriptors import system_reason
from perimeter.net.contract import Reactor
from perimeter.net.transport import ClientTransport, Connector

AGAIN: Final = 0.01
"""Seconds until the next attempt while the queue of the socket is full."""


class UnixClientTransport(ClientTransport):
    """A connection to the unix socket at ``path``. ``connector`` is an attempt of `perimeter.net.connect`.

    A connection to a unix socket is there at once, or fails, or has to be tried again: if the queue of the socket is full,
    connect(2) returns EAGAIN, and epoll does not report when there is room.
    """

    addressFamily = socket.AF_UNIX
    _again: IDelayedCall | None = None

    def __init__(self, path: str, connector: Connector, reactor: Reactor) -> None:
        self.connector = connector
        self._path = path
        start: Callable[..., None] = self._finishInit
        try:
            created = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        except OSError as problem:
            start(None, None, _error(problem), reactor)
        else:
            start(self.doConnect, created, None, reactor)

    def doConnect(self) -> None:
        """Connect, or try again a moment later."""
        self._again = None
        if not hasattr(self, "connector"):  # dropped before the reactor called this
            return
        try:
            self.socket.connect(self._path)
        except BlockingIOError:
            self._again = self.reactor.callLater(AGAIN, self.doConnect)
        except OSError as problem:
            self.failIfNotConnected(_error(problem))
        else:
            self._connectDone()

    def failIfNotConnected(self, err: Exception) -> None:
        """The attempt has failed, or is dropped."""
        again, self._again = self._again, None
        if again is not None:
            again.cancel()
        super().failIfNotConnected(err)

    def setTcpNoDelay(self, enabled: bool) -> None:
        """There is no such option of a unix socket."""

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """There is no such option of a unix socket."""

    def getPeer(self) -> UNIXAddress:  # type: ignore[override]
        """The path of the socket."""
        return UNIXAddress(self._path)

    def getHost(self) -> UNIXAddress:
        """The local end has no path."""
        return UNIXAddress(None)


def _error(problem: OSError) -> ConnectError:
    return ConnectError(problem.errno, system_reason(problem))


if TYPE_CHECKING:
    from perimeter.net.contract import Transport

    def _opened(transport: UnixClientTransport) -> Transport:
        return transport

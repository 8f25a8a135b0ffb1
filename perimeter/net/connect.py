"""Opens connections to upstreams: resolves the name, tries the addresses in turn, verifies TLS, all within one deadline.

The caller (`perimeter.proxy`) pools the connections and speaks HTTP on them.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable

from OpenSSL import SSL
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError, DNSLookupError, TimeoutError
from twisted.internet.interfaces import IAddress, IDelayedCall, IHostResolution, IProtocol, IResolutionReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from perimeter.net.contexts import ClientTLS
from perimeter.net.contract import Reactor
from perimeter.net.tls import TLSClientTransport
from perimeter.net.tls_records import PortableConnection
from perimeter.net.transport import ClientTransport
from perimeter.net.unix import UnixClientTransport


class HandshakeFailed(ConnectError):
    """The TLS handshake failed, or the certificate is not valid for the server.

    ``str()`` has the ``reason``, in OpenSSL's words; ``code`` is that of the verification of the certificate, or 0
    (`perimeter.connection_faults.handshake_fault`).
    """

    def __init__(self, reason: str, code: int = 0) -> None:
        super().__init__(string=reason)  # type: ignore[no-untyped-call]
        self.reason = reason
        self.code = code

    def __str__(self) -> str:
        return f"The TLS handshake failed: {self.reason}"


def connect(
    reactor: Reactor,
    host: str,
    port: int,
    tls: ClientTLS | None,
    protocol_factory: Callable[[], IProtocol],
    timeout: float,
    preface: bytes = b"",
) -> Deferred[IProtocol]:
    """Connect to ``host`` (a name, an address, or the path of a unix socket) and fire with the connected protocol.

    ``preface`` is sent first, before TLS; a few hundred bytes at most. ``timeout`` (seconds) covers everything: name resolution,
    all addresses, the handshake. Fails with one of `twisted.internet.error`: ``ConnectionRefusedError`` (or another
    ``ConnectError``), ``DNSLookupError``, ``TimeoutError``, or with `HandshakeFailed`. Cancelling closes the attempt under way.
    """
    return _Connecting(reactor, host, port, tls, protocol_factory, timeout, preface).result


@implementer(IResolutionReceiver)
class _Connecting:
    """One call of `connect`."""

    def __init__(
        self,
        reactor: Reactor,
        host: str,
        port: int,
        tls: ClientTLS | None,
        factory: Callable[[], IProtocol],
        timeout: float,
        preface: bytes,
    ) -> None:
        self.result: Deferred[IProtocol] = Deferred(self._cancelled)
        self.tls = tls
        self.factory = factory
        self.preface = preface
        self._reactor = reactor
        self._host = host
        self._port = port
        self._addresses: list[str] = []
        self._attempt: _Attempt | None = None
        self._turn: IDelayedCall | None = None
        self._done = False
        self._deadline = reactor.seconds() + timeout
        self._timer: IDelayedCall = reactor.callLater(timeout, self._timed_out)
        if host.startswith("/") or isIPAddress(host) or isIPv6Address(host):
            self._addresses.append(host)
            self._next(Failure(ConnectError()))
        else:
            reactor.nameResolver.resolveHostName(self, host, port)

    # -- names: Twisted's resolver uses the reactor's threads and cannot be stopped; a late result is ignored

    def resolutionBegan(self, resolution: IHostResolution) -> None:
        """See `IResolutionReceiver`."""

    def addressResolved(self, address: IAddress) -> None:
        """See `IResolutionReceiver`."""
        if isinstance(address, IPv4Address | IPv6Address) and address.host not in self._addresses:
            self._addresses.append(address.host)

    def resolutionComplete(self) -> None:
        """See `IResolutionReceiver`."""
        if not self._done:
            self._next(Failure(DNSLookupError(f"no address for {self._host}")))

    # -- addresses

    def _next(self, failure: Failure) -> None:
        """Try the next address. If there is none, fail with ``failure``, the result of the last one."""
        if not self._addresses:
            self.finish(failure)
            return
        address = self._addresses.pop(0)
        if self._addresses:
            # An address that does not answer may use only its share of the time.
            share = (self._deadline - self._reactor.seconds()) / (len(self._addresses) + 1)
            self._turn = self._reactor.callLater(max(0.0, share), self._skip)
        self._attempt = _Attempt(self, address, self._port, self._reactor)

    def _skip(self) -> None:
        self._turn = None
        self._drop_attempt()
        self._next(Failure(TimeoutError()))

    def attempt_failed(self, failure: Failure) -> None:
        """The attempt failed: try the next address, except after a failed handshake."""
        self._stop_turn()
        self._attempt = None
        if failure.check(HandshakeFailed):
            self.finish(failure)
        else:
            self._next(failure)

    # -- the end

    def _timed_out(self) -> None:
        # a unix socket refuses connections while its queue is full, and the attempt is made again
        full = errno.EAGAIN if self._host.startswith("/") else None
        self._drop_attempt()
        self.finish(Failure(TimeoutError(full)))

    def _cancelled(self, result: Deferred[IProtocol]) -> None:
        self._drop_attempt()
        self._stop()

    def _drop_attempt(self) -> None:
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.drop()

    def _stop_turn(self) -> None:
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None

    def _stop(self) -> None:
        self._done = True
        self._stop_turn()
        if self._timer.active():
            self._timer.cancel()

    def finish(self, outcome: IProtocol | Failure) -> None:
        """Fire the result. The ``connectionMade`` of a protocol has run already."""
        if not self._done:
            self._stop()
            if isinstance(outcome, Failure):
                self.result.errback(outcome)
            else:
                self.result.callback(outcome)


class _Attempt:
    """One attempt to connect to one address: the connector of its client transport, in place of Twisted's ``tcp.Connector``."""

    def __init__(self, connecting: _Connecting, address: str, port: int, reactor: Reactor) -> None:
        self._connecting: _Connecting | None = connecting
        self._tls = connecting.tls
        self._factory = connecting.factory
        self._failure: Failure | None = None
        self.preface = connecting.preface
        if address.startswith("/"):
            self._transport: ClientTransport = UnixClientTransport(address, self, reactor)
        else:
            transport: Callable[..., ClientTransport] = ClientTransport if self._tls is None else TLSClientTransport
            self._transport = transport(address, port, None, self, reactor)

    def drop(self) -> None:
        """Stop the attempt without reporting a result."""
        self._connecting = None
        if self._transport.connected:
            self._transport.abortConnection()
        else:
            self._transport.failIfNotConnected(ConnectError())

    def secure(self, sock: socket.socket) -> PortableConnection:
        """Return the TLS connection. The handshake has not begun."""
        assert self._tls is not None
        return self._tls.connection(sock)

    def verified(self, connection: SSL.Connection) -> bool:
        """After the handshake, return whether the certificate is valid for the server's name."""
        assert self._tls is not None
        reason = self._tls.verify(connection)
        if reason:
            self.handshake_failed(reason)
        return not reason

    def handshake_failed(self, reason: str, code: int = 0) -> None:
        """The handshake failed with ``reason`` and ``code``. The transport closes the connection next."""
        self._failure = Failure(HandshakeFailed(reason, code))

    def established(self, transport: ClientTransport) -> None:
        """The transport is ready: build its protocol and report it."""
        connecting, self._connecting = self._connecting, None
        if connecting is None:
            transport.abortConnection()
            return
        try:
            protocol = self._factory()
            transport.protocol = protocol
            transport.logstr = f"{type(protocol).__name__},client"
            protocol.makeConnection(transport)
        except Exception:
            transport.abortConnection()
            connecting.finish(Failure())
        else:
            connecting.finish(protocol)

    def connectionFailed(self, failure: Failure) -> None:
        """The transport could not open the TCP connection."""
        connecting, self._connecting = self._connecting, None
        if connecting is not None:
            connecting.attempt_failed(failure)

    def connectionLost(self, failure: Failure) -> None:
        """The transport lost the connection before the handshake was complete."""
        self.connectionFailed(self._failure or Failure(HandshakeFailed("the connection was closed")))

"""Connects two protocols in this process without a socket. The proxy reaches the built-in sample service in this way.

Bytes are delivered on a later turn of the reactor, as over a socket, and the back-pressure of each side reaches the other.
"""

from __future__ import annotations

from collections.abc import Iterable

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import IPushProducer, IReactorTime, ITransport
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

#: Undelivered bytes after which the sender is asked to pause.
_HIGH_WATER = 256 * 1024


def connect_in_memory(reactor: IReactorTime, client: Protocol, server: Protocol) -> None:
    """Connect ``client`` to ``server``. ``connectionMade`` of both is called before this returns."""
    near, far = _End(reactor, client), _End(reactor, server)
    near.other, far.other = far, near
    server.makeConnection(far)
    client.makeConnection(near)


@implementer(ITransport, IPushProducer)
class _End:
    """One end: the transport of ``protocol``."""

    disconnecting = False

    def __init__(self, reactor: IReactorTime, protocol: Protocol) -> None:
        self._reactor = reactor
        self._protocol = protocol
        self.other: _End
        self._inbox: list[bytes] = []
        self._waiting = 0
        self._reading = True
        self._scheduled = False
        self._ended: Exception | None = None
        self._lost = False
        self._producer: IPushProducer | None = None
        self._producer_paused = False

    # -- what the protocol calls

    def write(self, data: bytes) -> None:
        """Send to the other end."""
        if not self._lost and not self.disconnecting:
            self.other._deliver(data)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Send to the other end."""
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """Close after everything written is delivered. Received data that was not read is dropped, as by a socket."""
        self._drop_inbox()
        self._end(ConnectionDone())

    def abortConnection(self) -> None:
        """Close at once."""
        self._drop_inbox()
        self.other._drop_inbox()
        self._end(ConnectionAborted())

    def getPeer(self) -> IPv4Address:
        """A loopback address, since the connection has none."""
        return IPv4Address("TCP", "127.0.0.1", 0)

    def getHost(self) -> IPv4Address:
        """A loopback address, since the connection has none."""
        return IPv4Address("TCP", "127.0.0.1", 0)

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None:
        """Pause ``producer`` while the other end reads too slowly. Pull producers are resumed on each turn."""
        self._producer = producer
        self._producer_paused = False
        if not streaming:
            self._pull()

    def _pull(self) -> None:
        if self._producer is not None and not self._lost:
            if self.other._waiting < _HIGH_WATER:
                self._producer.resumeProducing()
            self._reactor.callLater(0, self._pull)

    def unregisterProducer(self) -> None:
        """Undo `registerProducer`."""
        self._producer = None

    def pauseProducing(self) -> None:
        """Deliver no data to this end's protocol until `resumeProducing`."""
        self._reading = False

    def resumeProducing(self) -> None:
        """Undo `pauseProducing`."""
        self._reading = True
        self._schedule()

    def stopProducing(self) -> None:
        """Close."""
        self.loseConnection()

    def has_input(self) -> bool:
        """See `perimeter.net.contract.Transport`."""
        return bool(self._inbox) or self._ended is not None

    @property
    def buffered(self) -> int:
        """See `perimeter.net.contract.Transport`."""
        return self.other._waiting

    # -- between the two ends

    def _deliver(self, data: bytes) -> None:
        self._inbox.append(data)
        self._waiting += len(data)
        sender = self.other
        if self._waiting > _HIGH_WATER and sender._producer is not None and not sender._producer_paused:
            sender._producer_paused = True
            sender._producer.pauseProducing()
        self._schedule()

    def _end(self, reason: Exception) -> None:
        for end in (self, self.other):
            if not end.disconnecting:
                end.disconnecting = True
                end._ended = reason
            end._schedule()

    def _drop_inbox(self) -> None:
        self._inbox.clear()
        self._waiting = 0

    def _schedule(self) -> None:
        if not self._scheduled and not self._lost:
            self._scheduled = True
            self._reactor.callLater(0, self._turn)

    def _turn(self) -> None:
        self._scheduled = False
        while self._inbox and self._reading and not self._lost:
            data = self._inbox.pop(0)
            self._waiting -= len(data)
            self._protocol.dataReceived(data)
        sender = self.other
        if self._waiting <= _HIGH_WATER // 2 and sender._producer_paused:
            sender._producer_paused = False
            if sender._producer is not None:
                sender._producer.resumeProducing()
        if self._ended is not None and not self._inbox and not self._lost:
            self._lost = True
            self._protocol.connectionLost(Failure(self._ended))

"""The base of server and client transports (`perimeter.net.transport`): a TCP connection whose ``write`` sends at once.

Twisted's own ``write`` only queues the data, asks epoll for writability and sends on the next turn. If nothing is queued,
`WriteThrough.write` tries ``send()`` first, and queues only what the socket does not accept: four system calls fewer per request.
Everything else works as in Twisted: producers, ``loseConnection`` after the flush, half-close, reasons of ``connectionLost``.
"""

from __future__ import annotations

import math
import socket
from collections.abc import Callable, Iterable
from enum import IntEnum
from errno import ENOBUFS
from typing import TYPE_CHECKING, NoReturn

from cryptography.x509 import Certificate
from twisted.internet import error, tcp
from twisted.internet.abstract import FileDescriptor
from twisted.internet.interfaces import IHalfCloseableProtocol, IProducer
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.logger import Logger
from twisted.python.failure import Failure

if TYPE_CHECKING:
    from perimeter.net.contract import Peer, Reactor

    class _TwistedConnection(tcp.Connection):
        """Twisted's class, with the types that Twisted leaves out."""

        reactor: Reactor  # type: ignore[assignment]
        dataBuffer: BytesLike  # type: ignore[assignment]
        doWrite: Callable[..., Exception | None]  # type: ignore[assignment]

        def registerProducer(self, producer: IProducer, streaming: bool) -> None: ...
        def startReading(self) -> None: ...
        def stopReading(self) -> None: ...
        def startWriting(self) -> None: ...
        def stopWriting(self) -> None: ...
        def abortConnection(self) -> None: ...
        def getPeer(self) -> Peer: ...
        def _postLoseConnection(self) -> Exception | None: ...
        def _closeSocket(self, orderly: bool) -> None: ...
        def _connectDone(self) -> None: ...
        def failIfNotConnected(self, err: Exception) -> None: ...
else:
    _TwistedConnection = tcp.Connection

log = Logger()

READ_SIZE = 64 * 1024
BULK_READ_SIZE = 128 * 1024
"""Size of a read after a read that returned the maximum."""

BytesLike = bytes | bytearray | memoryview


class TransportPhase(IntEnum):
    """The state of a transport: it decides what an event on the socket means. `OPEN` is 0, so that its test is cheap."""

    OPEN = 0  #: data is read and written
    HANDSHAKING = 1  #: reads and writes belong to the TLS handshake
    READ_AWAITS_WRITE = 2  #: TLS has to send (a key update, RFC 8446, section 4.6.3) before it can read more
    WRITE_AWAITS_READ = 3  #: TLS has to receive before it can send more
    LINGERING = 4  #: our side is closed; incoming data is discarded
    LOST = 5  #: the connection has ended


def raise_lost(*args: object) -> NoReturn:
    """Replaces the socket's methods after the connection is lost: raises OSError."""
    raise OSError("the connection is lost")


class WriteThrough(_TwistedConnection):
    """The base of server and client transports, mixed in before Twisted's class.

    Protocols use it through `perimeter.net.contract`. ``server_name`` and ``alpn`` are available while the connection is open.
    """

    buffered = 0
    tls_version = ""
    server_name = ""
    alpn = b""
    client_certificate: Certificate | None = None
    deadline = math.inf

    _phase = TransportPhase.OPEN
    #: whether the reactor watches the socket for reading and for writing. When a connection ends, both are stopped several times,
    #: and each stop that reaches the reactor costs five calls
    _reading = False
    _writing = False
    _read_closed = False
    #: writes are accepted: the connection is open, not aborted, broken, half-closed or lingering
    _writable = False
    _read_size = READ_SIZE
    #: a close needs no shutdown(2), because child processes never inherit the descriptors
    _shouldShutdown = False

    def _attach(self, send: Callable[[BytesLike], int], receive: Callable[[int], bytes]) -> None:
        self._send = send
        self._recv = receive
        self._writable = True

    # -- writing

    def write(self, data: BytesLike) -> None:
        """Send what the socket accepts of ``data`` now, and queue the rest. Never calls the protocol."""
        size = len(data)
        if not size or not self._writable:
            return
        if self.buffered or self.disconnecting:
            self._enqueue(data, size)
            return
        try:
            sent = self._send(data)
        except Exception as problem:
            if not self._would_block(problem):
                self._break_off(problem)
                return
            sent = 0
        if sent != size:
            self._write_rest(data, sent, size)
        elif self.producer is not None and not self.streamingProducer:
            # A pull producer is asked for more data when the socket is writable, as in Twisted.
            self.startWriting()

    def writeSequence(self, iovec: Iterable[BytesLike]) -> None:
        """`write` the parts as one."""
        self.write(b"".join(iovec))

    def _write_rest(self, data: BytesLike, sent: int, size: int) -> None:
        self._enqueue(memoryview(data)[sent:] if sent else data, size - sent)

    def _enqueue(self, data: BytesLike, size: int) -> None:
        # The queue may keep only data that cannot change: bytes, or a read-only view.
        if not isinstance(data, bytes) and not (isinstance(data, memoryview) and data.readonly):
            data = bytes(data)
        self._tempDataBuffer.append(data)  # type: ignore[arg-type]
        self.buffered += size
        self.startWriting()
        if self.buffered > self.bufferSize and self.producer is not None and self.streamingProducer and not self.producerPaused:
            self.producerPaused = True
            self.producer.pauseProducing()  # type: ignore[attr-defined]

    def _would_block(self, problem: Exception) -> bool:
        if isinstance(problem, OSError):
            return isinstance(problem, BlockingIOError | InterruptedError) or problem.errno == ENOBUFS
        raise problem

    def _break_off(self, problem: Exception) -> None:
        """A send failed inside ``write``. The connection is lost on a later turn, never during the caller's ``write``."""
        log.debug("Cannot write to {peer}: {problem}", peer=self.logstr, problem=problem)
        self._writable = False
        self._drop_queue()
        self.reactor.callLater(0, self._lose_broken)

    def _lose_broken(self) -> None:
        # The peer may have answered before it stopped reading (413, for example). Its answer is delivered first.
        try:
            rounds = 64
            while rounds and self.connected and self._reading and not self.disconnecting and self.doRead() is None:
                rounds -= 1
        except Exception:
            log.failure("The protocol failed while its connection was lost")
        if self.connected:
            self.connectionLost(Failure(CONNECTION_LOST))

    def _drop_queue(self) -> None:
        self.buffered = 0
        self.offset = 0
        self.dataBuffer = b""
        self._tempDataBuffer.clear()

    def doWrite(self) -> Exception | None:  # type: ignore[override]
        """The socket is writable: send queued data, then resume the producer or finish the close."""
        if self._phase:
            return self._write_in_phase()
        return self._write_queued()

    def _write_in_phase(self) -> Exception | None:
        """Handle a writable socket in a phase other than `OPEN`."""
        return CONNECTION_LOST if self._phase is TransportPhase.LOST else self._write_queued()

    def _write_queued(self) -> Exception | None:
        if self.buffered:
            problem = self._flush()
            if problem is not None or self.buffered:
                return problem
        self.stopWriting()
        if self.producer is not None and (not self.streamingProducer or self.producerPaused):
            self.producerPaused = False
            self.producer.resumeProducing()  # type: ignore[attr-defined]
        elif self.disconnecting:
            return self._postLoseConnection()
        elif self._writeDisconnecting and not self._writeDisconnected:
            return self._half_close()
        return None

    def _flush(self) -> Exception | None:
        queue = self._tempDataBuffer
        remaining = len(self.dataBuffer) - self.offset
        if queue and remaining < self.SEND_LIMIT:
            if remaining:
                queue.insert(0, memoryview(self.dataBuffer)[self.offset :])  # type: ignore[arg-type]
            self.dataBuffer = queue[0] if len(queue) == 1 else b"".join(queue)
            self.offset = 0
            self._tempDataBuffer = []
        sent = self.writeSomeData(memoryview(self.dataBuffer)[self.offset :])
        if isinstance(sent, Exception):
            return sent
        self.offset += sent
        self.buffered -= sent
        if not self.buffered:
            self.dataBuffer = b""
            self.offset = 0
        return None

    def writeSomeData(self, data: BytesLike) -> int | error.ConnectionLost:
        """Send a part of ``data``. Returns the number of bytes sent, or the reason why the connection is lost."""
        try:
            return self._send(data)
        except Exception as problem:
            return 0 if self._would_block(problem) else CONNECTION_LOST

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """See `twisted.internet.interfaces.IConsumer`."""
        self.producerPaused = False
        FileDescriptor.registerProducer(self, producer, streaming)  # bypasses Twisted's own TLS, which is never used here

    # -- reading

    def doRead(self) -> Exception | None:  # type: ignore[override]
        """The socket is readable: read once and deliver the data to the protocol."""
        if self._phase:
            return self._read_in_phase()
        size = self._read_size
        try:
            data = self._recv(size)
        except Exception as problem:
            return None if self._would_block(problem) else CONNECTION_LOST
        received = len(data)
        if not received:
            return CONNECTION_DONE
        if received == size:
            self._read_size = BULK_READ_SIZE
        elif received < READ_SIZE:
            self._read_size = READ_SIZE
        self.protocol.dataReceived(data)
        return None

    def _read_in_phase(self) -> Exception | None:
        """Handle a readable socket in a phase other than `OPEN`."""
        return self._discard() if self._phase is TransportPhase.LINGERING else CONNECTION_LOST

    def _discard(self) -> Exception | None:
        """Read and discard data, until the peer closes its side."""
        try:
            return None if self.socket.recv(READ_SIZE) else CONNECTION_DONE
        except BlockingIOError:
            return None
        except OSError:
            return CONNECTION_DONE

    def has_input(self) -> bool:
        """See `perimeter.net.contract.Transport`. TLS records that contain no data count too."""
        try:
            self.socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True

    def startReading(self) -> None:
        """Deliver incoming data to the protocol."""
        self._reading = True
        self.reactor.addReader(self)

    def stopReading(self) -> None:
        """Leave incoming data in the kernel."""
        if self._reading:
            self._reading = False
            self.reactor.removeReader(self)

    def startWriting(self) -> None:
        """Call `doWrite` when the socket is writable."""
        self._writing = True
        self.reactor.addWriter(self)

    def stopWriting(self) -> None:
        """Undo `startWriting`."""
        if self._writing:
            self._writing = False
            self.reactor.removeWriter(self)

    def resumeProducing(self) -> None:
        """Read again, but not after the peer has closed its side: the protocol would see that twice."""
        if self.connected and not self.disconnecting and not self._read_closed:
            self.startReading()

    def readConnectionLost(self, reason: Failure) -> None:
        """The peer has closed its side. A protocol that supports half-close is informed; otherwise the connection ends."""
        self._reading = False
        self._read_closed = True
        if self._phase is TransportPhase.LINGERING or not IHalfCloseableProtocol.providedBy(self.protocol):
            self.connectionLost(reason)
        else:
            super().readConnectionLost(reason)

    # -- the end

    def loseConnection(self) -> None:
        """Close after everything written has been sent. ``connectionLost`` is called on a later turn."""
        if self.connected and not self.disconnecting:
            self.stopReading()
            self.disconnecting = 1
            self.startWriting()

    def abortConnection(self) -> None:
        """Reset the connection. Queued data is dropped."""
        if not self.disconnected:
            self._writable = False
            self._drop_queue()
            super().abortConnection()

    def loseWriteConnection(self) -> None:
        """Close our side after everything written has been sent, and continue reading."""
        if self.connected and not self._writeDisconnecting:
            self._writeDisconnecting = True
            self.startWriting()

    def _half_close(self) -> Exception | None:
        self._writable = False
        self._writeDisconnected = True
        self._closeWriteConnection()
        return None

    def connectionLost(self, reason: Failure) -> None:
        """The connection has ended. The protocol's ``connectionLost`` is called once."""
        self._writable = False
        self._drop_queue()
        super().connectionLost(reason)
        self._phase = TransportPhase.LOST
        self._send = self._recv = raise_lost

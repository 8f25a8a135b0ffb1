"""The part of `perimeter.net.transport` that servers and clients share: a TCP connection whose ``write`` sends at once.

Twisted's own ``write`` only queues, asks epoll for writability and sends on the next turn. `WriteThrough.write` tries ``send()``
first where nothing is queued, and falls back to the queue when the socket takes less: four system calls fewer per request.
The rest keeps Twisted's meaning: producers, ``loseConnection`` after the flush, half-close, reasons of ``connectionLost``.
"""

from __future__ import annotations

import math
import socket
from collections.abc import Callable, Iterable
from enum import IntEnum
from errno import ENOBUFS
from typing import TYPE_CHECKING, Any

from cryptography.x509 import Certificate
from twisted.internet import error, tcp
from twisted.internet.abstract import FileDescriptor
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IHalfCloseableProtocol, IProducer
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.logger import Logger
from twisted.python.failure import Failure

if TYPE_CHECKING:

    class _Connection(tcp.Connection):
        """Twisted's class, with the types that Twisted leaves out."""

        reactor: Any
        dataBuffer: Any
        doWrite: Callable[..., Exception | None]  # type: ignore[assignment]

        def registerProducer(self, producer: IProducer, streaming: bool) -> None: ...
        def startReading(self) -> None: ...
        def stopReading(self) -> None: ...
        def startWriting(self) -> None: ...
        def stopWriting(self) -> None: ...
        def abortConnection(self) -> None: ...
        def getPeer(self) -> IPv4Address | IPv6Address: ...
        def _postLoseConnection(self) -> Exception | None: ...
        def _closeSocket(self, orderly: bool) -> None: ...
        def _connectDone(self) -> None: ...
        def failIfNotConnected(self, err: Exception) -> None: ...
else:
    _Connection = tcp.Connection

log = Logger()

READ_SIZE = 64 * 1024
BULK_READ_SIZE = 128 * 1024
"""What one read asks for after a read that was filled to the brim."""

Octets = bytes | bytearray | memoryview


class Phase(IntEnum):
    """What an event on the socket means to a transport. `OPEN` is 0, so that the common case costs one test."""

    OPEN = 0  #: data is read and written
    HANDSHAKING = 1  #: reads and writes belong to the TLS handshake
    READ_AWAITS_WRITE = 2  #: TLS has to send (a key update, RFC 8446, section 4.6.3) before it can read on
    WRITE_AWAITS_READ = 3  #: TLS has to receive before it can send on
    LINGERING = 4  #: our side has ended; what still arrives is discarded
    GONE = 5  #: the connection is lost


def gone(*args: object) -> Any:
    """Stands where the socket's methods stood, once the connection is lost."""
    raise OSError("the connection is lost")


class WriteThrough(_Connection):
    """The part that servers and clients share; mixed in before Twisted's class.

    What protocols may use of it is `perimeter.net.contract`. ``server_name`` and ``alpn`` can be asked for while the connection
    lasts.
    """

    buffered = 0
    tls_version = ""
    server_name = ""
    alpn = b""
    client_certificate: Certificate | None = None
    deadline = math.inf

    _phase = Phase.OPEN
    #: what the reactor was told. A connection that ends is told to stop both, several times over: each costs five calls
    _reading = False
    _writing = False
    _read_closed = False
    #: writes are taken: connected, not aborted, broken, half-closed or lingering
    _writable = False
    _read_size = READ_SIZE
    #: a close needs no shutdown(2): descriptors are never inherited
    _shouldShutdown = False

    def _attach(self, send: Callable[[Any], int], receive: Callable[[int], bytes]) -> None:
        self._send = send
        self._recv = receive
        self._writable = True

    # -- writing

    def write(self, data: Octets) -> None:
        """Send ``data`` now as far as the socket takes it, and queue the rest. Never calls back into the protocol."""
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
            # A pull producer is asked for more when the socket is writable, as ever.
            self.startWriting()

    def writeSequence(self, iovec: Iterable[Octets]) -> None:
        """`write` of all parts as one."""
        self.write(b"".join(iovec))

    def _write_rest(self, data: Octets, sent: int, size: int) -> None:
        self._enqueue(memoryview(data)[sent:] if sent else data, size - sent)

    def _enqueue(self, data: Octets, size: int) -> None:
        # Only what cannot change under us may be kept; a view of bytes is as good as bytes.
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
        """A send failed inside ``write``: the connection is lost on a later turn, never from inside the caller's own call."""
        log.debug("Cannot write to {peer}: {problem}", peer=self.logstr, problem=problem)
        self._writable = False
        self._drop_queue()
        self.reactor.callLater(0, self._lose_broken)

    def _lose_broken(self) -> None:
        # The peer may have answered before it stopped listening (413, say): what it sent is delivered first.
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
        """The socket is writable: send what is queued, then see to the producer or to the end."""
        if self._phase:
            return self._write_in_phase()
        return self._write_queued()

    def _write_in_phase(self) -> Exception | None:
        """What a writable socket means in a phase other than `OPEN`."""
        return CONNECTION_LOST if self._phase is Phase.GONE else self._write_queued()

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

    def writeSomeData(self, data: Octets) -> int | error.ConnectionLost:
        """Send some of ``data``: how much, or why not."""
        try:
            return self._send(data)
        except Exception as problem:
            return 0 if self._would_block(problem) else CONNECTION_LOST

    def _isSendBufferFull(self) -> bool:
        return self.buffered > self.bufferSize

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """See `twisted.internet.interfaces.IConsumer`."""
        self.producerPaused = False
        FileDescriptor.registerProducer(self, producer, streaming)  # passing by Twisted's own TLS, which is never on here

    # -- reading

    def doRead(self) -> Exception | None:  # type: ignore[override]
        """The socket is readable: hand one read to the protocol."""
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
        """What a readable socket means in a phase other than `OPEN`."""
        return self._discard() if self._phase is Phase.LINGERING else CONNECTION_LOST

    def _discard(self) -> Exception | None:
        """Read and throw away, until the peer ends its side."""
        try:
            return None if self.socket.recv(READ_SIZE) else CONNECTION_DONE
        except BlockingIOError:
            return None
        except OSError:
            return CONNECTION_DONE

    def has_input(self) -> bool:
        """See `perimeter.net.contract.Transport`. A TLS peer may also have sent what is no data; that counts too."""
        try:
            self.socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True

    def startReading(self) -> None:
        """Pass on to the protocol what arrives."""
        self._reading = True
        self.reactor.addReader(self)

    def stopReading(self) -> None:
        """Leave what arrives in the kernel."""
        if self._reading:
            self._reading = False
            self.reactor.removeReader(self)

    def startWriting(self) -> None:
        """Call `doWrite` when the socket takes something."""
        self._writing = True
        self.reactor.addWriter(self)

    def stopWriting(self) -> None:
        """Do so no more."""
        if self._writing:
            self._writing = False
            self.reactor.removeWriter(self)

    def resumeProducing(self) -> None:
        """Read again; never once the peer has ended its side, or the end would be told twice."""
        if self.connected and not self.disconnecting and not self._read_closed:
            self.startReading()

    def readConnectionLost(self, reason: Failure) -> None:
        """The peer has ended its side: told to a protocol that can half-close, else the connection is over."""
        self._reading = False
        self._read_closed = True
        if self._phase is Phase.LINGERING or not IHalfCloseableProtocol.providedBy(self.protocol):
            self.connectionLost(reason)
        else:
            super().readConnectionLost(reason)

    # -- the end

    def loseConnection(self) -> None:
        """Close when everything written has been sent. The end is told on a later turn."""
        if self.connected and not self.disconnecting:
            self.stopReading()
            self.disconnecting = 1
            self.startWriting()

    def abortConnection(self) -> None:
        """Reset the connection; what is queued is dropped."""
        if not self.disconnected:
            self._writable = False
            self._drop_queue()
            super().abortConnection()

    def loseWriteConnection(self) -> None:
        """End our side when everything written has been sent, and read on."""
        if self.connected and not self._writeDisconnecting:
            self._writeDisconnecting = True
            self.startWriting()

    def _half_close(self) -> Exception | None:
        self._writable = False
        self._writeDisconnected = True
        self._closeWriteConnection()
        return None

    def connectionLost(self, reason: Failure) -> None:
        """The connection is over; the protocol is told once."""
        self._writable = False
        self._drop_queue()
        super().connectionLost(reason)
        self._phase = Phase.GONE
        self._send = self._recv = gone

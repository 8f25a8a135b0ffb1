"""TLS directly on the non-blocking socket, with pyOpenSSL and no memory BIO between.

`TLSTransport` is what servers and clients share. The protocol is built, and its ``connectionMade`` called, only when the
handshake is over, so that it can read ``tls_version``, ``server_name`` and ``alpn``. Contexts come from
`perimeter.net.contexts`; deadlines of a handshake are the listener's (`perimeter.net.listeners`) and the connector's
(`perimeter.net.connect`).
"""

from __future__ import annotations

import socket
from typing import Any, cast

from OpenSSL import SSL
from twisted.internet import error
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IProtocol
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.internet.protocol import Protocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from perimeter.net.contexts import client_certificate
from perimeter.net.tls_records import Connection, Handshake, PortableConnection
from perimeter.net.transport import Accepting, ClientTransport, ServerTransport
from perimeter.net.write_through import Octets, Phase, WriteThrough, gone

log = Logger()

RECORD = 16 * 1024
"""The most that one TLS record holds (RFC 8446, section 5.1): a read of this size leaves nothing of it behind in OpenSSL."""

BULK_RECORD = 4 * 1024
"""A record of this size or more is part of a bulk transfer: it is worth the try to read another one in the same turn."""

READ_BUDGET = 128 * 1024
"""What one connection may read in one turn, to be fair to the others."""

PLAIN_HTTP = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 40\r\nConnection: close\r\n\r\n"
    b"This port speaks TLS: use https instead\n"
)


#: What is said of a peer that went without close_notify.
_JUST_GONE = frozenset(("unexpected eof", "unexpected eof while reading", "econnreset", "connection lost"))

_VERSIONS = {SSL.TLS1_3_VERSION: "TLSv1.3", SSL.TLS1_2_VERSION: "TLSv1.2"}

#: Stands where the protocol will stand after the handshake.
_HANDSHAKING = cast(IProtocol, Protocol())


class TLSTransport(WriteThrough):
    """A transport whose octets go through ``_tls``."""

    _tls: PortableConnection
    _handshake_writes = False
    _close_notified = False
    #: whether data was wanted when writing began to wait for a read
    _was_reading = False

    def _start_tls(self, connection: PortableConnection) -> None:
        self._writable = False
        self._tls = connection
        self.protocol = _HANDSHAKING
        self._phase = Phase.HANDSHAKING

    @property
    def server_name(self) -> str:  # type: ignore[override]
        """See `WriteThrough`."""
        return (self._tls.get_servername() or b"").decode("ascii", "replace").lower()

    @property
    def alpn(self) -> bytes:  # type: ignore[override]
        """See `WriteThrough`."""
        return self._tls.get_alpn_proto_negotiated()

    # -- the handshake

    def _handshake(self) -> Exception | None:
        try:
            state = self._tls.shake_hands()
        except SSL.Error as problem:
            return self._handshake_failed(problem)
        if state is Handshake.WANTS_WRITE:
            self._handshake_writes = True
            self.startWriting()
            return None
        if self._handshake_writes:
            self._handshake_writes = False
            self.stopWriting()
        if state is Handshake.WANTS_READ:
            return None
        self._phase = Phase.OPEN
        self._attach(self._tls.put, self._tls.take)
        self.tls_version = _VERSIONS.get(self._tls.get_protocol_version(), "")
        return self._handshake_done()

    def _handshake_failed(self, problem: SSL.Error) -> Exception | None:
        log.debug("TLS handshake with {peer} failed: {reason}", peer=self.logstr, reason=reason_of(problem))
        return CONNECTION_LOST

    def _handshake_done(self) -> Exception | None:
        """Servers and clients go on from here."""
        return None

    # -- reading

    def doRead(self) -> Exception | None:  # type: ignore[override]
        """The socket is readable: hand what one record holds to the protocol, or of a bulk transfer what the budget allows."""
        if self._phase:
            return self._read_in_phase()
        return self._read_record()

    def _read_in_phase(self) -> Exception | None:
        phase = self._phase
        if phase is Phase.HANDSHAKING:
            return self._handshake()
        if phase is Phase.WRITE_AWAITS_READ:
            return self._read_for_write()
        if phase is Phase.READ_AWAITS_WRITE:
            return self._read_record()
        return super()._read_in_phase()

    def _write_in_phase(self) -> Exception | None:
        phase = self._phase
        if phase is Phase.HANDSHAKING:
            return self._handshake()
        if phase is Phase.READ_AWAITS_WRITE:
            self._phase = Phase.OPEN
            return self._read_record()
        return super()._write_in_phase()

    def _read_record(self) -> Exception | None:
        try:
            data = self._recv(RECORD)
        except Exception as problem:
            return self._read_problem(problem)
        if len(data) < BULK_RECORD:
            self.protocol.dataReceived(data)
            return None
        return self._read_bulk(data)

    def _read_bulk(self, data: bytes) -> Exception | None:
        records = [data]
        total = len(data)
        end: Exception | None = None
        try:
            while len(data) >= BULK_RECORD and (total < READ_BUDGET or self._tls.pending()):
                data = self._recv(RECORD)
                records.append(data)
                total += len(data)
        except Exception as problem:
            end = self._read_problem(problem)
        self.protocol.dataReceived(b"".join(records))
        # The protocol may have closed meanwhile: then what it wrote goes out first, and the end is found again.
        if end is not None and (self.disconnecting or not self.connected):
            self._read_closed = True
            return None
        return end

    def _read_problem(self, problem: Exception) -> Exception | None:
        """None where reading goes on later, else the end that was reached."""
        if isinstance(problem, SSL.WantReadError):
            return None
        if isinstance(problem, SSL.WantWriteError):
            self._phase = Phase.READ_AWAITS_WRITE
            self.startWriting()
            return None
        if isinstance(problem, SSL.ZeroReturnError):
            return CONNECTION_DONE
        if not isinstance(problem, SSL.Error | OSError):
            raise problem
        # An end without close_notify is told apart from one with it: what was cut off may not pass for complete.
        # Most clients just go: that is not worth the 20 µs of an event that nobody reads.
        if isinstance(problem, SSL.Error) and (reason := reason_of(problem)) not in _JUST_GONE:
            log.debug("TLS with {peer} ended: {reason}", peer=self.logstr, reason=reason)
        return CONNECTION_LOST

    # -- writing

    def _would_block(self, problem: Exception) -> bool:
        if isinstance(problem, SSL.WantWriteError | SSL.WantReadError):
            return True
        if isinstance(problem, SSL.Error | OSError):
            return False
        raise problem

    def _write_rest(self, data: Octets, sent: int, size: int) -> None:
        # OpenSSL sends one record a call: the socket may well take more of them.
        view = memoryview(data)
        if sent:
            more = self.writeSomeData(view[sent:])
            if isinstance(more, Exception):
                self._break_off(more)
                return
            sent += more
        if sent != size:
            self._enqueue(view[sent:] if sent else data, size - sent)

    def writeSomeData(self, data: Octets) -> int | error.ConnectionLost:
        """Send records until the socket takes no more: how much went out, or why nothing ever will."""
        view = memoryview(data)
        size = len(view)
        limit = min(size, self.SEND_LIMIT)
        sent = 0
        try:
            while sent < limit:
                sent += self._send(view[sent:] if sent else view)
        except SSL.WantWriteError:
            pass
        except SSL.WantReadError:
            self._write_when_readable()
        except (SSL.Error, OSError) as problem:
            log.debug("TLS with {peer} broke: {reason}", peer=self.logstr, reason=reason_of(problem))
            return CONNECTION_LOST
        return sent

    def _write_when_readable(self) -> None:
        self._was_reading = self._reading
        self.stopWriting()
        self._phase = Phase.WRITE_AWAITS_READ
        self.startReading()

    def _read_for_write(self) -> Exception | None:
        self._phase = Phase.OPEN
        end = self._read_record()
        if end is None and self.connected:
            if not self._was_reading:
                self.stopReading()
            self.startWriting()
        return end

    # -- the end

    def _notify_close(self) -> bool:
        """Send close_notify (RFC 8446, section 6.1). False while the socket does not take it."""
        if self.tls_version and not self._close_notified:  # the handshake is over
            try:
                self._tls.shutdown()
            except SSL.WantWriteError:
                return False
            except (SSL.Error, OSError):
                pass
            self._close_notified = True
        return True

    def _postLoseConnection(self) -> Exception | None:
        if self._notify_close():
            return super()._postLoseConnection()
        self.startWriting()
        return None

    def _half_close(self) -> Exception | None:
        if self._notify_close():
            return super()._half_close()
        self.startWriting()
        return None

    def _closeSocket(self, orderly: bool) -> None:
        if orderly:
            self._notify_close()
        super()._closeSocket(orderly)

    def connectionLost(self, reason: Failure) -> None:
        """The connection is over; OpenSSL's state is freed with it."""
        try:
            super().connectionLost(reason)
        finally:
            if self.disconnected and hasattr(self, "_tls"):
                self._send = self._recv = gone
                del self._tls


class TLSServerTransport(TLSTransport, ServerTransport):
    """An accepted TLS connection; ``server`` is the `ListeningPort`, which knows contexts, factory and handshake timeout."""

    def __init__(
        self,
        sock: socket.socket,
        protocol: None,
        peer: IPv4Address | IPv6Address,
        server: Accepting,
        sessionno: int,
        reactor: Any,
    ) -> None:
        self._contexts = server.contexts
        connection = Connection(self._contexts.default, sock)
        connection.set_accept_state()
        super().__init__(sock, protocol, peer, server, sessionno, reactor)
        self._start_tls(connection)
        # Absolute, so that octets that drip in one by one do not move it (attack 22).
        self.deadline = reactor.seconds() + server.handshake_timeout
        server.deadlines.watch(self)

    def _handshake_done(self) -> Exception | None:
        self.server.deadlines.forget(self)
        contexts = self.server.contexts
        if contexts.clients is not None or self._contexts.clients is not None:
            if contexts is not self._contexts:
                return CONNECTION_DONE  # other CAs may be in force since it began
            self.client_certificate = client_certificate(self._tls)
        protocol = self.server.build_protocol(self._peer, self.alpn)
        if protocol is None:
            return CONNECTION_DONE
        self.protocol = protocol
        protocol.makeConnection(self)
        return None

    def _handshake_failed(self, problem: SSL.Error) -> Exception | None:
        reason = super()._handshake_failed(problem)
        if reason_of(problem) not in ("http request", "https proxy request"):
            return reason
        try:
            self.socket.send(PLAIN_HTTP)
        except OSError:
            return reason
        self.stopWriting()
        return None if self._linger() else reason

    def deadline_expired(self) -> None:
        """The handshake took too long, or the peer has not closed its side."""
        if self._phase is Phase.HANDSHAKING:
            log.debug("TLS handshake with {peer} timed out", peer=self.logstr)
            self.connectionLost(Failure(CONNECTION_LOST))
        else:
            super().deadline_expired()


class TLSClientTransport(TLSTransport, ClientTransport):
    """A TLS connection that we opened; ``connector`` says how (`perimeter.net.connect`)."""

    def _connectDone(self) -> None:
        self.connected = 1
        self.setTcpNoDelay(True)
        self.setTcpKeepAlive(True)
        self.logstr = f"TLS,client,{self.realAddress[0]}"
        self._start_tls(self.connector.secure(self.socket))
        self.startReading()
        problem = self._handshake()
        if problem is not None:
            self.connectionLost(Failure(problem))

    def _handshake_failed(self, problem: SSL.Error) -> Exception | None:
        super()._handshake_failed(problem)
        self.connector.handshake_failed(reason_of(problem))
        return CONNECTION_LOST

    def _handshake_done(self) -> Exception | None:
        if not self.connector.verified(self._tls):
            return CONNECTION_LOST
        self.connector.established(self)
        return None


def reason_of(problem: BaseException) -> str:
    """What OpenSSL or the system has to say, as one line of plain words."""
    if isinstance(problem, SSL.Error) and not isinstance(problem, SSL.SysCallError) and problem.args:
        queue = problem.args[0]
        if isinstance(queue, list):
            return str(queue[-1][-1]) if queue else "connection lost"
    if isinstance(problem, SSL.SysCallError) and len(problem.args) == 2:
        return str(problem.args[1]).lower()
    return str(problem) or type(problem).__name__

"""TLS directly on the non-blocking socket, with pyOpenSSL and without a memory BIO.

Servers and clients share `TLSTransport`. The protocol is built, and its ``connectionMade`` called, after the handshake, so that
it can read ``tls_version``, ``server_name`` and ``alpn``. Contexts come from `perimeter.net.contexts`. The listener
(`perimeter.net.listeners`) or the connector (`perimeter.net.connect`) limits the time of a handshake.
"""

from __future__ import annotations

import socket
from typing import cast

from OpenSSL import SSL
from twisted.internet import error
from twisted.internet.interfaces import IProtocol
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.internet.protocol import Protocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from perimeter.connection_faults import reason_of
from perimeter.net.contexts import UNKNOWN_NAME, client_certificate, verification_code
from perimeter.net.contract import Peer, Reactor
from perimeter.net.tls_records import FastConnection, Handshake, PortableConnection
from perimeter.net.transport import Accepting, ClientTransport, ServerTransport
from perimeter.net.write_through import BytesLike, TransportPhase, WriteThrough, raise_lost

log = Logger()

RECORD = 16 * 1024
"""Maximum size of a TLS record (RFC 8446, section 5.1): a read of this size leaves no part of a record in OpenSSL."""

BULK_RECORD = 4 * 1024
"""A record of at least this size is taken for part of a bulk transfer, and the next record is read in the same turn."""

READ_BUDGET = 128 * 1024
"""Bytes that one connection may read in one turn, so that it does not delay the others."""

PLAIN_HTTP = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 40\r\nConnection: close\r\n\r\n"
    b"This port speaks TLS: use https instead\n"
)


#: What OpenSSL reports about a peer that closed the connection without close_notify.
_JUST_GONE = frozenset(("unexpected eof", "unexpected eof while reading", "econnreset", "connection lost"))

_VERSIONS = {SSL.TLS1_3_VERSION: "TLSv1.3", SSL.TLS1_2_VERSION: "TLSv1.2"}

#: The protocol of a transport during the handshake.
_HANDSHAKING = cast(IProtocol, Protocol())


class TLSTransport(WriteThrough):
    """A transport that encrypts with ``_tls``."""

    _tls: PortableConnection
    _handshake_writes = False
    _close_notified = False
    #: whether the transport was reading when a write began to wait for a read
    _was_reading = False

    def _start_tls(self, connection: PortableConnection) -> None:
        self._writable = False
        self._tls = connection
        self.protocol = _HANDSHAKING
        self._phase = TransportPhase.HANDSHAKING

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
            state = self._tls.continue_handshake()
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
        self._phase = TransportPhase.OPEN
        self._attach(self._tls.send_some, self._tls.receive_some)
        self.tls_version = _VERSIONS.get(self._tls.get_protocol_version(), "")
        return self._handshake_done()

    def _handshake_failed(self, problem: SSL.Error) -> Exception | None:
        log.debug("TLS handshake with {peer} failed: {reason}", peer=self.logstr, reason=reason_of(problem))
        return CONNECTION_LOST

    def _handshake_done(self) -> Exception | None:
        """The handshake is complete. Overridden for servers and clients."""
        return None

    # -- reading

    def doRead(self) -> Exception | None:  # type: ignore[override]
        """The socket is readable: deliver one record to the protocol, or up to `READ_BUDGET` bytes of a bulk transfer."""
        if self._phase:
            return self._read_in_phase()
        return self._read_record()

    def _read_in_phase(self) -> Exception | None:
        phase = self._phase
        if phase is TransportPhase.HANDSHAKING:
            return self._handshake()
        if phase is TransportPhase.WRITE_AWAITS_READ:
            return self._read_for_write()
        if phase is TransportPhase.READ_AWAITS_WRITE:
            return self._read_record()
        return super()._read_in_phase()

    def _write_in_phase(self) -> Exception | None:
        phase = self._phase
        if phase is TransportPhase.HANDSHAKING:
            return self._handshake()
        if phase is TransportPhase.READ_AWAITS_WRITE:
            self._phase = TransportPhase.OPEN
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
        # The protocol may have closed the connection meanwhile. Then its data is sent first, and the end is read again.
        if end is not None and (self.disconnecting or not self.connected):
            self._read_closed = True
            return None
        return end

    def _read_problem(self, problem: Exception) -> Exception | None:
        """Return None if reading continues later, otherwise the reason why the connection ends."""
        if isinstance(problem, SSL.WantReadError):
            return None
        if isinstance(problem, SSL.WantWriteError):
            self._phase = TransportPhase.READ_AWAITS_WRITE
            self.startWriting()
            return None
        if isinstance(problem, SSL.ZeroReturnError):
            return CONNECTION_DONE
        if not isinstance(problem, SSL.Error | OSError):
            raise problem
        # An end without close_notify is not CONNECTION_DONE: a truncated message must not count as complete. Most clients close
        # without close_notify, so that is not logged: an event takes 20 µs.
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

    def _write_rest(self, data: BytesLike, sent: int, size: int) -> None:
        # OpenSSL sends one record per call, and the socket may accept more of them.
        view = memoryview(data)
        if sent:
            more = self.writeSomeData(view[sent:])
            if isinstance(more, Exception):
                self._break_off(more)
                return
            sent += more
        if sent != size:
            self._enqueue(view[sent:] if sent else data, size - sent)

    def writeSomeData(self, data: BytesLike) -> int | error.ConnectionLost:
        """Send records until the socket accepts no more. Returns the number of bytes sent, or why the connection is broken."""
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
        self._phase = TransportPhase.WRITE_AWAITS_READ
        self.startReading()

    def _read_for_write(self) -> Exception | None:
        self._phase = TransportPhase.OPEN
        end = self._read_record()
        if end is None and self.connected:
            if not self._was_reading:
                self.stopReading()
            self.startWriting()
        return end

    # -- the end

    def _notify_close(self) -> bool:
        """Send close_notify (RFC 8446, section 6.1). Returns False while the socket does not accept it."""
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
        """The connection has ended. OpenSSL's state is freed."""
        try:
            super().connectionLost(reason)
        finally:
            if self.disconnected and hasattr(self, "_tls"):
                self._send = self._recv = raise_lost
                del self._tls


class TLSServerTransport(TLSTransport, ServerTransport):
    """An accepted TLS connection. ``server`` is the `ListeningPort` with the contexts, the factory and the handshake timeout."""

    def __init__(
        self,
        sock: socket.socket,
        protocol: None,
        peer: Peer,
        server: Accepting,
        sessionno: int,
        reactor: Reactor,
    ) -> None:
        assert server.contexts is not None
        self._contexts = server.contexts
        connection = FastConnection(self._contexts.default, sock)
        connection.set_accept_state()
        super().__init__(sock, protocol, peer, server, sessionno, reactor)
        self._start_tls(connection)
        # An absolute time, so that bytes that arrive one by one do not move it (attack 22).
        now = reactor.seconds()
        self.deadline = now + server.handshake_timeout
        server.waiting[self] = now
        server.deadlines.watch(self)

    def _handshake_done(self) -> Exception | None:
        self.server.deadlines.forget(self)
        del self.server.waiting[self]
        contexts = self.server.contexts
        if self._contexts.clients is not None or (contexts is not None and contexts.clients is not None):
            if contexts is not self._contexts:
                return CONNECTION_DONE  # the CAs may have changed since the handshake began
            self.client_certificate = client_certificate(self._tls)
        protocol = self.server.build_protocol(self._peer, self.alpn)
        if protocol is None:
            return CONNECTION_DONE
        self.protocol = protocol
        protocol.makeConnection(self)
        return None

    def _handshake_failed(self, problem: SSL.Error) -> Exception | None:
        reason = super()._handshake_failed(problem)
        words = UNKNOWN_NAME if self._tls.get_app_data() == UNKNOWN_NAME else reason_of(problem)
        self.server.handshakes.note(self._peer.host, words)
        if words not in ("http request", "https proxy request"):
            return reason
        try:
            self.socket.send(PLAIN_HTTP)
        except OSError:
            return reason
        self.stopWriting()
        return None if self._linger() else reason

    def deadline_expired(self) -> None:
        """The handshake took too long, or the peer has not closed its side."""
        if self._phase is TransportPhase.HANDSHAKING:
            log.debug("TLS handshake with {peer} timed out", peer=self.logstr)
            self.connectionLost(Failure(CONNECTION_LOST))
        else:
            super().deadline_expired()


class TLSEnded(error.ConnectionLost):
    """The server has ended TLS with an alert, as it does after the handshake of TLS 1.3 if it misses a client certificate.

    ``reason`` is OpenSSL's.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class TLSClientTransport(TLSTransport, ClientTransport):
    """A TLS connection to an upstream. ``connector`` is an attempt of `perimeter.net.connect`."""

    def _read_problem(self, problem: Exception) -> Exception | None:
        end = super()._read_problem(problem)
        if end is CONNECTION_LOST and isinstance(problem, SSL.Error) and (reason := reason_of(problem)) not in _JUST_GONE:
            return TLSEnded(reason)
        return end

    def _connectDone(self) -> None:
        self.connected = 1
        self.setTcpNoDelay(True)
        self.setTcpKeepAlive(True)
        self.logstr = f"TLS,client,{self.realAddress[0]}"
        if not self._introduced():
            self.protocol = _HANDSHAKING
            self.connectionLost(Failure(CONNECTION_LOST))
            return
        self._start_tls(self.connector.secure(self.socket))
        self.startReading()
        problem = self._handshake()
        if problem is not None:
            self.connectionLost(Failure(problem))

    def _introduced(self) -> bool:
        """Send the preface, which the buffer of a new socket has room for. Returns whether it was sent."""
        preface = self.connector.preface
        try:
            return not preface or self.socket.send(preface) == len(preface)
        except OSError:
            return False

    def _handshake_failed(self, problem: SSL.Error) -> Exception | None:
        super()._handshake_failed(problem)
        self.connector.handshake_failed(reason_of(problem), verification_code(self._tls))
        return CONNECTION_LOST

    def _handshake_done(self) -> Exception | None:
        if not self.connector.verified(self._tls):
            return CONNECTION_LOST
        self.connector.established(self)
        return None

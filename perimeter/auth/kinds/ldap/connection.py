"""One connection to a directory server, and one Deferred for each operation on it.

Operations may overlap (RFC 4511, section 3.1): an answer has the number of its operation, and no number is used twice.
`perimeter.auth.kinds.ldap.opening` opens connections; `perimeter.auth.kinds.ldap.directory` decides how many there are and who
binds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import attrs
from OpenSSL import SSL
from twisted.internet.defer import Deferred, TimeoutError, fail
from twisted.internet.interfaces import IDelayedCall, IHandshakeListener, IOpenSSLClientConnectionCreator
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from perimeter.auth.kinds.ldap import compat
from perimeter.auth.kinds.ldap.ranges import completed
from perimeter.auth.kinds.ldap.results import SIZE_LIMIT_EXCEEDED, SUCCESS, describe, judge_search
from perimeter.auth.kinds.ldap.values import Found, LdapEntry, Result, Search, ServerFailure
from perimeter.connection_faults import Options, begins_tls_alert, handshake_fault, reason_of
from perimeter.net.contexts import ClientTLS, verification_code

CLOSE_GRACE = 5.0
"""Seconds that a closed connection has to send its unbind request; then it is cut."""


SEARCH_GRACE = 0.5
"""Seconds beyond its time limit within which a server may report that a search exceeded it. Without that report the connection
ends, and with it all other searches."""


@attrs.define(eq=False)
class _Operation:
    """An operation under way. At most ``limit`` entries are kept; further ones are only counted."""

    done: Deferred[Result]
    limit: int
    entries: list[LdapEntry] = attrs.field(factory=list)
    more: bool = False


OPTIONS = Options("set tls = starttls or none", name="server_name", timeout="server_timeout")
"""What the options of ``type = ldap`` are called."""


@implementer(IOpenSSLClientConnectionCreator)
class _Creator:
    """Gives the gateway's TLS context to Twisted, whose memory BIOs can begin TLS in the middle of a connection."""

    def __init__(self, tls: ClientTLS) -> None:
        self._tls = tls
        self.connection: SSL.Connection | None = None

    def clientConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        """See `IOpenSSLClientConnectionCreator`."""
        self.connection = self._tls.connection(None)
        return self.connection


@implementer(IHandshakeListener)
class LdapConnection(Protocol):
    """A connection. Its Deferreds fail with `ServerFailure` when it ends.

    ``clock`` is for the timeouts, ``options`` are the names of its options, for messages.
    """

    transport: Any

    def __init__(self, clock: Any, options: Options = OPTIONS) -> None:
        self._clock = clock
        self._options = options
        self._creator: _Creator | None = None
        self._buffer = bytearray()
        self._operations: dict[int, _Operation] = {}
        self._number = 0
        self._trouble = ""
        self._handshake: Deferred[None] | None = None
        self._tls: ClientTLS | None = None
        self._closing: IDelayedCall | None = None
        self.alive = False
        #: called when the last operation has ended, and when the connection has ended
        self.on_change: Callable[[], None] = lambda: None

    @property
    def pending(self) -> int:
        """How many operations are under way."""
        return len(self._operations)

    # -- what Twisted calls

    def connectionMade(self) -> None:
        """See `Protocol`."""
        self.alive = True
        self.transport.setTcpNoDelay(True)
        self.transport.setTcpKeepAlive(True)

    def handshakeCompleted(self) -> None:
        """TLS is up; the certificate must be for the intended server."""
        assert self._tls is not None
        reason = self._tls.verify(self.transport.getHandle())
        if reason:
            self.abort(handshake_fault(reason, 0, self._options))
            return
        handshake, self._handshake = self._handshake, None
        if handshake is not None:
            handshake.callback(None)

    def dataReceived(self, data: bytes) -> None:
        """Decode the messages that have arrived."""
        self._buffer += data
        try:
            while self._buffer and self.alive:
                length = compat.frame(self._buffer)
                if not length or len(self._buffer) < length:
                    return
                message = compat.decode(bytes(self._buffer[:length]))
                del self._buffer[:length]
                self._take(message.id, message.content)
        except compat.Malformed as problem:
            plain_to_tls = begins_tls_alert(self._buffer) and self._creator is None
            self.abort("it speaks TLS on this port: set tls = ldaps" if plain_to_tls else f"it sent {problem}")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Fail all operations under way."""
        self.alive = False
        if self._closing is not None and self._closing.active():
            self._closing.cancel()
        handshake, self._handshake = self._handshake, None
        if handshake is not None:
            assert reason.value is not None
            used = None if self._creator is None else self._creator.connection
            code = 0 if used is None else verification_code(used)
            why = self._trouble or handshake_fault(reason_of(reason.value), code, self._options)
            handshake.errback(ServerFailure(why))
        operations, self._operations = self._operations, {}
        self.on_change()  # first: the failed operation may request another connection at once
        for operation in operations.values():
            operation.done.errback(ServerFailure(self._trouble or "it closed the connection", stale=not self._trouble))

    def _take(self, number: int, content: object) -> None:
        if number == 0:
            # The only known notice is the one of disconnection (RFC 4511, section 4.4.1).
            self.abort("it is closing the connection", stale=True)
            return
        operation = self._operations.get(number)
        if operation is None:
            return  # abandoned, but the answer was already on its way
        if isinstance(content, LdapEntry):
            if len(operation.entries) < operation.limit:
                operation.entries.append(content)
            else:
                operation.more = True
        elif isinstance(content, Result):
            del self._operations[number]
            operation.done.callback(content)
            if not self._operations:
                self.on_change()

    # -- operations

    def _begin(self, encode: Callable[[int], bytes], timeout: float, limit: int = 0) -> tuple[_Operation, Deferred[Result]]:
        self._number += 1
        number = self._number
        operation = _Operation(Deferred(lambda _: self._abandon(number)), limit)
        if not self.alive:
            return operation, fail(ServerFailure("the connection is closed", stale=True))
        self._operations[number] = operation
        self.transport.write(encode(number))
        operation.done.addTimeout(timeout, self._clock)
        operation.done.addErrback(self._silent, timeout)
        return operation, operation.done

    def _silent(self, failure: Failure, timeout: float) -> Failure:
        if not failure.check(TimeoutError):
            return failure
        why = f"it did not answer within {timeout:g} s"
        self.abort(why)
        return Failure(ServerFailure(why))

    def _abandon(self, number: int) -> None:
        """The result is not wanted any more."""
        self._operations.pop(number, None)
        if self.alive:
            self._number += 1
            self.transport.write(compat.abandon_request(self._number, number))
            if not self._operations:
                self.on_change()

    def bind(self, dn: str, password: str, timeout: float) -> Deferred[Result]:
        """Bind with a password, or anonymously if both are empty.

        Raises `ValueError` for one without the other: an unauthenticated bind, which servers answer with success
        (RFC 4513, section 5.1.2, attack 32).
        """
        if bool(dn) != bool(password):
            raise ValueError("a bind with a name and no password, or the reverse")
        return self._begin(lambda number: compat.bind_request(number, dn, password), timeout)[1]

    async def search(self, search: Search, timeout: float) -> Found:
        """Run ``search`` with all its pages, and get the rest of attributes that come in parts (`ranges`).

        ``timeout`` is for each page. Raises `Unavailable` if the server refuses.
        """
        return await completed(await self._pages(search, timeout), lambda part: self._pages(part, timeout))

    async def _pages(self, search: Search, timeout: float) -> Found:
        seconds = math.ceil(timeout)
        entries: list[LdapEntry] = []
        cookie = b""
        while True:
            remaining = search.limit - len(entries)

            def encode(number: int, cookie: bytes = cookie, remaining: int = remaining) -> bytes:
                # One more than is useful, to notice when there are too many.
                limit = 0 if search.page else remaining + 1
                page = min(search.page, remaining + 1)
                return compat.search_request(
                    number, search.base, search.scope, search.filter, search.attributes, limit, seconds, page, cookie
                )

            operation, done = self._begin(encode, timeout + SEARCH_GRACE, remaining)
            result = await done
            entries += operation.entries
            if operation.more or result.code == SIZE_LIMIT_EXCEEDED:
                return Found(tuple(entries), result, more=True)
            judge_search(result)
            if not result.cookie or not search.page:
                return Found(tuple(entries), result)
            cookie = result.cookie

    async def start_tls(self, timeout: float) -> None:
        """Request TLS, and begin it; fires when it is up."""
        result = await self._begin(compat.start_tls_request, timeout)[1]
        if result.code != SUCCESS:
            raise ServerFailure(f"it refuses StartTLS ({describe(result)})")
        if self._buffer:
            # An attacker in the middle added plain text after the answer, which must not count as sent under TLS.
            raise ServerFailure("it sent something in plain text after it agreed to TLS")

    def secure(self, tls: ClientTLS) -> Deferred[None]:
        """Begin TLS now; fires when the server is verified."""
        self._tls = tls
        self._handshake = Deferred(lambda _: self.abort("given up"))
        self._creator = _Creator(tls)
        self.transport.startTLS(self._creator)
        return self._handshake

    # -- the end

    def close(self) -> None:
        """Send an unbind request and close."""
        if self.alive:
            self.alive = False
            self._number += 1
            self.transport.write(compat.unbind_request(self._number))
            self.transport.loseConnection()
            self._closing = self._clock.callLater(CLOSE_GRACE, self.transport.abortConnection)

    def abort(self, why: str, *, stale: bool = False) -> None:
        """Cut the connection; the operations under way fail with ``why``."""
        self.alive = False
        if not stale:
            self._trouble = self._trouble or why
        if self.transport is not None:
            self.transport.abortConnection()

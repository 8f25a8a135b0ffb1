"""Opens a connection to a directory server, secured and verified, within a timeout."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet import error
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.protocol import Factory

from perimeter.auth.kinds.ldap.connection import OPTIONS, LdapConnection
from perimeter.auth.kinds.ldap.values import ServerFailure
from perimeter.connection_faults import Options, connect_fault
from perimeter.net.contexts import ClientTLS


@attrs.frozen
class Address:
    """A server. ``tls`` is None for plain text; ``start_tls`` secures a connection that began in plain text.

    ``options`` are the names of its options, for messages.
    """

    host: str
    port: int
    tls: ClientTLS | None = None
    start_tls: bool = False
    options: Options = OPTIONS

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


async def open_connection(reactor: Any, address: Address, timeout: float) -> LdapConnection:
    """A connection to ``address``, its certificate verified, within ``timeout`` seconds. Raises `ServerFailure`."""
    options = attrs.evolve(address.options, seconds=timeout)
    connection = LdapConnection(reactor, options)
    opening = Deferred.fromCoroutine(_open(reactor, address, connection, timeout, options))
    opening.addTimeout(timeout, reactor)
    try:
        return await opening
    except TimeoutError:
        connection.abort("too slow")
        raise ServerFailure(connect_fault(error.TimeoutError(), options)) from None
    except BaseException:
        connection.abort("given up")
        raise


async def _open(reactor: Any, address: Address, connection: LdapConnection, timeout: float, options: Options) -> LdapConnection:
    try:
        # Twisted's own transports: the gateway's own cannot begin TLS in the middle of a connection.
        endpoint = HostnameEndpoint(reactor, address.host, address.port, timeout)
        await endpoint.connect(_Once(connection))
    except (error.DNSLookupError, error.ConnectError) as problem:
        raise ServerFailure(connect_fault(problem, options)) from None
    if address.tls is not None:
        if address.start_tls:
            await connection.start_tls(timeout)
        await connection.secure(address.tls)
    return connection


class _Once(Factory):
    """Returns the connection that it was given. ``HostnameEndpoint`` requests at most one protocol."""

    noisy = False

    def __init__(self, connection: LdapConnection) -> None:
        self._connection = connection

    def buildProtocol(self, addr: Any) -> LdapConnection:
        """See `Factory`."""
        return self._connection

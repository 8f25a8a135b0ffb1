"""Opens a connection to a directory server, secured and verified, within a timeout."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet import error
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.protocol import Factory

from perimeter.auth.kinds.ldap.connection import LdapConnection
from perimeter.auth.kinds.ldap.values import ServerFailure
from perimeter.net.contexts import ClientTLS


@attrs.frozen
class Address:
    """A server. ``tls`` is None for plain text; ``start_tls`` secures a connection that began in plain text."""

    host: str
    port: int
    tls: ClientTLS | None = None
    start_tls: bool = False

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


async def open_connection(reactor: Any, address: Address, timeout: float) -> LdapConnection:
    """A connection to ``address``, its certificate verified, within ``timeout`` seconds. Raises `ServerFailure`."""
    connection = LdapConnection(reactor)
    opening = Deferred.fromCoroutine(_open(reactor, address, connection, timeout))
    opening.addTimeout(timeout, reactor)
    try:
        return await opening
    except TimeoutError:
        connection.abort("too slow")
        raise ServerFailure(f"no connection within {timeout:g} s") from None
    except BaseException:
        connection.abort("given up")
        raise


async def _open(reactor: Any, address: Address, connection: LdapConnection, timeout: float) -> LdapConnection:
    try:
        # Twisted's own transports: the gateway's own cannot begin TLS in the middle of a connection.
        endpoint = HostnameEndpoint(reactor, address.host, address.port, timeout)
        await endpoint.connect(_Once(connection))
    except error.DNSLookupError:
        raise ServerFailure("its name is not known") from None
    except error.TimeoutError:
        raise ServerFailure(f"no connection within {timeout:g} s") from None
    except error.ConnectError as problem:
        raise ServerFailure(f"no connection ({type(problem).__name__})") from None
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

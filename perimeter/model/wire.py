"""Parsed heads of HTTP messages, and the client connection they arrive on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

Field = tuple[bytes, bytes]
"""A header: its name in lower case, and its value without surrounding white space."""


class HeaderBlock:
    """The parsed headers of one message.

    Immutable after `perimeter.http.grammar` has built it, so that requests of a connection that repeat the same bytes share one
    block. Only ``forward`` is written later: the header lines that `perimeter.proxy.headers` made from this block, together with
    the rules that made them.
    """

    __slots__ = (
        "authorization",
        "chunked",
        "close",
        "connection",
        "content_length",
        "dated",
        "expect_continue",
        "fields",
        "forward",
        "hops",
        "host",
        "keep_alive",
        "kept_idle",
        "narrowed",
        "own_cookies",
        "raw",
        "session",
        "upgrade",
    )

    def __init__(self, fields: Sequence[Field], raw: bytes = b"") -> None:
        self.fields: tuple[Field, ...] = tuple(fields)
        #: the header lines as they were received, each with its CRLF
        self.raw = raw
        #: how many gateways the request has passed, as the last of them says (X-Perimeter-Hops)
        self.hops = 0
        #: the value of Host, or None
        self.host: bytes | None = None
        #: the values of Authorization, in order; the code that reads credentials refuses more than one
        self.authorization: tuple[bytes, ...] = ()
        #: bytes, or None without Content-Length
        self.content_length: int | None = None
        #: Transfer-Encoding is exactly ``chunked``
        self.chunked: bool = False
        #: the options named in Connection, in lower case
        self.connection: frozenset[bytes] = frozenset()
        #: Connection says ``close``
        self.close: bool = False
        #: Connection says ``keep-alive`` (HTTP/1.0)
        self.keep_alive: bool = False
        #: seconds for which a connection may be idle, as Keep-Alive announces (``timeout=5``), or None
        self.kept_idle: int | None = None
        #: Expect says ``100-continue``
        self.expect_continue: bool = False
        #: the value of Upgrade if Connection lists it too, otherwise None
        self.upgrade: bytes | None = None
        #: there is a Date header (responses only)
        self.dated = False
        #: there is an X-Auth-Realm header
        self.narrowed: bool = False
        #: a Cookie or Set-Cookie header seems to have a cookie of the gateway's own, which is not passed on
        self.own_cookies: bool = False
        #: the value of the session's cookie, well formed but not verified, or None
        self.session: bytes | None = None
        self.forward: tuple[object, bytes] | None = None

    def get(self, name: bytes) -> bytes | None:
        """The first value of the header ``name`` (lower case), or None."""
        for key, value in self.fields:
            if key == name:
                return value
        return None

    def get_all(self, name: bytes) -> list[bytes]:
        """Every value of the header ``name`` (lower case), in order."""
        return [value for key, value in self.fields if key == name]


class Version(StrEnum):
    """The HTTP version of a message, as the audit log shows it."""

    HTTP_1_0 = "HTTP/1.0"
    HTTP_1_1 = "HTTP/1.1"
    HTTP_2_0 = "HTTP/2.0"


class RequestHead:
    """A request line and its headers, already checked to be well formed and unambiguous.

    ``target`` is in origin-form, as the client sent it (of an absolute-form target the authority is in ``host``). ``host`` is the
    authority that the request is for, as the client sent it.
    """

    __slots__ = ("headers", "host", "method", "target", "version")

    def __init__(self, method: bytes, target: bytes, version: Version, headers: HeaderBlock, host: bytes) -> None:
        self.method = method
        self.target = target
        self.version = version
        self.headers = headers
        self.host = host


class ResponseHead:
    """A status line and its headers, from an upstream. ``minor`` is 0 or 1; ``reason`` may be empty."""

    __slots__ = ("headers", "minor", "reason", "status")

    def __init__(self, status: int, reason: bytes, minor: int, headers: HeaderBlock) -> None:
        self.status = status
        self.reason = reason
        self.minor = minor
        self.headers = headers


UNIX_PEER: Final = "unix:"
"""The address of all clients of a unix socket, which have no IP address. It lies in no network."""


def canonical_address(address: str) -> str:
    """Return ``address`` as rules and the audit log see it.

    An IPv4-mapped IPv6 address becomes its IPv4 address (attack 10), and a zone index is removed. `UNIX_PEER` stays what it is.
    """
    if ":" not in address or address == UNIX_PEER:
        return address
    parsed = ip_address(address.partition("%")[0])
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(parsed)


def network_of(address: str) -> str:
    """Whose requests count together if no user is known: ``address``; for IPv6 its /64, in which a client has all addresses."""
    if ":" not in address:
        return address
    try:
        return f"{ip_address(address).packed[:8].hex()}/64"
    except ValueError:
        return address  # not an IP address, for example a local socket


class ClientConnection:
    """The facts about a client's connection. They stay the same for its lifetime.

    ``address`` is canonical text (see `canonical_address`), ``listener`` the section name of the listener that accepted the
    connection, ``tls`` the protocol version (``TLSv1.3``) or "" without TLS. ``certificate`` is the client's certificate if the
    listener asked for one and verified its chain, otherwise None. ``forward`` caches the header lines about this connection that
    are sent upstream with each of its requests (`perimeter.proxy.headers`). ``local`` returns the address that the client
    connected to, while the connection is open; "" if it is not known.
    """

    __slots__ = ("address", "certificate", "forward", "listener", "local", "local_port", "port", "tls")

    def __init__(
        self,
        address: str,
        port: int,
        listener: str,
        local_port: int,
        tls: str,
        certificate: Certificate | None = None,
        local: Callable[[], str] = str,
    ) -> None:
        self.address = address
        self.port = port
        self.listener = listener
        self.local_port = local_port
        self.tls = tls
        self.certificate = certificate
        self.local = local
        self.forward = b""

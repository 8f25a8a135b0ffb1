"""What comes over the wire: heads of messages, taken apart, and the connection that they come on."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

Field = tuple[bytes, bytes]
"""A header: its name in lower case, and its value without the white space around it."""


class HeaderBlock:
    """The parsed headers of one message.

    Immutable after `perimeter.http.grammar` has built it, so that one block may serve every request of a connection that
    repeats it byte by byte. ``forward`` is the one slot that is written later: what `perimeter.proxy.headers` made of
    this block, together with the rule set it was made by.
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
        "host",
        "keep_alive",
        "narrowed",
        "raw",
        "upgrade",
    )

    def __init__(self, fields: Sequence[Field], raw: bytes = b"") -> None:
        self.fields: tuple[Field, ...] = tuple(fields)
        #: the header lines as they came, each with its CRLF
        self.raw = raw
        #: the value of Host, or None
        self.host: bytes | None = None
        #: the values of Authorization, in order: more than one is refused where credentials are read
        self.authorization: tuple[bytes, ...] = ()
        #: bytes, or None if there is no Content-Length
        self.content_length: int | None = None
        #: Transfer-Encoding is exactly ``chunked``
        self.chunked: bool = False
        #: the options named in Connection, in lower case
        self.connection: frozenset[bytes] = frozenset()
        #: Connection says ``close``
        self.close: bool = False
        #: Connection says ``keep-alive`` (HTTP/1.0)
        self.keep_alive: bool = False
        #: Expect says ``100-continue``
        self.expect_continue: bool = False
        #: the value of Upgrade, where Connection names it too
        self.upgrade: bytes | None = None
        #: there is a Date header (responses only)
        self.dated = False
        #: there is an X-Auth-Realm header
        self.narrowed: bool = False
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
    """The version of HTTP that a message came in, as the audit log shows it."""

    HTTP_1_0 = "HTTP/1.0"
    HTTP_1_1 = "HTTP/1.1"
    HTTP_2_0 = "HTTP/2.0"


class RequestHead:
    """A request line and its headers, already found to be well formed and unambiguous.

    ``target`` is as sent, in origin-form (an absolute-form target was taken apart: its host is in ``host``).
    ``host`` is the authority that the request is for, as sent.
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


def canonical_address(address: str) -> str:
    """``address`` as rules and the audit see it: an IPv4-mapped IPv6 address is its IPv4 one (attack 10), no zone index."""
    if ":" not in address:
        return address
    parsed = ip_address(address.partition("%")[0])
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(parsed)


class ClientConnection:
    """What is known of a client's connection while it lasts.

    ``address`` is canonical text (see `canonical_address`), ``listener`` the name of the section that accepted it,
    ``tls`` the protocol version (``TLSv1.3``) or "" on a plain connection. ``certificate`` is the client's own, where one was
    asked for and its chain was verified. ``forward`` keeps the field lines about this connection that every request of it
    sends upstream (`perimeter.proxy.headers`).
    """

    __slots__ = ("address", "certificate", "forward", "listener", "local_port", "port", "tls")

    def __init__(
        self, address: str, port: int, listener: str, local_port: int, tls: str, certificate: Certificate | None = None
    ) -> None:
        self.address = address
        self.port = port
        self.listener = listener
        self.local_port = local_port
        self.tls = tls
        self.certificate = certificate
        self.forward = b""

"""The values that the packages hand to each other. Pure: no I/O, no clock, no configuration.

Bytes of the wire stay bytes. Text (`str`) is what the gateway itself decided on: names, realms, roles, addresses.
Classes of the hot path are slotted and written by hand; the rest are frozen attrs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

Field = tuple[bytes, bytes]
"""A header field: its name in lower case, and its value without the white space around it."""


class HeaderBlock:
    """The parsed header fields of one message.

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
        #: the field lines as they came, each with its CRLF
        self.raw = raw
        #: the value of Host, or None
        self.host: bytes | None = None
        #: the values of Authorization, in order: more than one is refused by whoever reads credentials
        self.authorization: tuple[bytes, ...] = ()
        #: octets, or None where there is no Content-Length
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
        #: there is a Date field (responses only)
        self.dated = False
        #: there is an X-Auth-Realm field
        self.narrowed: bool = False
        self.forward: tuple[object, bytes] | None = None

    def get(self, name: bytes) -> bytes | None:
        """The first value of the field ``name`` (lower case), or None."""
        for key, value in self.fields:
            if key == name:
                return value
        return None

    def get_all(self, name: bytes) -> list[bytes]:
        """Every value of the field ``name`` (lower case), in order."""
        return [value for key, value in self.fields if key == name]


class RequestHead:
    """A request line and its header fields, already found to be well formed and unambiguous.

    ``target`` is as sent, in origin-form (an absolute-form target was taken apart: its host is in ``host``).
    ``host`` is the authority that the request is for, as sent. ``minor`` is 0 or 1.
    """

    __slots__ = ("headers", "host", "method", "minor", "target")

    def __init__(self, method: bytes, target: bytes, minor: int, headers: HeaderBlock, host: bytes) -> None:
        self.method = method
        self.target = target
        self.minor = minor
        self.headers = headers
        self.host = host


class ResponseHead:
    """A status line and its header fields, from an upstream. ``minor`` is 0 or 1; ``reason`` may be empty."""

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
    """What is known of a client's connection for as long as it lasts.

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

    @property
    def ip(self) -> IPv4Address | IPv6Address:
        """The client's address, to be held against networks."""
        return ip_address(self.address)


TOKEN_PREFIX = "perimeter_"  # noqa: S105  # what a token begins with, and none itself
"""What every API token begins with, so that scanners find one that was published by mistake, and the audit log shows none."""


@attrs.frozen(slots=True)
class Restriction:
    """What an API token may be used for: these routes, by these methods, from these networks. Of each, empty is any."""

    routes: frozenset[str] = frozenset()
    methods: frozenset[str] = frozenset()
    networks: tuple[IPv4Network | IPv6Network, ...] = ()


@attrs.frozen(slots=True)
class Grant:
    """The token by which a principal is known: what revocation and the token's own restriction go by.

    ``id`` is the ``jti`` of an access token, or with ``stored`` the id of an API token. Times are seconds since the epoch;
    ``expires`` is infinite for a token that does not expire.
    """

    id: str
    issued: float
    expires: float
    stored: bool = False
    restriction: Restriction | None = None


@attrs.frozen(slots=True, cache_hash=True)
class Principal:
    """Somebody whose identity was established: the name is unique within the realm, never across realms.

    ``authenticator`` is the configured name of the authenticator that vouched (or ``token`` for a token of the gateway's own,
    and ``grant`` says which one it was).
    """

    username: str
    realm: str
    roles: tuple[str, ...] = ()
    authenticator: str = ""
    attributes: Mapping[str, str] = attrs.field(factory=dict, eq=False)
    scopes: Mapping[str, Sequence[str]] = attrs.field(factory=dict, eq=False)
    grant: Grant | None = attrs.field(default=None, eq=False)


@attrs.frozen(slots=True)
class BasicCredentials:
    """A user name and password (RFC 7617). The password never shows in a repr."""

    username: str
    password: str = attrs.field(repr=False)


@attrs.frozen(slots=True)
class BearerCredentials:
    """An opaque token (RFC 6750). It never shows in a repr."""

    token: str = attrs.field(repr=False)


@attrs.frozen(slots=True)
class ConnectionCredentials:
    """No Authorization at all: whoever vouches goes by the connection, its certificate or what its peer says of the user."""


@attrs.frozen(slots=True)
class Recollection:
    """No credentials, but a question: what is known now of the user of exactly this name, whose API token was shown."""

    username: str


Credentials = BasicCredentials | BearerCredentials | ConnectionCredentials | Recollection


def unheard(step: str) -> None:
    """Takes an explanation that nobody asked for."""


@attrs.frozen(slots=True)
class AuthenticationRequest:
    """The circumstances of an authentication: who asks from where, and to which realms the client narrowed it.

    ``address`` is the audited one, ``peer`` that of the connection itself, which no header can move ("" where there is none).
    ``realms`` is empty when the client did not narrow (``X-Auth-Realm``). ``headers`` and ``certificate`` (of a verified chain)
    come with `ConnectionCredentials`. ``explain`` takes a sentence for each step of the authentication, for ``perimeter login``:
    which server, which filter, which groups, why refused; never a secret.
    """

    address: str
    realms: frozenset[str] = frozenset()
    peer: str = ""
    headers: HeaderBlock | None = attrs.field(default=None, eq=False, repr=False)
    certificate: Certificate | None = attrs.field(default=None, eq=False, repr=False)
    explain: Callable[[str], None] = attrs.field(default=unheard, eq=False, repr=False)


class AccessRecord:
    """Everything that the audit log may say of one request. Text is raw here: formats escape it.

    ``time`` is seconds since the epoch, ``duration`` seconds; ``sent`` and ``received`` count body octets; ``status`` is 0
    where nothing was answered; ``target`` is the request target as sent ("" where none could be read); ``reason`` is the code of
    the refusal or of the early end (``client_gone``, ``upstream_aborted``…), or "".
    """

    __slots__ = (
        "address",
        "duration",
        "headers",
        "host",
        "listener",
        "method",
        "principal",
        "reason",
        "received",
        "route",
        "sent",
        "status",
        "target",
        "time",
        "tls",
        "upstream",
        "version",
    )

    def __init__(
        self,
        time: float,
        duration: float,
        address: str,
        listener: str,
        tls: str,
        method: bytes,
        target: bytes,
        version: str,
        host: bytes,
        headers: HeaderBlock | None,
        status: int,
        sent: int,
        received: int,
        principal: Principal | None,
        route: str,
        upstream: str,
        reason: str,
    ) -> None:
        self.time = time
        self.duration = duration
        self.address = address
        self.listener = listener
        self.tls = tls
        self.method = method
        self.target = target
        self.version = version
        self.host = host
        self.headers = headers
        self.status = status
        self.sent = sent
        self.received = received
        self.principal = principal
        self.route = route
        self.upstream = upstream
        self.reason = reason

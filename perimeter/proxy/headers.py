"""What of a message's header goes through the gateway, and what the gateway adds. Pure.

Dropped on the way in, on every route: what concerns one connection only (RFC 9110, section 7.6.1), what only the gateway may
say (identity, client address, scheme), the client's own credentials, and what some servers take for another path. An identity
field is recognised in any spelling that a server could fold into it: ``X_Auth_Username``, ``x.auth.username`` (attacks 11,
12). Dropping comes first and adding last, so that a field of ours can be neither doubled nor named away by ``Connection``
(attack 13).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from perimeter.gate.decision import Admitted
from perimeter.gate.overrides import METHOD_OVERRIDES, folded
from perimeter.http.exchange import Exchange
from perimeter.model import ClientConnection, Field, HeaderBlock

_HOP_BY_HOP = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"te", b"transfer-encoding", b"upgrade", b"content-length")
)
_REQUEST_ONLY = frozenset(
    (
        b"host",
        b"expect",
        b"authorization",
        b"proxy-authorization",
        b"forwarded",
        b"x-real-ip",
        b"http2-settings",
        # Servers that take these for the request's path would serve another one than was judged.
        b"x-original-url",
        b"x-original-uri",
        b"x-rewrite-url",
    )
)
_RESERVED_PREFIXES = (b"x-auth-", b"x-forwarded-")
#: A trailer cannot be judged before the request is forwarded, so only what has no meaning to us passes (RFC 9110, section 6.5.1).
_NEVER_IN_TRAILERS = frozenset(
    (b"cookie", b"set-cookie", b"trailer", b"content-encoding", b"content-type", b"content-range", b"cache-control", b"range")
)
#: Fields of a response that can name a path of the upstream.
_MAPPED = frozenset((b"location", b"content-location", b"set-cookie"))
_MAX_NAMES = 1000
_COOKIE_PATH = re.compile(rb"(;[ \t]*path[ \t]*=[ \t]*)([^;\s]*)", re.IGNORECASE)
_ABSOLUTE = re.compile(rb"https?://([^/?#]*)([^?#]*)(.*)", re.IGNORECASE)


class HeaderRules:
    """Which fields pass. ``identity_names`` are the identity fields of all routes, in any case; one object serves many routes.
    With ``drop_method_overrides`` it is for routes whose rules go by the method.

    What was found of a name is remembered (in a new head that saves 1 µs a field).
    """

    __slots__ = ("_hidden", "_overrides", "_request_names", "_response_names")

    def __init__(self, identity_names: Iterable[bytes] = (), *, drop_method_overrides: bool = False) -> None:
        self._hidden = frozenset(folded(name.lower()) for name in identity_names)
        self._overrides = METHOD_OVERRIDES if drop_method_overrides else frozenset()
        self._request_names: dict[bytes, bool] = {}
        self._response_names: dict[bytes, bool] = {}

    def reserved(self, name: bytes) -> bool:
        """Whether ``name`` (lower case) could be taken for a field that only the gateway may set."""
        name = folded(name)
        return name.startswith(_RESERVED_PREFIXES) or name in self._hidden

    def request_lines(self, headers: HeaderBlock) -> bytes:
        """The field lines of a client's request that are passed on. Kept with the block, which a client mostly repeats."""
        known = headers.forward
        if known is not None and known[0] is self:
            return known[1]
        named = headers.connection
        passes = self._request_names
        lines = []
        for (name, _), line in zip(headers.fields, headers.raw.split(b"\r\n"), strict=False):
            allowed = passes.get(name)
            if allowed is None:
                allowed = self._judge_request_name(name)
            if allowed and name not in named:
                lines.append(line)
        if lines:
            lines.append(b"")
        result = b"\r\n".join(lines)
        headers.forward = (self, result)
        return result

    def _judge_request_name(self, name: bytes) -> bool:
        plain = folded(name)
        dropped = plain in _HOP_BY_HOP or plain in _REQUEST_ONLY or plain in self._overrides or self.reserved(name)
        return _remember(self._request_names, name, not dropped)

    def trailers(self, trailers: Iterable[Field]) -> list[Field]:
        """The trailer fields that are passed on, either way (attack 14)."""
        return [(name, value) for name, value in trailers if self._judge_trailer_name(folded(name))]

    def _judge_trailer_name(self, name: bytes) -> bool:
        return not (
            name in _HOP_BY_HOP
            or name in _REQUEST_ONLY
            or name in METHOD_OVERRIDES
            or name in _NEVER_IN_TRAILERS
            or self.reserved(name)
        )

    def response_lines(self, headers: HeaderBlock, map_value: Callable[[bytes, bytes], bytes] | None) -> bytes:
        """The field lines of an upstream's response that are passed on.

        ``map_value`` (name, value → value) maps Location, Content-Location and Set-Cookie back; None where nothing needs it.
        """
        known = headers.forward
        if known is not None and known[0] is self:
            return known[1]
        named = headers.connection
        passes = self._response_names
        lines = []
        mapped = False
        for (name, value), line in zip(headers.fields, headers.raw.split(b"\r\n"), strict=False):
            allowed = passes.get(name)
            if allowed is None:
                allowed = _remember(passes, name, not (name in _HOP_BY_HOP or self.reserved(name)))
            if not allowed or name in named:
                continue
            if map_value is not None and name in _MAPPED:
                mapped = True
                line = line[: len(name)] + b": " + map_value(name, value)
            lines.append(line)
        if lines:
            lines.append(b"")
        result = b"\r\n".join(lines)
        if not mapped:  # what was mapped depends on the request
            headers.forward = (self, result)
        return result


def _remember(names: dict[bytes, bool], name: bytes, passes: bool) -> bool:
    if len(names) >= _MAX_NAMES:  # clients choose names
        names.clear()
    names[name] = passes
    return passes


def client_lines(connection: ClientConnection) -> bytes:
    """The field lines about a client's connection, for a client that no trusted proxy speaks for."""
    if not connection.forward:
        address = connection.address.encode("ascii")
        scheme = b"https" if connection.tls else b"http"
        connection.forward = b"X-Real-IP: %b\r\nX-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\n" % (address, address, scheme)
    return connection.forward


def relayed_client_lines(exchange: Exchange, relayed: tuple[str, ...]) -> bytes:
    """The same where a trusted proxy spoke for the client: its scheme is believed, and of its chain what is vouched for."""
    scheme = b",".join(exchange.head.headers.get_all(b"x-forwarded-proto")).lower()
    if scheme not in (b"http", b"https"):
        scheme = b"https" if exchange.connection.tls else b"http"
    chain = ", ".join(relayed).encode("ascii")
    address = relayed[0].encode("ascii")
    return b"X-Real-IP: %b\r\nX-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\n" % (address, chain, scheme)


def request_head(
    exchange: Exchange, decision: Admitted, rules: HeaderRules, fallback_host: bytes, upgrade: bytes | None
) -> bytes:
    """The whole head that the upstream gets. ``fallback_host`` stands in where an HTTP/1.0 client named no host."""
    head = exchange.head
    headers = head.headers
    host = head.host or fallback_host
    client = relayed_client_lines(exchange, decision.relayed) if decision.relayed else client_lines(exchange.connection)
    if headers.chunked:
        framing = b"Transfer-Encoding: chunked\r\n"
    elif headers.content_length is not None:
        framing = b"Content-Length: %d\r\n" % headers.content_length
    else:
        framing = b""
    if upgrade is not None:
        framing += b"Connection: upgrade\r\nUpgrade: %b\r\n" % upgrade
    return b"%b %b HTTP/1.1\r\nHost: %b\r\n%b%bX-Forwarded-Host: %b\r\n%b%b\r\n" % (
        head.method,
        decision.target,
        host,
        rules.request_lines(headers),
        client,
        host,
        decision.identity,
        framing,
    )


def map_back(name: bytes, value: bytes, own_hosts: tuple[bytes, ...], outer_path: Callable[[bytes], bytes]) -> bytes:
    """An upstream's Location, Content-Location or Set-Cookie value as the client must see it.

    An absolute URL of one of ``own_hosts`` (the upstream's, or the name that the client used) becomes a path on this gateway,
    so that neither a foreign scheme nor an internal name leaks; ``outer_path`` undoes the route's rewrite.
    """
    if name == b"set-cookie":
        return _COOKIE_PATH.sub(lambda match: match[1] + (outer_path(match[2]) if match[2] else b""), value)
    match = _ABSOLUTE.fullmatch(value)
    if match is not None:
        if match[1].lower() not in own_hosts:
            return value
        path, rest = match[2] or b"/", match[3]
    else:
        end = min((at for at in (value.find(b"?"), value.find(b"#")) if at >= 0), default=len(value))
        path, rest = value[:end], value[end:]
        if not path.startswith(b"/") or path[1:2] in (b"/", b"\\", b"\t"):
            return value
    path = outer_path(path)
    if path[1:2] in (b"/", b"\\", b"\t"):  # would name another host: browsers take \ for / and skip tabs (attack 24)
        path = b"/" + path.lstrip(b"/\\\t ")
    return path + rest

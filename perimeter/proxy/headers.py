"""Decides which headers pass the gateway, and which the gateway adds. Pure.

On every route these headers of a request are dropped: headers of one connection only (RFC 9110, section 7.6.1), headers that only
the gateway may set (identity, client address, scheme), the client's credentials (unless the route passes them), and headers that
some servers use instead of the path. An identity header is recognised in every spelling that a server could treat as equal:
``X_Auth_Username``, ``x.auth.username`` (attacks 11, 12); the list of known ones is an option (attack 55). Headers are dropped
first and added last, so that a client can neither double a header of the gateway nor remove it with ``Connection`` (attack 13).
The gateway's own cookies are taken out in both directions (`perimeter.http.cookies`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from perimeter.config.site.identity_headers import KNOWN
from perimeter.errors import LoopDetected
from perimeter.gate.decision import Admitted
from perimeter.gate.overrides import METHOD_OVERRIDES, folded
from perimeter.http.cookies import foreign_lines
from perimeter.http.exchange import Exchange
from perimeter.model import ClientConnection, Field, HeaderBlock
from perimeter.proxy.mapping import MAPPED
from perimeter.recent import Memo

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
        b"x-perimeter-hops",
        # Some servers use these as the request's path, and would serve another path than the gate judged.
        b"x-original-url",
        b"x-original-uri",
        b"x-rewrite-url",
    )
)
_RESERVED_PREFIXES = (b"x-forwarded-",)
#: A trailer cannot be judged before the request is forwarded, so these never pass (RFC 9110, section 6.5.1).
_NEVER_IN_TRAILERS = frozenset(
    (b"cookie", b"set-cookie", b"trailer", b"content-encoding", b"content-type", b"content-range", b"cache-control", b"range")
)
#: The beginning of all headers of cross-origin resource sharing.
_CORS = b"access-control-"
_MAX_NAMES = 1000
KNOWN_NAMES = tuple(name.encode("ascii") for name in KNOWN)
"""Headers that known services take for the identity of the user."""
#: What a trusted proxy may say of the client's host, port and prefix. A prefix that a browser could read as another host is none.
_HOST = re.compile(rb"(?:[A-Za-z0-9_.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_PORT = re.compile(rb"[1-9][0-9]{0,4}")
_PREFIX = re.compile(rb"(?=.{1,256}\Z)(?:/[A-Za-z0-9._~!$&'()*+;=:@%-]+)+/?")
_DOTS = re.compile(rb"/(?:\.|%2[Ee]){1,2}(?:/|\Z)")
#: How many gateways a request has passed, and may pass (attack 60).
_FIRST_HOP = b"X-Perimeter-Hops: 1\r\n"
_MAX_HOPS = 5


class HeaderRules:
    """Decides which headers pass. One object serves many routes.

    ``identity_names`` are the headers that a service could take for the identity, in any case; ``NAME*`` stands for all names
    that begin with ``NAME``. ``drop_method_overrides`` is for routes with rules about methods. With ``pass_authorization`` the
    client's Authorization passes. With ``drop_cors`` nothing passes that the service says about cross-origin resource sharing,
    because the gateway decides about it. ``replaced`` are more names that do not pass, folded: of requests, and of responses.
    ``host`` is the Host for the service; empty for the client's. The decision about a name is cached, which saves 1 µs for each
    header of a new head.
    """

    __slots__ = (
        "_dropped",
        "_hidden",
        "_hidden_in_responses",
        "_passing",
        "_prefixes",
        "_replaced",
        "_request_names",
        "_response_names",
        "host",
    )

    def __init__(
        self,
        identity_names: Iterable[bytes] = KNOWN_NAMES,
        *,
        drop_method_overrides: bool = False,
        pass_authorization: bool = False,
        drop_cors: bool = False,
        replaced: tuple[frozenset[bytes], frozenset[bytes]] = (frozenset(), frozenset()),
        host: bytes = b"",
    ) -> None:
        self.host = host
        names = [name.lower() for name in identity_names]
        self._hidden = frozenset(folded(name) for name in names if not name.endswith(b"*"))
        self._prefixes = (*_RESERVED_PREFIXES, *(folded(name[:-1]) for name in names if name.endswith(b"*")))
        self._passing = frozenset((b"authorization",)) if pass_authorization else frozenset()
        of_requests, self._replaced = replaced
        self._dropped = of_requests | METHOD_OVERRIDES if drop_method_overrides else of_requests
        self._hidden_in_responses = (_CORS,) if drop_cors else ()
        # clients and services choose the names
        self._request_names: Memo[bytes, bool] = Memo(_MAX_NAMES)
        self._response_names: Memo[bytes, bool] = Memo(_MAX_NAMES)

    def reserved(self, name: bytes) -> bool:
        """Whether a server could treat ``name`` (lower case) as a header that only the gateway may set."""
        name = folded(name)
        return name.startswith(self._prefixes) or name in self._hidden

    def request_lines(self, headers: HeaderBlock, exchange: Exchange | None = None) -> bytes:
        """The header lines of a client's request that pass. Cached in the block, because clients repeat most blocks."""
        known = headers.forward
        if known is not None and known[0] is self:
            return known[1]
        named = headers.connection
        passes = self._request_names
        lines = []
        received: Iterable[tuple[Field, bytes]] = zip(headers.fields, headers.raw.split(b"\r\n"), strict=False)
        if headers.own_cookies:
            received = foreign_lines(received)
        for (name, _), line in received:
            allowed = passes.get(name)
            if allowed is None:
                allowed = self._judge_request_name(name)
            if allowed and name not in named:
                lines.append(line)
        if lines:
            lines.append(b"")
        result = b"\r\n".join(lines) + self._more_request_lines(headers)
        headers.forward = (self, result)
        return result

    def _more_request_lines(self, headers: HeaderBlock) -> bytes:
        """Lines for the service that follow from the block alone."""
        return b""

    def _judge_request_name(self, name: bytes) -> bool:
        plain = folded(name)
        dropped = plain in _HOP_BY_HOP or plain in _REQUEST_ONLY or plain in self._dropped or self.reserved(name)
        return self._request_names.keep(name, not dropped or name in self._passing)

    def _judge_response_name(self, name: bytes) -> bool:
        dropped = name in _HOP_BY_HOP or folded(name) in self._replaced or name.startswith(self._hidden_in_responses)
        return not (dropped or self.reserved(name))

    def trailers(self, trailers: Iterable[Field]) -> list[Field]:
        """The trailers that pass, of a request or a response (attack 14)."""
        return [(name, value) for name, value in trailers if self._judge_trailer_name(folded(name))]

    def _judge_trailer_name(self, name: bytes) -> bool:
        return not (
            name in _HOP_BY_HOP
            or name in _REQUEST_ONLY
            or name in METHOD_OVERRIDES
            or name in _NEVER_IN_TRAILERS
            or name in self._dropped
            or name in self._replaced
            or self.reserved(name)
        )

    def response_lines(
        self,
        headers: HeaderBlock,
        map_value: Callable[[bytes, bytes], bytes] | None,
        exchange: Exchange | None = None,
    ) -> bytes:
        """The header lines of an upstream's response that pass.

        ``map_value`` (name, value → value) maps Location, Content-Location and Set-Cookie back; None if that is not needed.
        """
        known = headers.forward
        if known is not None and known[0] is self:
            return known[1]
        named = headers.connection
        passes = self._response_names
        lines = []
        mapped = False
        received: Iterable[tuple[Field, bytes]] = zip(headers.fields, headers.raw.split(b"\r\n"), strict=False)
        if headers.own_cookies:
            received = foreign_lines(received)
        for (name, value), line in received:
            allowed = passes.get(name)
            if allowed is None:
                allowed = passes.keep(name, self._judge_response_name(name))
            if not allowed or name in named:
                continue
            if map_value is not None and name in MAPPED:
                mapped = True
                line = line[: len(name)] + b": " + map_value(name, value)
            lines.append(line)
        if lines:
            lines.append(b"")
        result = b"\r\n".join(lines) + self._more_response_lines(headers)
        if not mapped:  # a mapped value depends on the request
            headers.forward = (self, result)
        return result

    def _more_response_lines(self, headers: HeaderBlock) -> bytes:
        """Lines for the client that follow from the block alone."""
        return b""


def client_lines(connection: ClientConnection) -> bytes:
    """The header lines about a client's connection, for a client without a trusted proxy in front."""
    if not connection.forward:
        address = connection.address.encode("ascii")
        scheme = b"https" if connection.tls else b"http"
        connection.forward = b"X-Real-IP: %b\r\nX-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\n" % (address, address, scheme)
    return connection.forward


def relayed_client_lines(exchange: Exchange, relayed: tuple[str, ...]) -> bytes:
    """Like `client_lines`, for a client behind a trusted proxy: with the proxy's scheme, and the trusted part of its chain.

    The port that the client used is there if the proxy names one.
    """
    scheme = b",".join(exchange.head.headers.get_all(b"x-forwarded-proto")).lower()
    if scheme not in (b"http", b"https"):
        scheme = b"https" if exchange.connection.tls else b"http"
    chain = ", ".join(relayed).encode("ascii")
    address = relayed[0].encode("ascii")
    port = _told(exchange.head.headers, b"x-forwarded-port", _PORT)
    more = b"X-Forwarded-Port: %b\r\n" % port if port and int(port) < 65536 else b""
    return b"X-Real-IP: %b\r\nX-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\n%b" % (address, chain, scheme, more)


def relayed_host(headers: HeaderBlock) -> bytes:
    """The host that the client used, as a trusted proxy names it (X-Forwarded-Host); empty if it does not."""
    return _told(headers, b"x-forwarded-host", _HOST)


def announced_prefix(headers: HeaderBlock, decision: Admitted) -> bytes:
    """What the client has to put before the paths that the service sees, or empty: the value of X-Forwarded-Prefix.

    What a trusted proxy has removed comes first, then what the route's rewrite removes.
    """
    own = decision.route.hidden_prefix
    if not decision.relayed:
        return own
    told = _told(headers, b"x-forwarded-prefix", _PREFIX).rstrip(b"/")
    return b"" if _DOTS.search(told) else told + own


def _told(headers: HeaderBlock, name: bytes, form: re.Pattern[bytes]) -> bytes:
    """What a trusted proxy says in a header: of a list the last value, which is the proxy's own. Empty if it is malformed."""
    values = headers.get_all(name)
    last = values[-1].rpartition(b",")[2].strip(b" \t") if values else b""
    return last if form.fullmatch(last) else b""


def _next_hop(hops: int) -> bytes:
    if hops >= _MAX_HOPS:
        raise LoopDetected(f"the request has passed {hops} gateways")
    return b"X-Perimeter-Hops: %d\r\n" % (hops + 1)


def request_head(
    exchange: Exchange, decision: Admitted, rules: HeaderRules, fallback_host: bytes, upgrade: bytes | None
) -> bytes:
    """The complete request head for the upstream. ``fallback_host`` is used if an HTTP/1.0 client sent no Host.

    Raises `LoopDetected` if the request has passed too many gateways.
    """
    head = exchange.head
    headers = head.headers
    client_host = head.host or fallback_host
    host = rules.host or client_host
    prefix = decision.route.hidden_prefix
    if decision.relayed:
        client = relayed_client_lines(exchange, decision.relayed)
        client_host = relayed_host(headers) or client_host
        prefix = announced_prefix(headers, decision)
    else:
        client = client_lines(exchange.connection)
    if prefix:
        client += b"X-Forwarded-Prefix: %b\r\n" % prefix
    rest = _next_hop(headers.hops) if headers.hops else _FIRST_HOP
    if exchange.trace is not None:
        rest += exchange.trace.request_lines()
    if headers.chunked:
        rest += b"Transfer-Encoding: chunked\r\n"
    elif headers.content_length is not None:
        rest += b"Content-Length: %d\r\n" % headers.content_length
    if upgrade is not None:
        rest += b"Connection: upgrade\r\nUpgrade: %b\r\n" % upgrade
    # takes less than a format with %b
    return b"".join(
        (
            head.method,
            b" ",
            decision.target,
            b" HTTP/1.1\r\nHost: ",
            host,
            b"\r\n",
            rules.request_lines(headers, exchange),
            client,
            b"X-Forwarded-Host: ",
            client_host,
            b"\r\n",
            decision.identity,
            exchange.id_line,
            rest,
            b"\r\n",
        )
    )

"""Whether a browser sent a request on behalf of another site. Pure.

A browser adds some credentials by itself to whatever any page makes it send: a cached password, a certificate, what a proxy says
of its user. So a page of another site could act as the user (cross-site request forgery, cross-site WebSocket hijacking; attack
50). A page cannot choose two headers: ``Origin`` (RFC 6454, section 7) names its origin, and ``Sec-Fetch-Site`` (Fetch Metadata)
says how that relates to the target. Clients other than browsers send neither.
"""

from __future__ import annotations

from collections.abc import Collection

from perimeter.model import ClientConnection, HeaderBlock, RequestHead

SAFE_METHODS = frozenset((b"GET", b"HEAD", b"OPTIONS"))
"""Methods that change nothing (RFC 9110, section 9.2.1). Without an Upgrade such a request may come from any site."""

#: ``same-site`` is a sister subdomain, which another party may own
_FOREIGN = frozenset((b"cross-site", b"same-site"))
_SCHEMES = frozenset((b"http", b"https"))
#: what Traefik reports of a WebSocket, whose page has the other scheme
_OF_WEBSOCKETS = {b"ws": b"http", b"wss": b"https"}
_DEFAULT_PORTS = {b"http": b":80", b"https": b":443"}


def from_another_site(headers: HeaderBlock, own: Collection[bytes], allowed: Collection[bytes]) -> bool:
    """Whether the page behind a request has another origin than ``own`` and ``allowed`` (as `serialised` writes them)."""
    origins = headers.get_all(b"origin")
    if not origins:
        return not _FOREIGN.isdisjoint(headers.get_all(b"sec-fetch-site"))
    if len(origins) > 1:
        return True
    origin = origins[0].lower()
    if origin == b"null":
        # A form of a page with ``Referrer-Policy: no-referrer`` sends null, and so does a sandboxed frame of any site.
        return headers.get_all(b"sec-fetch-site") != [b"same-origin"]
    return origin not in own and origin not in allowed


def own_origins(head: RequestHead, connection: ClientConnection, relayed: bool, question: bool) -> frozenset[bytes]:
    """The origins of the page's own site: scheme and host that the client used to send ``head``.

    ``relayed``: a trusted proxy sent it on, and may say which those were (X-Forwarded-Proto, -Host and -Port). ``question``: the
    proxy asks about ``head``, so the connection says nothing about the client's scheme.
    """
    host = head.host.lower()
    if not relayed:
        return frozenset((serialised(b"https" if connection.tls else b"http", host),))
    headers = head.headers
    hosts = {host, *_listed(headers, b"x-forwarded-host")}
    for port in _listed(headers, b"x-forwarded-port"):
        hosts |= {b"%b:%b" % (one, port) for one in hosts if one.rfind(b":") <= one.rfind(b"]")}
    return frozenset(serialised(scheme, one) for scheme in _schemes(headers, connection, question) for one in hosts)


def _schemes(headers: HeaderBlock, connection: ClientConnection, question: bool) -> Collection[bytes]:
    # several proxies may have added theirs: the first is the client's
    given = next(iter(_listed(headers, b"x-forwarded-proto")), b"")
    if question and not given:
        given = (headers.get(b"x-original-url") or b"").partition(b"://")[0].lower()
    given = _OF_WEBSOCKETS.get(given, given)
    if given in _SCHEMES:
        return (given,)
    if question:
        return _SCHEMES
    return (b"https" if connection.tls else b"http",)


def _listed(headers: HeaderBlock, name: bytes) -> list[bytes]:
    return [one.strip().lower() for value in headers.get_all(name) for one in value.split(b",") if one.strip()]


def serialised(scheme: bytes, host: bytes) -> bytes:
    """An origin as browsers write it (RFC 6454, section 6.2): without the default port. Both are in lower case."""
    return scheme + b"://" + host.removesuffix(_DEFAULT_PORTS.get(scheme, b"\0"))


def asks_for_websocket(headers: HeaderBlock) -> bool:
    """Whether a proxy's question is about a WebSocket: most proxies drop Upgrade, which is for one connection only."""
    return headers.get(b"sec-websocket-key") is not None or headers.get(b"upgrade") is not None

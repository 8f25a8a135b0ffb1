"""The request that a proxy asks about, out of the question it asks. Pure, and only ever used for a trusted proxy's question.

Proxies tell it in three ways:

* nginx: ``X-Original-URI`` (or ``X-Original-URL``, with scheme and host) and ``X-Original-Method``; the Host is the client's own;
* Traefik, Caddy, HAProxy: ``X-Forwarded-Method``, ``X-Forwarded-Host``, ``X-Forwarded-Uri``;
* Envoy: the question's own method and Host, and the path behind a prefix.

A proxy sets the fields of its own way, and most pass on what else the client sent. So a question is told in one way, whole, and
with each field once, or it is refused: no field of a client's can take the place of one of the proxy's (attacks 8, 9).
"""

from __future__ import annotations

from perimeter.errors import BadRequest, BadTarget
from perimeter.http.grammar import parse_request
from perimeter.model import HeaderBlock, RequestHead

_ORIGINAL = frozenset((b"x-original-uri", b"x-original-url", b"x-original-method"))
_FORWARDED = frozenset((b"x-forwarded-uri", b"x-forwarded-method"))
_TOLD = _ORIGINAL | _FORWARDED | {b"x-forwarded-host"}


def original(head: RequestHead, behind: bytes) -> RequestHead | None:
    """What is asked about, with the header fields of the question; None where the question names no request.

    ``behind`` is what follows the endpoint's own path in the target, query and all. Raises a `BadRequest` (mostly `BadTarget`)
    for what is told twice, in part, or in a way that is no request.
    """
    told: dict[bytes, bytes] = {}
    for name, value in head.headers.fields:
        if name in _TOLD:
            if name in told:
                raise BadTarget("a field about the original request is there twice")
            told[name] = value
    by_path = behind.startswith(b"/")
    by_original = not _ORIGINAL.isdisjoint(told)
    by_forwarded = not _FORWARDED.isdisjoint(told)
    if by_path + by_original + by_forwarded > 1:
        raise BadTarget("the original request is told in two ways")
    if by_path:
        return _request(head.headers, head.method, head.host, behind)
    if by_original:
        return _from_nginx(head, told)
    if by_forwarded:
        method, host, uri = (told.get(name) for name in (b"x-forwarded-method", b"x-forwarded-host", b"x-forwarded-uri"))
        if not method or not host or not uri:
            raise BadTarget("the original request is told in part: method, host and URI belong together")
        return _request(head.headers, method, host, uri)
    return None


def _from_nginx(head: RequestHead, told: dict[bytes, bytes]) -> RequestHead:
    method = told.get(b"x-original-method")
    uri = told.get(b"x-original-uri")
    url = told.get(b"x-original-url")
    if not method or (uri is None) == (url is None):
        raise BadTarget("the original request is told in part: a method and one of URI and URL belong together")
    if uri is not None:
        return _request(head.headers, method, head.host, uri)
    if url is None or url.startswith(b"/"):
        raise BadTarget("X-Original-URL has no host")
    return parse_request(b"%b %b HTTP/1.1" % (method, url), head.headers)


def _request(headers: HeaderBlock, method: bytes, host: bytes, target: bytes) -> RequestHead:
    """The parts as one request, as strictly read as if it had come itself. No part may spill over into another."""
    found = parse_request(b"%b http://%b%b HTTP/1.1" % (method, host, target), headers)
    if found.method != method or found.host != host or found.target != target:
        raise BadRequest("a part of the original request is malformed")
    return found

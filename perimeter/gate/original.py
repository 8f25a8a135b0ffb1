"""Reconstructs the client's request from a proxy's forward-auth request. Pure, and used only for a trusted proxy's question.

Proxies describe the client's request in three ways:

* nginx: ``X-Original-URI`` (or ``X-Original-URL``, with scheme and host) and ``X-Original-Method``; the Host is the client's own.
  Many configurations, ecFlow's among them, leave the method out: then it is not known, and every rule about methods refuses;
* Traefik, Caddy, HAProxy: ``X-Forwarded-Method``, ``X-Forwarded-Host``, ``X-Forwarded-Uri``;
* Envoy: the question's own method and Host, and the path behind a prefix.

A proxy sets the fields of its own way, and most proxies pass on the other fields of the client. So a question must use one way,
completely, with each field once, or it is refused: no field of the client can replace one of the proxy (attacks 8, 9).
"""

from __future__ import annotations

from perimeter.errors import BadRequest, BadTarget
from perimeter.gate.policy import UNKNOWN_METHOD
from perimeter.http.grammar import parse_request
from perimeter.model import HeaderBlock, RequestHead

_ORIGINAL = frozenset((b"x-original-uri", b"x-original-url", b"x-original-method"))
_FORWARDED = frozenset((b"x-forwarded-uri", b"x-forwarded-method"))
_UNKNOWN = UNKNOWN_METHOD.encode("ascii")
_DESCRIBING = _ORIGINAL | _FORWARDED | {b"x-forwarded-host"}


def original(head: RequestHead, behind: bytes) -> RequestHead | None:
    """The request that is asked about, with the headers of the question; None if the question names no request.

    ``behind`` is what follows the endpoint's own path in the target, with the query. Raises a `BadRequest` (mostly `BadTarget`)
    if the request is described twice, in part, or malformed.
    """
    given: dict[bytes, bytes] = {}
    for name, value in head.headers.fields:
        if name in _DESCRIBING:
            if name in given:
                raise BadTarget("a field about the original request occurs twice")
            given[name] = value
    by_path = behind.startswith(b"/")
    by_original = not _ORIGINAL.isdisjoint(given)
    by_forwarded = not _FORWARDED.isdisjoint(given)
    if by_path + by_original + by_forwarded > 1:
        raise BadTarget("the original request is described in two ways")
    if by_path:
        return _request(head.headers, head.method, head.host, behind)
    if by_original:
        return _from_nginx(head, given)
    if by_forwarded:
        method, host, uri = (given.get(name) for name in (b"x-forwarded-method", b"x-forwarded-host", b"x-forwarded-uri"))
        if not method or not host or not uri:
            raise BadTarget("the original request is described in part: method, host and URI belong together")
        return _request(head.headers, method, host, uri)
    return None


def _from_nginx(head: RequestHead, given: dict[bytes, bytes]) -> RequestHead:
    method = given.get(b"x-original-method", _UNKNOWN)
    uri = given.get(b"x-original-uri")
    url = given.get(b"x-original-url")
    if not method or (uri is None) == (url is None):
        raise BadTarget("the original request is described in part: it takes one of URI and URL, and a method that is not empty")
    if uri is not None:
        return _request(head.headers, method, head.host, uri)
    if url is None or url.startswith(b"/"):
        raise BadTarget("X-Original-URL has no host")
    return parse_request(b"%b %b HTTP/1.1" % (method, url), head.headers)


def _request(headers: HeaderBlock, method: bytes, host: bytes, target: bytes) -> RequestHead:
    """The parts as one request, parsed as strictly as a client's own request. No part may extend into another."""
    found = parse_request(b"%b http://%b%b HTTP/1.1" % (method, host, target), headers)
    if found.method != method or found.host != host or found.target != target:
        raise BadRequest("a part of the original request is malformed")
    return found

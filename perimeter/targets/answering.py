"""Targets of routes that the gateway answers by itself: a redirect, or always the same response."""

from __future__ import annotations

import re
from typing import Final

from zope.interface import implementer

from perimeter.config.site.captures import Part
from perimeter.config.site.route_target import Redirect, Response
from perimeter.errors import BadRequest, BadTarget
from perimeter.gate.decision import Admitted
from perimeter.gate.paths import split_target
from perimeter.gate.target import ITarget
from perimeter.http.exchange import Exchange
from perimeter.proxy.headers import HeaderRules, announced_prefix, relayed_host
from perimeter.targets.redirect import TARGET, host_of
from perimeter.targets.ruled import ruled

#: What would end a parameter of a query, or the query. Percent signs stay: a path is encoded already.
_IN_QUERY: Final = re.compile(rb"[&=+;]")
_LEADING: Final = b"/\\"


@implementer(ITarget)
class LocationTarget:
    """Answers each request with the redirect of its route (RFC 9110, section 15.4).

    ``rules`` are those of the route about headers of responses, if it has any. The host is fixed, or the one that the client
    used; parts of the request are parts of the path or the query only (attack 127).
    """

    name = "redirect"

    def __init__(self, redirect: Redirect, rules: HeaderRules | None = None) -> None:
        self._redirect = redirect
        self._rules = rules

    def handle(self, exchange: Exchange) -> None:
        """Answer ``exchange``. The exchange discards the body, if any."""
        decision = exchange.decision
        assert isinstance(decision, Admitted)
        try:
            location = self._location(exchange, decision)
        except BadRequest as refusal:
            exchange.refuse(refusal)
            return
        lines = _lines(exchange, decision) + b"Location: %b\r\n" % location
        exchange.answer(self._redirect.status, ruled(lines, self._rules, exchange), b"")

    def _location(self, exchange: Exchange, decision: Admitted) -> bytes:
        route = decision.route
        path, query = split_target(decision.target)
        match = None if route.pattern is None else route.pattern.match(path)
        values: dict[Part, bytes] = {
            Part.URI: path + query,
            Part.PATH: path,
            Part.QUERY: query,
            Part.REST: b"" if route.exact else path[len(route.place) :],
        }
        location = b""
        for part in self._redirect.location.parts:
            if isinstance(part, bytes):
                location += part
                continue
            if part is Part.HOST:
                value = _host(exchange, decision)
            elif isinstance(part, Part):
                value = values[part]
            else:
                value = (None if match is None else match.group(part)) or b""
            if b"?" in location and part not in (Part.QUERY, Part.URI):
                value = _IN_QUERY.sub(lambda found: b"%%%02X" % ord(found[0]), value)
            location += value
        if not self._redirect.elsewhere:
            # a browser takes // and /\ for another host
            location = announced_prefix(exchange.head.headers, decision) + b"/" + location.lstrip(_LEADING)
        if TARGET.fullmatch(b"/" + location) is None:
            raise BadTarget("no usable path to redirect to")
        return location


def _host(exchange: Exchange, decision: Admitted) -> bytes:
    """The host that the client used, without a port."""
    headers = exchange.head.headers
    host = host_of((relayed_host(headers) if decision.relayed else b"") or exchange.head.host)
    if host is None:
        raise BadRequest("no usable host to redirect to")
    return host


@implementer(ITarget)
class ResponseTarget:
    """Answers each request with ``response``; its body has ``media_type``. ``rules`` are as in `LocationTarget`."""

    name = "respond"

    def __init__(self, response: Response, media_type: str, rules: HeaderRules | None = None) -> None:
        self._response = response
        self._rules = rules
        typed = b"Content-Type: %b\r\nX-Content-Type-Options: nosniff\r\n" % media_type.encode("ascii")
        self._lines = typed if response.body else b""

    def handle(self, exchange: Exchange) -> None:
        """Answer ``exchange``. The exchange discards the body, if any."""
        decision = exchange.decision
        assert isinstance(decision, Admitted)
        lines = ruled(_lines(exchange, decision) + self._lines, self._rules, exchange)
        exchange.answer(self._response.status, lines, self._response.body)


def _lines(exchange: Exchange, decision: Admitted) -> bytes:
    """Date, and for a known user that the answer is not for others."""
    return exchange.date_line() + (b"" if decision.principal is None else b"Cache-Control: no-store\r\n")

"""The target of the requests by which a CA checks that a name leads to the gateway (RFC 8555, section 8.3)."""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import formatdate

from zope.interface import implementer

from perimeter.errors import NoRoute
from perimeter.gate.target import ITarget
from perimeter.http.exchange import Exchange


@implementer(ITarget)
class ChallengeTarget:
    """Answers a request with what ``bodies`` has for its target at this moment; 404 if there is nothing."""

    name = "acme-challenge"

    def __init__(self, bodies: Mapping[bytes, bytes]) -> None:
        self._bodies = bodies

    def handle(self, exchange: Exchange) -> None:
        """Answer ``exchange``. The exchange discards the body, if any."""
        body = self._bodies.get(exchange.head.target)
        if body is None:
            exchange.refuse(NoRoute("the challenge is over"))
            return
        date = formatdate(exchange.time, usegmt=True).encode("ascii")
        lines = b"Date: %b\r\nContent-Type: application/octet-stream\r\nCache-Control: no-store\r\n"
        exchange.answer(200, lines % date, body)

"""The target of a route that is served from the root of a service: ``/app`` becomes ``/app/`` first.

The service answers both as ``/``. A browser resolves the relative links of that page against the path that it asked for, and
would leave the route from ``/app``. nginx redirects as well, for a ``location /app/``, and for every method. Here only GET and
HEAD are redirected: clients make GET of any other method that is answered with 301 (RFC 9110, section 15.4.2).
"""

from __future__ import annotations

from typing import Final

from zope.interface import implementer

from perimeter.gate.decision import Admitted
from perimeter.gate.paths import split_target
from perimeter.gate.target import ITarget
from perimeter.http.exchange import Exchange
from perimeter.proxy.headers import announced_prefix

_REDIRECTED: Final = (b"GET", b"HEAD")


@implementer(ITarget)
class SlashTarget:
    """Redirects the path of a route that lacks its slash, and hands every other request to ``inner``."""

    def __init__(self, inner: ITarget) -> None:
        self._inner = inner
        self.name = inner.name

    def handle(self, exchange: Exchange) -> None:
        """Answer ``exchange``, or hand it on."""
        head, decision = exchange.head, exchange.decision
        assert isinstance(decision, Admitted)
        if decision.target[1:2] in (b"", b"?") and head.method in _REDIRECTED and head.headers.upgrade is None:
            path, query = split_target(head.target)
            if not path.endswith(b"/"):
                exchange.upstream = "redirect"
                location = announced_prefix(head.headers, decision) + b"/" + query
                exchange.answer(301, exchange.date_line() + b"Location: %b\r\n" % location, b"")
                return
        self._inner.handle(exchange)

"""The target of preflights (`perimeter.gate.cors`): the gateway answers them, whether the service knows them or not."""

from __future__ import annotations

from zope.interface import implementer

from perimeter.errors import CorsRefused
from perimeter.gate.cors import Cors
from perimeter.gate.target import ITarget
from perimeter.http.exchange import Exchange


@implementer(ITarget)
class PreflightTarget:
    """Permits what ``cors`` permits. The lines about the origin are those of every response of the route."""

    name = "cors"

    def __init__(self, cors: Cors) -> None:
        self._cors = cors

    def handle(self, exchange: Exchange) -> None:
        """Answer ``exchange``. A browser compares the method and the headers that it asked for with the answer."""
        if self._cors.allows(exchange.head.headers):
            exchange.answer(204, exchange.date_line() + self._cors.permission, b"")
        else:
            exchange.refuse(CorsRefused("a preflight of a page whose origin is not in cors of the route"))

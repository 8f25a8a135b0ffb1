"""What the gateway lends to the authenticators that it builds."""

from __future__ import annotations

import attrs
from twisted.internet.interfaces import IReactorTime

from perimeter.offload import Offload
from perimeter.web_client.clients import WebClients


@attrs.frozen
class AuthServices:
    """``reactor`` is the clock, and whatever else of a reactor an authenticator needs; ``offload`` runs slow work.

    ``blocking`` is for work that mostly waits, and may do so for seconds: it has many more threads, and nothing that the gateway
    itself needs stands in line behind it. ``web`` asks services elsewhere over HTTP.
    """

    reactor: IReactorTime
    offload: Offload
    blocking: Offload = attrs.field()

    @blocking.default
    def _same(self) -> Offload:
        return self.offload

    web: WebClients = attrs.field()

    @web.default
    def _own(self) -> WebClients:
        return WebClients(self.reactor)

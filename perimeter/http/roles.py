"""The parts that others play in an exchange: what it leads to, what takes its body, what answers it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from zope.interface import Attribute, Interface

from perimeter.model import Field

if TYPE_CHECKING:
    from perimeter.http.exchange import Exchange

# zope interfaces describe what a caller sees, so their methods name no self.


class ITarget(Interface):
    """What a route leads to: an upstream, a directory, the built-in resources, a redirect."""

    name: str = Attribute("Shown in the audit log as the upstream.")

    def handle(exchange: Exchange) -> None:
        """Take over an admitted exchange and see to it that it is answered or aborted."""


class IBodySink(Interface):
    """Takes the body of a request, as `perimeter.http.exchange.Exchange.receive` delivers it."""

    def body_data(data: bytes) -> None:
        """Some octets of the body, never none."""

    def body_end(trailers: Sequence[Field]) -> None:
        """The body is complete; ``trailers`` is mostly empty."""


class IResponder(Interface):
    """Whoever is answering an exchange: told when the client falls behind, catches up, or leaves."""

    def pause() -> None:
        """The client reads more slowly than the response comes: stop producing until `resume`."""

    def resume() -> None:
        """The client has caught up."""

    def client_gone() -> None:
        """The exchange is over before its response was: nothing written from here on will arrive."""

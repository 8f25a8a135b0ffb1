"""What a route leads to."""

from __future__ import annotations

from zope.interface import Attribute, Interface

from perimeter.http.exchange import Exchange

# zope interfaces describe what a caller sees, so their methods name no self.


class ITarget(Interface):
    """Answers admitted exchanges: an upstream, a directory, the built-in resources, a redirect."""

    name: str = Attribute("Shown in the audit log as the upstream.")

    def handle(exchange: Exchange) -> None:
        """Take over an admitted exchange and see to it that it is answered or aborted."""

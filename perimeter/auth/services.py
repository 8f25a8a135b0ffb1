"""What the gateway lends to the authenticators that it builds."""

from __future__ import annotations

import attrs
from twisted.internet.interfaces import IReactorTime

from perimeter.offload import Offload


@attrs.frozen
class AuthServices:
    """``reactor`` is the clock, and whatever else of a reactor an authenticator needs; ``offload`` runs slow work.

    ``blocking`` is for work that mostly waits, and may do so for seconds: it has many more threads, and nothing that the gateway
    itself needs stands in line behind it.
    """

    reactor: IReactorTime
    offload: Offload
    blocking: Offload = attrs.field()

    @blocking.default
    def _same(self) -> Offload:
        return self.offload

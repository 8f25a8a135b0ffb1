"""What the gateway lends to the authenticators that it builds."""

from __future__ import annotations

import attrs
from twisted.internet.interfaces import IReactorTime

from perimeter.offload import Offload


@attrs.frozen
class AuthServices:
    """``reactor`` is the clock, and whatever else of a reactor an authenticator needs; ``offload`` runs slow work."""

    reactor: IReactorTime
    offload: Offload

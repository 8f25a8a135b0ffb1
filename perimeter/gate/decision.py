"""What the gate found: the one object that a target needs to know of an admitted request."""

from __future__ import annotations

from perimeter.gate.routes import Route
from perimeter.model import Principal


class Decision:
    """An admission.

    ``target`` is path and query as they are to be forwarded, ``identity`` the finished field lines that tell the upstream who
    asks, ``address`` the client's address as rules and the audit see it, ``relayed`` the addresses from there to our peer where
    that is a trusted proxy (else empty).
    """

    __slots__ = ("address", "identity", "principal", "relayed", "route", "target")

    def __init__(
        self,
        route: Route,
        principal: Principal | None,
        target: bytes,
        identity: bytes,
        address: str,
        relayed: tuple[str, ...] = (),
    ) -> None:
        self.route = route
        self.principal = principal
        self.target = target
        self.identity = identity
        self.address = address
        self.relayed = relayed

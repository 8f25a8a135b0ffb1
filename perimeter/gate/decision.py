"""What the gate found out about a request.

`Located` is a request whose route is known and that was not admitted, or not yet: the audit log names its route. `Admitted` is
one that its target answers. Neither changes once it is made, and only the gate makes them.
"""

from __future__ import annotations

from typing import Final

from perimeter.gate.routes import Route
from perimeter.model import Principal


class Located:
    """A request whose route is known.

    ``target`` is path and query as they are forwarded, ``address`` the client's address as rules and the audit log see it,
    ``relayed`` the addresses from there to our peer if that is a trusted proxy (else empty). ``principal`` is the user, or None
    for an anonymous client and for one that was refused before it was identified.
    """

    __slots__ = ("address", "principal", "relayed", "route", "target")

    def __init__(
        self, route: Route, principal: Principal | None, target: bytes, address: str, relayed: tuple[str, ...] = ()
    ) -> None:
        self.route: Final = route
        self.principal: Final = principal
        self.target: Final = target
        self.address: Final = address
        self.relayed: Final = relayed


class Admitted:
    """A request that was admitted: like `Located`, and ``identity`` holds the header lines that name the user to the upstream."""

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
        self.route: Final = route
        self.principal: Final = principal
        self.target: Final = target
        self.identity: Final = identity
        self.address: Final = address
        self.relayed: Final = relayed


def recognise(admitted: Admitted, principal: Principal | None) -> Admitted:
    """``admitted``, with the user that an open endpoint found by what the body holds (RFC 7009): for the audit log alone."""
    return Admitted(admitted.route, principal, admitted.target, admitted.identity, admitted.address, admitted.relayed)

"""Who counts as one client where requests are counted. Pure."""

from __future__ import annotations

from perimeter.gate.decision import Admitted
from perimeter.model import network_of


def client_of(decision: Admitted) -> str:
    """The sender of a request: the user, or else the address (`perimeter.model.network_of`)."""
    principal = decision.principal
    return network_of(decision.address) if principal is None else f"{principal.realm}/{principal.username}"

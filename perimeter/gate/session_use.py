"""Whether the session of a browser is enough for a route, and that it was used."""

from __future__ import annotations

from perimeter.errors import InsufficientScope, SessionUnused
from perimeter.gate.access import Access
from perimeter.gate.routes import Route
from perimeter.model import SessionUse


def count_use(use: SessionUse, now: float, route: Route, access: Access) -> None:
    """Note that a request by the session came at ``now`` (epoch seconds), unless the route does not count as a use.

    Raises `InsufficientScope` where no session is enough, and `SessionUnused` if it was once unused for longer than ``idle`` of
    the route.
    """
    if not access.by_session:
        raise InsufficientScope("a session of a browser is not enough here")
    gap = now - use.at
    if gap > route.idle or use.gap > route.idle:
        raise SessionUnused("the session was unused for longer than idle of the route")
    if gap > 0 and route.keeps_session:
        use.at = now
        if gap > use.gap:
            use.gap = gap

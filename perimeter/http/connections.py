"""The client connections of one listener: their shared settings, and the exchanges on them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Protocol

from perimeter.errors import RevokedToken, SessionExpired
from perimeter.http.carrier import ExchangeSite
from perimeter.model import GrantKind, Principal

if TYPE_CHECKING:
    from perimeter.config.site.limits import LimitSettings
    from perimeter.http.exchange import Exchange
    from perimeter.net.deadlines import Deadlines
    from perimeter.net.turns import Turns


class HttpConnection(Protocol):
    """A client's connection, of any version of HTTP."""

    @property
    def exchanges(self) -> Collection[Exchange]:
        """Those under way: one at most in HTTP/1.1."""

    def shut_down(self, idle: bool = True) -> None:
        """Serve what is under way, or the next request if one has come, and nothing else; close at once if idle.

        Without ``idle``, an idle connection stays open for one more request, which may be on its way.
        """

    @property
    def silent_since(self) -> float:
        """Seconds of the site's clock since when nothing is under way and nothing waits to be sent; ``inf`` if it is busy."""

    @property
    def address(self) -> str:
        """The address at the other end, in canonical form."""

    def make_room(self) -> bool:
        """Close at once, for another connection: the descriptor is free when this returns.

        Returns False, and does nothing, if data has arrived that was not read yet: this connection is not silent.
        """

    def cut(self) -> None:
        """The gateway stops: answer what has no answer yet with 503, cut off what has begun, and close."""


class Connections(set["HttpConnection"]):
    """A set of connections. One connection may carry many exchanges (HTTP/2), so code about requests uses the exchanges."""

    def exchanges(self) -> Iterator[Exchange]:
        """Every exchange under way. They may end meanwhile: connections and exchanges are listed first."""
        for connection in list(self):
            yield from list(connection.exchanges)

    def in_flight(self) -> int:
        """How many exchanges are under way, tunnels included."""
        return sum(len(connection.exchanges) for connection in self)

    def shut_down(self, idle: bool = True) -> None:
        """`HttpConnection.shut_down` of each connection."""
        for connection in list(self):
            connection.shut_down(idle)


class ConnectionSite(ExchangeSite, Protocol):
    """What all connections of a listener share. A reload may replace its attributes between requests."""

    limits: LimitSettings
    deadlines: Deadlines
    turns: Turns
    #: hands an exchange with a good head to the gate; never raises
    dispatch: Callable[[Exchange], None]
    connections: Connections


def _by_session(principal: Principal) -> bool:
    return principal.grant is not None and principal.grant.kind is GrantKind.SESSION


def withdraw_unless(good: Callable[[Principal, float], bool], exchanges: Iterable[Exchange]) -> None:
    """End what is under way for principals that are not ``good`` any more (attack 21); its second argument is the request's time.

    This includes requests without an answer so far: the answer may be a tunnel, or have no end.
    """
    for exchange in exchanges:
        decision = exchange.decision
        if decision is None or decision.principal is None or decision.route.brief:
            continue
        if not good(decision.principal, exchange.time):
            exchange.withdraw(
                SessionExpired("the session ended while the request was under way")
                if _by_session(decision.principal)
                else RevokedToken("the token was revoked while the request was under way")
            )

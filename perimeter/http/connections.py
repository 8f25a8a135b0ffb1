"""The client connections of one listener, as they come and go, and the exchanges on them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from perimeter.errors import RevokedToken
from perimeter.model import Principal

if TYPE_CHECKING:
    from perimeter.http.carrier import HttpConnection
    from perimeter.http.exchange import Exchange


class Connections(set["HttpConnection"]):
    """A set of connections. One connection may carry many exchanges (HTTP/2), so what concerns requests asks for these."""

    def exchanges(self) -> Iterator[Exchange]:
        """Every exchange under way. They may end meanwhile: connections and exchanges are listed first."""
        for connection in list(self):
            yield from list(connection.exchanges)

    def in_flight(self) -> int:
        """How many exchanges are under way, tunnels included."""
        return sum(len(connection.exchanges) for connection in self)

    def shut_down(self) -> None:
        """Serve no further request on any of the connections."""
        for connection in list(self):
            connection.shut_down()


def withdraw_unless(good: Callable[[Principal], bool], exchanges: Iterable[Exchange]) -> None:
    """End what is under way for principals that are not ``good`` any more (attack 21).

    What has not been answered yet too: the answer may be a tunnel, or have no end.
    """
    for exchange in exchanges:
        decision = exchange.decision
        if decision is None or decision.principal is None or decision.route.builtin:
            continue
        if not good(decision.principal):
            exchange.withdraw(RevokedToken())

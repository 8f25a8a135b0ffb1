"""Decides in which order the servers of an upstream are tried. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from perimeter.config.site.server import ServerSettings

#: Seconds for which an unreachable server is tried last.
_REST = 10.0


class BalancedServer:
    """One server of an upstream. Until ``resting_until`` (seconds) it is tried last, because it failed."""

    __slots__ = ("resting_until", "settings")

    def __init__(self, settings: ServerSettings) -> None:
        self.settings = settings
        self.resting_until = 0.0


S = TypeVar("S", bound=BalancedServer)


class Balancer(Generic[S]):
    """Servers in turn. A server that failed recently comes last, so that it is still tried if all others fail."""

    def __init__(self, servers: Sequence[S], clock: Callable[[], float]) -> None:
        self._servers = tuple(servers)
        self._clock = clock
        self._turn = 0

    def order(self) -> tuple[S, ...]:
        """Return every server once, in the order in which to try them."""
        servers = self._servers
        if len(servers) == 1:
            return servers
        turn = self._turn = (self._turn + 1) % len(servers)
        now = self._clock()
        return tuple(sorted(servers[turn:] + servers[:turn], key=lambda server: server.resting_until > now))

    def failed(self, server: BalancedServer) -> None:
        """``server`` could not be reached."""
        server.resting_until = self._clock() + _REST

    def succeeded(self, server: BalancedServer) -> None:
        """``server`` was reached."""
        server.resting_until = 0.0

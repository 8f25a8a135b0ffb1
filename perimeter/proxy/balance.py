"""Which of an upstream's servers to try, and in what order. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from perimeter.config.site.server import ServerSettings

#: Seconds for which a server that could not be reached is tried last.
_REST = 10.0


class Server:
    """One server of an upstream. ``resting_until`` is when a failed one counts as well again (seconds)."""

    __slots__ = ("resting_until", "settings")

    def __init__(self, settings: ServerSettings) -> None:
        self.settings = settings
        self.resting_until = 0.0


S = TypeVar("S", bound=Server)


class Balancer(Generic[S]):
    """Servers in turn; one that failed lately comes after those that did not, so that it is still tried when all else fails."""

    def __init__(self, servers: Sequence[S], clock: Callable[[], float]) -> None:
        self._servers = tuple(servers)
        self._clock = clock
        self._turn = 0

    def order(self) -> tuple[S, ...]:
        """Every server once, the one to try first at the start."""
        servers = self._servers
        if len(servers) == 1:
            return servers
        turn = self._turn = (self._turn + 1) % len(servers)
        now = self._clock()
        return tuple(sorted(servers[turn:] + servers[:turn], key=lambda server: server.resting_until > now))

    def failed(self, server: Server) -> None:
        """``server`` could not be reached."""
        server.resting_until = self._clock() + _REST

    def succeeded(self, server: Server) -> None:
        """``server`` was reached."""
        server.resting_until = 0.0

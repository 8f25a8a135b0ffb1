"""Which of an upstream's servers to try, and in what order. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from perimeter.config.values import ServerSettings

#: Seconds for which a server that could not be reached is tried last.
_REST = 10.0


class Balancer:
    """Servers in turn; one that failed lately comes after those that did not, so that it is still tried when all else fails."""

    def __init__(self, servers: Sequence[ServerSettings], clock: Callable[[], float]) -> None:
        self._servers = tuple(servers)
        self._clock = clock
        self._turn = 0
        self._resting: dict[ServerSettings, float] = {}

    def order(self) -> tuple[ServerSettings, ...]:
        """Every server once, the one to try first at the start."""
        servers = self._servers
        if len(servers) == 1:
            return servers
        turn = self._turn = (self._turn + 1) % len(servers)
        rotated = servers[turn:] + servers[:turn]
        if not self._resting:
            return rotated
        now = self._clock()
        return tuple(sorted(rotated, key=lambda server: self._resting.get(server, 0.0) > now))

    def failed(self, server: ServerSettings) -> None:
        """``server`` could not be reached."""
        self._resting[server] = self._clock() + _REST

    def succeeded(self, server: ServerSettings) -> None:
        """``server`` was reached."""
        if self._resting:
            self._resting.pop(server, None)

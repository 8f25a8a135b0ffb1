"""Chooses the server of a request among the servers of an upstream. Pure.

First it selects the servers that may be used: servers in use before last resorts, other servers before backups, and no full
server. Among these the configured method decides. The effort is proportional to the number of servers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from hashlib import blake2b
from math import inf, log
from typing import Final, Generic, TypeVar

from perimeter.config.site.balancing import Balance, Method
from perimeter.config.site.server import ServerSettings
from perimeter.proxy.health import ServerHealth, ServerState, Standing, may_eject

FREE_OF_BALANCE: Final = 16
"""A hash may always give a server this many requests at a time."""

MOST_AHEAD: Final = 2.0
"""How many times its fair share of the requests at a time a server may have because of a hash.

The client may choose what is hashed, and could send everything to one server.
"""

_IN_USE, _LAST, _OUT = Standing
_ROUND_ROBIN = Balance()
_LEAST, _HASH = Method.LEAST_CONNECTIONS, Method.HASH


class BalancedServer:
    """A server of an upstream: its ``settings``, its ``health``, and the requests it has.

    ``active`` counts the requests it serves now, tunnels included. ``place`` identifies it among servers with the same settings:
    its URL, or the address of its name.
    """

    __slots__ = ("active", "credit", "health", "place", "seed", "settings", "shown", "successor", "weight")

    def __init__(self, settings: ServerSettings, health: ServerHealth, place: str = "") -> None:
        self.settings = settings
        self.weight = settings.weight
        self.health = health
        self.place = place or settings.url
        #: for `Balancer._by_hash`
        self.seed = _number(self.place.encode())
        self.active = 0
        #: after a reload: the same server in the new configuration, which gets each change of ``active``
        self.successor: Callable[[int], None] | None = None
        #: its state as it was reported last
        self.shown = ServerState.UP
        #: the credit for its next turn, in weights (`Balancer._in_turn`)
        self.credit = 0.0


S = TypeVar("S", bound=BalancedServer)


class Balancer(Generic[S]):
    """Chooses among ``servers``. ``limit`` is the largest number of requests of a server at a time."""

    def __init__(self, servers: Sequence[S], balance: Balance = _ROUND_ROBIN, limit: int | None = None) -> None:
        self.use(servers)
        self.balance = balance
        self.limit = limit
        self._pick = {_LEAST: self._least_connections, _HASH: self._by_hash}.get(balance.method, self._round_robin)

    def use(self, servers: Sequence[S]) -> None:
        """Choose among ``servers`` from now on."""
        self.servers = tuple(servers)
        self._backups = any(server.settings.backup for server in servers)

    def choose(self, key: bytes = b"", tried: Collection[S] = ()) -> S | None:
        """The server for a request that has tried ``tried``; ``key`` is hashed. None if there is no server, or all are full."""
        tier = self.tier(tried)
        limit = self.limit
        if limit is not None:
            tier = [server for server in tier if server.active < limit]
        if len(tier) < 2:
            return tier[0] if tier else None
        return self._pick(tier, key)

    def tier(self, tried: Collection[S] = ()) -> Sequence[S]:
        """The candidates for the next request, except ``tried``, including full servers."""
        if not tried and not self._backups:
            for server in self.servers:
                if not server.health.steady:
                    break
            else:
                return self.servers
        best: list[S] = []
        rank = (_OUT, False)
        for server in self.servers:
            if server in tried:
                continue
            its = (server.health.standing(), server.settings.backup)
            if its < rank:
                rank, best = its, [server]
            elif its == rank and its[0] is not _OUT:
                best.append(server)
        return best

    def has_room(self) -> bool:
        """Whether a request would get a server now."""
        limit = self.limit
        return any(limit is None or server.active < limit for server in self.tier())

    def free(self) -> int:
        """How many more requests the servers can have at a time. Only with a limit."""
        limit = self.limit
        assert limit is not None
        return sum(max(0, limit - server.active) for server in self.tier())

    def _round_robin(self, tier: Sequence[S], key: bytes) -> S:
        return self._in_turn(tier)

    def _in_turn(self, tier: Sequence[S]) -> S:
        """Smooth weighted round-robin: the turns of a heavy server are spread between those of the others (as in nginx)."""
        total = 0.0
        best, most = tier[0], -inf
        for server in tier:
            weight = server.weight if server.health.steady else _weight(server)
            total += weight
            server.credit = credit = server.credit + weight
            if credit > most:
                best, most = server, credit
        best.credit = most - total
        return best

    def _least_connections(self, tier: Sequence[S], key: bytes) -> S:
        loads = [(server.active + 1) / (server.weight if server.health.steady else _weight(server)) for server in tier]
        least = min(loads)
        if loads.count(least) == 1:
            return tier[loads.index(least)]
        return self._in_turn([server for server, load in zip(tier, loads, strict=True) if load == least])

    def _by_hash(self, tier: Sequence[S], key: bytes) -> S:
        """Rendezvous hashing: when a server fails, only its own keys move, and they are spread over all the others."""
        weights = [_weight(server) for server in tier]
        most = MOST_AHEAD * (sum(server.active for server in tier) + 1) / sum(weights)
        number = _number(key)
        best, highest = tier[0], -1.0
        for server, weight in zip(tier, weights, strict=True):
            if server.active < max(FREE_OF_BALANCE, most * weight):
                score = weight / -log(_fraction(number ^ server.seed))
                if score > highest:
                    best, highest = server, score
        return best

    def may_eject(self, server: S, floor: float) -> bool:
        """Whether ``server`` may be ejected, so that the part ``floor`` of the servers is left in use."""
        peers = [one for one in self.servers if one.settings.backup == server.settings.backup]
        return may_eject(len(peers), sum(one.health.standing() is _IN_USE for one in peers), floor)


def _weight(server: BalancedServer) -> float:
    """The weight of ``server`` now."""
    return server.weight * server.health.share()


def _number(text: bytes) -> int:
    """64 bits that look random."""
    return int.from_bytes(blake2b(text, digest_size=8).digest())


def _fraction(number: int) -> float:
    """A number between 0 and 1, without both, that looks random: the last steps of SplitMix64, which cost less than a hash."""
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
    return (((number ^ (number >> 31)) >> 12) + 1) / (2**52 + 1)

"""Chooses the server of a request among the servers of an upstream. Pure.

First the servers that may be used: those in use before those that come last, others before backups, and none that is full. Among
these the method of the configuration decides. The effort is proportional to the number of servers.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from hashlib import blake2b
from math import log
from typing import Final, Generic, TypeVar

from perimeter.config.site.balancing import Balance, Method
from perimeter.config.site.server import ServerSettings
from perimeter.proxy.health import ServerHealth, ServerState, Standing, may_eject

FREE_OF_BALANCE: Final = 16
"""Requests at a time that a server may have because of a hash, however few the others have."""

MOST_AHEAD: Final = 2.0
"""How many times its fair share of the requests at a time a server may have because of a hash.

The client may choose what is hashed, and could send everything to one server.
"""

_IN_USE, _LAST, _OUT = Standing
_ROUND_ROBIN = Balance()
_LEAST, _HASH = Method.LEAST_CONNECTIONS, Method.HASH


class BalancedServer:
    """A server of an upstream: its ``settings``, its ``health``, and the requests it has.

    ``active`` counts the requests it serves now, tunnels included. ``place`` tells it from other servers with the same settings:
    its URL, or the address that its name stands for.
    """

    __slots__ = ("active", "credit", "health", "place", "seed", "settings", "shown")

    def __init__(self, settings: ServerSettings, health: ServerHealth, place: str = "") -> None:
        self.settings = settings
        self.health = health
        self.place = place or settings.url
        #: for `Balancer._by_hash`
        self.seed = blake2b(self.place.encode(), digest_size=16).digest()
        self.active = 0
        #: its state as it was reported last
        self.shown = ServerState.UP
        #: what it has waited for its turn, in weights (`Balancer._in_turn`)
        self.credit = 0.0


S = TypeVar("S", bound=BalancedServer)


class Balancer(Generic[S]):
    """Chooses among ``servers``, which may be replaced. ``limit`` is the largest number of requests of a server at a time."""

    def __init__(self, servers: Sequence[S], balance: Balance = _ROUND_ROBIN, limit: int | None = None) -> None:
        self.servers = tuple(servers)
        self.balance = balance
        self.limit = limit
        self._pick = {_LEAST: self._least_connections, _HASH: self._by_hash}.get(balance.method, self._round_robin)

    def choose(self, key: bytes = b"", tried: Collection[S] = ()) -> S | None:
        """The server for a request that has tried ``tried``; ``key`` is what is hashed. None: there is none, or all are full."""
        tier = self.tier(tried)
        limit = self.limit
        if limit is not None:
            tier = [server for server in tier if server.active < limit]
        if len(tier) < 2:
            return tier[0] if tier else None
        return self._pick(tier, key)

    def tier(self, tried: Collection[S] = ()) -> Sequence[S]:
        """The servers, except ``tried``, among which the next request has its server, whether or not they are full."""
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
        """Whether a request would have a server now."""
        limit = self.limit
        return any(limit is None or server.active < limit for server in self.tier())

    def _round_robin(self, tier: Sequence[S], key: bytes) -> S:
        return self._in_turn(tier)

    def _in_turn(self, tier: Sequence[S]) -> S:
        """Smooth weighted round-robin: the turns of a heavy server are spread between those of the others (as in nginx)."""
        total = 0.0
        best = tier[0]
        for server in tier:
            weight = _weight(server)
            total += weight
            server.credit += weight
            if server.credit > best.credit:
                best = server
        best.credit -= total
        return best

    def _least_connections(self, tier: Sequence[S], key: bytes) -> S:
        loads = [(server.active + 1) / _weight(server) for server in tier]
        least = min(loads)
        equal = [server for server, load in zip(tier, loads, strict=True) if load == least]
        return equal[0] if len(equal) == 1 else self._in_turn(equal)

    def _by_hash(self, tier: Sequence[S], key: bytes) -> S:
        """Rendezvous hashing: when a server goes, only its own keys get another one, and they are spread over all the others."""
        weights = [_weight(server) for server in tier]
        most = MOST_AHEAD * (sum(server.active for server in tier) + 1) / sum(weights)
        best, highest = tier[0], -1.0
        for server, weight in zip(tier, weights, strict=True):
            if server.active < max(FREE_OF_BALANCE, most * weight):
                score = weight / -log(_fraction(key, server.seed))
                if score > highest:
                    best, highest = server, score
        return best

    def may_eject(self, server: S, floor: float) -> bool:
        """Whether ``server`` may be ejected, so that the part ``floor`` of the servers is left in use."""
        peers = [one for one in self.servers if one.settings.backup == server.settings.backup]
        return may_eject(len(peers), sum(one.health.standing() is _IN_USE for one in peers), floor)


def _weight(server: BalancedServer) -> float:
    health = server.health
    weight = server.settings.weight
    return weight if health.steady else weight * health.share()


def _fraction(key: bytes, seed: bytes) -> float:
    """A number between 0 and 1, without both, that looks random."""
    return (1 + int.from_bytes(blake2b(key, digest_size=6, key=seed).digest())) / (2**48 + 1)

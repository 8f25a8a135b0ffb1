"""What a scrape reads from the running gateway. `perimeter.metrics.gauges`, which needs the Prometheus library, makes samples.

The parts are described by Protocols of what is read of them, so that the metrics depend on no part of the gateway.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from typing import Protocol

import attrs


class Connections(Protocol):
    """What is read of a listener's connections (`perimeter.http.connections.Connections`)."""

    def __len__(self) -> int:
        """How many connections are open."""

    def in_flight(self) -> int:
        """Exchanges that are not answered yet, tunnels included."""


class ServerAddress(Protocol):
    """What is read of a server's settings (`perimeter.config.site.server.ServerSettings`)."""

    @property
    def scheme(self) -> str:
        """``http``, ``https`` or ``sample``."""

    @property
    def host(self) -> str:
        """A name or address, an IPv6 address without brackets."""

    @property
    def port(self) -> int:
        """The port."""


class Server(Protocol):
    """What is read of one server of an upstream (`perimeter.proxy.pool.PooledServer`)."""

    @property
    def settings(self) -> ServerAddress:
        """Where it is."""

    @property
    def connections(self) -> Sized:
        """Its connections, idle ones included."""

    @property
    def idle(self) -> Sized:
        """Its idle connections."""

    @property
    def resting_until(self) -> float:
        """0 while it is taken to be up."""


class Pool(Protocol):
    """What is read of an upstream (`perimeter.proxy.pool.UpstreamPool`)."""

    @property
    def name(self) -> str:
        """Its name in the configuration."""

    @property
    def servers(self) -> Sequence[Server]:
        """Its servers."""


class Breaker(Protocol):
    """What is read of a circuit breaker (`perimeter.auth.chain.breaker.CircuitBreaker`)."""

    @property
    def open(self) -> bool:
        """Whether the authenticator is taken to be down."""


class Authenticator(Protocol):
    """What is read of an authenticator in the chain (`perimeter.auth.chain.asking.Asked`)."""

    @property
    def name(self) -> str:
        """Its name in the configuration."""

    @property
    def realm(self) -> str:
        """The realm of its users."""

    @property
    def breaker(self) -> Breaker:
        """Its circuit breaker."""


class Key(Protocol):
    """What is read of a key of the keyring (`perimeter.tokens.key_file.KeyEntry`)."""

    @property
    def state(self) -> str:
        """``signing`` for the one that signs tokens."""

    @property
    def activated(self) -> float | None:
        """Since when it signs, in seconds since the epoch."""


class Queue(Protocol):
    """What is read of a pool of threads (`perimeter.offload.Offload`)."""

    @property
    def waiting(self) -> int:
        """Jobs that wait for a thread."""


@attrs.frozen
class InForce:
    """The parts of the running gateway. ``connections`` are by listener, ``queues`` by what they are for."""

    connections: Mapping[str, Connections]
    pools: Sequence[Pool]
    audit_failing: bool
    authenticators: Sequence[Authenticator]
    keys: Sequence[Key]
    queues: Mapping[str, Queue]

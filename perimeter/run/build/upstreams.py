"""The pool of connections to an upstream, and how one of them is made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred, succeed

from perimeter.config.site.config import SiteConfig
from perimeter.config.site.server import ServerScheme, ServerSettings
from perimeter.config.site.upstream import UpstreamSettings
from perimeter.net.addresses import LookUp
from perimeter.net.connect import connect
from perimeter.net.contexts import ClientTLS
from perimeter.proxy.connection import UpstreamConnection
from perimeter.proxy.in_memory import connect_in_memory
from perimeter.proxy.pool import UpstreamPool
from perimeter.proxy.upkeep import UpstreamUpkeep
from perimeter.run.build.runtime import Runtime
from perimeter.web.sample import sample_site
from perimeter.workers.place import Place

HEALTH: Final = "upstream_health"
"""The name of the message with the result of a check, from the leading worker to the others."""


@attrs.frozen
class WorkersTold:
    """The other workers, for health checks."""

    place: Place

    @property
    def leads(self) -> bool:
        """See `Others`."""
        return self.place.leads

    def tell(self, upstream: str, server: str, fault: str) -> None:
        """See `Others`."""
        self.place.tell_others(HEALTH, upstream=upstream, server=server, fault=fault)


def upstream_upkeep(pool: UpstreamPool, runtime: Runtime) -> UpstreamUpkeep:
    """The periodic work for ``pool``."""
    names: LookUp | None = None
    if pool.settings.looks_up:
        from perimeter.net.dns import Names  # takes 0.1 s

        names = Names(runtime.reactor, pool.settings.nameservers, runtime.offload.run)
    others = None if runtime.place is None else WorkersTold(runtime.place)
    return UpstreamUpkeep(pool, runtime.reactor, names, others)


def hear(upkeep: Iterable[UpstreamUpkeep], told: Mapping[str, Any]) -> None:
    """Handle the message of the leading worker with the result of a check."""
    for one in upkeep:
        if one.pool.name == told["upstream"]:
            one.heard(told["server"], told["fault"])


def upstream_pools(
    config: SiteConfig, contexts: Mapping[str, Mapping[str, ClientTLS]], runtime: Runtime
) -> dict[str, UpstreamPool]:
    """The pool of each upstream, by its name; ``contexts`` are the `perimeter.run.build.upstream_tls.client_contexts` of each."""
    pages = config.login.path if config.signs_people_in else ""
    workers = 1 if runtime.place is None else config.perimeter.workers
    return {one.name: _pool(one, contexts[one.name], runtime, pages, workers) for one in config.upstreams}


def _pool(
    settings: UpstreamSettings, contexts: Mapping[str, ClientTLS], runtime: Runtime, pages: str, workers: int
) -> UpstreamPool:
    """The connections to one upstream's servers: over TCP, TLS, unix sockets, or in memory to the sample service.

    ``pages`` is the path of the gateway's own pages, to which the sample service links; "" without links.
    """
    reactor = runtime.reactor
    samples = [sample_site(reactor, pages)] if any(server.scheme is ServerScheme.SAMPLE for server in settings.servers) else []

    def dial(
        server: ServerSettings,
        factory: Callable[[], UpstreamConnection],
        timeout: float,
        address: str = "",
        preface: bytes = b"",
    ) -> Deferred[UpstreamConnection]:
        if server.scheme is ServerScheme.SAMPLE:
            connection = factory()
            protocol = samples[0].buildProtocol(None)
            connect_in_memory(reactor, connection, protocol)
            return succeed(connection)
        tls = contexts[settings.server_name or server.host] if server.scheme is ServerScheme.HTTPS else None
        place = address or server.path or server.host
        return connect(reactor, place, server.port, tls, factory, timeout, preface)  # type: ignore[return-value]

    return UpstreamPool(settings, dial, runtime.deadlines, runtime.turns, reactor.seconds, runtime.metrics.upstreams, workers)

"""The pool of connections to an upstream, and how one of them is made."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed
from twisted.web.server import Site as WebSite

from perimeter.config.site.server import ServerSettings
from perimeter.config.site.upstream import UpstreamSettings
from perimeter.net.connect import connect
from perimeter.net.contexts import ClientTLS
from perimeter.proxy.connection import UpstreamConnection
from perimeter.proxy.in_memory import connect_in_memory
from perimeter.proxy.pool import UpstreamPool
from perimeter.run.build.surroundings import Surroundings
from perimeter.web.sample import sample_site


def upstream_pool(settings: UpstreamSettings, around: Surroundings) -> UpstreamPool:
    """The connections to one upstream's servers: over TCP, over TLS, or in memory to the sample service."""
    reactor = around.reactor
    samples: list[WebSite] = []
    contexts: dict[str, ClientTLS] = {}
    for server in settings.servers:
        if server.scheme == "https":
            name = settings.server_name or server.host
            contexts.setdefault(name, ClientTLS(name, settings.ca_certificate))
        elif server.scheme == "sample" and not samples:
            samples.append(sample_site(reactor))

    def dial(server: ServerSettings, factory: Callable[[], UpstreamConnection], timeout: float) -> Deferred[UpstreamConnection]:
        if server.scheme == "sample":
            connection = factory()
            protocol = samples[0].buildProtocol(None)
            connect_in_memory(reactor, connection, protocol)
            return succeed(connection)
        tls = contexts[settings.server_name or server.host] if server.scheme == "https" else None
        return connect(reactor, server.host, server.port, tls, factory, timeout)  # type: ignore[return-value]

    return UpstreamPool(settings, dial, around.deadlines, around.turns, reactor.seconds)

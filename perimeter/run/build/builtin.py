"""The routes to what the gateway itself answers, on each kind of listener."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from perimeter.audit.sink import IAuditSink
from perimeter.audit.sinks import LenientSink
from perimeter.config.site.config import SiteConfig
from perimeter.config.site.listener import ListenerSettings
from perimeter.config.site.metrics import HEALTH_PATHS
from perimeter.config.site.route_matching import prefix_of
from perimeter.gate.access import ANYBODY
from perimeter.gate.routes import Route
from perimeter.gate.target import ITarget
from perimeter.targets.forward_auth import ENDPOINT
from perimeter.targets.redirect import RedirectTarget

if TYPE_CHECKING:  # commands have no runtime
    from perimeter.run.build.runtime import Runtime


def builtin(name: str, target: ITarget, sink: IAuditSink, path: str = "/", *, exact: bool = True) -> Route:
    """A route of the gateway's own: to ``path`` alone, or with ``exact=False``, and always for ``/``, to all paths below it."""
    return Route(
        name=name,
        prefix=prefix_of(path).encode("ascii"),
        target=target,
        audit=sink,
        exact=exact and path != "/",
        access=ANYBODY,
        builtin=True,
    )


def redirect_routes(listener: ListenerSettings, sink: IAuditSink) -> list[Route]:
    """The route of a redirect listener."""
    return [builtin("redirect", RedirectTarget(listener.redirect_to or 443), sink)]


def every_host(config: SiteConfig) -> tuple[str, ...]:
    """Every host that a route names, and any other host: the hosts of endpoints that answer for each Host."""
    return (*sorted({host for route in config.routes for host in route.hosts if host != "*"}), "*")


def hosts_of_pages(config: SiteConfig) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The hosts that have the gateway's own pages, and the others, where no path below the prefix of pages reaches a service."""
    every, main = every_host(config), config.login.host
    if not main or not config.signs_people_in:
        return every, ()
    return (main,), tuple(host for host in every if host != main)


def forward_auth_route(config: SiteConfig, target: ITarget, sink: IAuditSink) -> Route:
    """The route of ``/authenticate``: for every host, since most proxies ask with the client's Host.

    Paths below it are the questions of Envoy, which count only from trusted proxies. Without trusted proxies those paths belong
    to the configured routes.
    """
    return Route(
        name=ENDPOINT[1:].decode("ascii"),
        prefix=ENDPOINT,
        target=target,
        audit=sink,
        hosts=every_host(config),
        exact=not config.perimeter.trusted_proxies,
        access=ANYBODY,
        allow_encoded_slash=True,
        builtin=True,
    )


def metrics_routes(config: SiteConfig, runtime: Runtime, sink: IAuditSink) -> list[Route]:
    """The routes of a metrics listener."""
    # The library is imported only if it is used.
    from perimeter.targets.metrics import HealthTarget, MetricsTarget

    metrics, health, lenient = MetricsTarget(runtime.metrics, runtime.offload), HealthTarget(), LenientSink(sink)
    routes = [builtin("metrics", metrics, lenient, config.metrics.path)]
    routes += [builtin(path[1:], health, lenient, path) for path in HEALTH_PATHS]
    return [attrs.evolve(route, networks=config.metrics.networks) for route in routes]

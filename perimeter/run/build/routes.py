"""The configured routes, and the target of each: an upstream's proxy, or a directory of files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from perimeter.audit.sink import IAuditSink
from perimeter.config.site.config import SiteConfig
from perimeter.config.site.route_matching import prefix_of
from perimeter.gate.routes import Route
from perimeter.gate.target import ITarget
from perimeter.http.request_ids import HEADER as REQUEST_ID_HEADER
from perimeter.proxy.balanced import proxy_target
from perimeter.proxy.forwarding import ProxyTarget
from perimeter.proxy.headers import HeaderRules
from perimeter.proxy.pool import UpstreamPool
from perimeter.run.build.route import RouteParts, route_of
from perimeter.run.build.runtime import Runtime
from perimeter.targets.slash import SlashTarget
from perimeter.targets.static import StaticTarget
from perimeter.traces.context import HEADERS as TRACE_HEADERS

REALM_HEADER = "X-Auth-Realm"
"""A client narrows its realms by it, so it never passes."""


def configured_routes(
    config: SiteConfig,
    runtime: Runtime,
    pools: Mapping[str, UpstreamPool],
    sinks: Mapping[Path | None, IAuditSink],
    believed: set[bytes],
    shared: RouteParts,
) -> list[Route]:
    """The routes of ``config``, in its order.

    ``pools`` are by the name of their upstream, ``sinks`` by the path of the audit log (`perimeter.run.build.prepared.Prepared`).
    ``believed`` are headers that reach no upstream (`believed_fields`).
    """
    names = {*config.perimeter.identity_headers, REALM_HEADER}
    if config.perimeter.request_ids:
        names.add(REQUEST_ID_HEADER)
    if config.traces.endpoint:
        names.update(TRACE_HEADERS)
    for route in config.routes:
        names |= {route.identity_username_header, route.identity_realm_header, route.identity_roles_header}
    hidden = believed | {name.encode("ascii") for name in names}
    rules = {
        (strict, passes, shared_out): HeaderRules(
            hidden, drop_method_overrides=strict, pass_authorization=passes, drop_cors=shared_out
        )
        for strict in (False, True)
        for passes in (False, True)
        for shared_out in (False, True)
    }
    targets: dict[tuple[str, bool, bool, bool], ProxyTarget] = {}
    routes = []
    for settings in config.routes:
        target: ITarget
        if settings.static is not None:
            target = StaticTarget(settings.name, settings.static, settings.index, runtime.offload)
        else:
            assert settings.upstream is not None
            key = (settings.upstream, settings.by_method, settings.authorization.passes, settings.shared)
            if key not in targets:
                targets[key] = proxy_target(pools[settings.upstream], rules[key[1:]])
            target = targets[key]
            if settings.rewrite is not None and prefix_of(settings.path) and not prefix_of(settings.rewrite):
                target = SlashTarget(target)
        routes.append(route_of(settings, target, sinks[settings.audit], shared))
    return routes

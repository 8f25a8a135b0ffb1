"""The configured routes, and the target of each: an upstream's proxy, or a directory of files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from perimeter.audit.sink import IAuditSink
from perimeter.config.site.config import SiteConfig
from perimeter.config.site.route import IdentityForm, RouteSettings
from perimeter.config.site.route_matching import prefix_of
from perimeter.gate.access import Access, Asks
from perimeter.gate.identity_lines import IdentityProfile
from perimeter.gate.policy import Policy
from perimeter.gate.routes import Route
from perimeter.gate.target import ITarget
from perimeter.proxy.forwarding import ProxyTarget
from perimeter.proxy.headers import HeaderRules
from perimeter.proxy.pool import UpstreamPool
from perimeter.run.build.runtime import Runtime
from perimeter.targets.static import StaticTarget


def configured_routes(
    config: SiteConfig,
    runtime: Runtime,
    pools: Mapping[str, UpstreamPool],
    sinks: Mapping[Path | None, IAuditSink],
    believed: set[bytes],
) -> list[Route]:
    """The routes of ``config``, in its order.

    ``pools`` are by the name of their upstream, ``sinks`` by the path of the audit log (`perimeter.run.build.prepared.Prepared`).
    ``believed`` are headers that reach no upstream (`believed_fields`).
    """
    hidden = believed | {
        name.encode("ascii")
        for route in config.routes
        for name in (route.identity_username_header, route.identity_realm_header, route.identity_roles_header)
    }
    hidden |= {name.encode("ascii") for name in config.perimeter.drop_headers}
    rules = HeaderRules(hidden)
    strict_rules = HeaderRules(hidden, drop_method_overrides=True)
    targets: dict[tuple[str, bool], ProxyTarget] = {}
    routes = []
    for settings in config.routes:
        target: ITarget
        if settings.static is not None:
            target = StaticTarget(settings.name, settings.static, settings.index, runtime.offload)
        else:
            assert settings.upstream is not None
            key = (settings.upstream, settings.by_method)
            if key not in targets:
                targets[key] = ProxyTarget(pools[settings.upstream], strict_rules if settings.by_method else rules)
            target = targets[key]
        routes.append(_route(settings, target, sinks[settings.audit]))
    return routes


def _route(settings: RouteSettings, target: ITarget, sink: IAuditSink) -> Route:
    rewrite = settings.rewrite
    return Route(
        name=settings.name,
        prefix=prefix_of(settings.path).encode("ascii"),
        target=target,
        audit=sink,
        hosts=settings.hosts,
        rewrite=None if rewrite is None else prefix_of(rewrite).encode("ascii"),
        access=Access(Asks(settings.auth)),
        policy=Policy(settings.allow, settings.deny),
        networks=settings.networks,
        identity=IdentityProfile(
            headers=IdentityForm.HEADERS in settings.identity,
            audience=settings.upstream or "" if IdentityForm.JWT in settings.identity else "",
            username=settings.identity_username_header.encode("ascii"),
            realm=settings.identity_realm_header.encode("ascii"),
            roles=settings.identity_roles_header.encode("ascii"),
        ),
        allow_encoded_slash=settings.allow_encoded_slash,
        websocket=settings.websocket,
        max_body=settings.max_body,
    )

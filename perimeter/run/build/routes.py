"""The configured routes, and the target of each: an upstream's proxy, files, a redirect, or a fixed response."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from perimeter.audit.sink import IAuditSink
from perimeter.config.site.config import SiteConfig
from perimeter.config.site.route import RouteSettings
from perimeter.config.site.route_headers import AS_SENT, OF_UPSTREAM, SecurityHeaders
from perimeter.config.site.route_matching import prefix_of
from perimeter.config.site.route_path import PathKind
from perimeter.gate.routes import Route
from perimeter.gate.target import ITarget
from perimeter.http.request_ids import HEADER as REQUEST_ID_HEADER
from perimeter.proxy.balanced import proxy_target
from perimeter.proxy.codings import encoder_of
from perimeter.proxy.compressed import CompressingTarget
from perimeter.proxy.compression import Compression, Encoders
from perimeter.proxy.forwarding import ProxyTarget
from perimeter.proxy.headers import HeaderRules
from perimeter.proxy.pool import UpstreamPool
from perimeter.proxy.ruled_headers import Edits, RuledHeaders, header_rules
from perimeter.run.build.limits import counting_rules, limited
from perimeter.run.build.route import RouteParts, route_of
from perimeter.run.build.runtime import Runtime
from perimeter.targets.answering import LocationTarget, ResponseTarget
from perimeter.targets.commands import CommandTarget
from perimeter.targets.slash import SlashTarget
from perimeter.targets.static import StaticTarget
from perimeter.traces.context import HEADERS as TRACE_HEADERS

REALM_HEADER = "X-Auth-Realm"
"""A client narrows its realms by it, so it never passes."""


def _target(settings: RouteSettings, pool: UpstreamPool, rules: HeaderRules, under_way: Encoders) -> ProxyTarget:
    if not settings.compression:
        return proxy_target(pool, rules)
    encoders = {coding: encoder_of(coding) for coding in settings.compression}
    compression = Compression(encoders, settings.compression_types, settings.compression_min, under_way)
    return CompressingTarget(pool, rules, compression)


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
        names |= {route.identity_username_header, route.identity_realm_header, route.identity_roles_header, *route.fills_user}
    hidden = believed | {name.encode("ascii") for name in names}
    rules: dict[tuple[bool, bool, bool, Edits], HeaderRules] = {}
    targets: dict[tuple[object, ...], ProxyTarget] = {}
    under_way = Encoders()
    routes = []
    for settings in config.routes:
        target: ITarget
        edits = _edits(settings, pools)
        edited = RuledHeaders(edits, ()) if edits != Edits() else None
        if settings.static is not None:
            target = StaticTarget(settings.name, settings.static, settings.index, runtime.offload, edited)
        elif settings.redirect is not None:
            target = LocationTarget(settings.redirect, edited)
        elif settings.respond is not None:
            target = ResponseTarget(settings.respond, settings.respond_type, edited)
        else:
            assert settings.upstream is not None
            by_method = _by_method(settings, config)
            passing = (by_method, settings.sends_authorization.passes, settings.shared, edits)
            if passing not in rules:
                rules[passing] = header_rules(edits, hidden, *passing[:3])
            key = (settings.upstream, *passing, settings.compressed)
            if key not in targets:
                targets[key] = _target(settings, pools[settings.upstream], rules[passing], under_way)
            target = targets[key]
            if settings.audit_body:
                commands = [command.split(":") for command in settings.read_only_commands]
                target = CommandTarget(target, settings.audit_body, commands)
            at_root = settings.rewrite is not None and not prefix_of(settings.rewrite)
            if at_root and settings.path.kind is PathKind.PREFIX and settings.path.place:
                target = SlashTarget(target)
        target = limited(target, settings, runtime)
        routes.append(route_of(settings, target, sinks[settings.audit], shared, counting_rules(settings, runtime)))
    return routes


def _by_method(settings: RouteSettings, config: SiteConfig) -> bool:
    """Whether the method decides what a request may do: by a rule of the route, or by which route it belongs to."""
    return settings.by_method or any(other.methods and settings.overlaps(other) for other in config.routes)


def _edits(settings: RouteSettings, pools: Mapping[str, UpstreamPool]) -> Edits:
    """What a route changes in headers."""
    host = settings.upstream_host
    if host == AS_SENT or settings.upstream is None:
        host = ""
    elif host == OF_UPSTREAM:
        host = pools[settings.upstream].settings.host or ""
    strict = settings.security_headers is SecurityHeaders.STRICT
    return Edits(settings.request_headers, settings.response_headers, strict, host.encode("ascii"))

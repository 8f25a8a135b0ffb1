"""The configured routes, and the target of each: an upstream's proxy, or a directory of files."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from pathlib import Path

import attrs

from perimeter.audit.sink import IAuditSink
from perimeter.config.site.config import SiteConfig
from perimeter.config.site.origins import ANY_SITE
from perimeter.config.site.route import IdentityForm, RouteSettings
from perimeter.config.site.route_matching import prefix_of
from perimeter.errors import Challenges
from perimeter.gate.access import Access, Asks
from perimeter.gate.identity_lines import IdentityProfile
from perimeter.gate.policy import Policy
from perimeter.gate.routes import Route
from perimeter.gate.target import ITarget
from perimeter.http.request_ids import HEADER as REQUEST_ID_HEADER
from perimeter.proxy.balanced import proxy_target
from perimeter.proxy.forwarding import ProxyTarget
from perimeter.proxy.headers import HeaderRules
from perimeter.proxy.pool import UpstreamPool
from perimeter.run.build.runtime import Runtime
from perimeter.targets.slash import SlashTarget
from perimeter.targets.static import StaticTarget
from perimeter.traces.context import HEADERS as TRACE_HEADERS

REALM_HEADER = "X-Auth-Realm"
"""A client narrows its realms by it, so it never passes."""


@attrs.frozen
class RouteParts:
    """What routes follow besides their own settings.

    Roles of ``directory_realms`` compare without case. ``passwords``: some authenticator takes passwords. ``login`` is the path
    of the login page, for routes with ``browser_login``.
    """

    directory_realms: frozenset[str] = frozenset()
    passwords: bool = False
    login: bytes = b"/.perimeter/login"


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
        (strict, passes): HeaderRules(hidden, drop_method_overrides=strict, pass_authorization=passes)
        for strict in (False, True)
        for passes in (False, True)
    }
    targets: dict[tuple[str, bool, bool], ProxyTarget] = {}
    routes = []
    for settings in config.routes:
        target: ITarget
        if settings.static is not None:
            target = StaticTarget(settings.name, settings.static, settings.index, runtime.offload)
        else:
            assert settings.upstream is not None
            key = (settings.upstream, settings.by_method, settings.authorization.passes)
            if key not in targets:
                targets[key] = proxy_target(pools[settings.upstream], rules[key[1:]])
            target = targets[key]
            if settings.rewrite is not None and prefix_of(settings.path) and not prefix_of(settings.rewrite):
                target = SlashTarget(target)
        routes.append(route_of(settings, target, sinks[settings.audit], shared))
    return routes


def route_of(settings: RouteSettings, target: ITarget, sink: IAuditSink, shared: RouteParts) -> Route:
    """The route that ``settings`` describe, to ``target``."""
    rewrite, fixed = settings.rewrite, settings.authorization.value
    return Route(
        name=settings.name,
        prefix=prefix_of(settings.path).encode("ascii"),
        target=target,
        audit=sink,
        hosts=settings.hosts,
        rewrite=None if rewrite is None else prefix_of(rewrite).encode("ascii"),
        access=Access(
            Asks(settings.auth),
            stranger=_challenges(settings, shared.passwords),
            login=shared.login if settings.browser_login else b"",
        ),
        policy=Policy(settings.allow, settings.deny, directory_realms=shared.directory_realms),
        networks=settings.networks,
        identity=IdentityProfile(
            headers=IdentityForm.HEADERS in settings.identity,
            audience=settings.upstream or "" if IdentityForm.JWT in settings.identity else "",
            username=settings.identity_username_header.encode("ascii"),
            realm=settings.identity_realm_header.encode("ascii"),
            roles=settings.identity_roles_header.encode("ascii"),
            fixed=b"Authorization: %b\r\n" % fixed.encode("ascii") if fixed else b"",
        ),
        passes_authorization=settings.authorization.passes,
        app_authorization=settings.app_authorization,
        keeps_session=settings.keeps_session,
        idle=inf if settings.idle is None else settings.idle,
        allow_encoded_slash=settings.allow_encoded_slash,
        path_as_sent=settings.path_as_sent,
        upgrades=frozenset(protocol.encode("ascii") for protocol in settings.upgrades),
        early_hints=settings.early_hints,
        max_body=settings.max_body,
        cross_site=None if settings.cross_site == (ANY_SITE,) else frozenset(one.encode("ascii") for one in settings.cross_site),
    )


def _challenges(settings: RouteSettings, passwords: bool) -> Challenges:
    if settings.challenge is not None:
        return Challenges(settings.challenge)
    # A challenge for a password would open the browser's own dialog over the login page.
    return Challenges.BOTH if passwords and not settings.browser_login else Challenges.BEARER

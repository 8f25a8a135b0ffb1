"""One configured route, whatever its target is: `perimeter explain` has none."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from math import ceil, inf
from pathlib import Path
from types import MappingProxyType

import attrs

from perimeter.audit.sink import IAuditSink
from perimeter.config.site.origins import ANY_SITE
from perimeter.config.site.route import IdentityForm, RouteSettings
from perimeter.config.site.route_matching import prefix_of
from perimeter.config.site.route_path import PathKind
from perimeter.errors import Challenges, Page
from perimeter.gate.access import Access, Asks
from perimeter.gate.conditions import conditions_of
from perimeter.gate.cors import Cors
from perimeter.gate.entry import EntryRule, maintenance, over_tls
from perimeter.gate.factors import FactorDemand
from perimeter.gate.identity_lines import IdentityProfile
from perimeter.gate.policy import Policy
from perimeter.gate.routes import Route
from perimeter.gate.target import ITarget
from perimeter.targets.preflight import PreflightTarget


@attrs.frozen
class RouteParts:
    """What routes follow besides their own settings.

    Roles of ``directory_realms`` compare without case. ``passwords``: some authenticator takes passwords, or Kerberos tickets.
    ``login`` is the path of the login page, for routes with ``browser_login``. ``clock`` returns epoch seconds.
    ``maintenance_pages`` are by their file. ``hsts`` are the seconds of that option by the name of a listener that has it.
    Users with one of ``second_factor_roles`` need a second factor everywhere; ``factor`` is the path of the page that asks for
    it, or empty.
    """

    directory_realms: frozenset[str] = frozenset()
    passwords: bool = False
    login: bytes = b"/.perimeter/login"
    clock: Callable[[], float] = time.time
    maintenance_pages: Mapping[Path, Page] = MappingProxyType({})
    hsts: Mapping[str, int] = MappingProxyType({})
    second_factor_roles: tuple[str, ...] = ()
    factor: bytes = b""

    def demand(self, factors: int = 1, age: float | None = None) -> FactorDemand | None:
        """Who needs a second factor, also for a route with ``factors`` and ``factor_age``; None if no user does."""
        if factors < 2 and not self.second_factor_roles:
            return None
        return FactorDemand(self.second_factor_roles, factors > 1, inf if age is None else age, self.directory_realms, self.clock)


def route_of(
    settings: RouteSettings, target: ITarget, sink: IAuditSink, shared: RouteParts, counting: tuple[EntryRule, ...] = ()
) -> Route:
    """The route that ``settings`` describe, to ``target``. ``counting`` are its rules that count requests."""
    route = _route_of(settings, target, sink, shared, counting)
    if not settings.cors:
        return route
    cors = _cors(settings)
    preflights = attrs.evolve(route, target=target if cors is None else PreflightTarget(cors))
    return attrs.evolve(route, cors=cors, preflights=preflights)


def _cors(settings: RouteSettings) -> Cors | None:
    """What pages of other sites may do; None if the service decides."""
    if not settings.shared:
        return None
    return Cors(
        frozenset(one.encode("ascii") for one in settings.cors),
        settings.cors_methods,
        settings.cors_headers,
        settings.cors_expose,
        settings.cors_credentials,
        int(settings.cors_max_age),
    )


def _read_only(settings: RouteSettings, shared: RouteParts) -> Policy | None:
    """The users who may only read are those that ``deny`` would refuse: what is not known about a request restricts it."""
    if not settings.read_only:
        return None
    return Policy(None, settings.read_only, directory_realms=shared.directory_realms, clock=shared.clock)


def _cross_site(settings: RouteSettings) -> frozenset[bytes] | None:
    """The origins whose pages may send unsafe requests with credentials of the browser; None for all."""
    if settings.cross_site == (ANY_SITE,):
        return None
    pages = settings.cors if settings.shared and settings.cors_credentials else ()
    return frozenset(one.encode("ascii") for one in (*settings.cross_site, *pages))


def _route_of(
    settings: RouteSettings, target: ITarget, sink: IAuditSink, shared: RouteParts, counting: tuple[EntryRule, ...]
) -> Route:
    path, rewrite, fixed = settings.path, settings.rewrite, settings.sends_authorization.value
    return Route(
        name=settings.name,
        prefix=(path.text if path.kind is PathKind.EXACT else path.place).encode("ascii"),
        exact=path.kind is PathKind.EXACT,
        pattern=path.expression,
        answers=bool(settings.answer),
        conditions=conditions_of(settings, bool(settings.cors)),
        target=target,
        audit=sink,
        hosts=settings.hosts,
        rewrite=None if rewrite is None else (prefix_of(rewrite) if path.kind is PathKind.PREFIX else rewrite).encode("ascii"),
        access=Access(
            Asks(settings.auth),
            stranger=_challenges(settings, shared.passwords),
            login=shared.login if settings.browser_login else b"",
            factor=shared.factor if settings.browser_login else b"",
        ),
        policy=Policy(
            settings.allow,
            settings.deny,
            directory_realms=shared.directory_realms,
            clock=shared.clock,
            factors=shared.demand(settings.factors, settings.factor_age),
        ),
        networks=settings.networks,
        closed=_closed(settings, shared) if settings.maintenance else None,
        secured=over_tls(shared.hsts) if settings.strict_transport else None,
        identity=IdentityProfile(
            headers=IdentityForm.HEADERS in settings.identity,
            audience=settings.upstream or "" if IdentityForm.JWT in settings.identity else "",
            username=settings.identity_username_header.encode("ascii"),
            realm=settings.identity_realm_header.encode("ascii"),
            roles=settings.identity_roles_header.encode("ascii"),
            fixed=b"Authorization: %b\r\n" % fixed.encode("ascii") if fixed else b"",
        ),
        passes_authorization=settings.sends_authorization.passes,
        app_authorization=settings.app_authorization,
        keeps_session=settings.keeps_session,
        idle=inf if settings.idle is None else settings.idle,
        allow_encoded_slash=settings.allow_encoded_slash,
        path_as_sent=settings.path_as_sent,
        upgrades=frozenset(protocol.encode("ascii") for protocol in settings.upgrades),
        early_hints=settings.early_hints,
        max_body=settings.max_body,
        read_only=_read_only(settings, shared),
        counting=counting,
        cross_site=_cross_site(settings),
    )


def _closed(settings: RouteSettings, shared: RouteParts) -> EntryRule:
    page = None if settings.maintenance_page is None else shared.maintenance_pages.get(settings.maintenance_page)
    seconds = settings.maintenance_retry_after
    return maintenance(settings.maintenance_allow, page, None if seconds is None else ceil(seconds))


def _challenges(settings: RouteSettings, passwords: bool) -> Challenges:
    if settings.challenge is not None:
        return Challenges(settings.challenge)
    # A challenge for a password would open the browser's own dialog over the login page.
    return Challenges.BOTH if passwords and not settings.browser_login else Challenges.BEARER

"""One configured route, whatever its target is: `perimeter explain` has none."""

from __future__ import annotations

from math import inf

import attrs

from perimeter.audit.sink import IAuditSink
from perimeter.config.site.origins import ANY_SITE
from perimeter.config.site.route import IdentityForm, RouteSettings
from perimeter.config.site.route_matching import prefix_of
from perimeter.errors import Challenges
from perimeter.gate.access import Access, Asks
from perimeter.gate.identity_lines import IdentityProfile
from perimeter.gate.policy import Policy
from perimeter.gate.routes import Route
from perimeter.gate.target import ITarget


@attrs.frozen
class RouteParts:
    """What routes follow besides their own settings.

    Roles of ``directory_realms`` compare without case. ``passwords``: some authenticator takes passwords. ``login`` is the path
    of the login page, for routes with ``browser_login``.
    """

    directory_realms: frozenset[str] = frozenset()
    passwords: bool = False
    login: bytes = b"/.perimeter/login"


def route_of(settings: RouteSettings, target: ITarget, sink: IAuditSink, shared: RouteParts) -> Route:
    """The route that ``settings`` describe, to ``target``."""
    rewrite, fixed = settings.rewrite, settings.sends_authorization.value
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
        passes_authorization=settings.sends_authorization.passes,
        app_authorization=settings.app_authorization,
        keeps_session=settings.keeps_session,
        idle=inf if settings.idle is None else settings.idle,
        allow_encoded_slash=settings.allow_encoded_slash,
        path_as_sent=settings.path_as_sent,
        upgrades=frozenset(protocol.encode("ascii") for protocol in settings.upgrades),
        early_hints=settings.early_hints,
        max_body=settings.max_body,
        read_only=Policy(settings.read_only, directory_realms=shared.directory_realms) if settings.read_only else None,
        cross_site=None if settings.cross_site == (ANY_SITE,) else frozenset(one.encode("ascii") for one in settings.cross_site),
    )


def _challenges(settings: RouteSettings, passwords: bool) -> Challenges:
    if settings.challenge is not None:
        return Challenges(settings.challenge)
    # A challenge for a password would open the browser's own dialog over the login page.
    return Challenges.BOTH if passwords and not settings.browser_login else Challenges.BEARER

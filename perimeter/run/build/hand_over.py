"""The routes of the gateway's own pages: on every host, or on the host of the sign-in page and on those of services."""

from __future__ import annotations

from collections.abc import Callable

from perimeter.audit.sink import IAuditSink
from perimeter.config.site.config import SiteConfig
from perimeter.gate.factors import FactorDemand
from perimeter.gate.routes import Route
from perimeter.gate.target import ITarget
from perimeter.run.build.builtin import hosts_of_pages
from perimeter.run.build.endpoints import endpoint_routes
from perimeter.run.build.pages import PageParts, https_port
from perimeter.run.build.renewals import signed_out_elsewhere
from perimeter.secrets_key import SecretsKey
from perimeter.sessions.tickets import Tickets
from perimeter.state.once import ONCE
from perimeter.state.state import State
from perimeter.tokens.format import EpochClock
from perimeter.web.endpoints.cleared import ClearedPicture
from perimeter.web.endpoints.endpoint import Endpoint, Nothing
from perimeter.web.endpoints.hand_over import AppHosts, Enter, HandOver, HandOvers, SendToLogin
from perimeter.web.endpoints.logout import Logout, SignedOut
from perimeter.web.endpoints.static_assets import StaticAssets

_SENT = ("/login", "/factor")
"""Pages of the login host that users are sent to from other hosts."""


def hand_overs_of(config: SiteConfig, secrets: SecretsKey, state: State, clock: EpochClock) -> HandOvers | None:
    """What hands sign-ins over; None without a login host. ``secrets`` is the key of the site."""
    if not config.login.host:
        return None
    apps = AppHosts(host for route in config.routes if route.browser_login for host in route.hosts)
    return HandOvers(config.login.host, apps, Tickets(secrets, state.view(ONCE), clock))


def page_routes(
    parts: PageParts,
    hand_overs: HandOvers | None,
    sink: IAuditSink,
    to: Callable[[Endpoint], ITarget],
    demand: FactorDemand | None = None,
) -> list[Route]:
    """The routes of a ``gateway`` listener to the pages that ``parts`` make; ``demand`` says whose second factor they need."""
    endpoints = parts.endpoints()
    main, others = hosts_of_pages(parts.config)
    if hand_overs is None or not endpoints:
        return endpoint_routes(endpoints, sink, to, main, demand)
    return [
        *endpoint_routes([HandOver(parts.pages(), hand_overs), *endpoints], sink, to, main, demand),
        *endpoint_routes(_app_endpoints(parts, hand_overs), sink, to, others, demand),
    ]


def _app_endpoints(parts: PageParts, hand_overs: HandOvers) -> list[Endpoint]:
    """What the hosts of services have in place of the pages."""
    config, login, pages = parts.config, parts.config.login, parts.pages()
    return [
        *(SendToLogin(path, pages, hand_overs, https_port(config)) for path in _SENT),
        Enter(pages, hand_overs),
        Logout(pages, login.clear_on_logout, signed_out_elsewhere(config, parts.providers)),
        SignedOut(pages),
        ClearedPicture(login.path, login.clear_on_logout),
        StaticAssets(login.path, parts.look.assets),
        Nothing(login.path, "pages", beneath=True, why=f"the gateway's own pages are on the host {login.host} alone"),
    ]

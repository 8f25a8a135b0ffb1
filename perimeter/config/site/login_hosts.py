"""Checks of the hosts on which people sign in: of `[login] host`, of routes, and of the operator's page."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from perimeter.config.language.section import Section
from perimeter.config.site.config import SiteConfig
from perimeter.config.site.route import RouteSettings
from perimeter.config.site.route_matching import WILDCARDS, hosts_for
from perimeter.config.site.server import ServerScheme


def check(config: SiteConfig, routes: Sequence[Section]) -> None:
    """Report routes that need a host, because the sign-in has one."""
    if not config.login.host:
        return
    for route, section in zip(config.routes, routes, strict=True):
        option = attrs.fields(RouteSettings).hosts
        if route.browser_login and not route.hosts and not section.faulty(option):
            section.problem(
                option,
                "must be set, because [login] host is: a sign-in is handed over only to hosts that a route with browser_login "
                "names",
            )


def warnings(config: SiteConfig) -> list[str]:
    """Warnings about pages whose origin scripts of services share."""
    own = {one.name for one in config.upstreams if any(server.scheme is ServerScheme.SAMPLE for server in one.servers)}
    services = [route for route in config.routes if route.upstream and route.upstream not in own]
    host = config.login.host
    if not host:
        if not config.operator.role or not any(route.browser_login for route in services):
            return []
        return [
            "[operator] role: the operator's page has the same host as the services, whose scripts could act on it in "
            "an operator's browser: set [login] host"
        ]
    return [
        f"[route {route.name}] also serves {host}, the host in [login]: scripts of its service share the origin of the "
        "sign-in page"
        for route in services
        if serves(route, host)
    ]


def serves(route: RouteSettings, host: str) -> bool:
    """Whether ``route`` has requests for ``host``."""
    longest = max((len(one) for one in route.hosts if one.startswith(WILDCARDS)), default=0)
    return not route.hosts or any(True for _ in hosts_for(host, route.hosts, longest))


def front_of_pages(config: SiteConfig) -> str:
    """The path to which a sign-in leads that began with the sign-in page itself: a host without services has no front page."""
    host = config.login.host
    if not host or any(serves(route, host) for route in config.routes):
        return "/"
    return f"{config.login.path}/account"

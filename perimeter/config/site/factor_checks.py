"""Checks of second factors across sections: routes that demand what no user can have, passkeys that no browser would accept."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address

import attrs

from perimeter.config.language.section import Section
from perimeter.config.site.config import SiteConfig
from perimeter.config.site.login import LoginSettings
from perimeter.config.site.perimeter import StateKind
from perimeter.config.site.route import RouteSettings
from perimeter.config.site.second_factor import Enroll, Method, SecondFactorSettings


def check(config: SiteConfig, second_factor: Section, login: Section, routes: Sequence[Section]) -> None:
    """Report what cannot work."""
    its = attrs.fields(SecondFactorSettings)
    if config.second_factor.methods and not config.signs_people_in and not second_factor.faulty(its.methods):
        second_factor.problem(its.methods, "has no effect: no route has browser_login = yes, so people do not sign in on a page")
    factors = attrs.fields(RouteSettings).factors
    for route, section in zip(config.routes, routes, strict=True):
        if route.factors > 1 and not config.checks_second_factors and not second_factor.faulty(its.methods):
            section.problem(factors, "no user could have a second factor: set methods in [second_factor]")
    _check_passkeys(config, second_factor, login)


def passkey_hosts(config: SiteConfig) -> tuple[str, ...]:
    """The hosts whose pages use passkeys: that of the sign-in page, or the hosts of routes that belong to ``rp_id``.

    Without both it is the host of the routes on which people sign in, if there is exactly one; empty otherwise.
    """
    if config.login.host:
        return (config.login.host,)
    domain = config.second_factor.rp_id
    signing_in = [route for route in config.routes if route.browser_login]
    named = dict.fromkeys(host for route in signing_in for host in route.hosts if not host.startswith("*"))
    if domain:
        return tuple(host for host in named if _belongs(host, domain)) or (domain,)
    return tuple(named) if len(named) == 1 and all(route.hosts for route in signing_in) else ()


def _belongs(host: str, domain: str) -> bool:
    return host == domain or host.endswith(f".{domain}")


def _check_passkeys(config: SiteConfig, second_factor: Section, login: Section) -> None:
    """Report passkeys that no browser would accept."""
    its, passkeys = attrs.fields(SecondFactorSettings), attrs.fields(LoginSettings).passkeys
    settings, host = config.second_factor, config.login.host
    if second_factor.faulty(its.methods):
        return
    if Method.WEBAUTHN not in settings.methods:
        if config.login.passkeys:
            login.problem(passkeys, "needs webauthn in methods of [second_factor]")
        return
    if second_factor.faulty(its.rp_id):
        return
    hosts = passkey_hosts(config)
    if not hosts:
        second_factor.problem(its.methods, "passkeys belong to one domain: set rp_id, or host in [login]")
    elif _is_address(settings.rp_id or hosts[0]):
        second_factor.problem(its.rp_id, "passkeys are for a domain, and not for an IP address")
    elif settings.rp_id and host and not _belongs(host, settings.rp_id):
        second_factor.problem(its.rp_id, f"must be {host}, the host in [login], or a domain that it belongs to")


def _is_address(host: str) -> bool:
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def warnings(config: SiteConfig) -> list[str]:
    """What an operator should know about a valid configuration."""
    if not config.second_factor.methods:
        return []
    found = []
    if config.perimeter.state is StateKind.MEMORY and config.second_factor.enroll is Enroll.SELF:
        found.append(
            "[second_factor]: with state = memory, a restart forgets all second factors, and who knows a password can then "
            "register a new one: set state = sqlite, or enroll = code"
        )
    hidden = [route.name for route in config.routes if route.factors > 1 and not route.browser_login]
    found += [
        f"[route {name}] factors = 2 without browser_login: only API tokens that are made in a session with a second factor are "
        "good for it"
        for name in hidden
    ]
    return found

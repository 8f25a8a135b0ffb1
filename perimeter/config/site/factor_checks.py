"""Checks of second factors across sections: routes that demand what no user can have, and warnings."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from perimeter.config.language.section import Section
from perimeter.config.site.config import SiteConfig
from perimeter.config.site.perimeter import StateKind
from perimeter.config.site.route import RouteSettings
from perimeter.config.site.second_factor import Enroll, SecondFactorSettings


def check(config: SiteConfig, second_factor: Section, routes: Sequence[Section]) -> None:
    """Report what cannot work."""
    its = attrs.fields(SecondFactorSettings)
    if config.second_factor.methods and not config.signs_people_in and not second_factor.faulty(its.methods):
        second_factor.problem(its.methods, "has no effect: no route has browser_login = yes, so nobody signs in on a page")
    factors = attrs.fields(RouteSettings).factors
    for route, section in zip(config.routes, routes, strict=True):
        if route.factors > 1 and not config.checks_second_factors and not second_factor.faulty(its.methods):
            section.problem(factors, "no user could have a second factor: set methods in [second_factor]")


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

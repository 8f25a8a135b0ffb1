"""Whether an identified client may do what he asks: ``allow`` and ``deny`` of a route, and what his token is for. Pure."""

from __future__ import annotations

import attrs

from perimeter.config.site.route import Rule
from perimeter.gate.forwarded import in_networks
from perimeter.model import Principal, Restriction


@attrs.frozen(slots=True)
class Policy:
    """``deny`` wins over ``allow``; of either, one term suffices. Without ``allow`` every identified client may."""

    allow: tuple[Rule, ...] | None = None
    deny: tuple[Rule, ...] = ()

    @property
    def open(self) -> bool:
        """Whether there is nothing to decide."""
        return self.allow is None and not self.deny

    def permits(self, principal: Principal | None, method: str) -> bool:
        """Whether ``principal`` (None: anonymous) may use ``method``."""
        # Methods are case-sensitive (RFC 9110, section 9.1), and not to every server: "delete" may not slip past a denied DELETE.
        if any(_matches(rule, principal, method.upper()) for rule in self.deny):
            return False
        return self.allow is None or any(_matches(rule, principal, method) for rule in self.allow)


def within(restriction: Restriction, route: str, method: str, address: str) -> bool:
    """Whether an API token that is restricted so may be used for this."""
    if restriction.routes and route not in restriction.routes:
        return False
    if restriction.methods and method not in restriction.methods:
        return False
    return within_networks(restriction, address)


def within_networks(restriction: Restriction, address: str) -> bool:
    """Whether an API token that is restricted so may come from there."""
    return not restriction.networks or in_networks(address, restriction.networks)


def _matches(rule: Rule, principal: Principal | None, method: str) -> bool:
    if rule.kind == "method":
        return method == rule.value
    if principal is None:
        return False
    if rule.kind == "role":
        return rule.value in principal.roles
    if rule.kind == "user":
        return principal.username == rule.value
    if rule.kind == "realm":
        return principal.realm == rule.value
    # A kind that nobody knows must never let anybody through, nor fail to keep anybody out.
    raise ValueError(f"unknown kind of rule: {rule.kind}")

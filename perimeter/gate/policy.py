"""Whether a user may do what the request asks for: ``allow`` and ``deny`` of a route. Pure."""

from __future__ import annotations

from typing import assert_never

import attrs

from perimeter.config.site.route import Rule, RuleKind
from perimeter.model import Principal


@attrs.frozen
class Policy:
    """``deny`` wins over ``allow``; in each of them one matching term is enough. Without ``allow`` every user may.

    ``open`` is True if there are no terms at all.
    """

    allow: tuple[Rule, ...] | None = None
    deny: tuple[Rule, ...] = ()
    open: bool = attrs.field(init=False)

    @open.default
    def _open(self) -> bool:
        return self.allow is None and not self.deny

    def permits(self, principal: Principal | None, method: str) -> bool:
        """Whether ``principal`` (None: anonymous) may use ``method``."""
        # Methods are case-sensitive (RFC 9110, section 9.1), but not for every server: "delete" must not pass a denied DELETE.
        if any(_matches(rule, principal, method.upper()) for rule in self.deny):
            return False
        return self.allow is None or any(_matches(rule, principal, method) for rule in self.allow)


def _matches(rule: Rule, principal: Principal | None, method: str) -> bool:
    if rule.kind is RuleKind.METHOD:
        return method == rule.value
    if principal is None:
        return False
    if rule.kind is RuleKind.ROLE:
        return rule.value in principal.roles
    if rule.kind is RuleKind.USER:
        return principal.username == rule.value
    if rule.kind is RuleKind.REALM:
        return principal.realm == rule.value
    # A kind that is forgotten here must never admit, and never fail to deny.
    assert_never(rule.kind)

"""Whether a user may do what the request asks for: ``allow`` and ``deny`` of a route. Pure."""

from __future__ import annotations

from typing import assert_never

import attrs

from perimeter.auth.roles import has_role
from perimeter.config.site.rule import Rule, RuleKind
from perimeter.model import Principal

#: Stands for the method of a request whose method is not known, as a proxy that asks about it may leave it out.
UNKNOWN_METHOD = "-"


@attrs.frozen
class Policy:
    """``deny`` wins over ``allow``; in each of them one matching term is enough. Without ``allow`` every user may.

    ``directory_realms`` are those whose roles compare without case, as a directory compares them (attack 30).
    ``open`` is True if there are no terms at all.
    """

    allow: tuple[Rule, ...] | None = None
    deny: tuple[Rule, ...] = ()
    directory_realms: frozenset[str] = attrs.field(default=frozenset(), kw_only=True)
    open: bool = attrs.field(init=False)

    @open.default
    def _open(self) -> bool:
        return self.allow is None and not self.deny

    def permits(self, principal: Principal | None, method: str) -> bool:
        """Whether ``principal`` (None: anonymous) may use ``method``.

        `UNKNOWN_METHOD` may be any method: each that is denied, and none that is allowed.
        """
        # Methods are case-sensitive (RFC 9110, section 9.1), but not for every server: "delete" must not pass a denied DELETE.
        if any(_matches(rule, principal, method.upper(), self.directory_realms) for rule in self.deny):
            return False
        if method == UNKNOWN_METHOD and any(rule.kind is RuleKind.METHOD for rule in self.deny):
            return False
        return self.allow is None or any(_matches(rule, principal, method, self.directory_realms) for rule in self.allow)

    def explanation(self, principal: Principal | None, method: str) -> str:
        """Which term decides about `permits`, for the operator."""
        for rule in self.deny:
            if _matches(rule, principal, method.upper(), self.directory_realms):
                return f"deny = {rule} matches"
        if self.allow is None:
            return "no term of deny matches" if self.deny else "the route has no rules"
        for rule in self.allow:
            if _matches(rule, principal, method, self.directory_realms):
                return f"allow = {rule} matches"
        return f"no term of allow = {', '.join(map(str, self.allow)) or '(none)'} matches"


def _matches(rule: Rule, principal: Principal | None, method: str, directory_realms: frozenset[str]) -> bool:
    if rule.kind is RuleKind.METHOD:
        return method == rule.value
    if principal is None:
        return False
    if rule.realm and principal.realm != rule.realm:
        return False
    if rule.kind is RuleKind.ROLE:
        return rule.value in principal.roles or (
            principal.realm in directory_realms and has_role(principal.roles, (rule.value,), any_case=True)
        )
    if rule.kind is RuleKind.USER:
        return principal.username == rule.value
    if rule.kind is RuleKind.REALM:
        return principal.realm == rule.value
    # A kind that is forgotten here must never admit, and never fail to deny.
    assert_never(rule.kind)

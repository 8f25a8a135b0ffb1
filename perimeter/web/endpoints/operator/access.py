"""Who may open the operator's page: the gate judges its route by this."""

from __future__ import annotations

from typing import Final

from perimeter.config.site.rule import Rule, RuleKind
from perimeter.gate.policy import Policy

PATH: Final = "/operator"
"""The page's path below the prefix of the gateway's pages."""


def operator_policy(role: str, directory_realms: frozenset[str]) -> Policy:
    """The users with ``role``. Roles of ``directory_realms`` compare without case."""
    return Policy((Rule(RuleKind.ROLE, role),), directory_realms=directory_realms)

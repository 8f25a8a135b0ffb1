"""Adds roles and attributes to a principal, and never takes any away."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from perimeter.model import Principal


def added(principal: Principal, roles: Iterable[str], attributes: Iterable[tuple[str, str]] = ()) -> Principal:
    """``principal`` with these roles after its own, each once, and these attributes; the same object if nothing is new."""
    all_roles = tuple(dict.fromkeys((*principal.roles, *roles)))
    all_attributes = {**principal.attributes, **dict(attributes)}
    if all_roles == principal.roles and all_attributes == principal.attributes:
        return principal
    return attrs.evolve(principal, roles=all_roles, attributes=all_attributes)

"""Compares roles: exactly, or as a directory compares the names of its groups. Pure."""

from __future__ import annotations

from collections.abc import Collection

from perimeter.auth.text import folded
from perimeter.recent import Memo

_MOST_REMEMBERED = 1000

# What a user's roles are without case: a user of a directory may have hundreds, and they are compared for each request.
_folded: Memo[tuple[str, ...], frozenset[str]] = Memo(_MOST_REMEMBERED)


def has_role(roles: tuple[str, ...], wanted: Collection[str], *, any_case: bool) -> bool:
    """Whether one of ``wanted`` is among ``roles``; with ``any_case`` as caseIgnoreMatch compares (RFC 4517, section 4.2.11)."""
    if any(one in roles for one in wanted):
        return True
    if not any_case or not roles:
        return False
    known = _folded.get(roles)
    if known is None:
        known = frozenset(map(folded, roles))
        _folded.keep(roles, known)
    return any(folded(one) in known for one in wanted)

"""Attributes that a server returns in parts: Active Directory's ``member;range=0-1499`` (MS-ADTS, section 3.1.1.3.1.3.3).

Active Directory returns at most 1,500 values of an attribute and says so in its name, in place of the plain name. Without the
other values, a user would lack roles, and a rule that denies one of these roles would not hold.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

import attrs

from perimeter.auth.kinds.ldap.values import ENTRY, Found, LdapEntry, Present, Search
from perimeter.errors import Undecided

MAX_VALUES = 10_000
"""Values of an attribute at most."""

_RANGED = re.compile(r"(?P<name>[^;]+);range=(?P<first>[0-9]{1,9})-(?P<last>[0-9]{1,9}|\*)")


@attrs.frozen
class _Part:
    """A part of the values of an attribute: those from ``first`` to ``last``, which is -1 for the end."""

    key: str
    name: str
    first: int
    last: int


async def completed(found: Found, ask: Callable[[Search], Awaitable[Found]]) -> Found:
    """``found`` with all values of attributes that came in parts; ``ask`` runs the searches for the others.

    Raises `Undecided` for over `MAX_VALUES` values, and if the other parts do not come.
    """
    if not any(";range=" in key for entry in found.entries for key in entry.attributes):
        return found
    return attrs.evolve(found, entries=tuple([await _whole(entry, ask) for entry in found.entries]))


async def _whole(entry: LdapEntry, ask: Callable[[Search], Awaitable[Found]]) -> LdapEntry:
    for part in _parts(entry):
        values: list[bytes] = []
        following = _added(values, entry, part)
        while following:
            if len(values) > MAX_VALUES:
                raise Undecided(f"an attribute {part.name} has more than {MAX_VALUES} values")
            wanted = f"{part.name};range={len(values)}-*"
            found = await ask(Search(entry.dn, Present("objectClass"), (wanted,), 1, scope=ENTRY))
            (rest,) = found.entries if len(found.entries) == 1 else (LdapEntry(entry.dn),)
            parts = [one for one in _parts(rest) if one.name == part.name]
            following = _added(values, rest, *parts)
        known = {key: kept for key, kept in entry.attributes.items() if key not in (part.key, part.name)}
        entry = LdapEntry(entry.dn, {**known, part.name: tuple(values)})
    return entry


def _added(values: list[bytes], entry: LdapEntry, *parts: _Part) -> bool:
    """Add the values of the one part to ``values``. Returns whether more of them follow."""
    if len(parts) == 1 and parts[0].first == len(values):
        (part,) = parts
        values += entry.attributes[part.key]
        if part.last < 0:
            return False
        if part.first <= part.last == len(values) - 1:
            return True
    raise Undecided("the directory returned a part of the values of an attribute, and not the rest of them")


def _parts(entry: LdapEntry) -> list[_Part]:
    matches = ((key, _RANGED.fullmatch(key)) for key in entry.attributes)
    return [
        _Part(key, match["name"], int(match["first"]), -1 if match["last"] == "*" else int(match["last"]))
        for key, match in matches
        if match is not None
    ]

"""The roles of a user: the groups of the directory that the user is in, mapped to roles."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable

from twisted.logger import Logger

from perimeter.auth.kinds.ldap.names import same_dn
from perimeter.auth.kinds.ldap.results import SIZE_LIMIT_EXCEEDED
from perimeter.auth.kinds.ldap.settings import LdapSettings, MemberValue, RoleRule
from perimeter.auth.kinds.ldap.values import And, Equal, Filter, Found, LdapEntry, Matching, Not, Or, Search
from perimeter.auth.text import folded, unfit_for_name
from perimeter.errors import Undecided

_log = Logger()

IN_CHAIN = "1.2.840.113556.1.4.1941"
"""Active Directory's matching rule LDAP_MATCHING_RULE_IN_CHAIN: includes members of members, at any depth."""

PAGE = 500
"""Groups in one page: Active Directory returns at most 1,000, OpenLDAP 500."""

MAX_GROUPS = 5000
"""Groups of one user at most. With some of them missing, a user could be admitted whom a missing group keeps out."""

MAX_DEPTH = 10
"""Depth to which the gateway follows groups in groups."""

AT_ONCE = 50
"""Groups in one search when the gateway follows groups in groups."""


GID_NUMBER = "gidNumber"
"""The attribute of users and groups with the number of a group."""

_NUMBER = re.compile(r"[0-9]{1,10}", re.ASCII)
_LIMITED = "the directory ended a search for the groups of a user at its own limit"


def wants_primary(settings: LdapSettings) -> bool:
    """Whether users have a primary group beside those that list them."""
    return bool(settings.role_base_dn) and settings.role_object_class.lower() == "posixgroup"


class Roles:
    """Finds the roles of users by ``search``, according to ``settings``."""

    def __init__(self, settings: LdapSettings, search: Callable[[Search], Awaitable[Found]]) -> None:
        self._settings = settings
        self._search = search

    async def of(self, user: LdapEntry, username: str, explain: Callable[[str], None]) -> tuple[str, ...]:
        """The roles of a user, sorted. ``explain`` is called with a sentence for each group. Raises `Unavailable`."""
        settings = self._settings
        if not settings.role_base_dn:
            return ()
        groups = await self._groups(tuple(self._memberships(user, username)), explain)
        if settings.nested_groups and (settings.role_filter is not None or not settings.active_directory):
            groups = await self._nested(groups, explain)
        roles: set[str] = set()
        for group in groups.values():
            found = tuple(roles_of(group, settings.role_name_attribute, settings.role_mapping))
            explain(f"group {group.dn}: {', '.join(found) or 'no role'}")
            roles.update(found)
        return tuple(sorted(roles))

    async def _nested(self, groups: dict[str, LdapEntry], explain: Callable[[str], None]) -> dict[str, LdapEntry]:
        """``groups`` and the groups that these are members of, and so on."""
        latest = groups
        for _ in range(MAX_DEPTH):
            names = [group.dn for group in latest.values()]
            latest = {}
            for start in range(0, len(names), AT_ONCE):
                filters = map(self._membership, names[start : start + AT_ONCE])
                latest |= await self._groups(tuple(one for one in filters if one is not None), explain)
            latest = {dn: group for dn, group in latest.items() if dn not in groups}
            if not latest:
                return groups
            groups = groups | latest
            if len(groups) > MAX_GROUPS:
                raise Undecided(f"a user is in more than {MAX_GROUPS} groups")
        raise Undecided(f"groups are nested more than {MAX_DEPTH} deep")

    async def _groups(self, is_member: tuple[Filter, ...], explain: Callable[[str], None]) -> dict[str, LdapEntry]:
        if not is_member:
            return {}
        settings = self._settings
        filter: Filter = is_member[0] if len(is_member) == 1 else Or(is_member)
        if settings.role_filter is None:
            filter = And((Equal("objectClass", settings.role_object_class), filter))
        explain(f"search for groups below {settings.role_base_dn}: {filter}")
        found = await self._search(self._one_search(filter, MAX_GROUPS))
        groups = {folded(entry.dn): entry for entry in found.entries}
        while found.more:
            if found.result.code != SIZE_LIMIT_EXCEEDED or len(groups) >= MAX_GROUPS:
                raise Undecided(f"a user is in more than {MAX_GROUPS} groups")
            found = await self._beyond(filter, groups, explain)
            groups |= {folded(entry.dn): entry for entry in found.entries}
        return groups

    async def _beyond(self, filter: Filter, known: dict[str, LdapEntry], explain: Callable[[str], None]) -> Found:
        """The groups after those ``known``, where the directory ends each search after a number of entries.

        Pages (RFC 2696) do not help: OpenLDAP counts the entries of all pages together. So the known groups are excluded by their
        names. A directory without the attribute entryDN (RFC 5020) would then find no group at all, and is not believed.
        """
        if not known:
            raise Undecided(f"{_LIMITED}, and returned no group")
        names = tuple(Equal("entryDN", entry.dn) for entry in known.values())
        again = await self._search(self._one_search(And((filter, names[0])), 1))
        if [folded(entry.dn) for entry in again.entries] != [next(iter(known))]:
            raise Undecided(f"{_LIMITED}; allow bind_dn more: size.prtotal=unlimited with OpenLDAP")
        explain(f"the directory ends a search at its limit; search for groups besides these {len(known)}")
        found = await self._search(self._one_search(And((filter, Not(Or(names)))), MAX_GROUPS - len(known)))
        if found.more and not found.entries:
            raise Undecided(f"{_LIMITED}, and returned no group")
        return found

    def _one_search(self, filter: Filter, limit: int) -> Search:
        return Search(self._settings.role_base_dn, filter, (self._settings.role_name_attribute,), limit, PAGE)

    def _primary(self, user: LdapEntry) -> Iterable[Filter]:
        """The primary group of a user, which does not name its members: the posixGroup with the user's gidNumber (RFC 2307)."""
        if not wants_primary(self._settings):
            return
        numbers = {data.decode("ascii", "replace") for data in user.values(GID_NUMBER)}
        yield from (Equal(GID_NUMBER, number) for number in sorted(numbers) if _NUMBER.fullmatch(number))

    def _memberships(self, user: LdapEntry, username: str) -> Iterable[Filter]:
        """The filters of which a group of the user matches one."""
        settings = self._settings
        if settings.role_filter is not None:
            found = settings.role_filter.filled({"dn": user.dn, "username": username})
            return () if found is None else (found,)
        member = username if settings.role_member_value is MemberValue.USERNAME else user.dn
        return (self._membership_of(member), *self._primary(user))

    def _membership(self, group: str) -> Filter | None:
        """The filter for the groups that have ``group`` as a member; None if ``role_filter`` does not ask for such."""
        settings = self._settings
        if settings.role_filter is not None:
            return settings.role_filter.filled({"dn": group})
        return self._membership_of(group)

    def _membership_of(self, member: str) -> Filter:
        settings = self._settings
        if settings.active_directory and settings.nested_groups:
            return Matching(settings.role_member_attribute, IN_CHAIN, member)
        return Equal(settings.role_member_attribute, member)


def roles_of(group: LdapEntry, name_attribute: str, mapping: tuple[RoleRule, ...]) -> Iterable[str]:
    """The roles that a group gives: its names, or what ``mapping`` has for them or for its distinguished name."""
    names = []
    for data in group.values(name_attribute):
        try:
            names.append(data.decode("utf-8"))
        except UnicodeDecodeError:
            _log.warn("A group's name is not UTF-8; it gives no role")
    if mapping:
        same = {folded(name) for name in names}
        return [rule.role for rule in mapping if folded(rule.group) in same or same_dn(rule.group, group.dn)]
    for name in names:
        if not name.strip() or unfit_for_name(name):
            _log.warn("A group's name holds control characters; it gives no role")  # attack 15
    return [name for name in names if name.strip() and not unfit_for_name(name)]

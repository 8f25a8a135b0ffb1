"""The roles of a user: the groups of the directory that the user is in, mapped to roles."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from twisted.logger import Logger

from perimeter.auth.kinds.ldap.names import folded, same_dn
from perimeter.auth.kinds.ldap.settings import LdapSettings, MemberValue, RoleRule
from perimeter.auth.kinds.ldap.values import And, Equal, Filter, Found, LdapEntry, Matching, Or, Search
from perimeter.auth.text import unfit_for_name
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
        member = username if settings.role_member_value is MemberValue.USERNAME else user.dn
        groups = await self._groups([member], explain)
        if settings.nested_groups and not settings.active_directory:
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
                latest |= await self._groups(names[start : start + AT_ONCE], explain)
            latest = {dn: group for dn, group in latest.items() if dn not in groups}
            if not latest:
                return groups
            groups = groups | latest
            if len(groups) > MAX_GROUPS:
                raise Undecided(f"a user is in more than {MAX_GROUPS} groups")
        raise Undecided(f"groups are nested more than {MAX_DEPTH} deep")

    async def _groups(self, members: list[str], explain: Callable[[str], None]) -> dict[str, LdapEntry]:
        settings = self._settings
        is_member = tuple(self._membership(member) for member in members)
        filter = And((Equal("objectClass", settings.role_object_class), is_member[0] if len(is_member) == 1 else Or(is_member)))
        explain(f"search for groups below {settings.role_base_dn}: {filter}")
        attributes = (settings.role_name_attribute,)
        found = await self._search(Search(settings.role_base_dn, filter, attributes, MAX_GROUPS, PAGE))
        if found.more:
            raise Undecided(f"a user is in more than {MAX_GROUPS} groups")
        return {folded(entry.dn): entry for entry in found.entries}

    def _membership(self, member: str) -> Filter:
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

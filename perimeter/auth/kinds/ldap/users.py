"""Finds the entries of users: by what they type at a login, and by their names in the directory."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import attrs
from twisted.logger import Logger

from perimeter.auth.kinds.ldap import names
from perimeter.auth.kinds.ldap.attributes import attributes_of
from perimeter.auth.kinds.ldap.names import LoginName
from perimeter.auth.kinds.ldap.roles import GID_NUMBER, wants_primary
from perimeter.auth.kinds.ldap.settings import LdapSettings
from perimeter.auth.kinds.ldap.values import And, Equal, Filter, LdapEntry, Search
from perimeter.auth.text import folded, unfit_for_name
from perimeter.errors import Rejected, Undecided
from perimeter.recent import Recent

if TYPE_CHECKING:
    from perimeter.auth.kinds.ldap.directory import LdapDirectory

_log = Logger()

Explain = Callable[[str], None]

REMEMBERED_NAMES = 10_000
"""Names of users who logged in by another attribute; the least recently used one is dropped first."""


@attrs.frozen
class User:
    """The ``entry`` of a user, which the filter ``wanted`` has found for the name ``login``."""

    entry: LdapEntry
    login: LoginName
    wanted: Filter


class Users:
    """The users of ``directory``; ``source`` names it in messages."""

    def __init__(self, settings: LdapSettings, directory: LdapDirectory, source: str) -> None:
        self._settings = settings
        self._directory = directory
        self._source = source
        #: what may have the name that a user logs in by: if several entries have it, the one with the earliest attribute counts
        self._names: tuple[str, ...] = settings.user_id_attribute
        self._attributes: tuple[str, ...] = settings.user_id_attribute
        if settings.active_directory:
            self._attributes += names.ACCOUNT
            if len(self._names) > 1:
                self._names = (self._names[0], names.PRINCIPAL_NAME, *self._names[1:])
                self._attributes += (names.PRINCIPAL_NAME,)
        if wants_primary(settings):
            self._attributes += (GID_NUMBER,)
        self._attributes = tuple(dict.fromkeys((*self._attributes, *settings.attributes)))
        #: the names of users by the other names that they have logged in by
        self._known_as: Recent[str, str] = Recent(REMEMBERED_NAMES)

    def canonical_name(self, username: str) -> str:
        """The one spelling by which wrong passwords are counted.

        A user who may log in by several attributes is counted by their name from the second try of each (attack 140).
        """
        settings = self._settings
        name = names.canonical(username, settings.domain, settings.netbios_domain)
        return self._known_as.get(name, name)

    def login_name(self, username: str) -> LoginName | None:
        """What ``username`` says at a login; None if it is the name of another domain."""
        settings = self._settings
        return names.login_name(username, settings.domain, settings.netbios_domain, settings.active_directory)

    async def by_login(self, login: LoginName, explain: Explain) -> User | None:
        """The user who logs in by ``login``; None if there is none. Raises `Rejected` if there are several."""
        settings = self._settings
        if settings.user_filter is not None:
            user = await self._one(login, _whole(settings.user_filter.filled({"username": login.plain})), explain)
        else:
            wanted = names.login_filter(login, settings.user_id_attribute, settings.active_directory)
            user = await self._one(login, wanted, explain, len(self._names))
        if user is not None:
            self._remember(user)
        return user

    async def by_name(self, username: str, explain: Explain) -> User | None:
        """The user called ``username`` in the directory. What else ``user_filter`` demands holds here too."""
        return await self._one(LoginName(username, username), self._called(username), explain)

    def _called(self, username: str) -> Filter:
        template, name = self._settings.user_filter, Equal(self._settings.name_attribute, username)
        return name if template is None else _whole(template.filled({}, {"username": name}))

    async def _one(self, login: LoginName, wanted: Filter, explain: Explain, most: int = 1) -> User | None:
        """The one user that ``wanted`` finds; of up to ``most`` the one to whom the name belongs."""
        settings = self._settings
        filter = wanted
        if settings.user_filter is None:
            kind: tuple[Filter, ...] = (Equal("objectClass", settings.user_object_class),)
            if settings.active_directory:
                kind += (Equal("objectCategory", "person"),)  # the class user includes computers
            filter = And((*kind, wanted))
        explain(f"search for the user below {settings.user_base_dn}: {filter}")
        found = await self._directory.search(Search(settings.user_base_dn, filter, self._attributes, most))
        if not found.entries:
            explain("no such user")
            return None
        entry: LdapEntry | None = found.entries[0]
        if len(found.entries) > 1:
            entry = names.preferred(found.entries, self._names, login.spellings) if most > 1 else None
        if found.more or entry is None:
            _log.warn("{source}: more than one entry has the name of a user; the login is refused", source=self._source)
            raise Rejected("more than one entry has this name")
        if not entry.dn:
            raise Undecided("the directory returned an entry without a name")
        return User(entry, login, wanted)

    def _remember(self, user: User) -> None:
        settings = self._settings
        typed = names.canonical(user.login.plain, settings.domain, settings.netbios_domain)
        with suppress(UnicodeDecodeError):  # the login will be refused for it
            name = folded(names.own_name(user.entry, settings.name_attribute))
            if name and name != typed:
                self._known_as.keep(typed, name)
            else:
                self._known_as.pop(typed, None)

    async def name_of(self, user: User, explain: Explain) -> str:
        """The user's name as the directory spells it, one for each entry: JOHN and john are the same principal (attack 30).

        It must find the same entry, or two people would share it (attack 141).
        """
        attribute = self._settings.name_attribute
        try:
            name = names.own_name(user.entry, attribute)
        except UnicodeDecodeError:
            raise Rejected(f"{attribute} is not UTF-8") from None
        if not name:
            raise Undecided(f"the directory lets the gateway search by {attribute} and not read it")
        if self._settings.user_filter is not None or folded(name) != folded(user.login.plain):
            again = user if self._called(name) == user.wanted else await self.by_name(name, explain)
            if again is None or again.entry.dn != user.entry.dn:
                raise Rejected(f"the {attribute} of this entry is another one's too")
        if unfit_for_name(name) or not name.strip():
            raise Rejected(f"{attribute} holds control characters")  # attack 15
        return name

    def attributes_of(self, user: User) -> dict[str, str]:
        """What rules and services may know of the user."""
        return attributes_of(user.entry, self._settings.attributes, self._source)


def _whole(filter: Filter | None) -> Filter:
    assert filter is not None, "{username} is in each alternative of a user_filter"
    return filter

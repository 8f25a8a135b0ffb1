"""``[augmenter NAME]`` with ``type = ldap``: roles from the groups that a directory says a user is in, and attributes.

The user's entry names its groups (``memberOf``). Without a filter, the ``cn`` of each group is a role. With ``filter``, only
groups whose distinguished name contains that fragment count. With ``filters``, the role is the path from a matching fragment
down to the group: ``ou=TeamA`` makes ``/TeamA/Admin`` of ``cn=Admin,ou=TeamA,dc=example``. Names are compared part by part and
never as text: a group's name cannot imitate a fragment (attack 15), and a user's name never becomes a part of a filter (attack
31).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.plugin import IPlugin
from zope.interface import implementer

from perimeter.auth.augment.added import added
from perimeter.auth.chain.flights import Flights
from perimeter.auth.kinds.ldap.attributes import USER_ATTRIBUTES, attributes_of
from perimeter.auth.kinds.ldap.names import checked, components
from perimeter.auth.kinds.ldap.values import And, Equal, Search
from perimeter.auth.text import unfit_for_name
from perimeter.config.language.datatypes import SECRET, TEXT, duration, file_path, list_of, optional
from perimeter.config.language.option import option, options_of
from perimeter.config.language.section import Section
from perimeter.config.language.settings import Settings, read
from perimeter.config.site.server import LDAP_URI, ServerScheme, ServerSettings
from perimeter.connection_faults import Options
from perimeter.errors import Rejected, Undecided
from perimeter.fair_queue import timed_out
from perimeter.model import AuthenticationRequest, Principal
from perimeter.net.contexts import ClientTLS
from perimeter.plugin.augmenter import IAugmenter, IAugmenterFactory
from perimeter.plugin.authenticator import IDirectoryRoles
from perimeter.plugin.services import AuthServices, IBuildsInThread
from perimeter.recent import Expiring

if TYPE_CHECKING:
    from perimeter.auth.kinds.ldap.directory import LdapDirectory

_log = Logger()

CAPACITY = 10_000
"""Users whose roles are remembered; the least recently used one is dropped first."""

CONNECTIONS = 4
"""Connections to the directory, shared by all searches."""

Parts = tuple[tuple[str, str], ...]
"""A distinguished name, or a part of one: attribute types in lower case and values."""

_FRAGMENT = re.compile(r"\s*[A-Za-z][A-Za-z0-9.-]*\s*=[^=]+(,\s*[A-Za-z][A-Za-z0-9.-]*\s*=[^=]+)*")


@attrs.frozen(kw_only=True)
class LdapAugmenterSettings(Settings):
    """``type = ldap``. The scheme of ``server`` is ldap or ldaps; times are seconds."""

    server: ServerSettings | None = option(
        LDAP_URI, "`ldap://host:port` or `ldaps://host:port` (certificate verified)", name="uri"
    )
    ca_certificate: Path | None = option(
        optional(file_path("file")),
        "with `ldaps://`: PEM file of trusted CAs; not set: the CAs of the system",
        default="",
        renewed=True,
    )
    bind_dn: str = option(TEXT, "the gateway's own account; not set: anonymous", default="")
    ldap_password: str = option(SECRET, "password of `bind_dn`", default="")
    search_base: str = option(TEXT, "where the users are, at any depth")
    user_object_class: str = option(TEXT, "object class of users", default="person")
    user_id_attribute: str = option(TEXT, "attribute with the name of a user", default="cn")
    member_of: str = option(TEXT, "attribute with the distinguished names of a user's groups", default="memberOf")
    filter: str = option(
        TEXT, "a part of a distinguished name; only groups with it count, and their `cn` is the role", default=""
    )
    filters: tuple[str, ...] = option(
        list_of(TEXT, "\n"),
        "several such parts, one per line; the role is the path from there (`/TeamA/Admin` for `ou=TeamA`)",
        default="",
    )
    attributes: tuple[str, ...] = option(
        USER_ATTRIBUTES,
        "attributes of a user's entry for rules, services, tokens and `/whoami`, such as `mail, displayName`",
        default="",
    )
    cache: float = option(duration(zero=True), "how long the roles of a user are remembered", default="2m")
    timeout: float = option(duration(), "longest time for the directory's answer", default="5s")

    def check(self, section: Section) -> None:
        """See `Settings.check`."""
        if self.filter and self.filters:
            section.problem("filters", "replaces filter; both are given")
        if self.bind_dn and not self.ldap_password:
            section.problem(
                "ldap_password", "is required with bind_dn: a directory takes a name without a password for an anonymous bind"
            )
        section.needs("ldap_password", "bind_dn")
        if self.server is not None and self.server.scheme is not ServerScheme.LDAPS:
            section.refuse(["ca_certificate"], "is only allowed with ldaps://")
        for name, listed in (("filter", [self.filter]), ("filters", self.filters), ("search_base", [self.search_base])):
            for fragment in listed:
                if fragment and not _FRAGMENT.fullmatch(fragment):
                    section.problem(name, "expected a part of a distinguished name, such as ou=TeamA,ou=Groups")


def _found_at(group: Parts, fragment: Parts) -> int:
    """The position in ``group`` where ``fragment`` ends, -1 if it is not part of it; ``fragment`` may be in either order."""
    folded = [(name, value.casefold()) for name, value in group]
    for wanted in (fragment, fragment[::-1]):
        sought = [(name, value.casefold()) for name, value in wanted]
        for start in range(len(folded) - len(sought) + 1):
            if folded[start : start + len(sought)] == sought:
                return start + len(sought) - 1
    return -1


def roles_of_group(dn: str, one: Parts, several: Sequence[Parts]) -> list[str]:
    """The roles that membership in the group ``dn`` gives."""
    try:
        group = components(dn)
    except ValueError:
        return []
    name = next((value for kind, value in group if kind == "cn"), "")
    if not name or any(not value.strip() or unfit_for_name(value) for _, value in group):
        return []
    if several:
        # A slash in a name could make the path of another group.
        ends = [_found_at(group, fragment) for fragment in several]
        paths = [[value for _, value in group[end::-1]] for end in ends if end >= 0]
        return ["/" + "/".join(path) for path in paths if not any("/" in value for value in path)]
    return [name] if not one or _found_at(group, one) >= 0 else []


@attrs.frozen
class Known:
    """What the directory knows about a user; nothing if it does not have the user."""

    roles: tuple[str, ...] = ()
    attributes: Mapping[str, str] = attrs.field(factory=dict)


@implementer(IAugmenter)
class LdapAugmenter:
    """Searches ``directory`` for the groups and attributes of users, at most once in ``settings.cache`` seconds for each user."""

    def __init__(
        self, name: str, realm: str, settings: LdapAugmenterSettings, directory: LdapDirectory, reactor: IReactorTime
    ) -> None:
        self.name = name
        self.realm = realm
        self._settings = settings
        self._directory = directory
        self._reactor = reactor
        self._one: Parts = components(settings.filter) if settings.filter else ()
        self._several = tuple(components(fragment) for fragment in settings.filters)
        self._known: Expiring[str, Known] = Expiring(CAPACITY, settings.cache, reactor.seconds)
        self._flights = Flights()

    def stop(self) -> None:
        """Keep no connections."""
        self._directory.close()

    async def augment(self, principal: Principal, request: AuthenticationRequest) -> Principal:
        """See `IAugmenter`."""
        name = principal.username
        known = self._known.get(name)
        if known is None:
            known = await self._flights.join(name.encode("utf-8"), lambda: self._look(name))
        request.explain(f"augmenter {self.name} finds the roles {', '.join(known.roles) or 'none'}")
        return added(principal, known.roles, known.attributes.items())

    async def _look(self, username: str) -> Known:
        began = self._reactor.seconds()
        search = Deferred.fromCoroutine(self._search(username))
        search.addTimeout(self._settings.timeout, self._reactor, timed_out(f"the directory of augmenter {self.name}"))
        known = await search
        self._known.keep(username, known, since=began)
        return known

    async def _search(self, username: str) -> Known:
        settings = self._settings
        try:
            name = Equal(settings.user_id_attribute, checked(username))
        except Rejected:
            return Known()  # no directory has an entry of such a name
        kind = Equal("objectClass", settings.user_object_class)
        wanted = tuple(dict.fromkeys((settings.member_of, *settings.attributes)))
        found = await self._directory.search(Search(settings.search_base, And((kind, name)), wanted, 1))
        if found.more or len(found.entries) > 1:
            raise Undecided(f"augmenter {self.name}: more than one entry has the name of a user")
        if not found.entries:
            return Known()
        (entry,) = found.entries
        attributes = attributes_of(entry, settings.attributes, f"Augmenter {self.name}")
        return Known(tuple(dict.fromkeys(self._roles_of(entry.values(settings.member_of)))), attributes)

    def _roles_of(self, groups: Iterable[bytes]) -> Iterable[str]:
        for data in groups:
            yield from roles_of_group(data.decode("utf-8", "replace"), self._one, self._several)


@implementer(IPlugin, IAugmenterFactory, IBuildsInThread, IDirectoryRoles)
class LdapAugmenterFactory:
    """``type = ldap``."""

    kind = "ldap"
    options = options_of(LdapAugmenterSettings)
    by_roles = False

    def any_case(self, settings: Any) -> bool:
        """See `IDirectoryRoles`."""
        return True

    def parse(self, section: Section) -> LdapAugmenterSettings:
        """See `IAugmenterFactory`."""
        return read(section, LdapAugmenterSettings)

    def build(self, name: str, realm: str, settings: LdapAugmenterSettings, services: AuthServices) -> LdapAugmenter:
        """Asks no server yet. Raises `StartupError` if the CA certificates cannot be used."""
        # Every `twistd` imports all plug-ins; ldaptor's messages are imported only by a site that uses them.
        from perimeter.auth.kinds.ldap.directory import LdapDirectory
        from perimeter.auth.kinds.ldap.opening import Address

        server = settings.server
        assert server is not None
        tls = ClientTLS(server.host, settings.ca_certificate, alpn=()) if server.scheme is ServerScheme.LDAPS else None
        reactor: Any = services.reactor
        if tls is None and server.host not in ("localhost", "127.0.0.1", "::1"):
            _log.warn(
                "Augmenter {name}: its password crosses the network to {host} in plain text; use an ldaps:// URL",
                name=name,
                host=server.host,
                counted=True,
            )
        directory = LdapDirectory(
            name,
            [Address(server.host, server.port, tls, False, Options("use an ldap:// URL", timeout="timeout"))],
            settings.bind_dn,
            settings.ldap_password,
            reactor,
            timeout=settings.timeout,
            rest=settings.timeout,
            search_connections=CONNECTIONS,
            bind_connections=1,
        )
        return LdapAugmenter(name, realm, settings, directory, reactor)

"""The options of ``type = ldap``.

Options that Reactor has (``security.authentication.handler.*``) have its names and its defaults; Active Directory has defaults of
its own.
"""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path

import attrs

from perimeter.auth.kinds.ldap.attributes import ATTRIBUTE_NAME, USER_ATTRIBUTES
from perimeter.auth.kinds.ldap.filters import FilterError, FilterTemplate, parse_filter
from perimeter.auth.kinds.ldap.names import parse_dn
from perimeter.config.language.datatypes import (
    BOOLEAN,
    SECRET,
    TEXT,
    BadValue,
    Datatype,
    closest,
    duration,
    file_path,
    integer,
    list_of,
    one_of,
    optional,
)
from perimeter.config.language.net_types import SERVER_NAME, checked_host
from perimeter.config.language.option import option
from perimeter.config.language.section import Section
from perimeter.config.language.settings import Settings


class Flavour(StrEnum):
    """The kinds of directory."""

    GENERIC = "generic"
    ACTIVE_DIRECTORY = "active-directory"


class Tls(StrEnum):
    """How connections to a directory are secured."""

    NONE = "none"
    STARTTLS = "starttls"
    LDAPS = "ldaps"


class MemberValue(StrEnum):
    """The form in which a group lists its members."""

    DN = "dn"
    USERNAME = "username"


_HOST = re.compile(r"(?P<host>\[[^\]]*\]|[^:\[\]]*)(?::(?P<port>[0-9]{1,5}))?")
_ARROW = re.compile(r"(.+?)\s*->\s*(\S.*)", re.DOTALL)


@attrs.frozen
class RoleRule:
    """A line of ``role_mapping``: members of ``group`` (a distinguished name, or a value of role_name_attribute) get ``role``."""

    group: str
    role: str


def _host(text: str, base: Path) -> tuple[str, int]:
    if "://" in text:
        raise BadValue(
            "expected a host name or address, and tls = ldaps instead of ldaps://", text.partition("://")[2].strip("/")
        )
    match = _HOST.fullmatch(text)
    if match is None or not match["host"]:
        raise BadValue("expected host or host:port (IPv6 in brackets)")
    port = int(match["port"] or 0)
    if match["port"] and not 1 <= port <= 65535:
        raise BadValue("expected a port from 1 to 65535")
    return checked_host(match["host"]).strip("[]"), port


def _dn(text: str, base: Path) -> str:
    try:
        parse_dn(text)
    except ValueError:
        raise BadValue("expected a distinguished name such as ou=people,dc=example,dc=com") from None
    return text


def _role_rule(text: str, base: Path) -> RoleRule:
    match = _ARROW.fullmatch(text)
    if match is None:
        raise BadValue("expected GROUP -> ROLE")
    return RoleRule(match[1], match[2])


def filter_with(*places: str) -> Datatype[FilterTemplate | None]:
    """The type of a filter with these places, of which one must be in each alternative: otherwise every name finds an entry."""
    shown = " or ".join(f"{{{place}}}" for place in places)

    def convert(text: str, base: Path) -> FilterTemplate:
        try:
            found = parse_filter(text, places)
        except FilterError as error:
            raise BadValue(f"column {error.column}: {error.message}", complete=True) from None
        if found.negates():
            raise BadValue(f"{shown} below a ! would exclude entries instead of finding them", complete=True)
        if not found.needs(places):
            raise BadValue(f"{shown} must be in each alternative: otherwise every name finds an entry", complete=True)
        return found

    return Datatype("filter", convert, None)


_DN: Datatype[str] = Datatype("distinguished name", _dn, "")
_HOST_AND_PORT: Datatype[tuple[str, int]] = Datatype("host", _host, ("", 0))
_ROLE_RULE: Datatype[RoleRule] = Datatype("mapping", _role_rule, RoleRule("", ""))

_BY_FLAVOUR: dict[str, tuple[object, object]] = {
    "user_object_class": ("inetOrgPerson", "user"),
    "user_id_attribute": (("cn",), ("sAMAccountName",)),
    "role_object_class": ("groupOfUniqueNames", "group"),
    "role_member_attribute": ("uniqueMember", "member"),
}
"""The defaults of options that depend on the flavour: generic, Active Directory."""


@attrs.frozen
class LdapSettings(Settings):
    """``type = ldap``. Times are in seconds. Options with a default by flavour hold that default if not set."""

    hostname: tuple[tuple[str, int], ...] = option(
        list_of(_HOST_AND_PORT), "LDAP servers, `host` or `host:port`, in the order of preference"
    )
    user_base_dn: str = option(_DN, "where the users are, at any depth")
    port: int | None = option(
        optional(integer(1, 65535, "port")), "port of servers without one; not set: 389, or 636 with `tls = ldaps`", default=""
    )
    flavour: Flavour = option(one_of(Flavour), "the kind of directory; decides the defaults below", default="generic")
    tls: Tls = option(one_of(Tls), "how connections are secured; the certificate is always verified", default="none")
    ca_certificate: Path | None = option(
        optional(file_path("file")), "PEM file of trusted CAs; not set: the CAs of the system", default="", renewed=True
    )
    server_name: str | None = option(
        optional(SERVER_NAME), "name in the certificates of the servers; not set: the host", default=""
    )
    bind_dn: str = option(TEXT, "the gateway's own account, for searches; not set: anonymous", default="")
    bind_password: str = option(SECRET, "password of `bind_dn`", default="")
    user_object_class: str = option(
        ATTRIBUTE_NAME, "object class of users; not set: `inetOrgPerson`, in Active Directory `user`", default=""
    )
    user_id_attribute: tuple[str, ...] = option(
        list_of(ATTRIBUTE_NAME),
        "attributes by which users log in, such as `uid, mail`; the first has the user's name; not set: `cn`, in Active "
        "Directory `sAMAccountName`",
        default="",
    )
    user_filter: FilterTemplate | None = option(
        filter_with("username"),
        "finds the user instead of `user_object_class` and `user_id_attribute`: a filter with `{username}`, such as "
        "`(&(objectClass=person)(|(uid={username})(mail={username}))(accountStatus=active))`",
        default="",
    )
    attributes: tuple[str, ...] = option(
        USER_ATTRIBUTES,
        "attributes of a user's entry for rules, services, tokens and `/whoami`, such as `mail, displayName`",
        default="",
    )
    user_rdn_attribute: str = option(ATTRIBUTE_NAME, "first attribute in the distinguished names of users", default="cn")
    user_password_attribute: str = option(
        ATTRIBUTE_NAME, "accepted because Reactor has it; passwords are tried, never read", default="userPassword"
    )
    role_base_dn: str = option(_DN, "where the groups are; not set: no roles", default="")
    role_object_class: str = option(
        ATTRIBUTE_NAME, "object class of groups; not set: `groupOfUniqueNames`, in Active Directory `group`", default=""
    )
    role_member_attribute: str = option(
        ATTRIBUTE_NAME,
        "attribute with the members of groups; not set: `uniqueMember`, in Active Directory `member`",
        default="",
    )
    role_member_value: MemberValue = option(
        one_of(MemberValue), "what that attribute holds; `username` for the memberUid of posixGroup", default="dn"
    )
    role_filter: FilterTemplate | None = option(
        filter_with("dn", "username"),
        "finds a user's groups instead of `role_object_class` and `role_member_attribute`: a filter with `{dn}` (of the user's "
        "entry) or `{username}`",
        default="",
    )
    role_name_attribute: str = option(ATTRIBUTE_NAME, "attribute of a group that gives the role", default="cn")
    role_mapping: tuple[RoleRule, ...] = option(
        list_of(_ROLE_RULE, "\n"),
        "`GROUP -> role`, one per line; the group by its DN or its `role_name_attribute`; other groups then give no role",
        default="",
    )
    nested_groups: bool | None = option(
        optional(BOOLEAN), "whether members of member groups count; not set: `no`, in Active Directory `yes`", default=""
    )
    domain: str = option(TEXT, "DNS domain of the users: `user@domain` is `user`", default="")
    netbios_domain: str = option(TEXT, "short name of the domain: `DOMAIN\\user` is `user`", default="")
    timeout: float = option(duration(), "longest time for one login, with all its questions to the directory", default="5s")
    server_timeout: float = option(
        duration(), "longest time for a server to accept a connection or to answer, before the next one is asked", default="2s"
    )
    rest: float = option(duration(), "how long a server that failed is moved to the end of the order", default="30s")
    search_connections: int = option(
        integer(1, 100),
        "connections to each server, shared by all searches; several workers divide them, and each has at least one",
        default="4",
    )
    bind_connections: int = option(
        integer(1, 1000),
        "connections that try passwords at the same time; several workers divide them, and each has at least one",
        default="32",
    )
    debug: bool = option(BOOLEAN, "log each step of each login (never the password)", default="no")

    def __attrs_post_init__(self) -> None:
        for name, (generic, active) in _BY_FLAVOUR.items():
            if not getattr(self, name):
                object.__setattr__(self, name, active if self.active_directory else generic)
        if self.nested_groups is None:
            object.__setattr__(self, "nested_groups", self.active_directory)

    @property
    def active_directory(self) -> bool:
        """Whether the directory is Active Directory."""
        return self.flavour is Flavour.ACTIVE_DIRECTORY

    @property
    def name_attribute(self) -> str:
        """The attribute with a user's name."""
        return self.user_id_attribute[0]

    @property
    def servers(self) -> tuple[tuple[str, int], ...]:
        """Host and port of each server, in the order of preference."""
        port = self.port or (636 if self.tls is Tls.LDAPS else 389)
        return tuple((host, own or port) for host, own in self.hostname)

    def check(self, section: Section) -> None:
        """See `Settings.check`."""
        if self.tls is Tls.NONE:
            section.refuse(("ca_certificate", "server_name"), "has no effect with tls = none")
        if self.bind_dn and not self.bind_password and not section.faulty("bind_password"):
            section.problem("bind_dn", "needs bind_password: a directory takes a name without a password for an anonymous bind")
        if self.bind_password and not self.bind_dn:
            section.problem("bind_password", "needs bind_dn")
        if self.active_directory and not self.bind_dn:
            section.problem("", "Active Directory answers no anonymous search: bind_dn and bind_password are required")
        if self.user_filter is not None:
            section.refuse(("user_object_class",), "has no effect with user_filter")
        self._check_roles(section)
        for name, value in (("domain", self.domain), ("netbios_domain", self.netbios_domain)):
            if "@" in value or "\\" in value:
                section.problem(name, "expected a domain", closest(value.strip("@\\"), (value.strip("@\\"),)))

    def _check_roles(self, section: Section) -> None:
        if not self.role_base_dn and not section.faulty("role_base_dn"):
            section.refuse(_NEED_ROLE_BASE, "has no effect without role_base_dn")
        if self.nested_groups and self.role_member_value is MemberValue.USERNAME:
            section.problem("nested_groups", "needs role_member_value = dn: a group that is a member has no user name")
        if self.role_filter is not None:
            section.refuse(_REPLACED_BY_ROLE_FILTER, "has no effect with role_filter")
            if section.given("nested_groups") and self.nested_groups and not self.role_filter.has("dn"):
                section.problem("nested_groups", "needs {dn} in role_filter: a group that is a member has no user name")


_REPLACED_BY_ROLE_FILTER = ("role_object_class", "role_member_attribute", "role_member_value")

_NEED_ROLE_BASE = (*("role_mapping", "nested_groups", "role_name_attribute", "role_filter"), *_REPLACED_BY_ROLE_FILTER)

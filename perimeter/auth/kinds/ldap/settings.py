"""The options of ``type = ldap``, and what follows from them.

The names are Reactor's where it has the option (``security.authentication.handler.*``), and so are the defaults, but for
Active Directory, which has defaults of its own.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from perimeter.auth.kinds.ldap.names import parse_dn
from perimeter.config.language.datatypes import (
    BOOLEAN,
    SECRET,
    TEXT,
    BadValue,
    Datatype,
    choice,
    closest,
    duration,
    file_path,
    integer,
    list_of,
    optional,
)
from perimeter.config.language.net_types import SERVER_NAME, checked_host
from perimeter.config.language.option import Option

if TYPE_CHECKING:
    from perimeter.config.language.section import Section

ACTIVE_DIRECTORY = "active-directory"

_PORTS = {"none": 389, "starttls": 389, "ldaps": 636}
_ATTRIBUTE = re.compile(r"[A-Za-z][A-Za-z0-9-]*|[0-9]+(?:\.[0-9]+)+")
_HOST = re.compile(r"(?P<host>\[[^\]]*\]|[^:\[\]]*)(?::(?P<port>[0-9]{1,5}))?")
_ARROW = re.compile(r"(.+?)\s*->\s*(\S.*)", re.DOTALL)


@attrs.frozen
class RoleRule:
    """A line of ``role_mapping``: members of ``group`` (a distinguished name or a value of role_name_attribute) get ``role``."""

    group: str
    role: str


def _host(text: str, base: Path) -> tuple[str, int]:
    if "://" in text:
        raise BadValue(
            "expected a host name or address, with tls = ldaps in place of ldaps://", text.partition("://")[2].strip("/")
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


def _attribute(text: str, base: Path) -> str:
    if not _ATTRIBUTE.fullmatch(text):
        raise BadValue("expected the name of an attribute or object class, such as uid")
    return text


def _role_rule(text: str, base: Path) -> RoleRule:
    match = _ARROW.fullmatch(text)
    if match is None:
        raise BadValue("expected GROUP -> ROLE")
    return RoleRule(match[1], match[2])


_DN: Datatype[str] = Datatype("distinguished name", _dn, "")
_ATTRIBUTE_NAME: Datatype[str] = Datatype("attribute", _attribute, "")

HOSTNAME = Option(
    "hostname",
    list_of(Datatype("host", _host, ("", 0))),
    "the servers, `host` or `host:port`, in the order of asking",
    required=True,
)
PORT = Option("port", optional(integer(1, 65535, "port")), "of servers that name none; not set: 389, or 636 with `tls = ldaps`")
FLAVOUR = Option(
    "flavour", choice("generic", ACTIVE_DIRECTORY), "what kind of directory it is: decides the defaults below", "generic"
)
TLS = Option(
    "tls", choice("none", "starttls", "ldaps"), "how connections are secured; the certificate is always verified", "none"
)
CA = Option("ca_certificate", optional(file_path("file")), "PEM CAs of the servers; not set: those of the system")
SERVER_NAME_ = Option("server_name", optional(SERVER_NAME), "the name in the certificates, where it is not the host")
BIND_DN = Option("bind_dn", TEXT, "the gateway's own account, for searches; not set: anonymous")
BIND_PASSWORD = Option("bind_password", SECRET, "its password")
USER_BASE = Option("user_base_dn", _DN, "where the users are, at any depth", required=True)
USER_CLASS = Option(
    "user_object_class", optional(_ATTRIBUTE_NAME), "of users; not set: `inetOrgPerson`, in Active Directory `user`"
)
USER_ID = Option(
    "user_id_attribute",
    optional(_ATTRIBUTE_NAME),
    "holds the name that users log in with; not set: `cn`, in Active Directory `sAMAccountName`",
)
USER_RDN = Option("user_rdn_attribute", _ATTRIBUTE_NAME, "the first attribute of users' distinguished names", "cn")
USER_PASSWORD = Option(
    "user_password_attribute",
    _ATTRIBUTE_NAME,
    "accepted because Reactor has it; passwords are never read, only tried",
    "userPassword",
)
ROLE_BASE = Option("role_base_dn", _DN, "where the groups are; not set: no roles")
ROLE_CLASS = Option(
    "role_object_class", optional(_ATTRIBUTE_NAME), "of groups; not set: `groupOfUniqueNames`, in Active Directory `group`"
)
ROLE_MEMBER = Option(
    "role_member_attribute", optional(_ATTRIBUTE_NAME), "holds the members; not set: `uniqueMember`, in Active Directory `member`"
)
ROLE_MEMBER_VALUE = Option(
    "role_member_value", choice("dn", "username"), "what it holds of a member; `username` for posixGroup's memberUid", "dn"
)
ROLE_NAME = Option("role_name_attribute", _ATTRIBUTE_NAME, "of a group gives the role", "cn")
ROLE_MAPPING = Option(
    "role_mapping",
    list_of(Datatype("mapping", _role_rule, RoleRule("", "")), "\n"),
    "`GROUP -> role`, one a line: a group by its distinguished name or by role_name_attribute; other groups then give no role",
)
NESTED = Option(
    "nested_groups", optional(BOOLEAN), "members of a group's member groups count; not set: `no`, in Active Directory `yes`"
)
DOMAIN = Option("domain", TEXT, "the DNS domain of the users: `user@domain` is `user`")
NETBIOS = Option("netbios_domain", TEXT, "the domain's short name: `DOMAIN\\user` is `user`")
TIMEOUT = Option("timeout", duration(), "for a login, all that is asked for it together", "5s")
SERVER_TIMEOUT = Option(
    "server_timeout", duration(), "for one server to be connected to or to answer, before the next one is asked", "2s"
)
REST = Option("rest", duration(), "how long a server that failed is asked after the others only", "30s")
SEARCH_CONNECTIONS = Option("search_connections", integer(1, 100), "connections to each server that searches share", "4")
BIND_CONNECTIONS = Option("bind_connections", integer(1, 1000), "passwords that are tried at the same time", "32")
DEBUG = Option("debug", BOOLEAN, "log each step of each login (no password)", "no")

OPTIONS = (
    *(HOSTNAME, PORT, FLAVOUR, TLS, CA, SERVER_NAME_, BIND_DN, BIND_PASSWORD),
    *(USER_BASE, USER_CLASS, USER_ID, USER_RDN, USER_PASSWORD),
    *(ROLE_BASE, ROLE_CLASS, ROLE_MEMBER, ROLE_MEMBER_VALUE, ROLE_NAME, ROLE_MAPPING, NESTED, DOMAIN, NETBIOS),
    *(TIMEOUT, SERVER_TIMEOUT, REST, SEARCH_CONNECTIONS, BIND_CONNECTIONS, DEBUG),
)


@attrs.frozen
class LdapSettings:
    """``[authenticator …]`` with ``type = ldap``; see the options of the same names. Times are in seconds."""

    servers: tuple[tuple[str, int], ...]
    user_base_dn: str
    active_directory: bool = False
    tls: str = "none"
    ca_certificate: Path | None = None
    server_name: str | None = None
    bind_dn: str = ""
    bind_password: str = attrs.field(default="", repr=False)
    user_object_class: str = "inetOrgPerson"
    user_id_attribute: str = "cn"
    user_rdn_attribute: str = "cn"
    role_base_dn: str = ""
    role_object_class: str = "groupOfUniqueNames"
    role_member_attribute: str = "uniqueMember"
    role_member_value: str = "dn"
    role_name_attribute: str = "cn"
    role_mapping: tuple[RoleRule, ...] = ()
    nested_groups: bool = False
    domain: str = ""
    netbios_domain: str = ""
    timeout: float = 5.0
    server_timeout: float = 2.0
    rest: float = 30.0
    search_connections: int = 4
    bind_connections: int = 32
    debug: bool = False


def parse(section: Section) -> LdapSettings:
    """Settings from a section; faults are reported on it."""
    read = section.value
    active = read(FLAVOUR) == ACTIVE_DIRECTORY
    tls = read(TLS)
    port = read(PORT) or _PORTS.get(tls, 389)
    nested = read(NESTED)
    read(USER_PASSWORD)
    if tls == "none":
        section.refuse(("ca_certificate", "server_name"), "has no meaning with tls = none")
    settings = LdapSettings(
        servers=tuple((host, own or port) for host, own in read(HOSTNAME)),
        user_base_dn=read(USER_BASE),
        active_directory=active,
        tls=tls,
        ca_certificate=read(CA),
        server_name=read(SERVER_NAME_),
        bind_dn=read(BIND_DN),
        bind_password=read(BIND_PASSWORD),
        user_object_class=read(USER_CLASS) or ("user" if active else "inetOrgPerson"),
        user_id_attribute=read(USER_ID) or ("sAMAccountName" if active else "cn"),
        user_rdn_attribute=read(USER_RDN),
        role_base_dn=read(ROLE_BASE),
        role_object_class=read(ROLE_CLASS) or ("group" if active else "groupOfUniqueNames"),
        role_member_attribute=read(ROLE_MEMBER) or ("member" if active else "uniqueMember"),
        role_member_value=read(ROLE_MEMBER_VALUE),
        role_name_attribute=read(ROLE_NAME),
        role_mapping=read(ROLE_MAPPING),
        nested_groups=active if nested is None else nested,
        domain=read(DOMAIN),
        netbios_domain=read(NETBIOS),
        timeout=read(TIMEOUT),
        server_timeout=read(SERVER_TIMEOUT),
        rest=read(REST),
        search_connections=read(SEARCH_CONNECTIONS),
        bind_connections=read(BIND_CONNECTIONS),
        debug=read(DEBUG),
    )
    _check(section, settings)
    return settings


def _check(section: Section, settings: LdapSettings) -> None:
    """What no single option can tell."""
    if settings.bind_dn and not settings.bind_password and not section.faulty("bind_password"):
        section.problem("bind_dn", "needs bind_password: a directory takes a name without a password for an anonymous bind")
    if settings.bind_password and not settings.bind_dn:
        section.problem("bind_password", "needs bind_dn")
    if settings.active_directory and not settings.bind_dn:
        section.problem("", "Active Directory answers no anonymous search: bind_dn and bind_password are needed")
    if not settings.role_base_dn and not section.faulty("role_base_dn"):
        roles = (
            "role_mapping",
            "nested_groups",
            "role_object_class",
            "role_member_attribute",
            "role_member_value",
            "role_name_attribute",
        )
        section.refuse(roles, "has no meaning without role_base_dn")
    if settings.nested_groups and settings.role_member_value == "username":
        section.problem("nested_groups", "needs role_member_value = dn: a group that is a member has no user name")
    for option in ("domain", "netbios_domain"):
        value = getattr(settings, option)
        if "@" in value or "\\" in value:
            section.problem(option, "expected a domain", closest(value.strip("@\\"), (value.strip("@\\"),)))

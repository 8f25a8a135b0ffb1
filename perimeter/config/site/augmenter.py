"""``[augmenter NAME]``: adds roles and attributes to users after authentication."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path

import attrs

from perimeter.config.language.datatypes import (
    PAIR,
    SECRET,
    TEXT,
    BadValue,
    Datatype,
    duration,
    file_path,
    list_of,
    one_of,
    optional,
)
from perimeter.config.language.option import SectionKind, option
from perimeter.config.language.section import Section
from perimeter.config.language.settings import Settings
from perimeter.config.site.server import LDAP_URI, Scheme, ServerSettings


class AugmenterKind(StrEnum):
    """How an augmenter finds what it adds."""

    MATCH = "match"
    PLAIN = "plain"
    LDAP = "ldap"


_FRAGMENT = re.compile(r"\s*[A-Za-z][A-Za-z0-9.-]*\s*=[^=]+(,\s*[A-Za-z][A-Za-z0-9.-]*\s*=[^=]+)*")


def _fragment(text: str, base: Path) -> str:
    if not _FRAGMENT.fullmatch(text):
        raise BadValue("expected a part of a distinguished name, such as ou=TeamA,ou=Groups")
    return text


def _role_and_users(text: str, base: Path) -> tuple[str, tuple[str, ...]]:
    role, colon, rest = (part.strip() for part in text.partition(":"))
    users = tuple(user.strip() for user in rest.split(",") if user.strip())
    if not colon or not role or not users:
        raise BadValue("expected a role, a colon, and user names")
    return role, users


FRAGMENT: Datatype[str] = Datatype("part of a distinguished name", _fragment, "")
ROLE_AND_USERS: Datatype[tuple[str, tuple[str, ...]]] = Datatype("role: user, user", _role_and_users, ("", ()))


@attrs.frozen
class AugmenterSettings(Settings):
    """``[augmenter NAME]``. ``roles`` are pairs of a role and its users. Times are seconds.

    The options from ``username`` on belong to one kind each, which their texts name.
    """

    name: str
    kind: AugmenterKind = option(
        one_of(AugmenterKind),
        "`match`: adds to users with one of the names in `username` or one of the roles in `role` (these augmenters run "
        "last, and see what the others added); `plain`: adds the roles that `roles` lists; `ldap`: adds a role for each group of "
        "the user in a directory",
        name="type",
    )
    realm: str = option(TEXT, "realm of the users that it adds to")
    username: tuple[str, ...] = option(list_of(TEXT), "with `match`: names of users", default="")
    role: tuple[str, ...] = option(list_of(TEXT), "with `match`: roles; a user needs one of them", default="")
    add_roles: tuple[str, ...] = option(list_of(TEXT), "with `match`: roles to add", default="")
    add_attributes: tuple[tuple[str, str], ...] = option(
        list_of(PAIR, label="list of NAME=VALUE"),
        "with `match`: attributes to add; each replaces the user's attribute of the same name",
        default="",
    )
    roles: tuple[tuple[str, tuple[str, ...]], ...] = option(
        list_of(ROLE_AND_USERS, "\n", "lines of role: user, user"),
        "with `plain`: a line `role: user, user …` for each role",
        default="",
    )
    server: ServerSettings | None = option(
        LDAP_URI,
        "with `ldap`: the server, `ldap://host:port` or `ldaps://host:port` (its certificate is verified)",
        name="uri",
        default="",
    )
    ca_certificate: Path | None = option(
        optional(file_path("file")),
        "with `ldaps://`: PEM file with the CA certificates to trust; not set: those of the system",
        default="",
    )
    bind_dn: str = option(TEXT, "with `ldap`: distinguished name of the gateway's own account; not set: anonymous", default="")
    ldap_password: str = option(SECRET, "password of `bind_dn`", default="")
    search_base: str = option(FRAGMENT, "with `ldap`: distinguished name of the subtree that contains the users", default="")
    filter: str = option(
        FRAGMENT,
        "with `ldap`: a part of a distinguished name; only groups whose name contains it give a role, which is their `cn`",
        default="",
    )
    filters: tuple[str, ...] = option(
        list_of(FRAGMENT, "\n", "lines of parts of a distinguished name"),
        "with `ldap`, instead of `filter`: several parts, one on each line; the role is the path from that part to the group "
        "(`/TeamA/Admin` for `ou=TeamA`)",
        default="",
    )
    user_object_class: str = option(TEXT, "with `ldap`: object class of users", default="person")
    user_id_attribute: str = option(TEXT, "with `ldap`: attribute that contains the user name", default="cn")
    member_of: str = option(
        TEXT, "with `ldap`: attribute of a user that contains the distinguished names of their groups", default="memberOf"
    )
    cache: float = option(
        duration(zero=True),
        "with `ldap`: how long the roles of a user are used before they are read again",
        default="2m",
    )
    timeout: float = option(duration(), "with `ldap`: longest time for an answer of the directory", default="5s")
    file: str = ""
    line: int = 0

    def check(self, section: Section) -> None:
        """See `Settings.check`."""
        its = attrs.fields(AugmenterSettings)
        if section.faulty(its.kind):
            return
        match_only = (its.username, its.role, its.add_roles, its.add_attributes)
        if self.kind is not AugmenterKind.LDAP:
            section.refuse(_LDAP_ONLY, "is only allowed with type = ldap")
        if self.kind is AugmenterKind.MATCH:
            section.refuse([its.roles], "is only allowed with type = plain; with type = match, use add_roles")
            if not section.given(its.username) and not section.given(its.role):
                section.problem("", "matches no user: set username or role")
            if not section.given(its.add_roles) and not section.given(its.add_attributes):
                section.problem("", "adds nothing: set add_roles or add_attributes")
            return
        section.refuse(match_only, "is only allowed with type = match")
        if self.kind is AugmenterKind.PLAIN:
            if not section.given(its.roles):
                section.problem(its.roles, "is required with type = plain")
        else:
            section.refuse([its.roles], "is only allowed with type = plain")
            self._check_ldap(section)

    def _check_ldap(self, section: Section) -> None:
        its = attrs.fields(AugmenterSettings)
        for needed in (its.server, its.search_base):
            if not section.given(needed):
                section.problem(needed, "is required with type = ldap")
        if self.filter and self.filters:
            section.problem(its.filters, "set either filter or filters, not both")
        if self.bind_dn and not self.ldap_password:
            section.problem(its.ldap_password, "is required with bind_dn: without a password the bind would be anonymous")
        section.needs(its.ldap_password, its.bind_dn)
        if self.server is not None and self.server.scheme is not Scheme.LDAPS:
            section.refuse([its.ca_certificate], "is only allowed with ldaps://")


_IT = attrs.fields(AugmenterSettings)
_LDAP_ONLY = (
    *(_IT.server, _IT.ca_certificate, _IT.bind_dn, _IT.ldap_password, _IT.search_base, _IT.filter, _IT.filters),
    *(_IT.user_object_class, _IT.user_id_attribute, _IT.member_of, _IT.cache, _IT.timeout),
)

KIND = SectionKind(
    "augmenter",
    AugmenterSettings,
    "Adds roles and attributes to the users of one realm after authentication. An augmenter never removes any.",
    "type = match\nrealm = example\nusername = alice, bob\nadd_roles = admin\n",
    example_name="admins",
)

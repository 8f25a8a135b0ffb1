"""From ``[augmenter NAME]`` to its frozen settings, and which options go with which of its types."""

from __future__ import annotations

import re

from perimeter.config.language.section import Section
from perimeter.config.site import schema
from perimeter.config.site.values import AugmenterSettings

_LDAP_AUGMENTER = (
    *("uri", "ca_certificate", "bind_dn", "ldap_password", "search_base", "user_object_class", "user_id_attribute"),
    *("member_of", "filter", "filters", "cache", "timeout"),
)
_FRAGMENT = re.compile(r"\s*[A-Za-z][A-Za-z0-9.-]*\s*=[^=]+(,\s*[A-Za-z][A-Za-z0-9.-]*\s*=[^=]+)*")


def augmenter(section: Section) -> AugmenterSettings:
    """``[augmenter NAME]``."""
    options = schema.Augmenter
    settings = AugmenterSettings(
        name=section.name,
        kind=section.value(options.type),
        realm=section.value(options.realm),
        username=section.value(options.username),
        role=section.value(options.role),
        add_roles=section.value(options.add_roles),
        add_attributes=section.value(options.add_attributes),
        roles=section.value(options.roles),
        server=section.value(options.uri),
        ca_certificate=section.value(options.ca_certificate),
        bind_dn=section.value(options.bind_dn),
        ldap_password=section.value(options.ldap_password),
        search_base=section.value(options.search_base),
        filter=section.value(options.filter),
        filters=section.value(options.filters),
        user_object_class=section.value(options.user_object_class),
        user_id_attribute=section.value(options.user_id_attribute),
        member_of=section.value(options.member_of),
        cache=section.value(options.cache),
        timeout=section.value(options.timeout),
        file=section.file,
        line=section.line,
    )
    if settings.kind in ("match", "plain"):
        section.refuse(_LDAP_AUGMENTER, "goes with type = ldap only")
    if settings.kind == "match":
        section.refuse(["roles"], "goes with type = plain only; here it is add_roles")
        if not section.given("username") and not section.given("role"):
            section.problem("", "matches nobody: username or role is needed")
        if not section.given("add_roles") and not section.given("add_attributes"):
            section.problem("", "adds nothing: add_roles or add_attributes is needed")
    elif settings.kind == "plain":
        section.refuse(("username", "role", "add_roles", "add_attributes"), "goes with type = match only")
        if not section.given("roles"):
            section.problem("roles", "is needed with type = plain")
    elif settings.kind == "ldap":
        section.refuse(("username", "role", "add_roles", "add_attributes"), "goes with type = match only")
        section.refuse(["roles"], "goes with type = plain only")
        _ldap_augmenter(section, settings)
    return settings


def _ldap_augmenter(section: Section, settings: AugmenterSettings) -> None:
    for needed in ("uri", "search_base"):
        if not section.given(needed):
            section.problem(needed, "is needed with type = ldap")
    if settings.filter and settings.filters:
        section.problem("filters", "stands in place of filter; both are given")
    if settings.bind_dn and not settings.ldap_password:
        section.problem("ldap_password", "is needed with bind_dn: without it the directory would take the gateway for nobody")
    section.needs("ldap_password", "bind_dn")
    if settings.server is not None and settings.server.scheme != "ldaps":
        section.refuse(["ca_certificate"], "goes with ldaps:// only")
    for option, listed in (("filter", [settings.filter]), ("filters", settings.filters), ("search_base", [settings.search_base])):
        for fragment in listed:
            if fragment and not _FRAGMENT.fullmatch(fragment):
                section.problem(option, "expected a part of a distinguished name, such as ou=TeamA,ou=Groups")

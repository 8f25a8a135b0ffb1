"""From ``[route NAME]`` to its frozen settings; what routes say of other sections is in `perimeter.config.site.crosscheck`."""

from __future__ import annotations

from collections.abc import Iterable

from perimeter.config.language.section import Section
from perimeter.config.site import schema
from perimeter.config.site.values import RouteSettings, Rule

_IDENTITY_HEADERS = ("identity_username_header", "identity_realm_header", "identity_roles_header")
_UPSTREAM_ONLY = ("rewrite", "identity", *_IDENTITY_HEADERS, "websocket", "allow_encoded_slash")


def route(section: Section) -> RouteSettings:
    """``[route NAME]``."""
    options = schema.Route
    section.value(options.browser_login)
    hosts = section.value(options.host)
    if "*" in hosts and len(hosts) > 1:
        section.problem("host", "* stands alone, because it is every host")
    settings = RouteSettings(
        name=section.name,
        path=section.value(options.path),
        hosts=() if "*" in hosts else hosts,
        upstream=section.value(options.upstream),
        static=section.value(options.static),
        index=section.value(options.index),
        rewrite=section.value(options.rewrite),
        auth=section.value(options.auth),
        allow=section.value(options.allow),
        deny=section.value(options.deny),
        networks=section.value(options.networks),
        identity=_identity(section),
        identity_username_header=section.value(options.identity_username_header),
        identity_realm_header=section.value(options.identity_realm_header),
        identity_roles_header=section.value(options.identity_roles_header),
        websocket=section.value(options.websocket),
        allow_encoded_slash=section.value(options.allow_encoded_slash),
        max_body=section.value(options.max_body),
        audit=section.value(options.audit),
        file=section.file,
        line=section.line,
    )
    _target(section)
    _identity_headers(section, settings)
    if settings.auth == "none" and not section.faulty("auth"):
        _anonymous(section, "allow", settings.allow or ())
        _anonymous(section, "deny", settings.deny)
    return settings


def _identity(section: Section) -> tuple[str, ...]:
    words = section.value(schema.Route.identity)
    if "none" in words and len(words) > 1:
        section.problem("identity", "none stands alone")
    elif len(set(words)) != len(words):
        section.problem("identity", "the same word is given twice")
    return tuple(word for word in words if word != "none")


def _target(section: Section) -> None:
    has_upstream, has_static = section.given("upstream"), section.given("static")
    if has_upstream and has_static:
        section.problem("static", "a route has one target: upstream or static, both are given")
    elif has_static:
        section.refuse(_UPSTREAM_ONLY, "goes with upstream only")
    elif has_upstream:
        section.refuse(["index"], "goes with static only")
    else:
        section.problem("", "a route needs a target: upstream = NAME or static = DIRECTORY")


def _identity_headers(section: Section, settings: RouteSettings) -> None:
    names = [settings.identity_username_header, settings.identity_realm_header, settings.identity_roles_header]
    if len({name.lower() for name in names}) != len(names) and not any(section.faulty(option) for option in _IDENTITY_HEADERS):
        given = next(option for option in _IDENTITY_HEADERS if section.given(option))
        section.problem(given, "the three identity headers need three names")
    if "headers" not in settings.identity and section.given("identity"):
        section.refuse(_IDENTITY_HEADERS, "goes with identity = headers only")


def _anonymous(section: Section, option: str, rules: Iterable[Rule]) -> None:
    for rule in rules:
        if rule.kind != "method":
            shown = section.quote(option, f"{rule.kind}:{rule.value}")
            section.problem(option, f"{shown} can never match, because auth = none asks nobody who they are")

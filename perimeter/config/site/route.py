"""``[route NAME]``: requests that belong together, where they go, and who may send them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path, PurePosixPath

import attrs

from perimeter.config.language.datatypes import (
    BOOLEAN,
    SIZE,
    TEXT,
    BadValue,
    Datatype,
    closest,
    file_path,
    list_of,
    one_of,
    optional,
)
from perimeter.config.language.net_types import HEADER_NAME, NETWORK, URL_PATH, Network, checked_host
from perimeter.config.language.option import SectionKind, option
from perimeter.config.language.section import Named, Section
from perimeter.config.language.settings import Settings
from perimeter.config.site.route_matching import ANY_HOST, WILDCARD


class Auth(StrEnum):
    """Whether clients of a route must authenticate."""

    REQUIRED = "required"
    OPTIONAL = "optional"
    NONE = "none"


class IdentityForm(StrEnum):
    """How an upstream learns the identity of a user."""

    HEADERS = "headers"
    JWT = "jwt"
    NONE = "none"


class RuleKind(StrEnum):
    """What a rule compares."""

    ROLE = "role"
    USER = "user"
    REALM = "realm"
    METHOD = "method"


@attrs.frozen
class Rule:
    """One term of ``allow`` or ``deny``."""

    kind: RuleKind = attrs.field(converter=RuleKind)
    value: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.value}"


_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def _rule(text: str, base: Path) -> Rule:
    kind, colon, value = (part.strip() for part in text.partition(":"))
    expected = f"expected {', '.join(f'{one}:…' for one in list(RuleKind)[:-1])} or {RuleKind.METHOD}:…"
    if not colon or not value:
        raise BadValue(expected, f"method:{text}" if text in _METHODS else "")
    if kind not in list(RuleKind):
        near = closest(kind, tuple(RuleKind))
        raise BadValue(expected, f"{near}:{value}" if near else "")
    if kind == RuleKind.METHOD and (not _TOKEN.fullmatch(value) or value != value.upper()):
        raise BadValue("expected a method in capitals", f"method:{value.upper()}" if _TOKEN.fullmatch(value) else "")
    return Rule(RuleKind(kind), value)


def _route_host(text: str, base: Path) -> str:
    if text == ANY_HOST:
        return text
    if not text.startswith(WILDCARD):
        return checked_host(text)
    name = checked_host(text.removeprefix(WILDCARD))
    if name.startswith("[") or name.rpartition(".")[2].isdigit():
        raise BadValue("expected a host name after *., not an address")
    return WILDCARD + name


def _hosts(hosts: tuple[str, ...]) -> tuple[str, ...]:
    """Every host is "no host in particular"."""
    if ANY_HOST in hosts and len(hosts) > 1:
        raise BadValue("* cannot be combined with other hosts: it includes them")
    if len(set(hosts)) != len(hosts):
        raise BadValue("the same host is listed twice")
    return () if hosts == (ANY_HOST,) else hosts


def _forms(forms: tuple[IdentityForm, ...]) -> tuple[IdentityForm, ...]:
    """``none`` is no form."""
    if IdentityForm.NONE in forms and len(forms) > 1:
        raise BadValue("none cannot be combined with other words")
    if len(set(forms)) != len(forms):
        raise BadValue("the same word is given twice")
    return tuple(form for form in forms if form is not IdentityForm.NONE)


def _file_name(text: str, base: Path) -> str:
    if PurePosixPath(text).name != text or text == "..":
        raise BadValue("expected the name of a file, without a directory")
    return text


RULE: Datatype[Rule] = Datatype("rule", _rule, Rule(RuleKind.ROLE, ""))
ROUTE_HOST: Datatype[str] = Datatype("host name", _route_host, "")
FILE_NAME: Datatype[str] = Datatype("file name", _file_name, "")


@attrs.frozen
class RouteSettings(Settings):
    """``[route NAME]``. Exactly one of ``upstream`` and ``static`` is set; ``hosts`` is empty for any host.

    ``identity`` is empty for ``none``; ``max_body`` is in bytes.
    """

    name: str
    path: str = option(
        URL_PATH, "path of the requests; includes all paths below it. The route with the longest matching path is used"
    )
    hosts: tuple[str, ...] = option(
        list_of(ROUTE_HOST, whole=_hosts),
        "host names of the requests; `*.example.com`: every name below `example.com`, at any depth; `*`: any. The routes of the "
        "name itself decide if one of them matches the path, then those of its wildcards, the longest first, then those of `*`",
        name="host",
        default="*",
    )
    upstream: str | None = option(optional(TEXT), "name of the `[upstream]` section that requests are forwarded to", default="")
    static: Path | None = option(
        optional(file_path("directory")), "instead of `upstream`: directory with files to serve", default=""
    )
    index: tuple[str, ...] = option(
        list_of(FILE_NAME),
        "with `static`: names of files that are served for a directory; the first that exists",
        default="index.html, index.htm",
    )
    rewrite: str | None = option(
        optional(URL_PATH), "with `upstream`: path that replaces `path` in forwarded requests; `/` removes it", default=""
    )
    auth: Auth = option(
        one_of(Auth),
        "`required`: clients must authenticate; `optional`: they may; `none`: credentials are neither requested nor checked",
        default="required",
    )
    allow: tuple[Rule, ...] | None = option(
        optional(list_of(RULE)),
        "who may send requests: `role:x`, `user:x`, `realm:x` or `method:GET`; one match is enough. Not set: every "
        "authenticated user",
        default="",
        empty_message="is empty: leave it out to admit every authenticated user, or list who is admitted",
    )
    deny: tuple[Rule, ...] = option(
        list_of(RULE), "who may not send requests, written like `allow`; takes precedence over `allow`", default=""
    )
    networks: tuple[Network, ...] = option(
        list_of(NETWORK), "networks from which requests are accepted; not set: all", default=""
    )
    identity: tuple[IdentityForm, ...] = option(
        list_of(one_of(IdentityForm), whole=_forms),
        "with `upstream`: how the service learns the user's identity: `headers` (`X-Auth-*`), `jwt` (a signed token in "
        "`Authorization`), both, or `none`",
        default="headers",
    )
    identity_username_header: str = option(
        HEADER_NAME, "name of the header that carries the user name", default="X-Auth-Username"
    )
    identity_realm_header: str = option(HEADER_NAME, "name of the header that carries the realm", default="X-Auth-Realm")
    identity_roles_header: str = option(HEADER_NAME, "name of the header that carries the roles", default="X-Auth-Roles")
    browser_login: bool = option(
        BOOLEAN, "redirect browsers to the login page if the user is not authenticated", default="", available=False
    )
    websocket: bool = option(
        BOOLEAN, "with `upstream`: `yes` lets admitted clients upgrade the connection (`Upgrade` header)", default="yes"
    )
    allow_encoded_slash: bool = option(
        BOOLEAN, "with `upstream`: `yes` forwards paths that contain `%2F`; `no` answers them with 400", default="no"
    )
    max_body: int | None = option(optional(SIZE), "largest request body; not set: no limit", default="")
    audit: Path | None = option(optional(file_path()), "audit log file of this route; not set: `path` of `[audit]`", default="")
    file: str = ""
    line: int = 0

    @property
    def by_method(self) -> bool:
        """Whether a rule compares the method."""
        return any(rule.kind is RuleKind.METHOD for rule in (*(self.allow or ()), *self.deny))

    def check(self, section: Section) -> None:
        """See `Settings.check`."""
        its = attrs.fields(RouteSettings)
        self._check_target(section)
        headers = (its.identity_username_header, its.identity_realm_header, its.identity_roles_header)
        used = {self.identity_username_header.lower(), self.identity_realm_header.lower(), self.identity_roles_header.lower()}
        if len(used) != len(headers) and not any(section.faulty(header) for header in headers):
            given = next(header for header in headers if section.given(header))
            section.problem(given, "the three identity headers must have different names")
        if IdentityForm.HEADERS not in self.identity and section.given(its.identity):
            section.refuse(headers, "is only allowed with identity = headers")
        if self.auth is Auth.NONE and not section.faulty(its.auth):
            _check_anonymous(section, its.allow, self.allow or ())
            _check_anonymous(section, its.deny, self.deny)

    def _check_target(self, section: Section) -> None:
        its = attrs.fields(RouteSettings)
        has_upstream, has_static = section.given(its.upstream), section.given(its.static)
        if has_upstream and has_static:
            section.problem(its.static, "set either upstream or static, not both")
        elif has_static:
            upstream_only = (
                *(its.rewrite, its.identity, its.identity_username_header, its.identity_realm_header, its.identity_roles_header),
                *(its.websocket, its.allow_encoded_slash),
            )
            section.refuse(upstream_only, "is only allowed with upstream")
        elif has_upstream:
            section.refuse([its.index], "is only allowed with static")
        else:
            section.problem("", "a route needs a target: upstream = NAME or static = DIRECTORY")


def _check_anonymous(section: Section, option: Named, rules: Iterable[Rule]) -> None:
    for rule in rules:
        if rule.kind is not RuleKind.METHOD:
            shown = section.quote(option, str(rule))
            section.problem(option, f"{shown} can never match, because with auth = none no client has an identity")


KIND = SectionKind(
    "route",
    RouteSettings,
    "Requests that belong together: where they go, and who may send them.",
    "host = gw.example.com\npath = /app\nupstream = app\nrewrite = /\nallow = role:admin, user:alice\nmax_body = 10MiB\n",
    example_name="app",
)

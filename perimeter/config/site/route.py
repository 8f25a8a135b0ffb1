"""``[route NAME]``: requests that belong together, where they go, and who may send them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from enum import StrEnum
from pathlib import Path

import attrs

from perimeter.config.language.datatypes import (
    BOOLEAN,
    SIZE,
    BadValue,
    duration,
    file_path,
    integer,
    list_of,
    one_of,
    optional,
)
from perimeter.config.language.net_types import HEADER_NAME, NETWORK, Network
from perimeter.config.language.option import SectionKind, option
from perimeter.config.language.section import Named, Section
from perimeter.config.site.authorization import DROP, UPSTREAM_AUTHORIZATION, UpstreamAuthorization
from perimeter.config.site.compression import RouteCompression
from perimeter.config.site.expression import EXPRESSIONS, Expression
from perimeter.config.site.limiting import BODY_RATES, IN_FLIGHT, RATES, AtOnce, Rate
from perimeter.config.site.maintenance import RouteMaintenance
from perimeter.config.site.origins import ORIGINS
from perimeter.config.site.route_bodies import OF_BODIES, RouteBodies
from perimeter.config.site.route_cors import RouteCors
from perimeter.config.site.route_headers import OF_SERVICES, RouteHeaders
from perimeter.config.site.route_path import PathKind
from perimeter.config.site.route_target import RouteTarget
from perimeter.config.site.rule import OF_USERS, RuleKind
from perimeter.config.site.upgrade_protocol import PROTOCOL


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


class Challenge(StrEnum):
    """What a 401 of a route asks for."""

    BEARER = "bearer"
    BASIC = "basic"
    BOTH = "both"


def _forms(forms: tuple[IdentityForm, ...]) -> tuple[IdentityForm, ...]:
    """``none`` is no form."""
    if IdentityForm.NONE in forms and len(forms) > 1:
        raise BadValue("none cannot be combined with other words")
    if len(set(forms)) != len(forms):
        raise BadValue("the same word is given twice")
    return tuple(form for form in forms if form is not IdentityForm.NONE)


@attrs.frozen
class RouteSettings(RouteHeaders, RouteBodies, RouteCompression, RouteMaintenance, RouteCors, RouteTarget):
    """``[route NAME]``. ``identity`` is empty for ``none``; ``max_body`` is in bytes."""

    name: str
    auth: Auth = option(
        one_of(Auth),
        "`required`: clients must authenticate; `optional`: they may; `none`: credentials are neither requested nor checked",
        default="required",
    )
    challenge: Challenge | None = option(
        optional(one_of(Challenge)),
        "what a 401 asks for: `bearer` (a token), `basic` (a password: many clients send it only if they are asked), or `both`, "
        "the token first. A browser that is asked for a password shows a dialog of its own. Not set: `both` if an authenticator "
        "takes passwords, otherwise `bearer`; with `browser_login`, `bearer`",
        default="",
    )
    allow: tuple[Expression, ...] | None = option(
        optional(EXPRESSIONS),
        "who may send requests: terms separated by commas, one match is enough. Terms are `role:x`, `user:x`, `realm:x`, "
        "`method:GET`, `network:10.0.0.0/8`, `attribute:department=sales`, `scope:read`, `certificate:dns=x` (also `cn`, "
        "`email`, `uri`, `subject`, `issuer` and `sha256`) and `time:Mon-Fri 08:00-18:00 Europe/Zurich`; `and`, `or`, `not` and "
        "brackets combine them. `user:staff/x` and `role:staff/x` are of the realm `staff`, without a realm they are of any. A "
        'name with blanks or other special characters is in double quotes: `role:"Domain Users"`. Roles of a realm with an LDAP '
        "directory compare without case, as the directory does. Not set: every authenticated user",
        default="",
        empty_message="is empty: leave it out to admit every authenticated user, or list who is admitted",
    )
    deny: tuple[Expression, ...] = option(
        EXPRESSIONS,
        "who may not send requests, written like `allow`; takes precedence over `allow`. What is not known counts as a match",
        default="",
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
    authorization: UpstreamAuthorization = option(
        UPSTREAM_AUTHORIZATION,
        "with `upstream`: what the service gets in `Authorization`: nothing (`drop`), what the client sent (`pass`), or the same "
        "for all requests: a user and password, a token, or a whole value. `SECRET` may be `file:PATH`, `env:NAME` or "
        "`credential:NAME`",
        default="drop",
    )
    browser_login: bool = option(
        BOOLEAN,
        "`yes`: a browser without a session that asks for a page is redirected to the sign-in page; other requests get 401",
        default="no",
    )
    app_authorization: bool = option(
        BOOLEAN,
        "with `browser_login` and `upstream`: `yes` forwards the `Authorization` header of a signed-in browser, for services "
        "whose pages send their own tokens; the gateway then checks the session before this header",
        default="no",
    )
    keeps_session: bool = option(
        BOOLEAN,
        "`no`: requests of this route do not count as a use of the session, so a page that loads data by itself does not keep "
        "the session open",
        default="yes",
    )
    idle: float | None = option(
        optional(duration()),
        "a session that was not used for this time needs a new sign-in on this route; not set: `idle` of `[login]`; a longer "
        "time than that is an error",
        default="",
    )
    factors: int = option(
        integer(1, 2),
        "`2`: users need a second factor (`[second_factor]`); a browser is sent to the page that asks for it, other requests get "
        "403; a password in `Authorization` is not enough, an API token is if it was made in a session with a second factor",
        default="1",
    )
    factor_age: float | None = option(
        optional(duration()),
        "with `factors = 2`: the second factor must have been shown within this time; then it is asked for again. An API token "
        "has the time of the session in which it was made",
        default="",
    )
    websocket: bool = option(
        BOOLEAN, "with `upstream`: `yes` lets admitted clients open WebSockets (`Upgrade: websocket`)", default="yes"
    )
    upgrade_protocols: tuple[str, ...] = option(
        list_of(PROTOCOL),
        "with `upstream`: protocols besides `websocket` that admitted clients may switch to, such as `SPDY/3.1`; other offers in "
        "`Upgrade` are ignored and not forwarded",
        default="",
    )
    early_hints: bool = option(
        BOOLEAN,
        "with `upstream`: `yes` passes on `103 Early Hints` of the service; some clients, such as Python's, take them for the "
        "response itself",
        default="no",
    )
    cross_site: tuple[str, ...] = option(
        ORIGINS,
        "with `upstream`: pages of other sites whose requests with an unsafe method or `Upgrade` are accepted with credentials "
        "such as browsers add by themselves (cached password, client certificate, trusted header)",
        default="refuse",
    )
    allow_encoded_slash: bool = option(
        BOOLEAN, "with `upstream`: `yes` forwards paths that contain `%2F`; `no` answers them with 400", default="no"
    )
    path_as_sent: bool = option(
        BOOLEAN,
        "with `upstream`: `yes` forwards each path byte for byte, also `//`, `%2F` and `%25`, if every way to read it leads to "
        "this route; `no` forwards a normal form, and answers paths that have none with 400",
        default="no",
    )
    max_body: int | None = option(optional(SIZE), "largest request body; not set: no limit", default="")
    rate: tuple[Rate, ...] = option(
        RATES,
        "how many requests clients may send: `5/s per user burst 20` are 5 a second for each user, and up to 20 at once after a "
        "pause (without `burst`: as many as the number). `s`, `m`, `h` or `d`; `per user`, `per address` or `per route` (all "
        "clients together). A client without a user counts by its address, an IPv6 client by its network of 64 bits. One more "
        "gets 429. Several workers count together",
        default="",
    )
    in_flight: tuple[AtOnce, ...] = option(
        IN_FLIGHT,
        "how many requests may be open at a time, tunnels included, such as `10 per user`; one more gets 429. Several workers "
        "count together",
        default="",
    )
    body_rate: tuple[Rate, ...] = option(
        BODY_RATES,
        "how fast clients may send request bodies, all of their requests together, such as `1MiB/s per user burst 4MiB`; the "
        "gateway reads a faster body more slowly",
        default="",
    )
    request_timeout: float | None = option(
        optional(duration()),
        "longest time for a request and its response, from the end of the request's head; after it the answer is 504, or 408 if "
        "the request's body is not complete; a response that has begun is cut. Not for tunnels. Not set: no limit",
        default="",
    )
    audit: Path | None = option(optional(file_path()), "audit log file of this route; not set: `path` of `[audit]`", default="")
    file: str = ""
    line: int = 0

    def with_realms(self, realms: Collection[str]) -> RouteSettings:
        """The route whose rules know which of ``realms`` they name (`perimeter.config.site.rule.Rule.of_realms`)."""
        allow = None if self.allow is None else tuple(one.of_realms(realms) for one in self.allow)
        deny, read_only = (tuple(one.of_realms(realms) for one in rules) for rules in (self.deny, self.read_only))
        return attrs.evolve(self, allow=allow, deny=deny, read_only=read_only)

    def compares(self, kind: RuleKind) -> bool:
        """Whether a term of ``allow``, ``deny`` or ``read_only`` is of ``kind``."""
        return any(term.kind is kind for one in (*(self.allow or ()), *self.deny, *self.read_only) for term in one.terms)

    @property
    def sends_authorization(self) -> UpstreamAuthorization:
        """What the service gets in Authorization, whichever option says so."""
        return self.authorization if self.upstream_authorization == DROP else self.upstream_authorization

    @property
    def identity_in_words(self) -> str:
        """What the service and the clients get in headers beside what they send each other, without values; ``-`` for nothing."""
        parts = [", ".join(self.identity) or "none"] if self.upstream else []
        if self.sends_authorization != DROP:
            parts.append(f"authorization {self.sends_authorization.word}")
        return "; ".join(filter(None, (*parts, self.headers_in_words))) or "-"

    @property
    def by_method(self) -> bool:
        """Whether a rule compares the method."""
        return self.compares(RuleKind.METHOD)

    @property
    def upgrades(self) -> tuple[str, ...]:
        """The protocols that clients may switch to, in lower case."""
        return (*(("websocket",) if self.websocket else ()), *self.upgrade_protocols)

    @property
    def limits_in_words(self) -> tuple[str, ...]:
        """What limits the clients of the route, for the operator."""
        return (
            *(f"rate {one}" for one in self.rate),
            *(f"in_flight {one}" for one in self.in_flight),
            *(f"body_rate {one}" for one in self.body_rate),
            *(() if self.request_timeout is None else (f"request_timeout {self.request_timeout:g}s",)),
        )

    def check(self, section: Section) -> None:
        """See `Settings.check`."""
        super().check(section)
        its = attrs.fields(RouteSettings)
        self.check_target(
            section,
            (
                *(its.identity, its.identity_username_header, its.identity_realm_header, its.identity_roles_header),
                *(its.authorization, its.app_authorization, its.websocket, its.upgrade_protocols, its.early_hints),
                *(its.cross_site, its.allow_encoded_slash, its.path_as_sent, its.compression, *OF_SERVICES, *OF_BODIES),
            ),
        )
        if self.path.kind is PathKind.REGEX and self.rewrite is not None and self.path_as_sent:
            section.problem(its.path_as_sent, "is not allowed with a rewrite of a regex: path")
        headers = (its.identity_username_header, its.identity_realm_header, its.identity_roles_header)
        used = {self.identity_username_header.lower(), self.identity_realm_header.lower(), self.identity_roles_header.lower()}
        if len(used) != len(headers) and not any(section.faulty(header) for header in headers):
            given = next(header for header in headers if section.given(header))
            section.problem(given, "the three identity headers must have different names")
        if IdentityForm.HEADERS not in self.identity and section.given(its.identity):
            section.refuse(headers, "is only allowed with identity = headers")
        if IdentityForm.JWT in self.identity and self.sends_authorization != DROP:
            own = its.authorization if self.authorization != DROP else its.upstream_authorization
            section.problem(own, "is not allowed with identity = jwt, which needs Authorization")
        self.check_bodies(section, self.auth is not Auth.REQUIRED)
        self.check_headers(section, self.authorization, used if IdentityForm.HEADERS in self.identity else (), self.shared)
        self.check_compression(section)
        if self.browser_login and self.challenge not in (None, Challenge.BEARER):
            section.problem(its.challenge, "expected bearer: a password dialog of the browser would cover the login page")
        self._check_app_authorization(section)
        if self.factors > 1 and self.auth is Auth.OPTIONAL:
            section.problem(its.factors, "is not allowed with auth = optional, which admits clients without any credentials")
        if self.factors < 2:
            section.refuse([its.factor_age], "is only allowed with factors = 2")
        self.check_cors(section, static=self.static is not None)
        if self.auth is Auth.NONE and not section.faulty(its.auth):
            section.refuse(
                [its.cross_site, its.challenge, its.browser_login, its.keeps_session, its.idle, its.factors],
                "has no effect with auth = none, because no credentials are checked",
            )
            _check_anonymous(section, its.allow, self.allow or ())
            _check_anonymous(section, its.deny, self.deny)

    def _check_app_authorization(self, section: Section) -> None:
        its = attrs.fields(RouteSettings)
        if not self.app_authorization:
            return
        if not self.browser_login:
            section.problem(its.app_authorization, "is only allowed with browser_login = yes")
        if IdentityForm.JWT in self.identity:
            section.problem(its.app_authorization, "is not allowed with identity = jwt, which needs Authorization")
        if self.sends_authorization != DROP:
            section.problem(its.app_authorization, "is only allowed with authorization = drop")


def _check_anonymous(section: Section, option: Named, rules: Iterable[Expression]) -> None:
    for term in (term for one in rules for term in one.terms):
        if term.kind in OF_USERS:
            shown = section.quote(option, str(term))
            section.problem(
                option, f"{shown} can never match, because with auth = none no client has an identity", part=str(term)
            )


KIND = SectionKind(
    "route",
    RouteSettings,
    "Requests that belong together: where they go, and who may send them.",
    "host = gw.example.com\npath = /app\nupstream = app\nrewrite = /\nallow = role:admin, user:alice\nmax_body = 10MiB\n",
    example_name="app",
)

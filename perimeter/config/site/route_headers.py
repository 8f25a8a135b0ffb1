"""The options of a route about headers: what its service and its clients get beside what they send each other."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Final

import attrs

from perimeter.config.language.datatypes import BadValue, Datatype, closest, one_of
from perimeter.config.language.net_types import checked_host
from perimeter.config.language.option import option
from perimeter.config.language.section import Section
from perimeter.config.language.settings import Settings
from perimeter.config.site.authorization import DROP, OWN_AUTHORIZATION, UpstreamAuthorization
from perimeter.config.site.header_rule import REQUEST_RULES, RESPONSE_RULES, HeaderRule, folded_name


class SecurityHeaders(StrEnum):
    """Whether the gateway adds headers that protect users in browsers."""

    STRICT = "strict"
    OFF = "off"


AS_SENT: Final = "as-sent"
OF_UPSTREAM: Final = "upstream"


def _host(text: str, base: Path) -> str:
    if text in (AS_SENT, OF_UPSTREAM):
        return text
    if "." not in text and ":" not in text:
        near = closest(text, (AS_SENT, OF_UPSTREAM))
        if near:
            raise BadValue(f"expected {AS_SENT}, {OF_UPSTREAM} or the name of a host", near)
    name, colon, port = text.rpartition(":")
    if text.endswith("]") or not colon:
        return checked_host(text)
    if not port.isdigit() or not 1 <= int(port) <= 65535:
        raise BadValue("expected the name of a host, and a port from 1 to 65535 if there is one")
    return f"{checked_host(name)}:{int(port)}"


UPSTREAM_HOST: Datatype[str] = Datatype(f"{AS_SENT} \\| {OF_UPSTREAM} \\| host name", _host, AS_SENT)


@attrs.frozen(kw_only=True, slots=False)
class RouteHeaders(Settings):
    """The options about headers. ``upstream_host`` is a host name with or without a port, or one of the two words."""

    request_headers: tuple[HeaderRule, ...] = option(
        REQUEST_RULES,
        "with `upstream`: rules about the headers that the service gets, one a line: `set NAME VALUE` removes what the client "
        "sent and sends the value, `add NAME VALUE` sends it too, `remove NAME` removes it. In a value, `%{user}`, `%{realm}`, "
        "`%{roles}`, `%{attribute:NAME}`, `%{request_id}`, `%{address}`, `%{host}` and `%{scheme}` stand for what the gateway "
        "knows about the request, percent-encoded like the identity headers, and `%%` for a percent sign; a header with a value "
        "that does not exist is not sent. A whole value may be `file:PATH`, `env:NAME` or `credential:NAME`",
        default="",
    )
    response_headers: tuple[HeaderRule, ...] = option(
        RESPONSE_RULES,
        "rules about the headers that clients get in responses of the service, or with files, written like `request_headers`; "
        "the gateway's own pages and errors do not change",
        default="",
    )
    security_headers: SecurityHeaders = option(
        one_of(SecurityHeaders),
        "`strict` adds to responses what the service does not send itself: `X-Content-Type-Options`, `X-Frame-Options`, "
        "`Content-Security-Policy` with `frame-ancestors 'self'`, `Referrer-Policy`, `Cross-Origin-Opener-Policy`, "
        "`Cross-Origin-Resource-Policy`. All responses of the route over TLS, also refusals, get `Strict-Transport-Security` in "
        "the place of the service's: with the time of `hsts` of the listener if that is set, otherwise for a year",
        default="off",
    )
    upstream_host: str = option(
        UPSTREAM_HOST,
        "with `upstream`: what the service gets in `Host`: what the client sent (`as-sent`), the host of the upstream "
        "(`upstream`: its `server_name`, or the host and port that all of its servers have), or this name. "
        "`X-Forwarded-Host` always has what the client sent",
        default=AS_SENT,
    )
    upstream_authorization: UpstreamAuthorization = option(
        OWN_AUTHORIZATION,
        "with `upstream`: credentials that the service gets in `Authorization` with each request: a user and password, a token, "
        "or a whole value. `SECRET` may be `file:PATH`, `env:NAME` or `credential:NAME`; without a user before it, that of "
        "`basic` is `USER:PASSWORD`",
        default="",
    )

    @property
    def fills_user(self) -> tuple[str, ...]:
        """The names of headers in which the service gets the user by a rule: no client may send them."""
        return tuple(rule.name for rule in self.request_headers if rule.value.of_user)

    @property
    def strict_transport(self) -> bool:
        """Whether all responses have Strict-Transport-Security, unless a rule about it says otherwise."""
        ruled = any(folded_name(rule.name) == "strict-transport-security" for rule in self.response_headers)
        return self.security_headers is SecurityHeaders.STRICT and not ruled

    @property
    def headers_in_words(self) -> str:
        """What these options change, without values; "" if nothing."""
        parts = []
        for direction, rules in (("request", self.request_headers), ("response", self.response_headers)):
            if rules:
                parts.append(f"{direction} headers: {', '.join(f'{rule.verb} {rule.name}' for rule in rules)}")
        if self.security_headers is SecurityHeaders.STRICT:
            parts.append("security headers")
        if self.upstream_host != AS_SENT:
            parts.append(f"Host {self.upstream_host}")
        return "; ".join(parts)

    def check_headers(
        self, section: Section, authorization: UpstreamAuthorization, identity: Iterable[str], shared: bool
    ) -> None:
        """Report what contradicts ``authorization``, the other option about that header, and the names of identity headers.

        ``shared``: the gateway sets the headers of cross-origin resource sharing.
        """
        its = attrs.fields(RouteHeaders)
        if self.upstream_authorization != DROP and authorization != DROP:
            section.problem(its.upstream_authorization, "is not allowed with authorization, which says what the service gets")
        names = {folded_name(name) for name in identity}
        for option_of, rules in ((its.request_headers, self.request_headers), (its.response_headers, self.response_headers)):
            for rule in rules:
                if folded_name(rule.name) in names:
                    section.problem(option_of, f"{rule.name} is an identity header of the route: see identity")
                if shared and folded_name(rule.name).startswith("access-control-"):
                    section.problem(option_of, f"{rule.name} is not allowed with cors, which sets it")


OF_SERVICES: Final = tuple(
    getattr(attrs.fields(RouteHeaders), name) for name in ("request_headers", "upstream_host", "upstream_authorization")
)
"""The options that only a route with an upstream has."""

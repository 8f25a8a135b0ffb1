"""``proxy_set_header`` of nginx: what the gateway does in its place. Pure.

A header that nginx sets cannot be sent by a client. Where the gateway does not set it, it has to be dropped from what clients
send, because the service trusts it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from pathlib import Path

from perimeter.config.language.datatypes import BadValue
from perimeter.config.language.net_types import HEADER_NAME
from perimeter.config.site.identity_headers import KNOWN
from perimeter.importers.nginx.header_rules import request_rule
from perimeter.importers.nginx.tree import Directive

ASSERTION = "$upstream_http_authorization"
"""The variable that holds the token of Auth-o-tron for the service."""

USERNAME = ("identity_username_header", "X-Auth-Username")
REALM = ("identity_realm_header", "X-Auth-Realm")
ROLES = ("identity_roles_header", "X-Auth-Roles")

IDENTITY = {
    "$upstream_http_x_auth_username": USERNAME,
    "$upstream_http_x_auth_realm": REALM,
    "$upstream_http_x_auth_roles": ROLES,
    "$remote_user": USERNAME,
    # oauth2-proxy
    "$upstream_http_x_auth_request_user": USERNAME,
    "$upstream_http_x_auth_request_preferred_username": USERNAME,
    "$upstream_http_x_auth_request_groups": ROLES,
    # Vouch
    "$upstream_http_x_vouch_user": USERNAME,
    "$upstream_http_x_vouch_idp_claims_groups": ROLES,
    # Authelia
    "$upstream_http_remote_user": USERNAME,
    "$upstream_http_remote_groups": ROLES,
    # authentik
    "$upstream_http_x_authentik_username": USERNAME,
    "$upstream_http_x_authentik_groups": ROLES,
    # other programs that answer auth_request
    "$upstream_http_x_forwarded_user": USERNAME,
    "$upstream_http_x_forwarded_groups": ROLES,
    "$upstream_http_x_user": USERNAME,
    "$upstream_http_x_webauth_user": USERNAME,
    "$upstream_http_x_remote_user": USERNAME,
}
"""Variables that hold the user, with the option and the default name of the header for each."""

EMAIL = frozenset(
    (
        *("$upstream_http_x_auth_request_email", "$upstream_http_remote_email", "$upstream_http_x_vouch_idp_claims_email"),
        *("$upstream_http_x_authentik_email", "$upstream_http_x_forwarded_email", "$upstream_http_x_email"),
    )
)
"""Variables that hold the user's e-mail address, which the gateway does not know."""

_SAME = frozenset(
    (
        *(("host", "$host"), ("host", "$http_host"), ("host", "$host:$server_port"), ("host", "$host:$proxy_port")),
        *(("x-real-ip", "$remote_addr"), ("x-real-ip", "$realip_remote_addr"), ("x-forwarded-proto", "$scheme")),
        *(("x-forwarded-for", "$proxy_add_x_forwarded_for"), ("x-forwarded-for", "$remote_addr")),
        *(("x-forwarded-host", "$host"), ("x-forwarded-host", "$http_host"), ("authorization", "")),
    )
)
_OF_A_CONNECTION = frozenset(("connection", "upgrade", "te", "keep-alive"))
"""The gateway decides these itself. With ``websocket = yes``, the default, it upgrades connections."""

_BENIGN = frozenset(
    (
        *("host", "x-real-ip", "x-real-port", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port"),
        *("x-forwarded-server", "x-forwarded-ssl", "x-forwarded-scheme", "x-forwarded-protocol", "x-scheme", "x-url-scheme"),
        *("front-end-https", "x-nginx-proxy", "x-request-id", "forwarded", "x-request-start", "authorization", "early-data"),
        *("accept-encoding", "accept", "user-agent", "range", "if-range", "if-modified-since", "if-none-match"),
        *("content-type", "content-length"),
    )
)
"""No service takes these for an identity, even if a client sends them."""

_DESCRIBING = frozenset(
    (
        *("x-auth-request-redirect", "x-forwarded-uri", "x-forwarded-method", "x-forwarded-prefix", "x-script-name"),
        *("x-original-uri", "x-original-url", "x-original-method", "x-original-host", "x-original-remote-addr"),
    )
)
"""These describe the request. A service does not need them, but would trust them."""


class Fate(Enum):
    """What becomes of a header that nginx sets.

    ``SAME``: the gateway does the same. ``RULED``: a rule about headers does the same. ``USER``: it carries the user.
    ``EMAIL``: it carries the user's e-mail address. ``PASSES``: a client may send it without harm. ``DROPPED``: clients must not
    send it, and the service does without it.
    ``MISSING``: clients must not send it, and the service may miss it. ``CLOSES``: the gateway cannot set or drop it.
    """

    SAME = auto()
    RULED = auto()
    USER = auto()
    EMAIL = auto()
    PASSES = auto()
    DROPPED = auto()
    MISSING = auto()
    CLOSES = auto()


def value_of(directive: Directive, variables: Mapping[str, str]) -> str:
    """The value of a ``proxy_set_header``; ``variables`` are those of ``auth_request_set``."""
    value = " ".join(directive.args[1:])
    return variables.get(value, value)


def fate(directive: Directive, variables: Mapping[str, str]) -> Fate:
    """What becomes of the header of a ``proxy_set_header``."""
    name = directive.args[0].lower() if directive.args else ""
    value = value_of(directive, variables)
    if name in _OF_A_CONNECTION or (name, value) in _SAME:
        return Fate.SAME
    if value in IDENTITY or (name == "authorization" and value == ASSERTION):
        return Fate.USER
    if value != f"$http_{name.replace('-', '_')}" and request_rule(directive.args[0] if directive.args else "", value):
        return Fate.RULED
    if name in _BENIGN or value == f"$http_{name.replace('-', '_')}":
        return Fate.PASSES
    try:
        HEADER_NAME.convert(name, Path())
    except BadValue:
        return Fate.CLOSES
    if value in EMAIL:
        return Fate.EMAIL
    return Fate.DROPPED if name in _DESCRIBING or not value else Fate.MISSING


def dropped_anyway(name: str) -> bool:
    """Whether the gateway drops the header ``name`` from requests unless it is configured otherwise."""
    name = name.lower()
    patterns = [known.lower() for known in KNOWN]
    return any(name.startswith(known[:-1]) if known.endswith("*") else name == known for known in patterns)

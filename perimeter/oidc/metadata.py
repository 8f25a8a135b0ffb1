"""The metadata of a provider (OpenID Connect Discovery 1.0, section 3; RFC 8414), checked when it is loaded. Pure (attack O7)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import attrs

from perimeter.errors import PerimeterError
from perimeter.oidc.urls import is_secure

WELL_KNOWN: Final = "/.well-known/openid-configuration"

TENANT: Final = "{tenantid}"
"""Stands for the tenant in the issuer of Entra's metadata that are common to several tenants."""

#: the words in the place of the tenant for which Entra publishes such metadata
_COMMON: Final = re.compile(r"(?<=/)(?:common|organizations|consumers)(?=/)")

_ENDPOINTS: Final = ("authorization_endpoint", "token_endpoint", "jwks_uri")
_MORE_ENDPOINTS: Final = ("userinfo_endpoint", "end_session_endpoint", "introspection_endpoint")

#: what RFC 8414 (section 2) says where a provider does not say it
_AUTH_METHODS: Final = ("client_secret_basic",)


class BadMetadata(PerimeterError):
    """The metadata cannot be used; the text says why, and quotes nothing of them except their issuer."""


@attrs.frozen
class Metadata:
    """What a provider says about itself. The URL of an endpoint that it does not have is "".

    ``issuer`` may hold `TENANT`. ``names_issuer`` says whether it names itself in each authorization response (RFC 9207).
    ``dates_authentication`` is False if it says that its ID tokens have no ``auth_time``. ``pkce`` and ``back_channel`` are for
    `perimeter doctor` alone: the gateway always sends a challenge.
    """

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str = ""
    end_session_endpoint: str = ""
    introspection_endpoint: str = ""
    names_issuer: bool = False
    dates_authentication: bool = True
    pkce: bool = False
    back_channel: bool = False
    auth_methods: tuple[str, ...] = _AUTH_METHODS


def discovery_url(issuer: str) -> str:
    """Where the metadata of ``issuer`` are (OpenID Connect Discovery 1.0, section 4.1)."""
    return issuer.rstrip("/") + WELL_KNOWN


def issuer_of_tenant(issuer: str, tenant: str) -> str:
    """The issuer in the tokens of ``tenant``, where ``issuer`` is the one of Entra for several tenants."""
    return _COMMON.sub(lambda _: tenant, issuer, count=1)


def read_metadata(members: Mapping[str, Any], issuer: str) -> Metadata:
    """The metadata of ``issuer`` from their JSON. Raises `BadMetadata`.

    Every URL must be secure, also those that are not used at once. Plain http is only accepted of an issuer that is itself
    reached by plain http: a provider elsewhere must not send the gateway to its own loopback addresses.
    """
    named = members.get("issuer")
    if named != issuer and not _is_common(named, issuer):
        shown = f", {named}" if is_secure(named) else ""
        raise BadMetadata(f"the metadata are those of another issuer than `issuer` of the section{shown}")
    urls = {name: _endpoint(members, name, issuer) for name in (*_ENDPOINTS, *_MORE_ENDPOINTS)}
    for name in _ENDPOINTS:
        if not urls[name]:
            raise BadMetadata(f"{name} is missing in the metadata")
    if "code" not in _words(members, "response_types_supported", ("code",)):
        raise BadMetadata("the provider does not support the authorization code flow")
    return Metadata(
        issuer=str(named),
        names_issuer=_flag(members, "authorization_response_iss_parameter_supported"),
        dates_authentication="auth_time" in _words(members, "claims_supported", ("auth_time",)),
        pkce="S256" in _words(members, "code_challenge_methods_supported", ()),
        back_channel=_flag(members, "backchannel_logout_supported"),
        auth_methods=_words(members, "token_endpoint_auth_methods_supported", _AUTH_METHODS),
        **urls,
    )


def _is_common(named: object, issuer: str) -> bool:
    """Whether the metadata are those of an Entra endpoint for several tenants, which is what ``issuer`` asks for."""
    return isinstance(named, str) and TENANT in named and _COMMON.sub(TENANT, issuer, count=1) == named


def _endpoint(members: Mapping[str, Any], name: str, issuer: str) -> str:
    url = members.get(name)
    if url is None:
        return ""
    if not is_secure(url, plain=issuer.startswith("http://")):
        raise BadMetadata(f"{name} of the metadata is not an https URL")
    return str(url)


def _flag(members: Mapping[str, Any], name: str) -> bool:
    value = members.get(name, False)
    if not isinstance(value, bool):
        raise BadMetadata(f"{name} of the metadata is not true or false")
    return value


def _words(members: Mapping[str, Any], name: str, otherwise: tuple[str, ...]) -> tuple[str, ...]:
    value = members.get(name)
    if value is None:
        return otherwise
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise BadMetadata(f"{name} of the metadata is not a list of texts")
    return tuple(value)

"""Headers by which services learn who the user is from whatever is in front of them: no client may send them.

A service believes them without any check. So the gateway drops them on every route, and not only those that it sends itself: a
service may be configured for another proxy, or accept several names.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from perimeter.config.language.datatypes import BadValue, Datatype

KNOWN: Final = (
    # the gateway, Reactor, ecFlow, Auth-o-tron
    *("X-Auth-Username", "X-Auth-Realm", "X-Auth-Roles", "X-Auth-Password"),
    # web servers and frameworks (REMOTE_USER of CGI), Kubernetes, Nexus, Authelia
    *("Remote-User", "Remote-Groups", "Remote-Name", "Remote-Email", "X-Remote-User", "X-Remote-Group", "X-Remote-Groups"),
    *("X-Remote-Roles", "X-Remote-Name", "X-Remote-Email", "X-Remote-Extra-*", "X-Proxy-Remote-User"),
    # recipes for nginx
    *("X-User", "X-Username", "X-User-Name", "X-Email", "X-User-Email", "X-Groups", "X-Roles", "X-Authenticated-*"),
    # oauth2-proxy, Jenkins, Vouch Proxy, authentik
    *("X-Forwarded-User", "X-Forwarded-Groups", "X-Forwarded-Email", "X-Forwarded-Preferred-Username"),
    *("X-Forwarded-Access-Token", "X-Auth-Request-*", "X-Auth-User", "X-Auth-Name", "X-Auth-Email", "X-Auth-Group"),
    *("X-Auth-Groups", "X-Auth-Role", "X-Vouch-*", "X-Authentik-*"),
    # Grafana, Kong, mod_auth_openidc and mod_auth_mellon, SiteMinder, Oracle Access Manager, Knox
    *("X-WebAuth-*", "X-Consumer-*", "X-Credential-Identifier", "OIDC-Claim-*", "Mellon-*", "SM-User", "SM-UserDN", "SMUser"),
    *("OAM-Remote-User", "X-SSO-User", "X-Knox-Actor-*"),
    # Pomerium, Tailscale, Cloudflare, Google, AWS and Azure
    *("X-Pomerium-Claim-*", "Tailscale-User-*", "CF-Access-Authenticated-User-Email", "X-Goog-Authenticated-User-*"),
    *("X-Amzn-OIDC-*", "X-MS-Client-Principal", "X-MS-Client-Principal-*"),
    # API gateways (APISIX and Kong with OpenID Connect, Google's endpoints, WSO2, Oathkeeper's recipes), Kubernetes, Shibboleth
    *("X-Userinfo", "X-Endpoint-API-UserInfo", "X-JWT-Assertion", "X-Auth-Subject", "Impersonate-*", "Shib-*"),
    # client certificates, for a service behind the end of TLS (RFC 9440)
    *("Client-Cert", "Client-Cert-Chain", "X-Client-Cert", "X-Client-Cert-*", "X-Client-DN", "X-Client-Verify"),
    *("SSL-Client-*", "X-SSL-Cert", "X-SSL-Client-*"),
)
"""Names, in any spelling that folds to them; ``NAME*`` stands for all names that begin with ``NAME``."""

NONE: Final = "none"

DEFAULT: Final = "default"
"""Stands for `KNOWN` in a list."""

_PATTERN = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[-_][A-Za-z0-9]+)*(?:[-_]?\*)?")


def _pattern(text: str, base: Path) -> str:
    if not _PATTERN.fullmatch(text):
        raise BadValue("expected none or the name of a header; a * at its end stands for anything")
    return text


def known(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names that an operator lists, instead of `KNOWN` or, with ``default``, besides it; ``none``: no names."""
    if NONE in names and len(names) > 1:
        raise BadValue("none cannot be combined with names")
    listed = tuple(name for name in names if name not in (NONE, DEFAULT))
    return (*KNOWN, *listed) if DEFAULT in names else listed


HEADER_PATTERN: Datatype[str] = Datatype("header name", _pattern, "")

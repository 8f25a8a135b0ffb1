"""Differences that are the same in several scenes."""

from __future__ import annotations

from typing import Any

from tests.comparison.judge import Difference, OneOf

ASKED = "/authenticate"


def status(title: str, theirs: int, ours: int, why: str, *requests: str, scene: str = "all", **facets: Any) -> Difference:
    """Another status. Nothing else is compared then, except ``facets``."""
    more = {name.replace("__", ".").replace("JWT_", "JWT "): pair for name, pair in facets.items()}
    return Difference(title, why, {"status": (theirs, ours), **more}, requests, scene=scene)


def token_of(scene: str, **more: Any) -> Difference:
    return Difference(
        "the token of a 200 answer",
        "It is an assertion for the service behind the proxy, issued for each request: it names the service as its audience, is "
        "valid for minutes, has a type that distinguishes it from an access token, and a unique `jti`. Clients get their access "
        "tokens from `/token`, with the lifetime of `jwt.exp`.",
        {
            "JWT typ": ("JWT", "perimeter-assertion+jwt"),
            "JWT has": (["exp", "iat"], ["exp", "iat", "jti", "kid"]),
            "JWT lifetime": ("60 min", "5 min"),
            "claim aud": (None, "upstream:forward-auth"),
            **more,
        },
        path=ASKED,
        status=200,
        scene=scene,
    )


def nothing_to_read(scene: str, *besides: str) -> Difference:
    return Difference(
        "the body of a 200 answer",
        "Proxies do not read it.",
        {"body": ("Authenticated successfully", None)},
        besides=besides,
        path=ASKED,
        status=200,
        scene=scene,
    )


def never_stored(scene: str) -> Difference:
    return Difference(
        "caches",
        "Permissions can change, and some answers contain a token.",
        {"Cache-Control": (None, "no-store")},
        besides=("whoami/*", "store/the identifier of a token in the list"),
        scene=scene,
    )


def challenges(scene: str, theirs: list[str], ours: list[str]) -> Difference:
    why = "The gateway also accepts its own access tokens, so the challenges begin with its realm (`realm` in `[perimeter]`)."
    if scene == "all":
        why += " Auth-o-tron always calls the realm of efas-api `efas`, although its users get the configured realm."
    return Difference("challenges", why, {"WWW-Authenticate": (theirs, ours)}, besides=(TOKEN,), status=401, scene=scene)


_REASONS = {
    "wrong_credentials": "The credentials are wrong",
    "invalid_token": "The access token is invalid",
    "expired_token": "The access token expired",
    "invalid_request": "The Authorization header is malformed",
}


def refusal(scene: str, *besides: str) -> Difference:
    return Difference(
        "the body of a refusal",
        "RFC 6750 defines the errors. `auth_uri` has the URLs that issue tokens.",
        {
            "body.error": ("Unauthorized access", OneOf(None, *_REASONS)),
            "body.error_description": (None, OneOf(None, *_REASONS.values())),
            "body.auth_uri": (None, "(the URLs that issue tokens)"),
        },
        besides=besides,
        status=401,
        scene=scene,
    )


TOKEN = "API tokens refused/GET /token"
"""``/token`` does not accept the gateway's own tokens."""

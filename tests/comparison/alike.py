"""Differences that are the same in several scenes."""

from __future__ import annotations

from typing import Any

from tests.comparison.judge import Difference, OneOf

ASKED = "/authenticate"


def status(title: str, theirs: int, ours: int, why: str, *requests: str, scene: str = "all", **facets: Any) -> Difference:
    """Another status, after which nothing else can be the same; ``facets`` are those that matter nevertheless."""
    more = {name.replace("__", ".").replace("JWT_", "JWT "): pair for name, pair in facets.items()}
    return Difference(title, why, {"status": (theirs, ours), **more}, requests, scene=scene)


def token_of(scene: str, **more: Any) -> Difference:
    return Difference(
        "the token of a good answer",
        "It is a statement for the service behind the proxy, made anew for each request: it names whom it is for, lives for "
        "minutes, says by its type that it is no access token, and can be told apart from any other. What clients take along "
        "comes from `/token`, and lives as long as `jwt.exp` says.",
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
        "the body of a good answer",
        "No proxy reads it.",
        {"body": ("Authenticated successfully", None)},
        besides=besides,
        path=ASKED,
        status=200,
        scene=scene,
    )


def never_stored(scene: str) -> Difference:
    return Difference(
        "caches",
        "Who may do something now may not do it later, and many an answer holds a token.",
        {"Cache-Control": (None, "no-store")},
        besides=("whoami/*", "store/what the list calls a token"),
        scene=scene,
    )


def challenges(scene: str, theirs: list[str], ours: list[str]) -> Difference:
    why = "The gateway's own access tokens are good too, so its own realm (`realm` in `[perimeter]`) is offered first."
    if scene == "all":
        why += " Auth-o-tron calls the realm of efas-api `efas`, whatever is configured; its users are of the configured one."
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
        "RFC 6750 names the errors, and a client without credentials is told where tokens are to be had.",
        {
            "body.error": ("Unauthorized access", OneOf(None, *_REASONS)),
            "body.error_description": (None, OneOf(None, *_REASONS.values())),
            "body.auth_uri": (None, "(where tokens are to be had)"),
        },
        besides=besides,
        status=401,
        scene=scene,
    )


TOKEN = "API tokens refused/GET /token"
"""``/token`` asks for credentials of others only."""

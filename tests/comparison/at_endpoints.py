"""The differences at all other paths."""

from __future__ import annotations

from tests.comparison.alike import ASKED, never_stored, refusal, status
from tests.comparison.judge import Difference


def _listed(*entries: tuple[str, str, str]) -> list[dict[str, str]]:
    return [{"name": name, "type": kind, "realm": realm} for name, kind, realm in entries]


def _providers(plain: str) -> list[dict[str, str]]:
    return _listed(
        *((f"{realm}-users", plain, realm) for realm in ("local", "lab", "paths", "lost")),
        ("iam", "jwt", "desp"),
        ("weather", "ecmwf-api", "ecmwf"),
        ("efas", "efas-api", "floods"),
        ("offline", "openid-offline", "offline"),
        ("generator", "ecmwf-token-generator", "generated"),
    )


def _augmenters(advanced: str) -> list[dict[str, str]]:
    return _listed(
        ("planned", "plain", "local"),
        ("matched", advanced, "local"),
        ("chained", advanced, "local"),
        *((name, "ldap", realm) for name, realm in (("groups", "lab"), ("paths", "paths"), ("lost", "lost"))),
    )


PATHS = (
    status(
        "the methods of /authenticate",
        405,
        200,
        "Some proxies (Envoy, Caddy) send their query with the method of the original request.",
        "method/* /authenticate",
    ),
    *(
        Difference(
            title,
            "Every refusal has its reason in the body, as JSON or HTML.",
            {
                "Content-Type": (None, "application/json"),
                "body.error": (None, reason),
                "body.error_description": (None, phrase),
            },
            status=code,
        )
        for title, code, reason, phrase in (
            ("paths that do not exist", 404, "no_route", "There is nothing here"),
            ("methods that are not allowed", 405, "method_not_allowed", "This method is not allowed here"),
        )
    ),
    status(
        "the landing page",
        200,
        404,
        "`/` belongs to the routes of the site.",
        "path/the landing page",
        "path/the icon",
    ),
)

ENDPOINTS = (
    Difference("the type of `/health`", "The body is plain text.", {"Content-Type": (None, "text/plain")}, ("health/*",)),
    status(
        "access to the lists",
        200,
        401,
        "The list of authenticators helps attackers who guess passwords. Listeners with `serve = tokens` show it to all.",
        "list/providers",
        "list/augmenters",
    ),
    Difference(
        "types in `/providers`",
        "The importer writes users to realm files, with hashed passwords.",
        {"body.providers": (_providers("plain"), _providers("realmfile"))},
        ("list/providers, with credentials",),
    ),
    Difference(
        "types in `/augmenters`",
        "Perimeter has a shorter name for the same type.",
        {"body.augmenters": (_augmenters("plain_advanced"), _augmenters("match"))},
        ("list/augmenters, with credentials",),
    ),
    status(
        "`/token` without a store",
        503,
        200,
        "It issues an access token, like Reactor, and access tokens need no store.",
        "API tokens/GET /token",
        body__access_token=(None, "(a token)"),
    ),
    status(
        "`/tokens` without a store",
        503,
        404,
        "Without a store there are no API tokens: the importer writes `api_tokens = no`.",
        "API tokens/GET /tokens",
        "API tokens/DELETE /token/x",
    ),
    status(
        "`/tokens` without a store, without credentials",
        401,
        404,
        "A path that does not exist needs no credentials.",
        "API tokens refused/GET /tokens",
        "API tokens refused/DELETE /token/x",
    ),
    status(
        "other methods without a store",
        405,
        404,
        "A path that does not exist has no methods.",
        "method/POST /tokens",
        "method/GET /token/x",
    ),
)

_TOKEN_MEMBERS = ["scopes", "token_string", "version"]
_OUR_MEMBERS = ["created", "expires", "id", "methods", "name", "networks", "routes", "version"]

STORE = (
    never_stored("store"),
    refusal("store"),
    Difference(
        "challenges",
        "As above.",
        {"WWW-Authenticate": (["Basic local"], ["Basic local", "Bearer perimeter"])},
        path=ASKED,
        status=401,
        scene="store",
    ),
    Difference(
        "challenges of the other endpoints, if only passwords are accepted",
        "The challenge has the realm of the gateway, like Reactor's.",
        {"WWW-Authenticate": (["Basic local"], ["Basic perimeter", "Bearer perimeter"])},
        ("store/DELETE without credentials",),
        scene="store",
    ),
    Difference(
        "`/token`",
        "The answer serves Auth-o-tron's and Reactor's clients: `token` is an API token that is valid for an hour.",
        {
            "body.access_token": (None, "(a token)"),
            "body.token_type": (None, "Bearer"),
            "body.expires_in": (None, 3600),
        },
        ("store/GET /token",),
        scene="store",
    ),
    status(
        "the token that `/token` returns",
        401,
        200,
        "It is valid. Auth-o-tron stores a different token, which only its list of tokens shows.",
        "store/the token that was given*",
        scene="store",
    ),
    Difference(
        "the list of tokens",
        "The list describes each token, but does not contain the token itself, which is shown only when it is created.",
        {"body.tokens": ([_TOKEN_MEMBERS], [_OUR_MEMBERS])},
        ("store/GET /tokens",),
        scene="store",
    ),
    status(
        "a list without tokens",
        500,
        200,
        "The list is empty. Auth-o-tron fails to find the user.",
        "store/GET /tokens before there are any",
        scene="store",
    ),
    status(
        "the identifier of a token in the list",
        200,
        401,
        "In Perimeter the identifier can only be used to revoke the token. Auth-o-tron lists the token itself.",
        "store/the identifier of a token in the list",
        scene="store",
    ),
    status(
        "revoking a token of another user",
        204,
        404,
        "Only its owner may revoke it. Auth-o-tron revokes it.",
        "store/DELETE of another user's",
        scene="store",
    ),
    Difference(
        "a token that another user tried to revoke",
        "The token still exists.",
        {"body.tokens": ([], [_OUR_MEMBERS])},
        ("store/GET /tokens after that",),
        scene="store",
    ),
    status(
        "revoking a token that does not exist",
        204,
        404,
        "Users who mistype an identifier learn that nothing was revoked.",
        "store/DELETE of none",
        scene="store",
    ),
    status(
        "`POST /tokens`",
        405,
        400,
        "It creates a token. The body has its name, lifetime and restrictions.",
        "store/POST /tokens",
        scene="store",
    ),
    status(
        "`GET /token/x`", 405, 404, "The answer does not reveal whether the token exists.", "store/GET /token/x", scene="store"
    ),
)

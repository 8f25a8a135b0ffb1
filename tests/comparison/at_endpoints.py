"""Where the two answer otherwise at other paths."""

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
        "Some proxies (Envoy, Caddy) ask with the method of the request that they ask about.",
        "method/* /authenticate",
    ),
    *(
        Difference(
            title,
            "Every refusal says why, as JSON or HTML.",
            {
                "Content-Type": (None, "application/json"),
                "body.error": (None, reason),
                "body.error_description": (None, phrase),
            },
            status=code,
        )
        for title, code, reason, phrase in (
            ("what is not there", 404, "no_route", "There is nothing here"),
            ("methods that are not allowed", 405, "method_not_allowed", "This method is not allowed here"),
        )
    ),
    status(
        "the landing page",
        200,
        404,
        "`/` is for the routes of the site.",
        "path/the landing page",
        "path/the icon",
    ),
)

ENDPOINTS = (
    Difference("the type of `/health`", "It is text.", {"Content-Type": (None, "text/plain")}, ("health/*",)),
    status(
        "who may see the lists",
        200,
        401,
        "By whom users are vouched for helps whoever guesses passwords. With `serve = tokens` on the listener all may see them.",
        "list/providers",
        "list/augmenters",
    ),
    Difference(
        "types in `/providers`",
        "The importer puts users into realm files, with their passwords hashed.",
        {"body.providers": (_providers("plain"), _providers("realmfile"))},
        ("list/providers, with credentials",),
    ),
    Difference(
        "types in `/augmenters`",
        "A shorter word for the same.",
        {"body.augmenters": (_augmenters("plain_advanced"), _augmenters("match"))},
        ("list/augmenters, with credentials",),
    ),
    status(
        "`/token` without a store",
        503,
        200,
        "It gives an access token, as Reactor does, which needs no store.",
        "API tokens/GET /token",
        body__access_token=(None, "(a token)"),
    ),
    status(
        "`/tokens` without a store",
        503,
        404,
        "There are no API tokens then: the importer writes `api_tokens = no`.",
        "API tokens/GET /tokens",
        "API tokens/DELETE /token/x",
    ),
    status(
        "`/tokens` without a store, without credentials",
        401,
        404,
        "What is not there needs no credentials.",
        "API tokens refused/GET /tokens",
        "API tokens refused/DELETE /token/x",
    ),
    status(
        "other methods without a store",
        405,
        404,
        "What is not there has no methods.",
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
        "challenges of the other endpoints, where there are passwords only",
        "They are asked for by the name of the gateway, as Reactor does.",
        {"WWW-Authenticate": (["Basic local"], ["Basic perimeter", "Bearer perimeter"])},
        ("store/DELETE without credentials",),
        scene="store",
    ),
    Difference(
        "`/token`",
        "One answer for Auth-o-tron's clients and for Reactor's: `token` is an API token for an hour.",
        {
            "body.access_token": (None, "(a token)"),
            "body.token_type": (None, "Bearer"),
            "body.expires_in": (None, 3600),
        },
        ("store/GET /token",),
        scene="store",
    ),
    status(
        "the token that `/token` gives",
        401,
        200,
        "It is good. Auth-o-tron stores another one than it gives, which only its list of tokens shows.",
        "store/the token that was given*",
        scene="store",
    ),
    Difference(
        "the list of tokens",
        "It says what each is for and has no token in it: that is shown once, when it is made.",
        {"body.tokens": ([_TOKEN_MEMBERS], [_OUR_MEMBERS])},
        ("store/GET /tokens",),
        scene="store",
    ),
    status(
        "a list without tokens",
        500,
        200,
        "It is empty. Auth-o-tron does not find the user.",
        "store/GET /tokens before there are any",
        scene="store",
    ),
    status(
        "what the list calls a token",
        200,
        401,
        "Here it is a name for it, with which it can be ended and nothing else.",
        "store/what the list calls a token",
        scene="store",
    ),
    status(
        "ending a token of somebody else",
        204,
        404,
        "Only its owner may. In Auth-o-tron it is gone.",
        "store/DELETE of another user's",
        scene="store",
    ),
    Difference(
        "a token that somebody else wanted to end",
        "It is still there.",
        {"body.tokens": ([], [_OUR_MEMBERS])},
        ("store/GET /tokens after that",),
        scene="store",
    ),
    status(
        "ending a token that is not there",
        204,
        404,
        "Whoever mistypes a name learns that nothing was ended.",
        "store/DELETE of none",
        scene="store",
    ),
    status(
        "`POST /tokens`",
        405,
        400,
        "It makes a token with a name, a life and restrictions, which the body has to tell.",
        "store/POST /tokens",
        scene="store",
    ),
    status("`GET /token/x`", 405, 404, "Whether there is one is not told.", "store/GET /token/x", scene="store"),
)

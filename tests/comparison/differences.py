"""Where Perimeter answers otherwise than Auth-o-tron, each with its reason: the one list, which the manual is made from."""

from __future__ import annotations

from typing import Any

import attrs

from tests.comparison.judge import Difference, OneOf

ASKED = "/authenticate"


def status(title: str, theirs: int, ours: int, why: str, *requests: str, scene: str = "all", **facets: Any) -> Difference:
    """Another status, after which nothing else can be the same; ``facets`` are those that matter nevertheless."""
    more = {name.replace("__", ".").replace("JWT_", "JWT "): pair for name, pair in facets.items()}
    return Difference(title, why, {"status": (theirs, ours), **more}, requests, scene=scene)


def _token(scene: str, **more: Any) -> Difference:
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


def _nothing_to_read(scene: str, *besides: str) -> Difference:
    return Difference(
        "the body of a good answer",
        "No proxy reads it.",
        {"body": ("Authenticated successfully", None)},
        besides=besides,
        path=ASKED,
        status=200,
        scene=scene,
    )


def _never_stored(scene: str) -> Difference:
    return Difference(
        "caches",
        "Who may do something now may not do it later, and many an answer holds a token.",
        {"Cache-Control": (None, "no-store")},
        besides=("whoami/*", "store/what the list calls a token"),
        scene=scene,
    )


def _challenges(scene: str, theirs: list[str], ours: list[str]) -> Difference:
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


def _refusal(scene: str, *besides: str) -> Difference:
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

_BASIC = ["Basic lab", "Basic local", "Basic lost", "Basic paths"]
_THEIRS = ["Bearer desp", "Bearer ecmwf", "Bearer efas", "Bearer generated", "Bearer offline"]
_OURS = ["Bearer desp", "Bearer ecmwf", "Bearer floods", "Bearer generated", "Bearer offline"]


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


_ALWAYS = (
    _token("all"),
    _nothing_to_read("all", "*/HEAD"),
    _never_stored("all"),
    _challenges("all", [*_BASIC, *_THEIRS], [*_BASIC, *_OURS, "Bearer perimeter"]),
    Difference(
        "challenges of `/token`",
        "No token buys another one, so the gateway's own realm is not offered.",
        {"WWW-Authenticate": ([*_BASIC, *_THEIRS], [*_BASIC, *_OURS])},
        (TOKEN,),
    ),
    _refusal("all", "*/HEAD"),
    Difference(
        "a user without roles",
        "What is empty is left out.",
        {"X-Auth-Roles": ("", None)},
        (
            "password/a user without roles",
            "password/a colon in the password",
            "password/a password that is not ASCII",
            "several/a bad password, a good token",
            "realm/of two that know the name",
            "realm/a token's own",
            "ecmwf-api/*",
            "augmenter/of another realm",
            "augmenter/ldap, a user whom the directory does not know",
        ),
        path=ASKED,
        status=200,
    ),
)

_CREDENTIALS = (
    status(
        "one name in two realms",
        200,
        401,
        "A wrong password goes to no second directory: the first authenticator that knows the name decides. `X-Auth-Realm` says "
        "which one is meant.",
        "password/the same name in another realm",
    ),
    status(
        "two passwords",
        401,
        200,
        "Credentials are judged in their order until one is good. Auth-o-tron keeps the last one of a scheme.",
        "several/two passwords, the first good",
    ),
    status(
        "two Authorization fields",
        200,
        401,
        "Which of them counts is a matter of taste, and two servers that differ in it can be played off against each other.",
        "several/two fields, the first good",
    ),
    status("base64 without its padding", 401, 200, "Some clients leave it out, and it says nothing.", "password/no padding"),
    status(
        "passwords in ISO-8859-1",
        401,
        200,
        "Old clients send them so: what is not UTF-8 is read as ISO-8859-1.",
        "password/ISO-8859-1",
    ),
    Difference(
        "a user name that is not ASCII",
        "A field's value is ASCII if it has to arrive: it is percent-encoded, and decoded as a URL is. Auth-o-tron sends the "
        "octets of UTF-8, which most servers read as ISO-8859-1.",
        {"X-Auth-Username": ("JosÃ©", "Jos%C3%A9")},
        ("password/a user name that is not ASCII",),
    ),
    status(
        "a comma in a role, in the configuration",
        200,
        401,
        "Auth-o-tron hands on two roles instead of one. The importer leaves such a user out, and says so.",
        "password/a comma in a role",
    ),
    Difference(
        "a comma in a role, from a service",
        "It stays one role, with its comma percent-encoded.",
        {"X-Auth-Roles": ("viewer,a,admin", "viewer,a%2Cadmin")},
        ("efas-api/a comma in a role",),
    ),
    status(
        "an empty password",
        200,
        401,
        "Whoever has none is not let in by it. The importer leaves such a user out, and says so.",
        "password/an empty password",
    ),
    status(
        "many wrong passwords",
        401,
        429,
        "After ten in a row further ones have to wait (`lockout_after`).",
        "lockout/*",
    ),
)

_REALMS = (
    status("the case of a realm", 200, 401, "The value of a realm is case-sensitive, as RFC 2617 has it.", "realm/in upper case"),
    status("several realms", 401, 200, "`X-Auth-Realm` may name several. For Auth-o-tron that is one long name.", "realm/a list"),
    status(
        "the realm of efas-api",
        401,
        200,
        "Auth-o-tron narrows by `efas`, whatever is configured.",
        "realm/of efas-api by the name that its users have",
    ),
)

_SERVICES = (
    status(
        "a service that fails",
        401,
        503,
        "The user's credentials may be good: he is not told that they are wrong, and no other service is shown them.",
        "ecmwf-api/the service fails",
    ),
    status(
        "a service that names nobody",
        200,
        503,
        "Auth-o-tron lets in a user without a name.",
        "ecmwf-api/the service names nobody",
    ),
    status(
        "a key with characters that mean something in a URL",
        401,
        200,
        "Auth-o-tron puts it into the query as it is.",
        "ecmwf-api/a key that has to be escaped",
    ),
    status(
        "a directory that is down",
        200,
        503,
        "Auth-o-tron lets the user in with some of his roles.",
        "augmenter/ldap, the directory is down",
    ),
)

_TOKENS = (
    status(
        "a token that expired a moment ago",
        200,
        401,
        "An end is an end. Auth-o-tron waits for another minute, and hands out a token that has expired as well.",
        "jwt/expired a moment ago",
        JWT_lifetime=("0 min", None),
    ),
    status("a token that is not valid yet", 200, 401, "`nbf` says from when on.", "jwt/not yet valid"),
    status("an ID token", 200, 401, "It tells a client who somebody is, and is no credential.", "jwt/an ID token"),
    status(
        "another algorithm than the key's",
        200,
        401,
        "A key is for one algorithm: the one that the issuer gives it.",
        "jwt/RS512 with a key for RS256",
    ),
    status("ES256", 401, 200, "Auth-o-tron knows RS256, RS512 and HS512 only.", "jwt/ES256"),
    status("no `scope`", 401, 200, "Not every issuer has it: there are no scopes then.", "jwt/no scope"),
    status("no `sub`", 401, 200, "The user is named by `preferred_username` first.", "jwt/no sub"),
    status(
        "a symmetric key",
        200,
        503,
        "Whoever may verify with one can sign with it, so it has no place in a set that is fetched: all of the set is refused.",
        "*",
        scene="symmetric",
    ),
)

_PATHS = (
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

_ENDPOINTS = (
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

_PASSWORDS = (
    _token("passwords"),
    Difference(
        "a secret of less than 32 octets",
        "RFC 7518 forbids it for HS256, and the one in the manuals is known to everybody. The importer says so, and has tokens "
        "signed with a key of the gateway's own, which services verify by `/.well-known/jwks.json`.",
        {"JWT alg": ("HS256", "ES256")},
        path=ASKED,
        status=200,
        scene="passwords",
    ),
    _nothing_to_read("passwords"),
    _never_stored("passwords"),
    _challenges("passwords", ["Basic local"], ["Basic local", "Bearer perimeter"]),
    _refusal("passwords"),
    Difference(
        "`include_legacy_headers: false`",
        "The importer says so: which fields a service gets is told for each route (`identity`), and `/authenticate` sends both.",
        {"X-Auth-Username": (None, "alice"), "X-Auth-Realm": (None, "local"), "X-Auth-Roles": (None, "reader,writer")},
        path=ASKED,
        status=200,
        scene="passwords",
    ),
)

_TOKEN_MEMBERS = ["scopes", "token_string", "version"]
_OUR_MEMBERS = ["created", "expires", "id", "methods", "name", "networks", "routes", "version"]

_STORE = (
    _never_stored("store"),
    _refusal("store"),
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

GROUPS: tuple[tuple[str, tuple[Difference, ...]], ...] = (
    ("Each answer of `/authenticate`", _ALWAYS),
    ("Credentials and users", _CREDENTIALS),
    ("Realms", _REALMS),
    ("Services and directories", _SERVICES),
    ("Tokens of other issuers", _TOKENS),
    ("Paths and methods", _PATHS),
    ("Endpoints", _ENDPOINTS),
    ("API tokens", _STORE),
    ("Options of the configuration", _PASSWORDS),
)
"""By what they are about."""

DIFFERENCES: tuple[Difference, ...] = tuple(one for _, group in GROUPS for one in group)


@attrs.frozen
class Read:
    """A difference that no request shows: it was read in Auth-o-tron's source."""

    title: str
    theirs: str
    ours: str
    why: str


READ = (
    Read(
        "the life of API tokens",
        "none ever ends by itself",
        "an hour for those of `/token`, up to `api_lifetime` for others",
        "What is forgotten somewhere must not be good for ever.",
    ),
    Read(
        "who is asked",
        "all providers of a scheme, at the same time",
        "one after the other, as they are configured",
        "Asking all of them shows a password, or a token, to each.",
    ),
    Read(
        "comparing passwords",
        "plain text, up to the first octet that differs",
        "against a hash, and as long for a user who does not exist",
        "Time tells nothing, and the file has no password in it.",
    ),
)

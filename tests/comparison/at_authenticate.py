"""Where the two answer `/authenticate` otherwise."""

from __future__ import annotations

from tests.comparison.alike import ASKED, TOKEN, challenges, never_stored, nothing_to_read, refusal, status, token_of
from tests.comparison.judge import Difference

_BASIC = ["Basic lab", "Basic local", "Basic lost", "Basic paths"]
_THEIRS = ["Bearer desp", "Bearer ecmwf", "Bearer efas", "Bearer generated", "Bearer offline"]
_OURS = ["Bearer desp", "Bearer ecmwf", "Bearer floods", "Bearer generated", "Bearer offline"]


ALWAYS = (
    token_of("all"),
    nothing_to_read("all", "*/HEAD"),
    never_stored("all"),
    challenges("all", [*_BASIC, *_THEIRS], [*_BASIC, *_OURS, "Bearer perimeter"]),
    Difference(
        "challenges of `/token`",
        "No token buys another one, so the gateway's own realm is not offered.",
        {"WWW-Authenticate": ([*_BASIC, *_THEIRS], [*_BASIC, *_OURS])},
        (TOKEN,),
    ),
    refusal("all", "*/HEAD"),
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

CREDENTIALS = (
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

REALMS = (
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

SERVICES = (
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

TOKENS = (
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

PASSWORDS = (
    token_of("passwords"),
    Difference(
        "a secret of less than 32 octets",
        "RFC 7518 forbids it for HS256, and the one in the manuals is known to everybody. The importer says so, and has tokens "
        "signed with a key of the gateway's own, which services verify by `/.well-known/jwks.json`.",
        {"JWT alg": ("HS256", "ES256")},
        path=ASKED,
        status=200,
        scene="passwords",
    ),
    nothing_to_read("passwords"),
    never_stored("passwords"),
    challenges("passwords", ["Basic local"], ["Basic local", "Bearer perimeter"]),
    refusal("passwords"),
    Difference(
        "`include_legacy_headers: false`",
        "The importer says so: which fields a service gets is told for each route (`identity`), and `/authenticate` sends both.",
        {"X-Auth-Username": (None, "alice"), "X-Auth-Realm": (None, "local"), "X-Auth-Roles": (None, "reader,writer")},
        path=ASKED,
        status=200,
        scene="passwords",
    ),
)

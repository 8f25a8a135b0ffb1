"""The differences at `/authenticate`."""

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
        "A token cannot be exchanged for another token, so the gateway's own realm is not offered.",
        {"WWW-Authenticate": ([*_BASIC, *_THEIRS], [*_BASIC, *_OURS])},
        (TOKEN,),
    ),
    refusal("all", "*/HEAD"),
    Difference(
        "a user without roles",
        "Empty headers are left out.",
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
        "A wrong password is not sent to a second directory: the first authenticator that knows the name decides, also with "
        "`X-Auth-Realm`.",
        "password/the same name in another realm",
    ),
    status(
        "two passwords",
        401,
        200,
        "Credentials are tried in their order until one is valid. Auth-o-tron only uses the last one of each scheme.",
        "several/two passwords, the first good",
    ),
    status(
        "two Authorization headers",
        200,
        401,
        "Servers disagree about which of them counts, and an attacker could use the disagreement.",
        "several/two headers, the first good",
    ),
    status(
        "base64 without its padding",
        401,
        200,
        "Some clients omit the padding, which carries no information.",
        "password/no padding",
    ),
    status(
        "passwords in ISO-8859-1",
        401,
        200,
        "Old clients use this encoding: text that is not valid UTF-8 is decoded as ISO-8859-1.",
        "password/ISO-8859-1",
    ),
    Difference(
        "a user name that is not ASCII",
        "Only ASCII is safe in a header, so the name is percent-encoded, and services decode it like a URL. Auth-o-tron sends "
        "UTF-8, which most servers read as ISO-8859-1.",
        {"X-Auth-Username": ("JosÃ©", "Jos%C3%A9")},
        ("password/a user name that is not ASCII",),
    ),
    status(
        "a comma in a role, in the configuration",
        200,
        401,
        "Auth-o-tron passes on two roles instead of one. The importer leaves out such a user, and reports it.",
        "password/a comma in a role",
    ),
    Difference(
        "a comma in a role, from a service",
        "The role stays one role, because its comma is percent-encoded.",
        {"X-Auth-Roles": ("viewer,a,admin", "viewer,a%2Cadmin")},
        ("efas-api/a comma in a role",),
    ),
    status(
        "an empty password",
        200,
        401,
        "An empty password is never accepted. The importer leaves out such a user, and reports it.",
        "password/an empty password",
    ),
    status(
        "many wrong passwords",
        401,
        429,
        "After ten wrong passwords in a row, further attempts have to wait (`lockout_after`).",
        "lockout/*",
    ),
)

REALMS = (
    status("the case of a realm", 200, 401, "The value of a realm is case-sensitive (RFC 2617).", "realm/in upper case"),
    status(
        "several realms",
        401,
        200,
        "`X-Auth-Realm` can name several realms. Auth-o-tron reads the list as one name.",
        "realm/a list",
    ),
    status(
        "the realm of efas-api",
        401,
        200,
        "Auth-o-tron always calls this realm `efas`, not the configured name.",
        "realm/of efas-api by the name that its users have",
    ),
)

SERVICES = (
    status(
        "a service that fails",
        401,
        503,
        "The credentials may be valid, so the answer is not 401, and they are not sent to another service.",
        "ecmwf-api/the service fails",
    ),
    status(
        "a service that returns no user name",
        200,
        503,
        "Auth-o-tron admits a user without a name.",
        "ecmwf-api/the service returns no user name",
    ),
    status(
        "a key with characters that have a meaning in a URL",
        401,
        200,
        "Auth-o-tron does not escape it in the query.",
        "ecmwf-api/a key that has to be escaped",
    ),
    status(
        "a directory that is down",
        200,
        503,
        "Auth-o-tron admits the user with only some of their roles.",
        "augmenter/ldap, the directory is down",
    ),
)

TOKENS = (
    status(
        "a token that expired a moment ago",
        200,
        401,
        "Expiry has no tolerance. Auth-o-tron accepts the token for another minute, and issues a token that has expired as well.",
        "jwt/expired a moment ago",
        JWT_lifetime=("0 min", None),
    ),
    status("a token that is not valid yet", 200, 401, "`nbf` is the time from which it is valid.", "jwt/not yet valid"),
    status("an ID token", 200, 401, "An ID token informs the client about its user, and is not a credential.", "jwt/an ID token"),
    status(
        "another algorithm than the key's",
        200,
        401,
        "A key is only valid for the algorithm that its issuer publishes with it.",
        "jwt/RS512 with a key for RS256",
    ),
    status("ES256", 401, 200, "Auth-o-tron supports only RS256, RS512 and HS512.", "jwt/ES256"),
    status("no `scope`", 401, 200, "Some issuers omit `scope`; the user then has no scopes.", "jwt/no scope"),
    status("no `kid`", 401, 200, "RFC 7515 makes it optional: the keys of the algorithm are tried.", "jwt/no kid"),
    status("no `sub`", 401, 200, "The user name comes from `preferred_username` first.", "jwt/no sub"),
    status(
        "a symmetric key",
        200,
        401,
        "Every service that can verify with such a key can also sign with it, so it is left out of a fetched key set.",
        "a symmetric key/HS512",
        scene="symmetric",
    ),
)

PASSWORDS = (
    token_of("passwords"),
    Difference(
        "a secret of less than 32 bytes",
        "RFC 7518 forbids it for HS256, and the secret of the manuals is public. The importer reports it and configures a "
        "signing key of the gateway instead. Services verify tokens with `/.well-known/jwks.json`.",
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
        "The importer reports it. `identity` of a route selects the headers for its service; `/authenticate` sends both kinds.",
        {"X-Auth-Username": (None, "alice"), "X-Auth-Realm": (None, "local"), "X-Auth-Roles": (None, "reader,writer")},
        path=ASKED,
        status=200,
        scene="passwords",
    ),
)

"""The requests that both get. Names describe them; ``<…>`` in a header stands for a credential of `surroundings`."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import attrs


@attrs.frozen
class Request:
    """One request. Each comes from its own address, so that wrong passwords of one request do not affect another."""

    name: str
    fields: tuple[tuple[str, str | bytes], ...] = ()
    path: str = "/authenticate"
    method: str = "GET"
    times: int = 1
    """How often it is sent; the last answer counts."""
    scene: str = "all"
    """The configuration of `scenes` that it is for."""


def basic(user: str, password: str, scheme: str = "Basic", encoding: str = "utf-8") -> str:
    """Credentials of a user."""
    return f"{scheme} {base64.b64encode(f'{user}:{password}'.encode(encoding)).decode()}"


ALICE = basic("alice", "wonderland")
BOB = basic("bob", "builder")
WRONG = basic("unknown-user", "wrong")


def ask(name: str, authorization: str | bytes | None = None, *more: tuple[str, str], **options: str | int) -> Request:
    """A request with an Authorization header."""
    fields = () if authorization is None else (("Authorization", authorization),)
    return Request(name, (*fields, *more), **options)  # type: ignore[arg-type]


def realm(value: str) -> tuple[str, str]:
    """The header that selects realms."""
    return "X-Auth-Realm", value


def _passwords() -> Iterator[Request]:
    yield ask("password/a user with roles", ALICE)
    yield ask("password/a user without roles", BOB)
    yield ask("password/the same name in another realm", basic("bob", "lab-secret"))
    yield ask("password/a colon in the password", basic("colon", "a:b:c"))
    yield ask("password/a password that is not ASCII", basic("umlaut", "größer"))
    yield ask("password/the scheme in lower case", ALICE.replace("Basic", "basic"))
    yield ask("password/the scheme in upper case", ALICE.replace("Basic", "BASIC"))
    yield ask("password/Plain for Basic", ALICE.replace("Basic", "Plain"))
    yield ask("password/two spaces after the scheme", ALICE.replace(" ", "  "))
    yield ask("password/a query behind the path", ALICE, path="/authenticate?a=b")
    yield ask("password/identity in the request", ALICE, ("X-Auth-Username", "root"), ("X-Auth-Roles", "admin"))
    yield ask("password/HEAD", ALICE, method="HEAD")
    yield ask("password/no padding", ALICE.rstrip("="))
    yield ask("password/ISO-8859-1", basic("umlaut", "größer", encoding="iso-8859-1"))
    yield ask("password/a user name that is not ASCII", basic("José", "sésame"))
    yield ask("password/a comma in a role", basic("comma", "comma-secret"))
    yield ask("password/an empty password", basic("empty", ""))


def _refused() -> Iterator[Request]:
    yield ask("refused/nothing")
    yield ask("refused/an empty header", "")
    yield ask("refused/a wrong password", basic("alice", "wrong"))
    yield ask("refused/an unknown user", WRONG)
    yield ask("refused/a password of another realm's user", basic("alice", "lab-secret"))
    yield ask("refused/a name in other case", basic("ALICE", "wonderland"))
    yield ask("refused/no user name", basic("", "wonderland"))
    yield ask("refused/not base64", "Basic !!!")
    yield ask("refused/no colon", "Basic YWxpY2U=")
    yield ask("refused/a scheme alone", "Basic")
    yield ask("refused/a credential alone", ALICE.partition(" ")[2])
    yield ask("refused/three words", f"{ALICE} more")
    yield ask("refused/an unknown scheme", "Digest YWxpY2U6d29uZGVybGFuZA==")
    yield ask("refused/a comma at the end", f"{ALICE},")
    yield ask("refused/bytes that are not ASCII", b"Basic \xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9")
    yield ask("refused/an unknown token", "Bearer unknown-token")
    yield ask("refused/HEAD", method="HEAD")
    yield ask("lockout/the twelfth wrong password", basic("guessed", "wrong"), times=12)


def _several() -> Iterator[Request]:
    yield ask("several/a good password, a bad token", f"{ALICE}, Bearer unknown-token")
    yield ask("several/a bad password, a good token", f"{WRONG}, Bearer <ecmwf>")
    yield ask("several/a good password in third place", f"Bearer unknown-token, Digest eHh4, {ALICE}")
    yield ask("several/the same one twice", f"{ALICE}, {ALICE}")
    yield ask("several/no space behind the comma", f"{ALICE},Bearer unknown-token")
    yield ask("several/two passwords, the second good", f"{WRONG}, {ALICE}")
    yield ask("several/two passwords, the first good", f"{ALICE}, {WRONG}")
    yield ask("several/two headers, the first good", ALICE, ("Authorization", "Bearer unknown-token"))
    yield ask("several refused/all bad", f"{WRONG}, Bearer unknown-token")
    yield ask("several refused/four", f"{ALICE}, Bearer a, Bearer b, Bearer c")
    yield ask("several refused/a good one and a word", f"{ALICE}, Bearer")


def _realms() -> Iterator[Request]:
    yield ask("realm/the user's own", ALICE, realm("local"))
    yield ask("realm/of two that know the name", basic("bob", "lab-secret"), realm("lab"))
    yield ask("realm/a token's own", "Bearer <ecmwf>", realm("ecmwf"))
    yield ask("realm/in upper case", ALICE, realm("LOCAL"))
    yield ask("realm/a list", ALICE, realm("lab, local"))
    yield ask("realm/of efas-api by the name that its users have", "Bearer <efas>", realm("floods"))
    yield ask("realm refused/another one", ALICE, realm("lab"))
    yield ask("realm refused/an unknown one", ALICE, realm("nowhere"))
    yield ask("realm refused/an empty one", ALICE, realm(""))
    yield ask("realm refused/another one for a token", "Bearer <ecmwf>", realm("desp"))


def _services() -> Iterator[Request]:
    yield ask("ecmwf-api/a key", "Bearer <ecmwf>")
    yield ask("ecmwf-api/the scheme in lower case", "bearer <ecmwf>")
    yield ask("ecmwf-api/a key of a user without email", "Bearer <ecmwf-bare>")
    yield ask("ecmwf-api/the service fails", "Bearer <ecmwf-down>")
    yield ask("ecmwf-api/the service returns no user name", "Bearer <ecmwf-nobody>")
    yield ask("ecmwf-api/a key that has to be escaped", "Bearer <ecmwf-plus>")
    yield ask("efas-api/a key", "Bearer <efas>")
    yield ask("efas-api/a comma in a role", "Bearer <efas-comma>")
    yield ask("openid-offline/an offline token", "Bearer <offline>")
    yield ask("openid-offline refused/an inactive one", "Bearer <offline-inactive>")
    yield ask("openid-offline refused/without offline_access", "Bearer <offline-scope>")
    yield ask("ecmwf-token-generator/a token", "Bearer <generated>")
    yield ask("ecmwf-token-generator refused/an inactive one", "Bearer <generated-inactive>")


def _tokens() -> Iterator[Request]:
    for name in ("RS256", "RS512", "only sub", "roles in three places", "audience in a list"):
        yield ask(f"jwt/{name}", f"Bearer <jwt {name}>")
    for name in (
        "RS512 with a key for RS256",
        "ES256",
        "no scope",
        "no sub",
        "expired a moment ago",
        "not yet valid",
        "an ID token",
        "no kid",
    ):
        yield ask(f"jwt/{name}", f"Bearer <jwt {name}>")
    for name in ("expired", "no exp", "an unknown key", "a foreign key by a known name", "none"):
        yield ask(f"jwt refused/{name}", f"Bearer <jwt {name}>")
    for name in ("HS512 with the public key", "HS512 of an unknown key", "torn"):
        yield ask(f"jwt refused/{name}", f"Bearer <jwt {name}>")


def _augmenters() -> Iterator[Request]:
    yield ask("augmenter/plain", basic("planned", "planned-secret"))
    yield ask("augmenter/plain_advanced by name", basic("matched", "matched-secret"))
    yield ask("augmenter/plain_advanced by a role that plain has added", basic("chained", "chained-secret"))
    yield ask("augmenter/plain_advanced adds a role that is there", basic("double", "double-secret"))
    yield ask("augmenter/of another realm", basic("matched", "lab-secret"), realm("lab"))
    yield ask("augmenter/ldap, one filter", basic("grouped", "lab-secret"), realm("lab"))
    yield ask("augmenter/ldap, a user whom the directory does not know", basic("bob", "lab-secret"), realm("lab"))
    yield ask("augmenter/ldap, filters", basic("grouped", "paths-secret"), realm("paths"))
    yield ask("augmenter/ldap, the directory is down", basic("lost", "lost-secret"))


def _methods() -> Iterator[Request]:
    for method in ("POST", "PUT", "OPTIONS"):
        yield ask(f"method/{method} /authenticate", ALICE, method=method)
    for path in ("/whoami", "/providers", "/health", "/token", "/tokens"):
        yield ask(f"method/POST {path}", ALICE, method="POST", path=path)
    yield ask("method/GET /token/x", ALICE, path="/token/x")


def _paths() -> Iterator[Request]:
    yield ask("path/nothing there", ALICE, path="/nothing-there")
    yield ask("path/nothing there, without credentials", path="/nothing-there")
    yield ask("path/a slash at the end", ALICE, path="/authenticate/")
    yield ask("path/in upper case", ALICE, path="/AUTHENTICATE")
    yield ask("path/metrics", path="/metrics")
    yield ask("path/the landing page", path="/")
    yield ask("path/the icon", path="/favicon.ico")


def _endpoints() -> Iterator[Request]:
    yield ask("whoami/a user with roles", ALICE, path="/whoami")
    yield ask("whoami/a user without roles", BOB, path="/whoami")
    yield ask("whoami/attributes of a match", basic("matched", "matched-secret"), path="/whoami")
    yield ask("whoami/attributes and scopes of a JWT", "Bearer <jwt RS256>", path="/whoami")
    yield ask("whoami/HEAD", ALICE, path="/whoami", method="HEAD")
    yield ask("whoami refused/nothing", path="/whoami")
    yield ask("whoami refused/a wrong password", WRONG, path="/whoami")
    yield ask("health/GET", path="/health")
    yield ask("health/HEAD", path="/health", method="HEAD")
    yield ask("health/with credentials", WRONG, path="/health")
    yield ask("list/providers", path="/providers")
    yield ask("list/augmenters", path="/augmenters")
    yield ask("list/providers, with credentials", ALICE, path="/providers")
    yield ask("list/augmenters, with credentials", ALICE, path="/augmenters")
    yield ask("API tokens/GET /token", ALICE, path="/token")
    yield ask("API tokens/GET /tokens", ALICE, path="/tokens")
    yield ask("API tokens/DELETE /token/x", ALICE, path="/token/x", method="DELETE")
    yield ask("API tokens refused/GET /token", path="/token")
    yield ask("API tokens refused/GET /tokens", path="/tokens")
    yield ask("API tokens refused/DELETE /token/x", path="/token/x", method="DELETE")


def _small() -> Iterator[Request]:
    yield ask("passwords alone/a user with roles", ALICE, scene="passwords")
    yield ask("passwords alone/nothing", scene="passwords")
    yield ask("passwords alone/a token", "Bearer unknown-token", scene="passwords")
    yield ask("passwords alone/no augmenters", ALICE, path="/augmenters", scene="passwords")
    yield ask("a symmetric key/HS512", "Bearer <jwt HS512>", scene="symmetric")
    yield ask("a symmetric key/RS256 beside it", "Bearer <jwt RS256>", scene="symmetric")


def _stored() -> Iterator[Request]:
    """In this order: what is made is used, and ended."""
    yield ask("store/GET /tokens before there are any", ALICE, path="/tokens", scene="store")
    yield ask("store/GET /token", ALICE, path="/token", scene="store")
    yield ask("store/the token that was given", "Bearer <given>", scene="store")
    yield ask("store/the token that was given, in its realm", "Bearer <given>", realm("local"), scene="store")
    yield ask("store/GET /tokens", ALICE, path="/tokens", scene="store")
    yield ask("store/the identifier of a token in the list", "Bearer <listed>", path="/whoami", scene="store")
    yield ask("store/DELETE of another user's", BOB, path="/token/<listed>", method="DELETE", scene="store")
    yield ask("store/GET /tokens after that", ALICE, path="/tokens", scene="store")
    yield ask("store/DELETE of one's own", ALICE, path="/token/<listed>", method="DELETE", scene="store")
    yield ask("store/GET /tokens after all", ALICE, path="/tokens", scene="store")
    yield ask("store/DELETE of none", ALICE, path="/token/x", method="DELETE", scene="store")
    yield ask("store/DELETE without credentials", path="/token/x", method="DELETE", scene="store")
    yield ask("store/a token that is none", "Bearer 00000000-0000-4000-8000-000000000000", scene="store")
    yield ask("store/POST /tokens", ALICE, path="/tokens", method="POST", scene="store")
    yield ask("store/GET /token/x", ALICE, path="/token/x", scene="store")


REQUESTS: tuple[Request, ...] = (
    *_passwords(),
    *_refused(),
    *_several(),
    *_realms(),
    *_services(),
    *_tokens(),
    *_augmenters(),
    *_methods(),
    *_paths(),
    *_endpoints(),
    *_small(),
    *_stored(),
)

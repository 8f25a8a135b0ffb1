"""What both gateways stand in: one configuration, the services that it names, and the credentials that these know."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

import attrs
import jwt

from perimeter.tokens.jwk import Jwk, generate
from tests.integration.directories import SEARCHER, SEARCHER_PASSWORD, SUFFIX, Slapd, person
from tests.integration.upstreams import Connection, Upstream

SECRET = "a-secret-that-is-long-enough-for-HS256"
SHORT = "authotron-secret-key"
"""Too short for HS256, and found in the manuals."""

ISSUER = "authotron-issuer"
SHARED = b"a-symmetric-key-of-a-key-set-that-has-got-sixty-four-octets-or-a-few-more"

FAR = 4_102_444_800
"""A time that does not come, the same in each run."""

# Active Directory writes the attribute's name in capitals, which is the only way that Auth-o-tron reads it; a slapd that knows
# memberOf as text leaves it as it was written.
MEMBER_OF = """
dn: cn=directory,cn=schema,cn=config
objectClass: olcSchemaConfig
cn: directory
olcAttributeTypes: ( 1.2.840.113556.1.2.102 NAME 'memberOf' EQUALITY caseIgnoreMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )
"""


def directory(path: Path) -> Slapd:
    """The directory of the ldap augmenters."""
    groups = (f"memberOf: CN=Admin,OU=TeamA,{SUFFIX}", f"memberOf: CN=Other,OU=TeamB,{SUFFIX}")
    return Slapd(path, [person("grouped", "", "objectClass: extensibleObject", *groups)], after=MEMBER_OF)


class Services:
    """All that the providers ask, on one port: by path. ``tokens`` are the credentials by the names that requests call them."""

    def __init__(self) -> None:
        self._rsa, self._other, self._ec = generate("RS256"), generate("RS256"), generate("ES256")
        self.tokens = self._foreign() | {
            "ecmwf": "ecmwf-key",
            "ecmwf-bare": "ecmwf-bare-key",
            "ecmwf-down": "ecmwf-down-key",
            "ecmwf-nobody": "ecmwf-nobody-key",
            "ecmwf-plus": "ecmwf+plus/key==",
            "efas": "efas-key",
            "efas-comma": "efas-comma-key",
            "offline": "offline-key",
            "offline-inactive": "offline-inactive-key",
            "offline-scope": "offline-scope-key",
            "generated": "generated-key",
            "generated-inactive": "generated-inactive-key",
        }
        self._upstream = Upstream(self._serve)
        self.url, self.close = self._upstream.url, self._upstream.close

    # -- tokens of another issuer

    def _foreign(self) -> dict[str, str]:
        now = int(time.time())
        modulus = str(self._rsa.members()["n"])
        good = self._signed(self._rsa, "RS256")
        return {
            "jwt RS256": good,
            "jwt RS512": self._encoded(self._rsa.private, "RS512", "for-RS512"),
            "jwt RS512 with a key for RS256": self._signed(self._rsa, "RS512"),
            "jwt only sub": self._signed(self._rsa, "RS256", preferred_username=None),
            "jwt roles in three places": self._signed(
                self._rsa, "RS256", entitlements=["paid"], resource_access={"app": {"roles": ["editor"]}}
            ),
            "jwt audience in a list": self._signed(self._rsa, "RS256", aud=["one", "two"]),
            "jwt HS512 of an unknown key": self._encoded(SHARED, "HS512", "unknown"),
            "jwt HS512": self._encoded(SHARED, "HS512", "shared"),
            "jwt ES256": self._signed(self._ec, "ES256"),
            "jwt no scope": self._signed(self._rsa, "RS256", scope=None),
            "jwt no sub": self._signed(self._rsa, "RS256", sub=None),
            "jwt no exp": self._signed(self._rsa, "RS256", exp=None),
            "jwt expired a moment ago": self._signed(self._rsa, "RS256", exp=now - 20),
            "jwt not yet valid": self._signed(self._rsa, "RS256", nbf=now + 3600),
            "jwt an ID token": self._signed(self._rsa, "RS256", typ="ID"),
            "jwt expired": self._signed(self._rsa, "RS256", exp=now - 3600),
            "jwt an unknown key": self._encoded(self._other.private, "RS256", "unknown"),
            "jwt a foreign key by a known name": self._encoded(self._other.private, "RS256", self._rsa.kid),
            "jwt no kid": self._encoded(self._rsa.private, "RS256", None),
            "jwt none": self._encoded(None, "none", self._rsa.kid),
            "jwt HS512 with the public key": self._encoded(modulus.encode(), "HS512", self._rsa.kid),
            "jwt torn": good[:-20],
        }

    def _signed(self, key: Jwk, algorithm: str, **claims: Any) -> str:
        return self._encoded(key.private, algorithm, key.kid, **claims)

    @staticmethod
    def _encoded(key: Any, algorithm: str, kid: str | None, **claims: Any) -> str:
        body = {
            "iss": "https://iam.example",
            "aud": "somebody",
            "sub": "f3a1",
            "preferred_username": "ada",
            "scope": "data:read data:write",
            "realm_access": {"roles": ["viewer"]},
            "exp": FAR,
            "level": 3,
            "staff": True,
            "address": {"city": "Reading"},
            **claims,
        }
        kept = {name: value for name, value in body.items() if value is not None}
        return jwt.encode(kept, key, algorithm, headers={"kid": kid} if kid else None)

    def _keys(self) -> dict[str, Any]:
        other = self._rsa.members() | {"alg": "RS512", "kid": "for-RS512"}
        return {"keys": [self._rsa.members(), other, self._ec.members()]}

    def _symmetric(self) -> dict[str, Any]:
        key = {"kty": "oct", "kid": "shared", "alg": "HS512", "k": jwt.utils.base64url_encode(SHARED).decode()}
        return {"keys": [self._rsa.members(), key]}

    # -- the services

    def _serve(self, connection: Connection) -> None:
        while True:
            received = connection.request()
            target = received.line.split()[1]
            status, body = self._answer(target, received.body.decode())
            text = json.dumps(body).encode()
            connection.send(
                b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (status, len(text), text)
            )

    def _answer(self, target: str, body: str) -> tuple[int, Any]:
        path, _, query = target.partition("?token=")
        if path == "/certs":
            return 200, self._keys()
        if path == "/symmetric":
            return 200, self._symmetric()
        if path == "/v1/who-am-i":
            return self._who_am_i(query)
        if path == "/efas":
            return self._efas(unquote(query))
        if path.startswith("/realms/offline/"):
            return self._iam(path, {name: values[0] for name, values in parse_qs(body).items()})
        if path.startswith("/generator/"):
            return self._generator(path, json.loads(body))
        return 404, {}

    @staticmethod
    def _who_am_i(query: str) -> tuple[int, Any]:
        if query == "ecmwf-down-key":
            return 500, {}
        known: dict[str, Any] = {
            "ecmwf-key": {"uid": "wendy", "email": "wendy@example.int"},
            "ecmwf-bare-key": {"uid": "bare"},
            "ecmwf-nobody-key": {"email": "nobody@example.int"},
            # as a form's decoder reads it: a plus that is not escaped is a space
            "ecmwf+plus/key==": {"uid": "plus"},
        }
        found = known.get(unquote(query.replace("+", " ")))
        return (200, found) if found else (403, {})

    @staticmethod
    def _efas(token: str) -> tuple[int, Any]:
        known: dict[str, Any] = {
            "efas-key": {"username": "flo", "roles": ["viewer", "river"], "email": "flo@example.int"},
            "efas-comma-key": {"username": "flo", "roles": ["viewer", "a,admin"]},
        }
        return (200, known[token]) if token in known else (403, {})

    def _iam(self, path: str, form: dict[str, str]) -> tuple[int, Any]:
        if path.endswith("/introspect"):
            scope = {"offline-key": "openid offline_access", "offline-scope-key": "openid"}.get(form["token"])
            return 200, {"active": False} if scope is None else {"active": True, "scope": scope, "client_id": "public"}
        return 200, {"access_token": self._signed(self._rsa, "RS256", preferred_username="olga"), "token_type": "Bearer"}

    def _generator(self, path: str, body: dict[str, str]) -> tuple[int, Any]:
        if path.endswith("/validate-token"):
            return 200, {"active": body["token"] == "generated-key"}
        return 200, {"access_token": self._signed(self._rsa, "RS256", preferred_username="gerd")}


def user(name: str, password: str, roles: str = "") -> str:
    """A line of a plain provider."""
    return f'      - {{username: "{name}", password: "{password}"{f", roles: [{roles}]" if roles else ""}}}'


USERS = {
    "local": [
        user("alice", "wonderland", "reader, writer"),
        user("bob", "builder"),
        user("colon", "a:b:c"),
        user("umlaut", "größer"),
        user("José", "sésame", "reader"),
        user("comma", "comma-secret", '"reader,admin"'),
        user("empty", ""),
        user("planned", "planned-secret"),
        user("matched", "matched-secret", "reader"),
        user("chained", "chained-secret"),
        user("double", "double-secret", "added, reader"),
    ],
    "lab": [user("bob", "lab-secret"), user("matched", "lab-secret"), user("grouped", "lab-secret")],
    "paths": [user("grouped", "paths-secret")],
    "lost": [user("lost", "lost-secret", "reader")],
}
"""The lines of each realm's plain provider."""


@attrs.frozen
class Scene:
    """What there is to configure: the port to listen on, and where the things around are."""

    port: int
    services: str
    ldap: int
    nowhere: int
    mongo: str


UNTRANSLATED = {
    "all": [
        "user 'comma': a comma in a role would be two roles",
        "user 'empty': an empty password, or control characters in it",
    ],
    "passwords": [
        "user 'comma': a comma in a role would be two roles",
        "user 'empty': an empty password, or control characters in it",
    ],
    "symmetric": [],
    "store": [
        "user 'comma': a comma in a role would be two roles",
        "user 'empty': an empty password, or control characters in it",
    ],
}
"""What ``perimeter import`` leaves out of each scene's configuration, and says so."""


def configuration(name: str, scene: Scene) -> str:
    """The configuration of a scene, in Auth-o-tron's present version of the format."""
    return {"all": _everything, "passwords": _passwords, "symmetric": _symmetric, "store": _store}[name](scene)


def _plain(realm: str) -> str:
    lines = "\n".join(USERS[realm])
    return f'  - name: "{realm}-users"\n    type: "plain"\n    realm: "{realm}"\n    users:\n{lines}\n'


def _general(scene: Scene, *, legacy: bool = True, secret: str = SECRET, store: str = "enabled: false") -> str:
    return f"""\
version: 2.0.0
logging:
  level: "warn"
  format: "console"
auth:
  timeout_in_ms: 4000
store: {{{store}}}
services: []
jwt:
  exp: 3600
  iss: "{ISSUER}"
  secret: "{secret}"
  aud: "authotron-audience"
include_legacy_headers: {"true" if legacy else "false"}
server:
  host: "127.0.0.1"
  port: {scene.port}
metrics:
  enabled: false
"""


def _passwords(scene: Scene) -> str:
    """What the guide of the ecFlow server has, but for its service: a secret that is too short, here without X-Auth-* too."""
    return f"{_general(scene, legacy=False, secret=SHORT)}providers:\n{_plain('local')}"


def _symmetric(scene: Scene) -> str:
    return f"""\
{_general(scene)}providers:
  - {{name: "iam", type: "jwt", cert_uri: "{scene.services}/symmetric", realm: "desp", iam_realm: "desp"}}
"""


def _store(scene: Scene) -> str:
    store = f'enabled: true, type: "mongo", uri: "{scene.mongo}", database: "auth-o-tron"'
    return f"{_general(scene, store=store)}providers:\n{_plain('local')}"


def _everything(scene: Scene) -> str:
    services = scene.services
    ldap_options = (
        f'search_base: "ou=people,{SUFFIX}", bind_dn: "{SEARCHER}", ldap_password: "{SEARCHER_PASSWORD}", '
        f'uri: "ldap://127.0.0.1:{scene.ldap}"'
    )
    return f"""\
{_general(scene)}providers:
{"".join(map(_plain, USERS))}\
  - name: "iam"
    type: "jwt"
    cert_uri: "{services}/certs"
    realm: "desp"
    iam_realm: "desp"
  - name: "weather"
    type: "ecmwf-api"
    uri: "{services}/v1"
    realm: "ecmwf"
  - name: "efas"
    type: "efas-api"
    uri: "{services}/efas"
    realm: "floods"
  - name: "offline"
    type: "openid-offline"
    cert_uri: "{services}/certs"
    iam_url: "{services}"
    public_client_id: "public"
    private_client_id: "private"
    private_client_secret: "private-client-secret"
    realm: "offline"
  - name: "generator"
    type: "ecmwf-token-generator"
    cert_uri: "{services}/certs"
    token_generator_url: "{services}/generator"
    client_id: "generator-client"
    client_secret: "generator-secret"
    realm: "generated"
augmenters:
  - name: "planned"
    type: "plain"
    realm: "local"
    roles: {{staff: ["planned", "chained"]}}
  - name: "matched"
    type: "plain_advanced"
    realm: "local"
    match: {{username: ["matched", "double"]}}
    augment: {{roles: ["added"], attributes: {{team: "red"}}}}
  - name: "chained"
    type: "plain_advanced"
    realm: "local"
    match: {{role: ["staff"]}}
    augment: {{roles: ["promoted"]}}
  - {{name: "groups", type: "ldap", realm: "lab", filter: "OU=TeamA", {ldap_options}}}
  - {{name: "paths", type: "ldap", realm: "paths", filters: ["OU=TeamA"], {ldap_options}}}
  - {{name: "lost", type: "ldap", realm: "lost", {ldap_options.replace(str(scene.ldap), str(scene.nowhere))}}}
"""


def secret_of(scene: str) -> str:
    """The secret that tokens are signed with."""
    return SHORT if scene == "passwords" else SECRET

"""The environment of both gateways: the services that a configuration names, and the credentials that they know."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

import jwt

from perimeter.tokens.jwk import Jwk, generate
from tests.integration.directories import SUFFIX, Slapd, person
from tests.integration.upstreams import Connection, Upstream

SHARED = b"a-symmetric-key-of-a-key-set-that-has-got-sixty-four-octets-or-a-few-more"

FAR = 4_102_444_800
"""A time in the far future, the same in each run."""

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
    """The services that the providers query, on one port. ``tokens`` are the credentials by the names that requests call them."""

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

"""A running gateway in Auth-o-tron's place: its providers in order, and its faults, which the gateway must not have."""

from __future__ import annotations

import json
import time
from typing import Any
from urllib.parse import unquote

import jwt

from perimeter.tokens.jwk import generate
from tests.integration.harness import GatewayCase, site
from tests.integration.upstreams import OK, Connection, Received
from tests.integration.wire import basic, bearer

KEY = generate("ES256")

ROUTES = """
[upstream app]
servers = <app>

[route app]
path = /
upstream = app

[route admin]
path = /admin
upstream = app
allow = role:admin
"""

PROVIDERS = """
[authenticator plain-provider]
type = plain
realm = builtin
users =
    someuser: somesecret
    José: sésame, viewer

[authenticator weather]
type = ecmwf-api
uri = <api>/v1
realm = ecmwf
timeout = 1s

[authenticator floods]
type = efas-api
uri = <api>/efas
realm = efas

[authenticator iam]
type = jwt
cert_uri = <api>/certs
issuer = https://iam.example
audience = gateway
realm = desp

[augmenter admins]
type = match
realm = ecmwf
username = alice
add_roles = admin
"""

TEMPLATE = "%(bindpw)s {env.HOME} {username} ${PATH}"
WEATHER = {
    "alice-key": {"uid": "alice", "email": "alice@example.int"},
    "jo+se/key==": {"uid": "José"},
    "template": {"uid": TEMPLATE},
}
FLOODS = {"flo-key": {"username": "flo", "roles": ["viewer", "a,admin"]}}


class ProviderCase(GatewayCase):
    def setUp(self) -> None:
        self.app = self.upstream(OK)
        self.down = False
        self.api = self.upstream(self.answer)
        text = site(ROUTES, extra=PROVIDERS).replace("<app>", self.app.url).replace("<api>", self.api.url)
        self.served = self.gateway(text, {"users.realm": "bob: hunter2\n"})

    def answer(self, connection: Connection) -> None:
        while True:
            try:
                target = connection.request().line.split()[1]
            except EOFError:
                return
            path, _, query = target.partition("?token=")
            known: dict[str, Any] = {"/v1/who-am-i": WEATHER, "/efas": FLOODS}.get(path, {})
            status, body = 403, b"{}"
            if self.down:
                status = 500
            elif path == "/certs":
                status, body = 200, json.dumps({"keys": [KEY.members()]}).encode()
            elif unquote(query) in known:
                status, body = 200, json.dumps(known[unquote(query)]).encode()
            connection.send(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body))

    def ask(self, authorization: str, path: str = "/x", *fields: str) -> int:
        lines = "".join(f"{line}\r\n" for line in (authorization, *fields) if line)
        request = f"GET {path} HTTP/1.1\r\nHost: gw\r\n{lines}\r\n"
        with self.served.connect("http") as wire:
            return wire.send(request.encode()).response().status

    def forwarded(self, authorization: str, *fields: str) -> Received:
        self.assertEqual(self.ask(authorization, "/x", *fields), 200)
        return self.app.requests[-1]

    def identity(self, authorization: str, *fields: str) -> tuple[str | None, str | None, str | None]:
        found = self.forwarded(authorization, *fields)
        return found.get("x-auth-username"), found.get("x-auth-realm"), found.get("x-auth-roles")


def signed(**claims: Any) -> str:
    body = {
        "iss": "https://iam.example",
        "aud": "gateway",
        "preferred_username": "ada",
        "exp": int(time.time()) + 60,
        "realm_access": {"roles": ["viewer"]},
        **claims,
    }
    return jwt.encode(body, KEY.private, "ES256", headers={"kid": KEY.kid})  # type: ignore[arg-type]


class GatewayTests(ProviderCase):
    def test_every_provider_knows_its_own(self) -> None:
        for authorization, identity in (
            (basic("bob", "hunter2"), ("bob", "local", None)),
            (basic("someuser", "somesecret"), ("someuser", "builtin", None)),
            (bearer("alice-key"), ("alice", "ecmwf", "admin")),
            (bearer("flo-key"), ("flo", "efas", "viewer,a%2Cadmin")),
            (bearer(signed()), ("ada", "desp", "viewer")),
        ):
            self.assertEqual(self.identity(authorization), identity)

    def test_rules_go_by_what_providers_and_augmenters_say(self) -> None:
        self.assertEqual(self.ask(bearer("alice-key"), "/admin"), 200)
        for authorization in (bearer("flo-key"), bearer(signed()), basic("someuser", "somesecret")):
            self.assertEqual(self.ask(authorization, "/admin"), 403)

    def test_wrong_credentials_are_refused(self) -> None:
        for authorization in (
            bearer("nobody-knows-it"),
            bearer(signed(aud="other")),
            bearer(signed(exp=1)),
            basic("someuser", "wrong"),
            basic("nobody", "somesecret"),
            "",
        ):
            self.assertEqual(self.ask(authorization), 401, authorization)
        self.assertEqual(self.app.requests, [])

    def test_a_realm_narrows(self) -> None:
        """It spares no provider in front of the realm (attack 49), and those behind it do not see the token."""
        self.assertEqual(self.identity(bearer("alice-key"), "X-Auth-Realm: ecmwf")[0], "alice")
        ecmwf, efas = "GET /v1/who-am-i?token=alice-key HTTP/1.1", "GET /efas?token=alice-key HTTP/1.1"
        self.assertEqual([request.line for request in self.api.requests], [ecmwf])
        self.assertEqual(self.ask(bearer("alice-key"), "/x", "X-Auth-Realm: efas"), 401)
        self.assertEqual([request.line for request in self.api.requests if request.line == efas], [efas])

    def test_attack_16_the_token_goes_no_further(self) -> None:
        found = self.forwarded(bearer("alice-key"))
        self.assertNotIn(b"alice-key", found.head)
        self.assertNotIn("alice-key", self.served.log)
        self.assertNotIn("alice-key", "\n".join(self.served.audit()))

    def test_attack_17_a_name_is_no_template(self) -> None:
        self.assertEqual(self.identity(bearer("template"))[0], TEMPLATE.replace("%", "%25"))

    def test_attack_33_realms_share_no_verdict(self) -> None:
        for _ in range(2):
            self.assertEqual(self.identity(bearer("alice-key"), "X-Auth-Realm: ecmwf")[1], "ecmwf")
            self.assertEqual(self.ask(bearer("alice-key"), "/x", "X-Auth-Realm: efas"), 401)
            self.assertEqual(self.ask(bearer("alice-key"), "/x", "X-Auth-Realm: desp"), 401)

    def test_attack_41_a_provider_that_is_down_never_falls_through(self) -> None:
        self.down = True
        self.assertEqual(self.ask(bearer("flo-key")), 503)
        self.assertEqual([request.line.split("?")[0] for request in self.api.requests], ["GET /v1/who-am-i"])
        self.assertEqual(self.ask(basic("someuser", "somesecret")), 200, "passwords are another matter")
        self.assertNotIn("flo-key", self.served.log)


class FaultsOfTheOriginalTests(ProviderCase):
    """The faults that the reference lists; the owner check on deletion belongs to the API tokens."""

    def test_a_user_name_that_is_not_ascii_reaches_the_service_encoded(self) -> None:
        self.assertEqual(self.identity(basic("José", "sésame")), ("Jos%C3%A9", "builtin", "viewer"))
        self.assertEqual(self.identity(bearer("jo+se/key=="))[0], "Jos%C3%A9")

    def test_a_comma_in_a_role_forges_no_second_role(self) -> None:
        roles = self.identity(bearer("flo-key"))[2]
        self.assertEqual(roles, "viewer,a%2Cadmin")
        self.assertEqual(self.ask(bearer("flo-key"), "/admin"), 403)
        token = signed(realm_access={"roles": ["x,admin"]})
        self.assertEqual(self.identity(bearer(token))[2], "x%2Cadmin")
        self.assertEqual(self.ask(bearer(token), "/admin"), 403)

    def test_the_token_is_escaped_in_the_query(self) -> None:
        self.assertEqual(self.ask(bearer("jo+se/key==")), 200)
        self.assertEqual(self.api.requests[0].line, "GET /v1/who-am-i?token=jo%2Bse%2Fkey%3D%3D HTTP/1.1")

    def test_passwords_in_the_configuration_do_not_show(self) -> None:
        self.ask(basic("someuser", "wrong"))
        self.assertIn("plain text", self.served.log)
        self.assertNotIn("somesecret", self.served.log)

"""``type = introspection`` against correct and faulty services."""

from __future__ import annotations

import json
import time
from typing import Any
from urllib.parse import parse_qs

import jwt
from twisted.internet.defer import gatherResults

from perimeter.errors import InvalidToken, Unavailable
from perimeter.model import AuthenticationRequest
from perimeter.plugin.authenticator import IProbe
from perimeter.plugin.services import AuthServices
from perimeter.tokens.jwk import generate
from tests.integration.upstreams import Connection
from tests.unit.doubles.remote import RemoteCase

KEY = generate("ES256")


def about(**members: Any) -> dict[str, Any]:
    """An answer as in RFC 7662, section 2.2, without the members that are None."""
    found = {
        "active": True,
        "client_id": "l238j323ds-23ij4",
        "username": "jdoe",
        "scope": "read write",
        "sub": "Z5O3upPC88QrAjx00dis",
        "aud": "gateway",
        "iss": "https://server.example.com/",
        "exp": int(time.time()) + 600,
        "iat": int(time.time()) - 10,
        **members,
    }
    return {name: value for name, value in found.items() if value is not None}


class IntrospectionCase(RemoteCase):
    def setUp(self) -> None:
        super().setUp()
        self.status = 200
        self.body: Any = about()
        self.service = self.server(self.answer)

    def answer(self, connection: Connection) -> None:
        while True:
            try:
                connection.request()
            except EOFError:
                return
            raw = self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()
            connection.send(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (self.status, len(raw), raw))

    def text(self, options: str = "", audience: str = "gateway") -> str:
        return (
            f"introspection_uri = {self.service.url}/introspect\nclient_id = the gateway\nclient_secret = hush:hush\n"
            f"audience = {audience}\n{options}"
        )

    def make(self, options: str = "", audience: str = "gateway") -> Any:
        return self.build("introspection", self.text(options, audience))

    async def said(self, options: str = "", audience: str = "gateway", token: str = "opaque") -> str:
        """What is explained about a token that is not admitted; "" for one that is."""
        steps: list[str] = []
        request = AuthenticationRequest("192.0.2.1", explain=steps.append)
        found = await self.ask(self.make(options, audience), token, request)
        self.assertEqual(found is None, bool(steps))
        return "".join(steps)


NOT_BEARER = "the token is not an access token, or it is bound to a key"
ELSEWHERE = "the token is for another audience or issuer"


class KnownTests(IntrospectionCase):
    async def test_the_members_become_a_user(self) -> None:
        self.body = about(roles=["viewer"], token_type="Bearer")
        found = await self.ask(self.make("roles_claim = roles"), "opaque")
        assert found is not None
        self.assertEqual((found.username, found.realm, found.roles), ("jdoe", "elsewhere", ("viewer",)))
        self.assertEqual(found.scopes, {"weather": ("read", "write")})
        self.assertEqual(found.until, self.body["exp"])
        self.assertEqual(found.attributes["client_id"], "l238j323ds-23ij4")
        self.assertEqual({"active", "token_type", "token_use", "sub"} & found.attributes.keys(), set())

    async def test_the_subject_names_a_user_without_a_name(self) -> None:
        self.body = about(username=None)
        found = await self.ask(self.make(), "opaque")
        assert found is not None
        self.assertEqual(found.username, "Z5O3upPC88QrAjx00dis")

    async def test_what_is_asked(self) -> None:
        await self.ask(self.make(), "opaque+token/=")
        (request,) = self.service.requests
        self.assertEqual(request.line, "POST /introspect HTTP/1.1")
        self.assertEqual(request.get("authorization"), "Basic dGhlK2dhdGV3YXk6aHVzaCUzQWh1c2g=")
        self.assertEqual(request.get("content-type"), "application/x-www-form-urlencoded")
        form = parse_qs(request.body.decode())
        self.assertEqual(form, {"token": ["opaque+token/="], "token_type_hint": ["access_token"]})

    async def test_the_secret_may_be_in_the_form(self) -> None:
        await self.ask(self.make("client_auth = post"), "opaque")
        (request,) = self.service.requests
        self.assertIsNone(request.get("authorization"))
        form = {name: value for name, (value,) in parse_qs(request.body.decode()).items()}
        self.assertEqual(
            form,
            {"token": "opaque", "token_type_hint": "access_token", "client_id": "the gateway", "client_secret": "hush:hush"},
        )

    async def test_the_gateway_may_prove_that_it_has_a_key(self) -> None:
        secret = "client_secret = hush:hush\n"
        for options, audience in (
            ("", f"{self.service.url}/introspect"),
            ("issuer = *\n", f"{self.service.url}/introspect"),
            ("issuer = https://a, https://server.example.com/\n", f"{self.service.url}/introspect"),
            ("issuer = https://server.example.com/\n", "https://server.example.com/"),
        ):
            key = f"client_key = {json.dumps(KEY.members(private=True))}\n"
            found = self.build("introspection", self.text(options).replace(secret, key))
            self.assertIsNotNone(await self.ask(found, "opaque"))
            request = self.service.requests[-1]
            self.assertIsNone(request.get("authorization"))
            form = {name: value for name, (value,) in parse_qs(request.body.decode()).items()}
            claims = jwt.decode(form.pop("client_assertion"), KEY.public, ["ES256"], audience=audience)  # type: ignore[arg-type]
            self.assertEqual((claims["iss"], claims["sub"]), ("the gateway", "the gateway"))
            self.assertEqual(form["client_id"], "the gateway")

    async def test_a_token_without_an_expiry_is_remembered_for_the_time_of_the_cache(self) -> None:
        self.body = about(exp=None, iat=None)
        found = self.make("cache = 30s")
        principal = await self.ask(found, "opaque")
        assert principal is not None
        self.assertEqual(principal.until, float("inf"))
        self.time.advance(29)
        await self.ask(found, "opaque")
        self.assertEqual(len(self.service.requests), 1)
        self.time.advance(1)
        await self.ask(found, "opaque")
        self.assertEqual(len(self.service.requests), 2)


class RememberedTests(IntrospectionCase):
    async def test_a_token_is_asked_about_once_a_minute(self) -> None:
        found = self.make()
        for _ in range(3):
            self.assertIsNotNone(await self.ask(found, "opaque"))
        self.time.advance(59)
        self.assertIsNotNone(await self.ask(found, "opaque"))
        self.assertEqual(len(self.service.requests), 1)
        self.time.advance(1)
        self.body = {"active": False}
        self.assertIsNone(await self.ask(found, "opaque"))
        self.assertEqual(len(self.service.requests), 2)

    async def test_a_token_is_not_remembered_beyond_its_expiry(self) -> None:
        self.body = about(exp=int(time.time()) + 20)
        found = self.make()
        self.assertIsNotNone(await self.ask(found, "opaque"))
        self.time.advance(21)
        self.assertIsNone(await self.ask(found, "opaque"))
        self.assertEqual(len(self.service.requests), 2)

    async def test_requests_with_one_token_share_a_question(self) -> None:
        found = self.make()
        self.assertNotIn(None, await gatherResults([self.ask(found, "opaque") for _ in range(20)]))
        self.assertEqual(len(self.service.requests), 1)

    async def test_a_refusal_is_remembered_for_ten_seconds(self) -> None:
        self.body = {"active": False}
        found = self.make("cache = 0")
        for _ in range(3):
            self.assertIsNone(await self.ask(found, "opaque"))
        self.assertEqual(len(self.service.requests), 1)
        self.body = about()
        self.time.advance(9)
        self.assertIsNone(await self.ask(found, "opaque"))
        self.assertIsNotNone(await self.ask(found, "another"))
        self.time.advance(1)
        self.assertIsNotNone(await self.ask(found, "opaque"))
        self.assertEqual(len(self.service.requests), 3)

    async def test_an_answer_that_cannot_be_used_is_not_remembered(self) -> None:
        found = self.make()
        self.status = 500
        await self.refusal(lambda: self.ask(found, "opaque"), Unavailable)
        self.status = 200
        self.assertIsNotNone(await self.ask(found, "opaque"))


class RefusedTests(IntrospectionCase):
    async def test_not_vouched_for(self) -> None:
        self.body = {"active": False}
        self.assertEqual(await self.said(), "the issuer of weather does not vouch for the token")

    async def test_attack_o15_a_token_for_another_audience_or_issuer(self) -> None:
        for members in ({"aud": "other"}, {"aud": None}, {"aud": ["other", 7]}, {"aud": {"gateway": 1}}):
            self.body = about(**members)
            self.assertEqual(await self.said(), ELSEWHERE, members)
        self.body = about()
        self.assertEqual(await self.said("issuer = https://server.example.com"), ELSEWHERE)
        self.assertEqual(await self.said("issuer = https://server.example.com/"), "")
        self.body = about(aud=["other", "gateway"])
        self.assertEqual(await self.said(), "")

    async def test_attack_o15_a_refresh_token_or_an_id_token_is_no_credential(self) -> None:
        for members in (
            {"token_type": "refresh_token"},
            {"token_type": "N_A"},
            {"token_type": ["Bearer"]},
            {"token_use": "refresh_token"},
            {"token_use": "id"},
            {"typ": "Refresh"},
            {"typ": "ID"},
            {"typ": "Offline"},
            {"events": {}},
        ):
            self.body = about(**members)
            self.assertEqual(await self.said(), NOT_BEARER, members)
        for members in ({"token_type": "bearer"}, {"token_use": "access_token"}, {"token_use": "access"}, {"typ": "Bearer"}):
            self.body = about(**members)
            self.assertEqual(await self.said(), "", members)

    async def test_attack_o15_with_any_audience_the_answer_must_name_the_type(self) -> None:
        self.body = about(aud=None)
        self.assertEqual(await self.said(audience="*"), NOT_BEARER)
        self.body = about(aud=None, token_type="Bearer")
        self.assertEqual(await self.said(audience="*"), "")

    async def test_a_token_that_is_bound_to_a_key_is_not_its_bearers(self) -> None:
        self.body = about(cnf={"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"})
        self.assertEqual(await self.said(), NOT_BEARER)
        self.body = about(token_type="DPoP")
        self.assertEqual(await self.said(), NOT_BEARER)

    async def test_a_token_that_is_not_valid_now(self) -> None:
        now = int(time.time())
        for members, why in (
            ({"exp": now - 1}, "expired"),
            ({"exp": "never"}, "exp is absent or not a time"),
            ({"nbf": now + 100}, "nbf is in the future"),
            ({"exp": None, "nbf": now + 100}, "nbf is in the future"),
        ):
            self.body = about(**members)
            self.assertEqual(await self.said(), f"the token is not valid now: {why}")

    async def test_a_user_without_a_usable_name(self) -> None:
        for members in ({"username": ""}, {"username": "a\nb"}, {"username": ["jdoe"]}):
            self.body = about(**members)
            self.assertEqual(await self.said(), "username is no name of a user")
        self.body = about(username=None, sub=None)
        self.assertEqual(await self.said(), "no claim names the user")

    async def test_attack_159_a_token_of_the_gateways_own_form_is_not_sent_out(self) -> None:
        self.services = AuthServices(self.services.reactor, self.offload, token_issuer="perimeter")
        found = self.make()
        own = jwt.encode({"iss": "perimeter"}, KEY.private, "ES256", headers={"kid": KEY.kid})  # type: ignore[arg-type]
        for token in ("perimeter_" + "x" * 43, own):
            await self.refusal(lambda token=token: self.ask(found, token), InvalidToken)  # type: ignore[misc]
        self.assertEqual(self.service.connections, 0)
        other = jwt.encode({"iss": "perimeter2"}, KEY.private, "ES256", headers={"kid": KEY.kid})  # type: ignore[arg-type]
        self.assertIsNotNone(await self.ask(found, other))


class FaultyServiceTests(IntrospectionCase):
    async def test_what_decides_nothing(self) -> None:
        for status, body in (
            (401, {"error": "invalid_client"}),
            (403, {}),
            (404, b"no such page"),
            (500, b""),
            (302, b""),
            (200, b""),
            (200, b"[]"),
            (200, b'{"active":false,"active":true}'),
            (200, {"sub": "jdoe"}),
            (200, {"active": "true"}),
            (200, {"active": 1}),
        ):
            self.status, self.body = status, body
            await self.refusal(lambda: self.ask(self.make(), "opaque"), Unavailable)

    async def test_no_secret_in_messages(self) -> None:
        self.status = 500
        error = await self.refusal(lambda: self.ask(self.make(), "opaque-token"), Unavailable)
        for secret in ("opaque-token", "hush", self.service.url):
            self.assertNotIn(secret, str(error))

    async def test_a_probe_asks_about_a_token_that_nobody_has(self) -> None:
        found = self.make()
        self.assertTrue(IProbe.providedBy(found))
        self.body = {"active": False}
        await found.probe()
        await found.probe()
        first, second = (parse_qs(request.body.decode())["token"] for request in self.service.requests)
        self.assertNotEqual(first, second)
        self.status = 401
        await self.refusal(found.probe, Unavailable)


class SettingsTests(IntrospectionCase):
    def test_what_is_required(self) -> None:
        _, problems = self.parse("introspection", "")
        missing = " ".join(problems)
        for name in ("introspection_uri", "client_id", "client_secret", "audience"):
            self.assertIn(name, missing)

    def test_the_gateway_has_to_authenticate(self) -> None:
        for options in ("", "client_auth = none\n"):
            _, (problem,) = self.parse("introspection", self.text(options).replace("client_secret = hush:hush\n", ""))
            self.assertIn("is needed, or client_key: a provider answers only clients that authenticate", problem)

    def test_plain_http_only_to_a_loopback_address(self) -> None:
        rest = "client_id = a\nclient_secret = b\naudience = c\nintrospection_uri = "
        for url in (
            "https://sso/i",
            "http://127.0.0.1:1/i",
            "http://[::1]/i",
            "http://localhost/i",
            "http://127.9.9.9/i",
        ):
            self.assertEqual(self.parse("introspection", rest + url)[1], [], url)
        for url in (
            "HTTPS://sso/i",
            "http://sso.example.com/i",
            "http://127.0.0.1.example.com/i",
            "http://10.0.0.1/i",
            "http://localhost.evil/i",
        ):
            (problem,) = self.parse("introspection", rest + url)[1]
            self.assertIn("expected an https URL; http is accepted for a loopback address alone", problem)

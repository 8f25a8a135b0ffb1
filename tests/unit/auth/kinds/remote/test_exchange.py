"""ecmwf-token-generator and openid-offline against correct and faulty services."""

from __future__ import annotations

import json
import time
from typing import Any
from urllib.parse import parse_qs

import jwt

from perimeter.errors import Unavailable, Undecided
from perimeter.model import AuthenticationRequest
from perimeter.tokens.jwk import Jwk, generate
from tests.integration.upstreams import Connection
from tests.unit.doubles.remote import RemoteCase

KEY = generate("ES256")

Reply = tuple[int, Any]


def access(key: Jwk = KEY, **claims: Any) -> str:
    body = {
        "iss": "https://iam",
        "sub": "alice",
        "exp": int(time.time()) + 60,
        "entitlements": ["viewer"],
        "typ": "Bearer",
        **claims,
    }
    return jwt.encode(body, key.private, "ES256", headers={"kid": key.kid})  # type: ignore[arg-type]


class ExchangeCase(RemoteCase):
    """``judgement`` and ``exchange`` are what the service answers: a status, and JSON or bytes."""

    def setUp(self) -> None:
        super().setUp()
        self.judgement: Reply = (200, {"active": True, "scope": "openid offline_access"})
        self.exchange: Reply = (200, {"access_token": access()})
        self.keys = [KEY]
        self.service = self.server(self.answer)

    def answer(self, connection: Connection) -> None:
        while True:
            try:
                path = connection.request().line.split()[1]
            except EOFError:
                return
            status, body = (200, {"keys": [key.members() for key in self.keys]})
            if path.endswith(("introspect", "validate-token")):
                status, body = self.judgement
            elif path.endswith(("/token", "refresh-access-token")):
                status, body = self.exchange
            raw = body if isinstance(body, bytes) else json.dumps(body).encode()
            connection.send(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (status, len(raw), raw))

    def offline(self, options: str = "") -> Any:
        return self.build(
            "openid-offline",
            f"cert_uri = {self.service.url}/certs\niam_url = {self.service.url}/auth/\niam_realm = de sp\n"
            f"public_client_id = public\nprivate_client_id = private\nprivate_client_secret = hush-hush\n{options}",
        )

    def generator(self, options: str = "") -> Any:
        return self.build(
            "ecmwf-token-generator",
            f"cert_uri = {self.service.url}/certs\ntoken_generator_url = {self.service.url}/api/\n"
            f"client_id = gateway\nclient_secret = hush-hush\n{options}",
        )


class TokenGeneratorTests(ExchangeCase):
    async def test_a_token_is_validated_exchanged_and_verified(self) -> None:
        found = await self.ask(self.generator(), "long-lived")
        assert found is not None
        self.assertEqual((found.username, found.realm, found.roles), ("alice", "elsewhere", ("viewer",)))
        lines = [request.line for request in self.service.requests]
        self.assertEqual(
            lines, ["POST /api/validate-token HTTP/1.1", "POST /api/admin/refresh-access-token HTTP/1.1", "GET /certs HTTP/1.1"]
        )
        validate, exchange = (json.loads(request.body) for request in self.service.requests[:2])
        self.assertEqual(validate, {"token": "long-lived", "client_id": "gateway"})
        self.assertEqual(exchange, {"client_id": "gateway", "client_secret": "hush-hush", "refresh_token": "long-lived"})

    async def test_the_whole_verdict_is_remembered(self) -> None:
        found = self.generator()
        await self.ask(found, "long-lived")
        await self.ask(found, "long-lived")
        self.assertEqual(len(self.service.requests), 3)


class OfflineTests(ExchangeCase):
    async def test_what_is_asked(self) -> None:
        self.assertIsNotNone(await self.ask(self.offline(), "long-lived"))
        introspect, exchange, _ = self.service.requests
        base = "/auth/realms/de%20sp/protocol/openid-connect/token"
        self.assertEqual(introspect.line, f"POST {base}/introspect HTTP/1.1")
        self.assertEqual(introspect.get("authorization"), "Basic cHJpdmF0ZTpodXNoLWh1c2g=")
        self.assertEqual(parse_qs(introspect.body.decode())["token"], ["long-lived"])
        self.assertEqual(exchange.line, f"POST {base} HTTP/1.1")
        self.assertIsNone(exchange.get("authorization"))
        form = {name: value for name, (value,) in parse_qs(exchange.body.decode()).items()}
        self.assertEqual(form, {"client_id": "public", "grant_type": "refresh_token", "refresh_token": "long-lived"})

    async def test_one_client_for_both_shows_its_secret_in_both(self) -> None:
        found = self.build(
            "openid-offline",
            f"cert_uri = {self.service.url}/certs\niam_url = {self.service.url}\n"
            "public_client_id = one\nprivate_client_id = one\nprivate_client_secret = hush-hush",
        )
        self.assertIsNotNone(await self.ask(found, "long-lived"))
        self.assertEqual(self.service.requests[0].get("authorization"), self.service.requests[1].get("authorization"))
        self.assertIn("/realms/elsewhere/", self.service.requests[1].line)

    async def test_only_offline_tokens(self) -> None:
        for scope in ("openid", "", None, 7, "offline_access_of_another_kind"):
            self.judgement = (200, {"active": True, "scope": scope})
            self.assertIsNone(await self.ask(self.offline(), "long-lived"))


class BothTests(ExchangeCase):
    """The behaviour that both kinds share."""

    async def both(self, check: Any) -> None:
        for build in (self.offline, self.generator):
            await check(build)

    async def test_refused_tokens_are_not_mine(self) -> None:
        async def check(build: Any) -> None:
            self.assertIsNone(await self.ask(build(), "long-lived"))

        self.judgement = (200, {"active": False})
        await self.both(check)
        self.judgement = (200, {"active": True, "scope": "offline_access"})
        for status in (400, 401):
            self.exchange = (status, {"error": "invalid_grant"})
            await self.both(check)

    async def test_each_refusal_is_explained(self) -> None:
        async def steps(build: Any) -> list[str]:
            said: list[str] = []
            request = AuthenticationRequest("192.0.2.1", explain=said.append)
            self.assertIsNone(await self.ask(build(), "long-lived", request))
            return said

        self.judgement = (200, {"active": False})
        self.assertEqual(await steps(self.offline), ["the token is not an active one with the scope offline_access"])
        self.assertEqual(await steps(self.generator), ["the token generator does not know the token, or not any more"])
        self.judgement = (200, {"active": True, "scope": "offline_access"})
        self.exchange = (400, {"error": "invalid_grant"})
        for build in (self.offline, self.generator):
            self.assertEqual(await steps(build), ["the token is refused when it is to be exchanged"])

    async def test_attack_39_a_verdict_ends_with_the_key_that_it_was_made_by(self) -> None:
        later = int(time.time()) + 3600

        async def check(build: Any) -> None:
            self.keys, self.exchange = [KEY], (200, {"access_token": access(exp=later)})
            found = build()
            self.assertIsNotNone(await self.ask(found, "long-lived"))
            self.time.advance(31)
            asked = len(self.service.requests)
            self.assertIsNotNone(await self.ask(found, "long-lived"))
            self.assertEqual(len(self.service.requests), asked, "it is remembered for a minute")
            other = generate("ES256")
            self.keys, self.exchange = [other], (200, {"access_token": access(other, sub="bob", exp=later)})
            self.assertEqual((await self.ask(found, "another")).username, "bob")  # type: ignore[union-attr]
            self.assertEqual((await self.ask(found, "long-lived")).username, "bob", "it is exchanged again")  # type: ignore[union-attr]

        await self.both(check)

    async def test_attack_41_anything_else_is_could_not_tell(self) -> None:
        good = {"active": True, "scope": "offline_access"}
        token = {"access_token": access()}
        cases: list[tuple[Reply, Reply]] = [
            ((500, good), (200, token)),
            ((401, {"error": "invalid_client"}), (200, token)),
            ((403, good), (200, token)),
            ((302, good), (200, token)),
            ((200, {}), (200, token)),
            ((200, {"active": "true", "scope": "offline_access"}), (200, token)),
            ((200, {"active": 1, "scope": "offline_access"}), (200, token)),
            ((200, b'{"active": false, "active": true, "scope": "offline_access"}'), (200, token)),
            ((200, b'{"active": true, "scope": "offline_access", "exp": NaN}'), (200, token)),
            ((200, '{"active": true, "scope": "offline_access"}'.encode("utf-16")), (200, token)),
            ((200, b"<html>"), (200, token)),
            ((200, json.dumps(good).encode() + b" " * 70_000), (200, token)),
            ((200, good), (500, token)),
            ((200, good), (401, {"error": "invalid_client"})),
            ((200, good), (400, b"bad request")),
            ((200, good), (403, token)),
            ((200, good), (200, {})),
            ((200, good), (200, {"access_token": ""})),
            ((200, good), (200, {"access_token": 7})),
            ((200, good), (200, {"access_token": "opaque"})),
            ((200, good), (200, {"access_token": access(exp=1)})),
            ((200, good), (200, {"access_token": access(generate("ES256"))})),
            ((200, good), (200, {"access_token": access(typ="ID")})),
            ((200, good), (200, {"access_token": access(sub="a\nb")})),
        ]

        async def check(build: Any) -> None:
            error = await self.refusal(lambda: self.ask(build(), "long-lived"), Unavailable, Undecided)
            for secret in ("long-lived", "hush-hush", token["access_token"]):
                self.assertNotIn(secret, str(error))

        for self.judgement, self.exchange in cases:
            await self.both(check)

    async def test_issuer_and_audience_may_be_demanded(self) -> None:
        async def check(build: Any) -> None:
            self.assertIsNotNone(await self.ask(build("issuer = https://iam"), "long-lived"))
            for options in ("issuer = https://other", "audience = gateway"):
                await self.refusal(lambda options=options: self.ask(build(options), "long-lived"), Undecided)  # type: ignore[misc]

        await self.both(check)

    async def test_secrets_do_not_show(self) -> None:
        for kind, options in (
            (
                "openid-offline",
                "iam_url = http://x\npublic_client_id = p\nprivate_client_id = q\nprivate_client_secret = hush-hush",
            ),
            ("ecmwf-token-generator", "token_generator_url = http://x\nclient_id = g\nclient_secret = hush-hush"),
        ):
            settings, problems = self.parse(kind, f"cert_uri = http://x/certs\n{options}")
            self.assertEqual(problems, [])
            self.assertNotIn("hush-hush", repr(settings))
            _, problems = self.parse(kind, "cert_uri = http://x/certs")
            self.assertGreaterEqual(len(problems), 3)

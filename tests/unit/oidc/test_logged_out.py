"""Logout tokens at an OpenID provider of the configuration: its keys, and how often they are fetched (attack O6)."""

from __future__ import annotations

import json
import time
from typing import Any

from twisted.internet.defer import Deferred, gatherResults

from perimeter.errors import ProviderUnavailable, Rejected
from perimeter.plugin.redirect import LoggedOut
from perimeter.tokens.jwk import Jwk, generate
from tests.integration.upstreams import Connection
from tests.unit.doubles.remote import RemoteCase
from tests.unit.oidc.test_logout_token import make

KEY, OTHER = generate("ES256"), generate("ES256")


class LoggedOutTests(RemoteCase):
    def setUp(self) -> None:
        super().setUp()
        self.key = KEY
        self.status = 200
        self.peer = self.server(self.answer)
        self.provider = self.build_provider("oidc", f"issuer = {self.peer.url}\nclient_id = gateway\nclient_secret = hush")

    def answer(self, connection: Connection) -> None:
        while True:
            try:
                path = connection.request().line.split()[1]
            except EOFError:
                return
            urls = {"authorization_endpoint": "/auth", "token_endpoint": "/token", "jwks_uri": "/jwks"}
            about = {"issuer": self.peer.url, **{name: self.peer.url + path for name, path in urls.items()}}
            raw = json.dumps({"keys": [self.key.members()]} if path == "/jwks" else about).encode()
            connection.send(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (self.status, len(raw), raw))

    def make(self, key: Jwk = KEY, **claims: Any) -> str:
        now = int(time.time())
        return make(key=key, **{"iss": self.peer.url, "iat": now, "exp": now + 120, **claims})

    def ask(self, token: str) -> Deferred[LoggedOut]:  # type: ignore[override]
        return Deferred.fromCoroutine(self.provider.logged_out(token))

    def fetches(self) -> int:
        return sum("/jwks" in request.line for request in self.peer.requests)

    async def test_a_good_one(self) -> None:
        found = await self.ask(self.make())
        self.assertEqual((found.subject, found.sid, found.jti), ("sub-7", "sid-1", "7"))

    async def test_a_new_key_of_the_provider(self) -> None:
        await self.ask(self.make())
        self.key = OTHER
        self.time.advance(30)
        self.assertEqual((await self.ask(self.make(OTHER))).jti, "7")

    async def test_attack_o6_unknown_keys_cause_one_fetch_in_a_pause(self) -> None:
        await self.ask(self.make())
        before = self.fetches()
        self.time.advance(30)
        for _ in range(2):
            unknown = [self.make(generate("ES256")) for _ in range(50)]
            refusals = await gatherResults(
                [self.ask(token).addErrback(lambda failure: failure.trap(Rejected)) for token in unknown]
            )
            self.assertEqual(refusals, [Rejected] * 50)
        self.assertEqual(self.fetches(), before + 1)

    async def test_attack_o6_what_is_no_logout_token_of_the_provider(self) -> None:
        for token in (
            "opaque",
            "a.b.c",
            self.make(OTHER),
            self.make(iss="https://other.example"),
            self.make(aud="other"),
            self.make(nonce="n"),
            self.make(events=...),
            self.make(iat=int(time.time()) - 400),
        ):
            await self.refusal(lambda token=token: self.ask(token), Rejected)  # type: ignore[misc]

    async def test_a_provider_that_does_not_answer(self) -> None:
        self.status = 500
        await self.refusal(lambda: self.ask(self.make()), ProviderUnavailable)

    async def test_what_cannot_be_a_token_asks_for_nothing(self) -> None:
        await self.refusal(lambda: self.ask("opaque"), Rejected)
        self.assertEqual(self.peer.connections, 0)

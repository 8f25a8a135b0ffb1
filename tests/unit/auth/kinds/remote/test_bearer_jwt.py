"""``type = jwt`` against key sets that appear, change, break and are fetched too often."""

from __future__ import annotations

import json
import time
import uuid
from typing import Any

import jwt
from twisted.internet.defer import gatherResults
from twisted.logger import LogLevel, capturedLogs, formatEvent

from perimeter.errors import ExpiredToken, InvalidToken, Unavailable, Undecided
from perimeter.model import AuthenticationRequest
from perimeter.plugin.authenticator import IProbe
from perimeter.plugin.services import AuthServices
from perimeter.tokens.jwk import Jwk, generate
from tests.integration.upstreams import Connection, Upstream
from tests.unit.doubles.remote import RemoteCase, answering

OLD, NEW = generate("ES256"), generate("ES256")


def token(key: Jwk = OLD, kid: str = "", **claims: Any) -> str:
    body = {"iss": "https://iam", "aud": "gateway", "sub": "alice", "exp": int(time.time()) + 3600, "roles": ["viewer"], **claims}
    return jwt.encode(body, key.private, "ES256", headers={"kid": kid or key.kid})  # type: ignore[arg-type]


def key_set(*keys: Jwk) -> bytes:
    return json.dumps({"keys": [key.members() for key in keys]}).encode()


class KeyCase(RemoteCase):
    def setUp(self) -> None:
        super().setUp()
        self.status, self.body = 200, key_set(OLD)
        self.keys = self.server(self.answer)

    def answer(self, connection: Connection) -> None:
        while True:
            try:
                connection.request()
            except EOFError:
                return
            connection.send(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (self.status, len(self.body), self.body))

    def make(self, options: str = "", server: Upstream | None = None) -> Any:
        keys = f"cert_uri = {(server or self.keys).url}/certs\n"
        return self.build("jwt", f"{keys}issuer = https://iam\naudience = gateway\nroles_claim = roles\n{options}")


class JwtTests(KeyCase):
    async def test_a_token_is_known_and_the_keys_are_fetched_once(self) -> None:
        found = self.make()
        for number in range(5):
            principal = await self.ask(found, token(jti=str(number)))
            assert principal is not None
            self.assertEqual((principal.username, principal.realm, principal.roles), ("alice", "elsewhere", ("viewer",)))
        self.assertEqual([one.line for one in self.keys.requests], ["GET /certs HTTP/1.1"])

    async def test_those_who_come_first_share_one_fetch(self) -> None:
        found = self.make()
        await gatherResults([self.ask(found, token(jti=str(number))) for number in range(20)])
        self.assertEqual(len(self.keys.requests), 1)

    async def test_not_mine_and_wrong(self) -> None:
        found = self.make()
        for other in ("opaque", token(iss="https://other"), token(aud="other"), token(NEW)):
            self.assertIsNone(await self.ask(found, other))
        await self.refusal(lambda: self.ask(found, token(NEW, OLD.kid)), InvalidToken)
        await self.refusal(lambda: self.ask(found, token(exp=1)), ExpiredToken)

    async def test_attack_o15_an_issuer_with_the_name_of_the_gateways_own_is_not_believed(self) -> None:
        self.services = AuthServices(self.services.reactor, self.offload, token_issuer="https://iam")
        found = self.make()
        await self.refusal(lambda: self.ask(found, token()), InvalidToken)
        self.assertEqual(self.keys.connections, 0)
        self.services = AuthServices(self.services.reactor, self.offload, token_issuer="https://iam/")
        self.assertIsNotNone(await self.ask(self.make(), token()))

    async def test_tokens_of_other_issuers_fetch_nothing(self) -> None:
        found = self.make()
        for other in ("opaque", token(iss="https://other"), "a.b.c"):
            self.assertIsNone(await self.ask(found, other))
        self.assertEqual(self.keys.connections, 0)

    async def test_attack_38_random_kids_make_one_fetch_in_a_cool_down(self) -> None:
        found = self.make("cooldown = 30s")
        self.assertIsNotNone(await self.ask(found, token()))
        for _ in range(20):
            verdicts = await gatherResults([self.ask(found, token(kid=uuid.uuid4().hex)) for _ in range(50)])
            self.assertEqual(set(verdicts), {None})
        self.assertEqual(len(self.keys.requests), 1)
        self.assertIsNotNone(await self.ask(found, token(jti="later")), "good tokens go on working")

    async def test_attack_38_also_as_the_first_thing_that_comes(self) -> None:
        found = self.make()
        for _ in range(20):
            await gatherResults([self.ask(found, token(kid=uuid.uuid4().hex)) for _ in range(50)])
        self.assertEqual(len(self.keys.requests), 1)

    async def test_attack_38_a_failing_service_is_not_asked_more_often(self) -> None:
        self.status = 500
        found = self.make()
        for _ in range(50):
            await self.refusal(lambda: self.ask(found, token(kid=uuid.uuid4().hex)), Unavailable)
        self.assertEqual(len(self.keys.requests), 1)

    async def test_a_new_key_works_after_the_cool_down(self) -> None:
        found = self.make("cooldown = 20s")
        self.assertIsNotNone(await self.ask(found, token()))
        self.body = key_set(OLD, NEW)
        self.assertIsNone(await self.ask(found, token(NEW)))
        self.time.advance(19)
        self.assertIsNone(await self.ask(found, token(NEW, jti="1")))
        self.time.advance(1)
        self.assertIsNotNone(await self.ask(found, token(NEW)))
        self.assertIsNotNone(await self.ask(found, token(OLD)))
        self.assertEqual(len(self.keys.requests), 2)

    async def test_attack_39_a_key_that_is_withdrawn_ends_with_the_cache(self) -> None:
        found = self.make("cache = 30s\ncooldown = 10s")
        known = token()
        self.assertIsNotNone(await self.ask(found, known))
        self.body = key_set(NEW)
        self.time.advance(30)
        self.assertIsNotNone(await self.ask(found, token(NEW)))
        self.assertIsNone(await self.ask(found, known), "a remembered verdict ends with the key that it was made by")

    async def test_keys_are_renewed_before_their_time_is_over(self) -> None:
        found = self.make("cache = 600s\ncooldown = 100s")
        await self.ask(found, token())
        self.time.advance(299)
        self.assertIsNotNone(await self.ask(found, token(jti="0")))
        self.assertEqual(len(self.keys.requests), 1)
        self.time.advance(2)
        self.assertIsNotNone(await self.ask(found, token(jti="1")), "from the keys that there are")
        await self.until(lambda: len(self.keys.requests) == 2, "the keys are renewed")
        await self.until(lambda: not found._service._keys._flights.under_way(b""), "the renewal is over")
        self.status = 500
        self.time.advance(301)
        self.assertIsNotNone(await self.ask(found, token(jti="2")), "an outage that is short goes unnoticed")
        await self.until(lambda: len(self.keys.requests) == 3, "the keys are asked for again")
        await self.until(lambda: not found._service._keys._flights.under_way(b""), "the failure is over")
        self.time.advance(300)
        await self.refusal(lambda: self.ask(found, token(jti="3")), Unavailable)

    async def test_attack_41_key_sets_that_cannot_be_used(self) -> None:
        symmetric = {"kty": "oct", "k": "c2VjcmV0", "kid": "s"}
        bodies = {
            "a symmetric key": json.dumps({"keys": [symmetric]}).encode(),
            "a private key": json.dumps({"keys": [OLD.members(private=True)]}).encode(),
            "none": b'{"keys": []}',
            "no list": b'{"keys": 1}',
            "a page": b"<html>",
            "a large one": key_set(OLD) + b" " * 70_000,
            "deep": b"[" * 50_000,
        }
        for name, body in bodies.items():
            self.body = body
            found = self.make()
            error = await self.refusal(lambda found=found: self.ask(found, token()), Unavailable)  # type: ignore[misc]
            self.assertNotIn("c2VjcmV0", str(error), name)
        for status in (301, 401, 403, 404, 500):
            self.status, self.body = status, key_set(OLD)
            found = self.make()
            await self.refusal(lambda found=found: self.ask(found, token()), Unavailable)  # type: ignore[misc]

    async def test_one_bad_key_does_not_spoil_the_set(self) -> None:
        symmetric = {"kty": "oct", "k": "c2VjcmV0", "kid": OLD.kid}
        self.body = json.dumps({"keys": [symmetric, NEW.members(private=True), OLD.members(), OLD.members()]}).encode()
        found = self.make("cooldown = 30s")
        with capturedLogs() as events:
            self.assertEqual((await self.ask(found, token())).username, "alice")
            self.assertIsNone(await self.ask(found, token(NEW)))
        warnings = [formatEvent(event) for event in events if event["log_level"] is LogLevel.warn]
        self.assertEqual(len(warnings), 2)
        self.assertIn("key 1: a symmetric key stands among public ones; it is left out", warnings[0])
        self.assertIn("key 2: a private key stands among public ones; it is left out", warnings[1])
        self.assertNotIn("c2VjcmV0", "".join(warnings))

    async def test_keys_that_cannot_be_renewed_leave_the_others_alone(self) -> None:
        found = self.make("cooldown = 30s")
        await self.ask(found, token())
        self.status = 500
        self.time.advance(30)
        await self.refusal(lambda: self.ask(found, token(NEW)), Undecided)
        await self.refusal(lambda: self.ask(found, token(NEW)), Undecided)
        self.assertIsNotNone(await self.ask(found, token(jti="2")))

    async def test_a_verdict_ends_with_its_token(self) -> None:
        found = self.make()
        expires = time.time() + 50
        short = token(exp=expires)
        first = await self.ask(found, short)
        self.assertIs(await self.ask(found, short), first)
        self.assertEqual(first.until, expires)  # what the token has opened ends with it (attack 51)
        self.time.advance(51)
        await self.refusal(lambda: self.ask(found, short), ExpiredToken)

    async def test_a_verdict_is_remembered_for_a_minute(self) -> None:
        found, known = self.make(), token()
        first = await self.ask(found, known)
        self.time.advance(59)
        self.assertIs(await self.ask(found, known), first)
        self.time.advance(1)
        again = await self.ask(found, known)
        self.assertEqual(again, first)
        self.assertIsNot(again, first)

    async def test_each_refusal_is_explained(self) -> None:
        found = self.make()
        for other, why in (
            ("opaque", "the token is not a signed JWT"),
            (token(iss="https://other"), "the token names another issuer"),
            (token(NEW), "the issuer has no key that fits kid and alg of the token"),
        ):
            said: list[str] = []
            request = AuthenticationRequest("192.0.2.1", explain=said.append)
            self.assertIsNone(await self.ask(found, other, request))
            self.assertEqual(said, [why])

    async def test_settings(self) -> None:
        _, problems = self.parse("jwt", "cert_uri = https://iam/certs")
        self.assertEqual([problem.rpartition("] ")[2][:9] for problem in problems], ["issuer: i", "audience:"])
        _, problems = self.parse("jwt", "cert_uri = https://iam/certs\nissuer = *, https://iam\naudience = *")
        self.assertIn("* cannot be combined with others", problems[0])
        self.assertEqual(len(problems), 1)

    async def test_a_probe_reads_the_keys_unless_they_are_in_use(self) -> None:
        found = self.make()
        self.assertTrue(IProbe.providedBy(found))
        for _ in range(2):
            await found.probe()
        self.assertEqual(len(self.keys.requests), 1)
        self.status = 500
        await self.refusal(self.make().probe, Unavailable)

    async def test_a_server_that_is_not_there(self) -> None:
        gone = self.server(answering(200, b""))
        gone.close()
        await self.refusal(lambda: self.ask(self.make("", gone), token()), Unavailable)

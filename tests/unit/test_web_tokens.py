from __future__ import annotations

import json
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial import unittest

from perimeter.errors import MethodNotAllowed, MissingCredentials, Rejected, Unavailable
from perimeter.http.answers import Answers, Challenges, Page
from perimeter.model import Principal
from perimeter.web.bridge import SiteTarget
from perimeter.web.endpoints.tree import Endpoints, token_resources
from tests.unit.fakes import Reply, Rig

ALICE = Principal("alice", "local")
GOOD = "Authorization: Basic YWxpY2U6c2VjcmV0"
BAD = "Authorization: Basic YWxpY2U6d3Jvbmc="


@attrs.frozen
class Issued:
    access_token: str
    expires_in: int


class Issuer:
    def __init__(self) -> None:
        self.issued: list[tuple[Principal, float]] = []

    def issue(self, principal: Principal, lifetime: float) -> Issued:
        self.issued.append((principal, lifetime))
        return Issued("a-token", int(lifetime))


async def authenticate(exchange: Any) -> Principal:
    credential = exchange.head.headers.get(b"authorization")
    if credential is None:
        raise MissingCredentials
    if credential == GOOD.partition(": ")[2].encode():
        return ALICE
    if credential.startswith(b"Bearer"):
        raise Unavailable
    raise Rejected


class TokenTestCase(unittest.TestCase):
    standalone = False

    def setUp(self) -> None:
        self.clock = Clock()
        self.issuer = Issuer()
        self.endpoints = Endpoints(
            authenticate, authenticate, self.issuer, lambda: {"keys": [{"kty": "EC", "kid": "k"}]}, 3600.0, 7200.0
        )

    def rig(self, line: str, *headers: str) -> Rig:
        rig = Rig(f"{line} HTTP/1.1", headers)
        SiteTarget("perimeter", token_resources(self.endpoints, standalone=self.standalone), self.clock).handle(rig.exchange)
        return rig

    def ask(self, line: str, *headers: str) -> Reply:
        return self.rig(line, *headers).reply


class GatewayEndpointTests(TokenTestCase):
    def test_token(self) -> None:
        reply = self.ask("GET /token", GOOD)
        self.assertEqual((reply.status, reply.body), (200, b'{"access_token":"a-token","token_type":"Bearer","expires_in":3600}'))
        self.assertEqual(reply.get("content-type"), "application/json;charset=UTF-8")
        self.assertEqual((reply.get("cache-control"), reply.get("pragma")), ("no-store", "no-cache"))
        self.assertEqual(self.issuer.issued, [(ALICE, 3600.0)])

    def test_extended_token(self) -> None:
        self.assertEqual(self.ask("GET /extendedtoken", GOOD).json()["expires_in"], 7200)

    def test_a_query_does_not_matter(self) -> None:
        self.assertEqual(self.ask("GET /token?x=/status", GOOD).status, 200)
        self.assertEqual(self.ask("GET /token?x=/status").status, 401)

    def test_no_wrong_and_unverifiable_credentials(self) -> None:
        for path in ("/token", "/extendedtoken"):
            for headers, status in (
                ((), 401),
                ((BAD,), 401),
                (("Authorization: xxxxx",), 401),
                (("Authorization: Bearer x",), 503),
            ):
                reply = self.ask(f"GET {path}", *headers)
                self.assertEqual((reply.status, reply.get("x-challenges")), (status, "basic"))
        self.assertEqual(self.issuer.issued, [])

    def test_head(self) -> None:
        reply = self.ask("HEAD /token", GOOD)
        self.assertEqual((reply.status, reply.get("content-length"), reply.body), (200, "66", b""))

    def test_other_methods(self) -> None:
        for path in ("/token", "/extendedtoken", "/status", "/.well-known/jwks.json"):
            for method in ("POST", "PUT", "DELETE", "OPTIONS", "BREW"):
                reply = self.ask(f"{method} {path}", GOOD)
                self.assertEqual((reply.status, reply.get("allow")), (405, "GET, HEAD"), (method, path))
        self.assertEqual(self.issuer.issued, [])

    def test_status_asks_for_nothing(self) -> None:
        reply = self.ask("GET /status")
        self.assertEqual((reply.status, reply.body, reply.get("content-type")), (200, b"OK", "text/plain"))

    def test_key_set(self) -> None:
        reply = self.ask("GET /.well-known/jwks.json")
        self.assertEqual((reply.status, reply.json()), (200, {"keys": [{"kty": "EC", "kid": "k"}]}))
        self.assertEqual((reply.get("content-type"), reply.get("pragma")), ("application/json", None))
        self.assertEqual(reply.get("cache-control"), "public, max-age=300")

    def test_unknown_paths(self) -> None:
        for path in (
            "/",
            "/tokens",
            "/token/",
            "/token/x",
            "/status/x",
            "/.well-known",
            "/.well-known/",
            "/.well-known/jwks.json/x",
        ):
            for headers in ((), (GOOD,)):
                self.assertEqual(self.ask(f"GET {path}", *headers).json(), {"reason": "no_route"}, path)

    def test_a_client_that_leaves_gets_no_token(self) -> None:
        waiting: Deferred[Principal] = Deferred()

        async def slow(exchange: Any) -> Principal:
            return await waiting

        self.endpoints = attrs.evolve(self.endpoints, authenticate=slow)
        rig = self.rig("GET /token", GOOD)
        rig.exchange.client_gone()
        self.clock.advance(0)
        self.assertTrue(waiting.called)
        self.assertEqual((self.issuer.issued, rig.channel.written), ([], b""))

    def test_attack_16_a_failing_issuer_tells_nothing(self) -> None:
        def broken(principal: Principal, lifetime: float) -> Issued:
            raise RuntimeError("the private key is x")

        self.patch(self.issuer, "issue", broken)
        reply = self.ask("GET /token", GOOD)
        self.assertEqual((reply.status, reply.json()), (500, {"reason": "internal_error"}))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)


class StandaloneTests(TokenTestCase):
    standalone = True

    def test_the_front_page_answers_like_token(self) -> None:
        self.assertEqual(self.ask("GET /", GOOD).body, self.ask("GET /token", GOOD).body)
        self.assertEqual(self.ask("GET /", BAD).status, 401)
        self.assertEqual(self.ask("POST /", GOOD).status, 405)

    def test_unknown_paths_are_for_those_with_credentials(self) -> None:
        for method in ("GET", "HEAD", "POST"):
            for path in ("/nothing", "/token/x", "/.well-known", "/.well-known/x", "//"):
                self.assertEqual(self.ask(f"{method} {path}", GOOD).status, 404, path)
                for headers in ((), (BAD,)):
                    reply = self.ask(f"{method} {path}", *headers)
                    self.assertEqual((reply.status, reply.get("x-challenges")), (401, "basic"), path)

    def test_status_and_keys_need_none(self) -> None:
        self.assertEqual(self.ask("GET /status").status, 200)
        self.assertEqual(self.ask("GET /.well-known/jwks.json").status, 200)


class AnswerTests(unittest.TestCase):
    """The endpoints' refusals as `perimeter.http.answers` renders them."""

    def render(self, refusal: Any) -> tuple[int, bytes, bytes]:
        answers = Answers("example", ("https://gw/token",), lambda status, phrase: Page(b"", b""), {}, lambda: 0.0)
        rig = Rig("GET /token HTTP/1.1")
        return answers.render(refusal, rig.exchange.head.headers, Challenges.BASIC)

    def test_the_challenge(self) -> None:
        for refusal in (MissingCredentials(), Rejected()):
            status, lines, body = self.render(refusal)
            self.assertEqual(status, 401)
            self.assertIn(b'WWW-Authenticate: Basic realm="example", charset="UTF-8"\r\n', lines)
            self.assertNotIn(b"Bearer", lines)
            self.assertEqual(json.loads(body)["auth_uri"], ["https://gw/token"])

    def test_what_is_allowed(self) -> None:
        status, lines, _ = self.render(MethodNotAllowed(allow=("GET", "HEAD")))
        self.assertEqual(status, 405)
        self.assertIn(b"Allow: GET, HEAD\r\n", lines)

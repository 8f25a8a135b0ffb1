"""The built-in endpoints behind a real gate: the credentials that each method requires, and its answers."""

from __future__ import annotations

import json
from collections.abc import Awaitable
from functools import partial
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial import unittest

from perimeter.errors import Challenges, InvalidToken, MethodNotAllowed, MissingCredentials, Page, Rejected, Unavailable
from perimeter.gate.access import ANY_USER, ANYBODY, UNRESTRICTED
from perimeter.gate.gate import Gate
from perimeter.gate.identity_lines import IdentityLines
from perimeter.gate.routes import RouteTable
from perimeter.http.answers import Answers
from perimeter.http.grammar import parse_block
from perimeter.model import ClientConnection, Grant, GrantKind, HeaderBlock, Principal, Restriction
from perimeter.run.build.endpoints import EndpointParts, endpoint_routes
from perimeter.run.build.state_kinds import STATE_KINDS
from perimeter.sessions.stored import SESSIONS
from perimeter.state.memory import MemoryStore
from perimeter.state.state import State
from perimeter.tokens.book import TokenBook
from perimeter.tokens.revoking import Revoker
from perimeter.tokens.stored import TOKENS
from perimeter.web.bridge import SiteTarget
from perimeter.web.endpoints.endpoint import Endpoint, json_answer, reading, user_of
from tests.unit.doubles.auth import ImmediateThreads, ThreadClock, offload_with
from tests.unit.doubles.http_rig import Client, Holding, Response, Site
from tests.unit.doubles.site import SITE, SiteCase
from tests.unit.doubles.tokens_site import CHECK

ALICE = Principal("alice", "local", ("admin",))
GOOD = "Authorization: Basic YWxpY2U6c2VjcmV0"
BAD = "Authorization: Basic YWxpY2U6d3Jvbmc="
OWN = "Authorization: Bearer own"


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


class Keys:
    def jwks(self) -> dict[str, Any]:
        return {"keys": [{"kty": "EC", "kid": "k"}]}


class FakeIdentifier:
    """Knows `GOOD` as first-hand credentials of `ALICE`, and `OWN` as her token with the ``grant``."""

    def __init__(self) -> None:
        self.grant = Grant("7", 0.0, 1e12, GrantKind.API_TOKEN)
        self.slow: Deferred[Principal] | None = None

    def identify(
        self, headers: HeaderBlock, address: str, connection: ClientConnection, *, by_connection: bool = True
    ) -> Principal | Awaitable[Principal | None] | None:
        if headers.get(b"authorization") == OWN.partition(": ")[2].encode():
            return attrs.evolve(ALICE, grant=self.grant)
        return self.identify_first_hand(headers, address, connection)

    def identify_first_hand(
        self, headers: HeaderBlock, address: str, connection: ClientConnection
    ) -> Principal | Awaitable[Principal | None] | None:
        credential = headers.get(b"authorization")
        if credential is None or credential == b"xxxxx":
            return None
        if credential == b"Bearer x":
            raise Unavailable
        if credential.startswith(b"Bearer"):
            raise InvalidToken
        if credential != GOOD.partition(": ")[2].encode():
            raise Rejected
        return ALICE if self.slow is None else self.slow


class EndpointCase(SiteCase):
    standalone = False

    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.issuer = Issuer()
        self.identifier = FakeIdentifier()
        config = self.load(SITE + "[token]\nlifetime = 1h\nextended_lifetime = 2h\n")
        self.parts = EndpointParts(config, self.issuer, Keys(), None)  # type: ignore[arg-type]
        self.use(self.parts.standalone() if self.standalone else self.parts.gateway())

    def use(self, endpoints: list[Endpoint], **options: Any) -> None:
        def sign(principal: Principal, audience: str, lifetime: float) -> str:
            raise AssertionError("nothing to sign")

        self.served = Site(Holding(), self.clock)
        routes = RouteTable(endpoint_routes(endpoints, self.served.audit, partial(SiteTarget, "perimeter", clock=self.clock)))
        gate = Gate(routes, self.identifier, IdentityLines(sign, self.clock.seconds, 100), **options)  # type: ignore[arg-type]
        self.served.dispatch = gate.dispatch  # type: ignore[method-assign]

    def client(self, line: str, *headers: str, body: bytes = b"") -> Client:
        client = Client(self.served)
        method, _, target = line.partition(" ")
        client.request(method, target, *headers, body=body)
        return client

    def ask(self, line: str, *headers: str) -> Response:
        client = self.client(line, *headers)
        self.clock.advance(1)
        return client.response(line.partition(" ")[0].encode())

    def challenge(self, response: Response) -> list[bytes]:
        """The schemes that a response asks for."""
        return [value.partition(b" ")[0] for name, value in response.fields if name == b"www-authenticate"]


class GatewayEndpointTests(EndpointCase):
    def test_token(self) -> None:
        reply = self.ask("GET /token", GOOD)
        self.assertEqual((reply.status, reply.body), (200, b'{"access_token":"a-token","token_type":"Bearer","expires_in":3600}'))
        self.assertEqual(reply.get(b"content-type"), b"application/json;charset=UTF-8")
        self.assertEqual((reply.get(b"cache-control"), reply.get(b"pragma")), (b"no-store", b"no-cache"))
        self.assertEqual(self.issuer.issued, [(ALICE, 3600.0)])

    def test_extended_token(self) -> None:
        self.assertEqual(json.loads(self.ask("GET /extendedtoken", GOOD).body)["expires_in"], 7200)

    def test_a_query_does_not_matter(self) -> None:
        self.assertEqual(self.ask("GET /token?x=/status", GOOD).status, 200)
        self.assertEqual(self.ask("GET /token?x=/status").status, 401)

    def test_no_wrong_and_unverifiable_credentials(self) -> None:
        for path in ("/token", "/extendedtoken"):
            for headers, status in (
                ((), 401),
                ((BAD,), 401),
                (("Authorization: xxxxx",), 401),
                ((OWN,), 401),
                (("Authorization: Bearer x",), 503),
            ):
                reply = self.ask(f"GET {path}", *headers)
                self.assertEqual(reply.status, status)
                self.assertEqual(self.challenge(reply), [b"Basic"] if status == 401 else [])
        self.assertEqual(self.issuer.issued, [])

    def test_head(self) -> None:
        reply = self.ask("HEAD /token", GOOD)
        self.assertEqual((reply.status, reply.get(b"content-length"), reply.body), (200, b"66", b""))
        self.assertEqual(self.ask("HEAD /token").status, 401)

    def test_other_methods(self) -> None:
        for path in ("/token", "/extendedtoken", "/status", "/.well-known/jwks.json"):
            for method in ("POST", "PUT", "DELETE", "OPTIONS", "BREW", "get"):
                reply = self.ask(f"{method} {path}", GOOD)
                self.assertEqual((reply.status, reply.get(b"allow")), (405, b"GET, HEAD"), (method, path))
                self.assertEqual(self.served.audit.records[-1].detail, f"{path} takes GET, HEAD")
        self.assertEqual(self.issuer.issued, [])

    def test_status_asks_for_nothing(self) -> None:
        reply = self.ask("GET /status")
        self.assertEqual((reply.status, reply.body, reply.get(b"content-type")), (200, b"OK", b"text/plain"))

    def test_status_names_a_state_that_is_stale(self) -> None:
        self.use(attrs.evolve(self.parts, stale=lambda: True).gateway())
        for path in ("/status", "/health"):
            reply = self.ask(f"GET {path}")
            self.assertEqual((reply.status, reply.body, reply.get(b"content-type")), (200, b"STALE", b"text/plain"))

    def test_key_set(self) -> None:
        reply = self.ask("GET /.well-known/jwks.json")
        self.assertEqual((reply.status, json.loads(reply.body)), (200, {"keys": [{"kty": "EC", "kid": "k"}]}))
        self.assertEqual((reply.get(b"content-type"), reply.get(b"pragma")), (b"application/json", None))
        self.assertEqual(reply.get(b"cache-control"), b"public, max-age=300")

    def test_unknown_paths(self) -> None:
        for path in (
            "/",
            "/tokens",
            "/revoke",
            "/token/",
            "/token/x",
            "/status/x",
            "/.well-known",
            "/.well-known/",
            "/.well-known/jwks.json/x",
        ):
            for headers in ((), (GOOD,)):
                self.assertEqual(self.ask(f"GET {path}", *headers).status, 404, path)
                self.assertEqual(self.served.audit.records[-1].reason, "no_route")

    def test_any_credentials_are_good_for_what_the_user_may_know(self) -> None:
        for headers in ((GOOD,), (OWN,)):
            self.assertEqual(json.loads(self.ask("GET /whoami", *headers).body)["username"], "alice")
            self.assertEqual(json.loads(self.ask("GET /providers", *headers).body)["providers"][0]["name"], "local")
        for path in ("/whoami", "/providers", "/augmenters"):
            reply = self.ask(f"GET {path}")
            self.assertEqual((reply.status, self.challenge(reply)), (401, [b"Bearer", b"Basic"]), path)

    def test_the_record_names_the_user_and_the_endpoint(self) -> None:
        for headers, status, user in (((), 401, None), ((GOOD,), 200, ALICE)):
            self.ask("GET /token", *headers)
            record = self.served.audit.records[-1]
            self.assertEqual((record.route, record.upstream, record.status), ("token", "perimeter", status))
            self.assertEqual(record.principal, user)

    def test_a_client_that_leaves_gets_no_token(self) -> None:
        self.identifier.slow = Deferred()
        client = self.client("GET /token", GOOD)
        client.transport.lose()
        self.identifier.slow.callback(ALICE)
        self.clock.advance(1)
        self.assertEqual((self.issuer.issued, client.transport.written), ([], b""))
        self.assertEqual([record.status for record in client.records], [499])

    def test_attack_16_a_failing_issuer_reveals_nothing(self) -> None:
        def broken(principal: Principal, lifetime: float) -> Issued:
            raise RuntimeError("the private key is x")

        self.patch(self.issuer, "issue", broken)
        reply = self.ask("GET /token", GOOD)
        self.assertEqual(reply.status, 500)
        self.assertNotIn(b"private", reply.body)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_maintenance_and_disabled_authentication_change_nothing(self) -> None:
        """No client gets a token without credentials, even if all routes are open."""
        for options in ({"maintenance": True}, {"enabled": False}):
            self.use(self.parts.gateway(), **options)
            for path, headers, status in (
                ("/token", (), 401),
                ("/token", (GOOD,), 200),
                ("/whoami", (), 401),
                ("/whoami", (OWN,), 200),
                ("/status", (), 200),
            ):
                self.assertEqual(self.ask(f"GET {path}", *headers).status, status, (options, path, headers))


class StandaloneTests(EndpointCase):
    standalone = True

    def test_the_front_page_answers_like_token(self) -> None:
        self.assertEqual(self.ask("GET /", GOOD).body, self.ask("GET /token", GOOD).body)
        self.assertEqual(self.ask("GET /", BAD).status, 401)
        self.assertEqual(self.ask("POST /", GOOD).status, 405)

    def test_unknown_paths_are_for_those_with_credentials(self) -> None:
        for method in ("GET", "HEAD", "POST"):
            for path in ("/nothing", "/token/x", "/.well-known", "/.well-known/x"):
                self.assertEqual(self.ask(f"{method} {path}", GOOD).status, 404, path)
                for headers in ((), (BAD,)):
                    reply = self.ask(f"{method} {path}", *headers)
                    self.assertEqual((reply.status, self.challenge(reply)), (401, [b"Basic"]), path)

    def test_status_keys_and_sources_need_none(self) -> None:
        for path in ("/status", "/health", "/.well-known/jwks.json", "/providers", "/augmenters"):
            self.assertEqual(self.ask(f"GET {path}").status, 200)


class NoVerifier:
    """Knows no access token."""

    def verify(self, token: str) -> Any:
        raise InvalidToken


class ApiTokenTests(EndpointCase):
    """With a real book of API tokens, kept in memory."""

    JSON = "Content-Type: application/json"
    FORM = "Content-Type: application/x-www-form-urlencoded"

    def setUp(self) -> None:
        super().setUp()
        clock = ThreadClock()
        clock.advance(1_800_000_000)
        state = State(MemoryStore(), STATE_KINDS, clock, offload_with(ImmediateThreads(), clock, count=1))
        state.replace(state.load())
        stored = state.view(TOKENS)
        book = TokenBook(stored, Revoker(stored, NoVerifier(), state.view(SESSIONS)), clock, 0, CHECK)  # type: ignore[arg-type]
        self.use(attrs.evolve(self.parts, book=book).gateway())

    def sent(self, line: str, *headers: str, body: bytes = b"") -> Response:
        fields = (*headers, f"Content-Length: {len(body)}") if body else headers
        client = self.client(line, *fields, body=body)
        self.clock.advance(1)
        return client.response()

    def make(self, **wanted: Any) -> dict[str, Any]:
        reply = self.sent("POST /tokens", GOOD, self.JSON, body=json.dumps({"name": "ci", **wanted}).encode())
        self.assertEqual(reply.status, 201, reply)
        return dict(json.loads(reply.body))

    def listed(self) -> list[str]:
        return [one["id"] for one in json.loads(self.sent("GET /tokens", OWN).body)["tokens"]]

    def test_a_content_type_may_hold_any_bytes(self) -> None:
        for value in ("caf\xe9", "application/json\xff"):
            self.assertEqual(self.sent("POST /tokens", GOOD, f"Content-Type: {value}", body=b"{}").status, 400)

    def test_made_and_listed(self) -> None:
        made = self.make(routes=["app"], methods=["get"], networks=["192.0.2.0/24"])
        self.assertEqual((made["methods"], made["networks"]), (["GET"], ["192.0.2.0/24"]))
        self.assertEqual(self.listed(), [made["id"]])
        self.assertIn("token", json.loads(self.sent("GET /token", GOOD).body))

    def test_what_cannot_be_made(self) -> None:
        for body in (
            b"{",
            b"[]",
            b'{"name":"a","name":"b"}',
            b'{"name":"a","expires_in":NaN}',
            b"\xff\xfe{\x00",
            b'{"name":"a","x":1}',
        ):
            reply = self.sent("POST /tokens", GOOD, self.JSON, body=body)
            self.assertEqual((reply.status, json.loads(reply.body)["error"]), (400, "invalid_request"), body)
            record = self.served.audit.records[-1]
            self.assertEqual((record.reason, record.detail), ("invalid_request", json.loads(reply.body)["error_description"]))
        self.assertEqual(self.sent("POST /tokens", GOOD, self.FORM, body=b'{"name":"a"}').status, 400)
        self.assertEqual(self.sent("POST /tokens", OWN, self.JSON, body=b'{"name":"a"}').status, 401)
        self.assertEqual(self.listed(), [])

    def test_ended_by_its_owner(self) -> None:
        made = self.make()
        for target in (f"/token/{made['id']}/x", "/token/", "/token/none"):
            self.assertEqual(self.sent(f"DELETE {target}", OWN).status, 404, target)
        self.assertEqual(self.sent(f"GET /token/{made['id']}", OWN).status, 404)
        self.assertEqual(self.sent(f"DELETE /token/{made['id']}").status, 401)
        self.assertEqual(self.sent(f"DELETE /token/{made['id']}?x", OWN).status, 204)
        self.assertEqual(self.listed(), [])

    def test_attack_37_a_restricted_one_ends_itself_alone(self) -> None:
        one, other = self.make(), self.make()
        self.identifier.grant = Grant(one["id"], 0.0, 1e12, GrantKind.API_TOKEN, Restriction(methods=frozenset(("GET",))))
        self.assertEqual(self.sent(f"DELETE /token/{other['id']}", OWN).status, 403)
        self.assertEqual(self.sent(f"DELETE /token/{other['token']}", OWN).status, 403)
        self.assertEqual(self.sent(f"DELETE /token/{one['token']}", OWN).status, 204)

    def test_revoked_by_itself(self) -> None:
        made = self.make()
        self.assertEqual(self.sent("POST /revoke", self.FORM, body=b"token=" + made["token"].encode()).status, 200)
        self.assertEqual(self.served.audit.records[-1].principal, ALICE)
        self.assertEqual(self.listed(), [])
        self.assertEqual(self.sent("POST /revoke", self.FORM, body=b"token=unknown").status, 200)
        self.assertIsNone(self.served.audit.records[-1].principal)
        self.assertEqual(self.sent("POST /revoke", self.FORM, body=b"token=a&token=b").status, 400)
        self.assertEqual(self.sent("HEAD /revoke").status, 405)


class Told(Endpoint):
    def render_GET(self, request: Any) -> bytes:
        return json_answer(request, {"who": user_of(request).username})


class RestrictedTests(EndpointCase):
    """What a restricted API token may do at an endpoint: the gate decides, by what the endpoint declares."""

    def restrict(self, **terms: Any) -> None:
        self.identifier.grant = Grant("7", 0.0, 1e12, GrantKind.API_TOKEN, Restriction(**terms))

    def test_any_user(self) -> None:
        self.use([Told("/told", reading(ANY_USER))])
        self.restrict(routes=frozenset(("app",)))
        self.assertEqual(self.ask("GET /told", OWN).status, 200)
        self.restrict(methods=frozenset(("GET",)))
        self.assertEqual(self.ask("GET /told", OWN).status, 200)
        self.assertEqual(self.ask("HEAD /told", OWN).status, 403)
        self.assertEqual(self.ask("GET /told", OWN, "X-HTTP-Method: DELETE").status, 403)

    def test_unrestricted(self) -> None:
        self.use([Told("/told", reading(UNRESTRICTED))])
        self.assertEqual(self.ask("GET /told", OWN).status, 200)
        self.restrict(routes=frozenset(("told",)))
        reply = self.ask("GET /told", OWN)
        self.assertEqual(reply.status, 403)
        record = self.served.audit.records[-1]
        self.assertEqual((record.route, record.principal, record.reason), ("told", ALICE, "insufficient_scope"))

    def test_own(self) -> None:
        self.use([Told("/told", reading(attrs.evolve(UNRESTRICTED, own=lambda grant, target: target == b"/told?7")))])
        self.restrict(methods=frozenset(("POST",)))
        self.assertEqual(self.ask("GET /told?7", OWN).status, 200)
        self.assertEqual(self.ask("GET /told?8", OWN).status, 403)

    def test_a_method_that_is_not_there_asks_for_nothing(self) -> None:
        self.use([Told("/told", reading(UNRESTRICTED))])
        self.assertEqual(self.ask("PUT /told").status, 405)

    def test_attack_41_an_endpoint_that_is_open_by_mistake_names_no_user(self) -> None:
        self.use([Told("/told", reading(ANYBODY))])
        self.assertEqual(self.ask("GET /told", GOOD).status, 500)
        self.assertEqual(len(self.flushLoggedErrors(AssertionError)), 1)


class AnswerTests(unittest.TestCase):
    """The endpoints' refusals as `perimeter.http.answers` renders them."""

    def render(self, refusal: Any) -> tuple[int, bytes, bytes]:
        answers = Answers("example", ("https://gw/token",), lambda *_: Page(b"", b""), {}, lambda: 0.0)
        refusal.stranger = Challenges.FIRST_HAND
        return answers.render(refusal, parse_block(b"Host: gw\r\n", 20))

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

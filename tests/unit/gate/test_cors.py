"""Cross-origin resource sharing: which pages may read responses, and which requests are preflights."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import attrs
from twisted.trial import unittest

from perimeter.config.site.rule import Rule
from perimeter.errors import MissingCredentials, NetworkRefused
from perimeter.gate.access import Access, Asks
from perimeter.gate.cors import Cors, is_preflight
from perimeter.gate.identity_lines import IdentityProfile
from perimeter.gate.judged import Judged
from perimeter.gate.policy import Policy
from perimeter.gate.routes import Route
from perimeter.http.grammar import parse_block, parse_request
from perimeter.model import HeaderBlock, RequestHead
from perimeter.targets.preflight import PreflightTarget
from tests.unit.doubles.http_rig import Client
from tests.unit.gate.test_gate import GateTestCase

APP = b"https://app.example"
PAGE, EVIL = "Origin: https://app.example", "Origin: https://evil.example"
ASKS = "Access-Control-Request-Method: PUT"


def block(*lines: str) -> HeaderBlock:
    return parse_block("".join(f"{line}\r\n" for line in ("Host: gw", *lines)).encode("latin-1"), 20)


def head(line: str, *lines: str) -> RequestHead:
    return parse_request(f"{line} HTTP/1.1".encode(), block(*lines))


class CorsTests(unittest.TestCase):
    def test_attack_133_origins_compare_as_a_whole(self) -> None:
        cors = Cors(frozenset((APP, b"http://other.example:8080")))
        for lines, allowed in (
            ((PAGE,), APP),
            (("Origin: http://other.example:8080",), b"http://other.example:8080"),
            (("Origin: http://app.example",), None),
            (("Origin: https://app.example:443",), None),
            (("Origin: https://app.example.evil.example",), None),
            (("Origin: https://evil.example/https://app.example",), None),
            (("Origin: https://APP.example",), None),
            (("Origin: https://xapp.example",), None),
            (("Origin: null",), None),
            (("Origin:",), None),
            ((PAGE, PAGE), None),
            ((PAGE, EVIL), None),
            ((), None),
        ):
            found = cors.lines(block(*lines))
            expected = b"" if allowed is None else b"Access-Control-Allow-Origin: %b\r\n" % allowed
            self.assertEqual(found, expected + b"Vary: Origin\r\n", lines)
            self.assertEqual(cors.allows(block(*lines)), allowed is not None, lines)

    def test_attack_133_pages_of_all_sites_read_nothing_that_depends_on_credentials(self) -> None:
        cors = Cors(frozenset((b"*",)), exposed=("X-A",))
        for lines in ((), (PAGE,), (EVIL,), ("Origin: null",)):
            self.assertEqual(
                cors.lines(block(*lines)), b"Access-Control-Allow-Origin: *\r\nAccess-Control-Expose-Headers: X-A\r\n"
            )
            self.assertTrue(cors.allows(block(*lines)))
        for origins in ((b"*",), (b"*", APP)):
            self.assertRaises(ValueError, Cors, frozenset(origins), credentials=True)
        self.assertRaises(ValueError, Cors, frozenset((b"*", APP)))

    def test_what_pages_may_do(self) -> None:
        cors = Cors(
            frozenset((APP,)),
            methods=("GET", "PUT"),
            headers=("Authorization", "X-B"),
            exposed=("X-C", "X-D"),
            credentials=True,
            max_age=60,
        )
        self.assertEqual(
            cors.lines(block(PAGE)),
            b"Access-Control-Allow-Origin: https://app.example\r\nAccess-Control-Allow-Credentials: true\r\n"
            b"Access-Control-Expose-Headers: X-C, X-D\r\nVary: Origin\r\n",
        )
        self.assertEqual(
            cors.permission,
            b"Access-Control-Allow-Methods: GET, PUT\r\nAccess-Control-Max-Age: 60\r\n"
            b"Access-Control-Allow-Headers: Authorization, X-B\r\n",
        )
        self.assertNotIn(b"Allow-Headers", attrs.evolve(cors, headers=()).permission)

    def test_attack_132_what_is_a_preflight(self) -> None:
        for line, lines, expected in (
            ("OPTIONS /", (PAGE, ASKS), True),
            ("OPTIONS /", (EVIL, ASKS, "Access-Control-Request-Headers: x-a"), True),
            ("OPTIONS /", (PAGE, ASKS, "Content-Length: 0"), True),
            ("OPTIONS /", (PAGE,), False),
            ("OPTIONS /", (ASKS,), False),
            ("OPTIONS /", (PAGE, PAGE, ASKS), False),
            ("OPTIONS /", (PAGE, ASKS, ASKS), False),
            ("GET /", (PAGE, ASKS), False),
            ("options /", (PAGE, ASKS), False),
            ("OPTIONS /", (PAGE, ASKS, "Content-Length: 1"), False),
            ("OPTIONS /", (PAGE, ASKS, "Transfer-Encoding: chunked"), False),
            ("OPTIONS /", (PAGE, ASKS, "Authorization: Bearer x"), False),
            ("OPTIONS /", (PAGE, ASKS, "Cookie: a=b"), False),
            ("OPTIONS /", (PAGE, ASKS, "Connection: upgrade", "Upgrade: websocket"), False),
            ("OPTIONS /", (PAGE, ASKS, "X-HTTP-Method-Override: DELETE"), False),
            ("OPTIONS /", (PAGE, ASKS, "X_HTTP_Method: DELETE"), False),
        ):
            self.assertEqual(is_preflight(head(line, *lines)), expected, (line, lines))


class GateTests(GateTestCase):
    """A route with ``cors``, through a real channel."""

    def shared(self, cors: Cors | None = None, **options: Any) -> Route:
        route = self.route("r", "/", **options)
        cors = cors or Cors(frozenset((APP,)), ("GET", "PUT"), max_age=5)
        return attrs.evolve(route, cors=cors, preflights=attrs.evolve(route, target=PreflightTarget(cors)))

    def passed(self, **options: Any) -> Route:
        route = self.route("r", "/", **options)
        return attrs.evolve(route, preflights=route)

    def cors_of(self, client: Client) -> list[bytes | None]:
        response = client.response()
        return [response.get(b"access-control-allow-" + name) for name in (b"origin", b"methods", b"max-age")]

    def test_the_gateway_answers_a_preflight_without_credentials(self) -> None:
        gate = self.gate(self.shared(policy=Policy((Rule("role", "admin"),), (Rule("method", "OPTIONS"),))))
        client = self.refused(204, "OPTIONS /x", PAGE, ASKS, gate=gate)
        self.assertEqual(self.cors_of(client)[:2], [APP, b"GET, PUT"])
        response = client.response()
        self.assertEqual((response.get(b"vary"), response.body), (b"Origin", b""))
        (record,) = self.site.audit.records
        self.assertEqual((record.status, record.route, record.upstream, record.reason), (204, "r", "cors", ""))
        self.assertIsNone(record.principal)
        self.assertEqual(self.identifier.asked, [])

    def test_attack_133_a_preflight_of_another_page_is_refused(self) -> None:
        client = self.refused(403, "OPTIONS /x", EVIL, ASKS, gate=self.gate(self.shared()))
        self.assertEqual(self.cors_of(client), [None, None, None])
        self.assertEqual(client.response().get(b"vary"), b"Origin")
        self.assertEqual(self.site.audit.records[-1].reason, "cors_refused")

    def test_other_requests_are_judged_as_ever(self) -> None:
        gate = self.gate(self.shared())
        self.refused(401, "OPTIONS /x", PAGE, gate=gate)
        self.refused(401, "OPTIONS /x", PAGE, ASKS, "Cookie: a=b", gate=gate)
        self.refused(401, "PUT /x", PAGE, gate=gate)
        self.assertEqual(self.admitted("PUT /x", PAGE, "Authorization: Bearer alice", gate=gate).principal.username, "alice")

    def test_a_page_can_read_why_a_request_is_refused(self) -> None:
        gate = self.gate(self.shared(policy=Policy((Rule("role", "admin"),))))
        for status, lines in (
            (401, (PAGE,)),
            (401, (PAGE, "Authorization: Bearer wrong")),
            (403, (PAGE, "Authorization: Bearer alice")),
        ):
            client = self.refused(status, "GET /x", *lines, gate=gate)
            self.assertEqual((self.cors_of(client)[0], client.response().get(b"vary")), (APP, b"Origin"), lines)
        self.assertEqual(self.cors_of(self.refused(401, "GET /x", EVIL, gate=gate))[0], None)

    def test_each_response_says_it_once(self) -> None:
        gate = self.gate(self.shared())
        client = self.ask("GET /x", PAGE, "Authorization: Bearer alice", gate=gate)
        self.target.exchanges[-1].answer(200, b"X-A: b\r\n", b"body")
        fields = [value for name, value in client.response().fields if name == b"access-control-allow-origin"]
        self.assertEqual(fields, [APP])

    def test_a_question_of_another_proxy_about_a_preflight(self) -> None:
        """It is no permission to send the preflight to the service, unless the service is to answer it."""
        for route, permitted in ((self.shared(), False), (self.passed(), True)):
            gate = self.gate(route)
            asked = head("OPTIONS /x", PAGE, ASKS)
            self.ask("GET /authenticate", "Authorization: Bearer alice", gate=self.gate(self.root))
            exchange = self.target.exchanges[-1]
            if permitted:
                self.assertEqual(gate.judge(exchange, asked, None, exchange.decision).principal, None)  # type: ignore[union-attr, arg-type]
            else:
                self.assertRaises(MissingCredentials, gate.judge, exchange, asked, None, exchange.decision)
            self.assertEqual(exchange.answer_lines, b"")

    def test_attack_132_a_preflight_that_is_passed_has_no_identity(self) -> None:
        identity = IdentityProfile(fixed=b"Authorization: Basic c2VjcmV0\r\n")
        gate = self.gate(self.passed(identity=identity, access=Access(Asks.REQUIRED)))
        decision = self.admitted("OPTIONS /x", EVIL, ASKS, gate=gate)
        self.assertEqual((decision.principal, decision.identity, decision.route.name), (None, b"", "r"))
        for lines in ((EVIL,), (EVIL, ASKS, "X-HTTP-Method-Override: DELETE"), (EVIL, ASKS, "Content-Length: 1")):
            self.refused(401, "OPTIONS /x", *lines, gate=gate)

    def test_attack_132_preflights_are_counted(self) -> None:
        counted = []

        def count(exchange: Judged, head: RequestHead, address: str) -> None:
            counted.append(address)
            if len(counted) > 1:
                raise NetworkRefused

        for route in (self.shared(counting=(count,)), self.passed(counting=(count,))):
            del counted[:]
            gate = self.gate(route)
            self.ask("OPTIONS /x", PAGE, ASKS, gate=gate)
            self.refused(403, "OPTIONS /x", PAGE, ASKS, gate=gate)
            self.assertEqual(counted, ["192.0.2.7"] * 2)

    def test_attack_132_networks_hold_for_preflights_too(self) -> None:
        networks = (ip_network("10.0.0.0/8"),)
        for route in (self.shared(networks=networks), self.passed(networks=networks)):
            client = self.refused(403, "OPTIONS /x", PAGE, ASKS, gate=self.gate(route))
            self.assertEqual(self.site.audit.records[-1].reason, "network_refused")
            self.assertEqual(self.cors_of(client)[0], APP if route.cors is not None else None)

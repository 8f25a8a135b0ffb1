"""The answers to proxies that ask at ``/authenticate``, through a real channel."""

from __future__ import annotations

import json
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from perimeter.config.site.route_conditions import Condition
from perimeter.config.site.rule import Rule
from perimeter.errors import BadRequest, Challenges, InvalidCredentialsRequest, TooManyAttempts, Unavailable
from perimeter.gate.access import ANYBODY, Access, Asks
from perimeter.gate.conditions import Conditions
from perimeter.gate.entry import within_rate
from perimeter.gate.gate import Gate
from perimeter.gate.identity_lines import IdentityLines, IdentityProfile
from perimeter.gate.original import original
from perimeter.gate.policy import Policy
from perimeter.gate.routes import Route, RouteTable
from perimeter.http.grammar import parse_block, parse_request
from perimeter.limits.memory import LimitMemory
from perimeter.limits.rates import RateLimit
from perimeter.model import Grant, GrantKind, Principal, SessionUse
from perimeter.targets.forward_auth import ENDPOINT, ForwardAuthTarget
from perimeter.targets.limited import LimitedTarget, Limits
from tests.unit.doubles.http_rig import Response
from tests.unit.doubles.properties import reached, reaches
from tests.unit.gate.test_gate import ALICE, ENDED, HTML, LOGIN, OF_ALICE, GateTestCase

PROXY = "10.0.0.1"
CLIENT = "192.0.2.9"
ASK = "GET /authenticate"


class ForwardAuthTestCase(GateTestCase):
    """A gateway that trusts `PROXY`. ``/pub`` is open, ``/admin`` for admins, the rest for users, who delete nothing."""

    def setUp(self) -> None:
        super().setUp()
        self.root = self.route("root", "/", policy=Policy(None, (Rule("method", "DELETE"),)))
        self.near = self.route("near", "/near", networks=(ip_network("198.51.100.0/24"),), access=ANYBODY)
        self.other = self.route("other", "/", hosts=("open.example.com",), access=ANYBODY)
        self.site.dispatch = self.serving().dispatch  # type: ignore[method-assign]

    def serving(self, *routes: Route, bare: bool = False, pages: bytes = b"", **options: Any) -> Gate:
        def sign(principal: Principal, audience: str, lifetime: float) -> str:
            return f"{principal.username}.for.{audience}"

        def gate(*of: Route) -> Gate:
            lines = IdentityLines(sign, self.site.clock, 100)
            networks = (ip_network("10.0.0.0/8"),)
            return Gate(RouteTable(of), self.identifier, lines, trusted_proxies=networks, **options)  # type: ignore[arg-type]

        own = () if bare else routes or (self.open, self.closed, self.near, self.other, self.root)
        target = ForwardAuthTarget(gate(*own), self.site.audit, rules=bool(own), pages=pages)
        endpoint = Route(
            "authenticate", ENDPOINT, target, self.site.audit, builtin=True, access=ANYBODY, allow_encoded_slash=True
        )
        return gate(*own, endpoint)

    def question(self, *lines: str, line: str = ASK, peer: str = PROXY, user: str | None = "alice", gate: Any = None) -> Response:
        mine = (f"Authorization: Bearer {user}",) if user else ()
        client = self.ask(line, *mine, *lines, gate=gate or self.serving(), peer=peer)
        return client.response()

    def answers(self, status: int, *lines: str, **options: Any) -> Response:
        response = self.question(*lines, **options)
        self.assertEqual(response.status, status, (lines, options))
        if status != 200:
            self.assertIsNone(response.get(b"x-auth-username"))
            self.assertIsNone(response.get(b"authorization"))
        self.assertEqual(self.target.exchanges, [])
        return response


def nginx(method: str, uri: str) -> tuple[str, ...]:
    return (f"X-Original-Method: {method}", f"X-Original-URI: {uri}")


def traefik(method: str, uri: str, host: str = "gw") -> tuple[str, ...]:
    return (f"X-Forwarded-Method: {method}", f"X-Forwarded-Host: {host}", f"X-Forwarded-Uri: {uri}")


class SelectiveTests(ForwardAuthTestCase):
    """Routes that depend on more than the question says, and routes without a service."""

    def gate_of(self, *routes: Route) -> Any:
        return self.serving(*routes, self.root)

    def test_attack_129_what_a_question_does_not_say(self) -> None:
        headers = Conditions(headers=(Condition("x-a", "1"),))
        by_header = self.gate_of(attrs.evolve(self.route("r", "/c", access=ANYBODY), conditions=headers))
        for lines in (nginx("GET", "/c"), (*nginx("GET", "/c"), "X-A: 1")):
            self.answers(403, *lines, gate=by_header)
        self.answers(200, *nginx("GET", "/d"), gate=by_header)
        by_method = self.gate_of(attrs.evolve(self.route("r", "/c", access=ANYBODY), conditions=Conditions(frozenset((b"GET",)))))
        self.answers(403, "X-Original-URI: /c", gate=by_method)
        self.answers(200, *nginx("GET", "/c"), user=None, gate=by_method)
        self.answers(401, *nginx("POST", "/c"), user=None, gate=by_method)

    def test_attack_129_the_gateway_answers_by_itself(self) -> None:
        """A proxy that may pass the request on would send it to a service."""
        gate = self.gate_of(attrs.evolve(self.route("r", "/c", access=ANYBODY), answers=True))
        self.answers(403, *nginx("GET", "/c"), gate=gate)
        self.answers(403, *traefik("GET", "/c/x"), user=None, gate=gate)
        self.answers(200, *nginx("GET", "/d"), gate=gate)


class LimitTests(ForwardAuthTestCase):
    """Rates hold for the requests that a proxy asks about, each once; requests in flight are known to the proxy alone."""

    def memory(self) -> LimitMemory:
        memory = LimitMemory.private()
        memory.buckets._clock = lambda: 10**12
        return memory

    def rate(self, word: str, burst: int) -> RateLimit:
        memory = self.memory()
        return RateLimit(
            memory.buckets,
            memory.secret,
            place=word,
            name=f"1/h per {word}",
            amount=1,
            seconds=3600,
            burst=burst,
            count=lambda: self.counted.append(word),
        )

    def statuses(self, *clients: str) -> list[int]:
        lines = "X-Original-URI: /limited", "Authorization: Bearer alice"
        found = []
        for client in clients:
            answer = self.ask(ASK, *lines, f"X-Forwarded-For: {client}", gate=self.served, peer=PROXY).response()
            found.append(answer.status)
            self.last = answer
        return found

    def test_rates(self) -> None:
        self.counted: list[str] = []
        limits = Limits(self.site.reactor, self.site.deadlines, rates=(self.rate("user", 3),), timeout=1.0)
        by_address = within_rate(self.rate("address", 2), by_address=True)
        route = attrs.evolve(self.route("limited", "/limited", counting=(by_address,)), target=LimitedTarget(self.target, limits))
        self.served = self.serving(route)
        self.assertEqual(self.statuses(*["192.0.2.1"] * 3), [200, 200, 429])
        self.assertEqual(self.last.get(b"ratelimit-policy"), b'"1/h per address";q=2;w=7200')
        self.assertEqual(self.statuses("192.0.2.2", "192.0.2.2", "192.0.2.3"), [200, 429, 429])
        self.assertEqual(self.last.get(b"ratelimit-policy"), b'"1/h per user";q=3;w=10800')
        self.assertEqual(self.counted, ["address", "user", "user"])
        self.assertEqual([(one.reason, one.route) for one in self.site.audit.records[-2:]], [("rate_exceeded", "limited")] * 2)
        self.assertEqual(self.target.exchanges, [])


class AuthorizationTests(ForwardAuthTestCase):
    """What the service gets in Authorization: the proxy sends what the answer has."""

    def sent(self, user: str | None, **route: Any) -> tuple[bytes | None, bool]:
        gate = self.serving(self.route("r", "/", access=Access(Asks.OPTIONAL), **route))
        response = self.answers(200, *nginx("GET", "/x"), user=user, gate=gate)
        return response.get(b"authorization"), response.get(b"x-envoy-auth-headers-to-remove") is not None

    def test_dropped(self) -> None:
        self.assertEqual([self.sent(user) for user in ("alice", None)], [(None, True)] * 2)

    def test_passed_on(self) -> None:
        self.assertEqual(self.sent("alice", passes_authorization=True), (b"Bearer alice", False))
        self.assertEqual(self.sent(None, passes_authorization=True), (None, True))

    def test_of_the_gateways_own(self) -> None:
        profile = IdentityProfile(fixed=b"Authorization: Basic eDp5\r\n")
        self.assertEqual([self.sent(user, identity=profile) for user in ("alice", None)], [(b"Basic eDp5", False)] * 2)

    def test_an_assertion(self) -> None:
        found = [self.sent(user, identity=IdentityProfile(audience="x")) for user in ("alice", None)]
        self.assertEqual(found, [(b"Bearer alice.for.x", False), (None, True)])


class ReadOnlyTests(ForwardAuthTestCase):
    def test_attack_114_a_proxy_asks_without_the_body(self) -> None:
        """The command is in the body, which no question has: users who may only read are refused."""
        for rule, status in ((Rule("user", "alice"), 403), (Rule("user", "bob"), 200), (Rule("method", "POST"), 403)):
            gate = self.serving(self.route("r", "/", read_only=Policy(None, (rule,))))
            for lines in (nginx("POST", "/x"), traefik("POST", "/x")):
                self.answers(status, *lines, gate=gate)
        self.assertEqual([record.reason for record in self.site.audit.records[:1]], ["command_refused"])


class SessionTests(ForwardAuthTestCase):
    """A browser behind a proxy: its session, and how it gets to the sign-in page."""

    LOCATION = b"/.perimeter/login?to=/x%3Fy%3D1"

    def setUp(self) -> None:
        super().setUp()
        self.own = self.serving(self.route("r", "/", access=Access(login=LOGIN)), self.open, pages=b"/.perimeter")

    def ways(self, method: str = "GET", target: str = "/x?y=1") -> Iterator[tuple[tuple[str, ...], str]]:
        """Headers and request line of a question about one request."""
        yield nginx(method, target), ASK
        yield (f"X-Original-Method: {method}", f"X-Original-URL: https://gw{target}"), ASK
        yield traefik(method, target), ASK
        yield (), f"{method} /authenticate{target}"

    def test_by_a_session(self) -> None:
        for lines, line in self.ways():
            response = self.answers(200, *lines, OF_ALICE, line=line, user=None, gate=self.own)
            self.assertEqual(response.get(b"x-auth-username"), b"alice", lines)
            response = self.answers(401, *lines, ENDED, line=line, user=None, gate=self.own)
            self.assertEqual(json.loads(response.body)["error"], "session_expired")

    def test_a_navigation_is_sent_to_the_sign_in_page(self) -> None:
        origin, url, forwarded, path = self.ways()
        for (lines, line), scheme, status, location in (
            (origin, "https", 401, None),
            (url, "https", 401, None),
            # Traefik takes a path for one of the gateway
            (forwarded, "https", 302, b"https://gw" + self.LOCATION),
            (forwarded, "http", 302, b"http://gw" + self.LOCATION),
            (forwarded, "HTTPS, http", 302, b"https://gw" + self.LOCATION),
            (forwarded, "javascript", 302, self.LOCATION),
            (forwarded, "", 302, self.LOCATION),
            (path, "https", 302, self.LOCATION),
        ):
            for session in ((), (ENDED,)):
                proto = f"X-Forwarded-Proto: {scheme}"
                response = self.answers(status, *lines, proto, HTML, *session, line=line, user=None, gate=self.own)
                self.assertEqual(response.get(b"location"), location, (lines, scheme))
                self.assertEqual(response.get(b"x-perimeter-login"), self.LOCATION if status == 401 else None)
                self.assertEqual(response.get(b"cache-control"), b"no-store")
                challenge = b'Bearer realm="realm"' if status == 401 else None
                self.assertEqual(response.get(b"www-authenticate"), challenge)
        lines, line = origin
        body = json.loads(self.answers(401, *lines, HTML, line=line, user=None, gate=self.own).body)
        self.assertEqual(body, {"auth_uri": ["https://gw/token"], "login": "/.perimeter/login"})

    def test_what_is_no_navigation_gets_its_401(self) -> None:
        for method, more in (
            ("GET", ()),
            ("POST", (HTML,)),
            ("GET", (HTML, "Sec-WebSocket-Key: x")),
            ("GET", (HTML, "Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty")),
        ):
            for lines, line in self.ways(method):
                response = self.answers(401, *lines, *more, line=line, user=None, gate=self.own)
                self.assertEqual((response.get(b"location"), response.get(b"x-perimeter-login")), (None, None))
        # nginx that does not name the method: it could be any
        self.assertIsNone(self.answers(401, "X-Original-URI: /x", HTML, user=None, gate=self.own).get(b"x-perimeter-login"))

    def test_later(self) -> None:
        self.identifier.later = Deferred()
        client = self.ask(ASK, *nginx("GET", "/x?y=1"), HTML, "Authorization: Negotiate x", gate=self.own, peer=PROXY)
        self.identifier.later.callback(None)
        response = client.response()
        self.assertEqual((response.status, response.get(b"x-perimeter-login")), (401, self.LOCATION))

    def test_attack_16_the_proxy_gets_the_cookies_that_are_for_the_service(self) -> None:
        for cookies, kept in (
            ((OF_ALICE,), None),
            ((f"{OF_ALICE}; a=b",), b"a=b"),
            (("Cookie: a=b",), b"a=b"),
            ((f"Cookie: a=b; __host-perimeter-pre=1;c=d {OF_ALICE[:0]}",), b"a=b;c=d"),
            ((OF_ALICE, "Cookie: a=b", "Cookie: c=d"), b"a=b; c=d"),
            (("Cookie:", "Cookie: c=d"), b"c=d"),
            ((), None),
        ):
            for target in ("/pub", "/x"):
                user = None if OF_ALICE in "".join(cookies) else "alice"
                response = self.answers(200, *nginx("GET", target), *cookies, user=user, gate=self.own)
                self.assertEqual(response.get(b"cookie"), kept, cookies)
                removed = b"authorization, cookie" if kept is None else b"authorization"
                self.assertEqual(response.get(b"x-envoy-auth-headers-to-remove"), removed)

    def test_attack_76_a_script_of_a_service_asks_with_the_users_session(self) -> None:
        """It would read an assertion about the user, and the cookies that no script may read."""
        grant = Grant("7", 0.0, 9e9, GrantKind.SESSION, use=SessionUse(self.site.clock()))
        self.identifier.sessions = {b"a" * 43: attrs.evolve(ALICE, grant=grant)}
        for gate in (self.own, self.serving(bare=True, pages=b"/.perimeter")):
            for lines in ((), nginx("GET", "/pub"), nginx("GET", "/x")):
                self.answers(200, *lines, f"{OF_ALICE}; a=b", user=None, gate=gate)
                response = self.answers(403, *lines, f"{OF_ALICE}; a=b", user=None, gate=gate, peer=CLIENT)
                self.assertEqual(json.loads(response.body)["error"], "insufficient_scope")
                self.assertIsNone(response.get(b"cookie"))
                response = self.answers(200, *lines, "Cookie: a=b", gate=gate, peer=CLIENT)
                self.assertIsNone(response.get(b"cookie"))

    def test_without_a_sign_in_page_the_answer_has_no_cookies(self) -> None:
        response = self.answers(200, *nginx("GET", "/x"), "Cookie: a=b")
        self.assertIsNone(response.get(b"cookie"))
        self.assertEqual(response.get(b"x-envoy-auth-headers-to-remove"), b"authorization")

    def test_the_pages_themselves_are_not_asked_about(self) -> None:
        """A proxy that asks about the sign-in page would redirect the browser to it without end."""
        for target, status in (
            ("/.perimeter/login?to=/", 403),
            ("/.perimeter/", 403),
            ("/.perimeter", 401),
            ("/.perimeterx", 401),
        ):
            for lines, line in self.ways(target=target):
                self.answers(status, *lines, line=line, user=None, gate=self.own)
        self.answers(401, *nginx("GET", "/.perimeter/login"), user=None)

    def test_what_a_page_of_a_service_sends_to_it_in_authorization(self) -> None:
        grant = Grant("7", 0.0, 9e9, GrantKind.SESSION, use=SessionUse(self.site.clock()))
        self.identifier.sessions = {b"a" * 43: attrs.evolve(ALICE, grant=grant)}
        route = self.route("r", "/", app_authorization=True, access=Access(login=LOGIN))
        gate = self.serving(route, pages=b"/.perimeter")
        own = "Authorization: Bearer of the service"
        response = self.answers(200, *nginx("GET", "/x"), OF_ALICE, own, user=None, gate=gate)
        self.assertEqual(response.get(b"authorization"), b"Bearer of the service")
        self.assertEqual(response.get(b"x-envoy-auth-headers-to-remove"), b"cookie")
        self.assertIsNone(self.answers(200, *nginx("GET", "/x"), OF_ALICE, user=None, gate=gate).get(b"authorization"))
        self.assertIsNone(self.answers(200, *nginx("GET", "/x"), user="alice", gate=gate).get(b"authorization"))


class IdentityTests(ForwardAuthTestCase):
    """Questions that do not name an original request."""

    def test_who_asks(self) -> None:
        response = self.answers(200, peer=CLIENT)
        self.assertEqual(response.get(b"x-auth-username"), b"alice")
        self.assertEqual(response.get(b"x-auth-realm"), b"local")
        self.assertEqual(response.get(b"x-auth-roles"), b"user")
        self.assertEqual(response.get(b"authorization"), b"Bearer alice.for.forward-auth")
        self.assertEqual(response.get(b"cache-control"), b"no-store")
        self.assertEqual(response.body, b"")
        self.assertIsNotNone(response.get(b"date"))

    def test_an_unknown_client_is_challenged_in_one_line(self) -> None:
        response = self.answers(401, peer=CLIENT, user=None)
        challenge = response.get(b"www-authenticate") or b""
        self.assertIn(b"Bearer realm=", challenge)
        self.assertIn(b", Basic realm=", challenge)

    def test_challenges_are_those_of_the_route(self) -> None:
        """A route that asks for tokens alone opens no dialog for a password behind a proxy either."""
        for challenges, expected in (
            (Challenges.BEARER, b'Bearer realm="realm"'),
            (Challenges.BASIC, b'Basic realm="realm", charset="UTF-8"'),
            (Challenges.BOTH, b'Bearer realm="realm", Basic realm="realm", charset="UTF-8"'),
        ):
            gate = self.serving(self.route("r", "/", access=Access(stranger=challenges)))
            response = self.answers(401, *nginx("GET", "/x"), user=None, gate=gate)
            self.assertEqual(response.get(b"www-authenticate"), expected)
            self.identifier.raises = InvalidCredentialsRequest("twice")
            response = self.answers(401, *nginx("GET", "/x"), user=None, gate=gate)
            self.assertEqual(b"Basic" in (response.get(b"www-authenticate") or b""), challenges is not Challenges.BEARER)
            self.identifier.raises = None

    def test_wrong_credentials(self) -> None:
        response = self.answers(401, peer=CLIENT, user="mallory")
        self.assertIn(b'error="invalid_token"', response.get(b"www-authenticate") or b"")

    def test_malformed_credentials_are_none(self) -> None:
        self.identifier.raises = InvalidCredentialsRequest("twice")
        self.answers(401, peer=CLIENT)

    def test_unavailable(self) -> None:
        self.identifier.raises = Unavailable("down")
        self.assertEqual(self.answers(503, peer=CLIENT).get(b"retry-after"), b"5")

    def test_throttled(self) -> None:
        self.identifier.raises = TooManyAttempts("often", retry_after=9)
        self.assertEqual(self.answers(429, peer=CLIENT).get(b"retry-after"), b"9")

    def test_attack_41_an_unexpected_error_lets_no_client_in(self) -> None:
        self.identifier.raises = RuntimeError("a bug")
        self.answers(500, peer=CLIENT)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_maintenance(self) -> None:
        self.answers(503, peer=CLIENT, gate=self.serving(maintenance=True))

    def test_audit_out_of_order(self) -> None:
        self.site.audit.sick = True
        self.answers(503, peer=CLIENT)

    def test_later(self) -> None:
        self.identifier.later = Deferred()
        client = self.ask(ASK, "Authorization: Bearer alice", gate=self.serving(), peer=CLIENT)
        self.assertEqual(client.transport.written, b"")
        self.identifier.later.callback(ALICE)
        self.assertEqual(client.response().get(b"x-auth-username"), b"alice")

    def test_later_and_wrong(self) -> None:
        self.identifier.later = Deferred()
        client = self.ask(ASK, "Authorization: Bearer alice", gate=self.serving(), peer=CLIENT)
        self.identifier.later.errback(Unavailable("down"))
        self.assertEqual(client.response().status, 503)

    def test_later_and_gone(self) -> None:
        self.identifier.later = Deferred()
        client = self.ask(ASK, "Authorization: Bearer alice", gate=self.serving(), peer=CLIENT)
        client.transport.lose()
        self.identifier.later.callback(ALICE)
        self.assertEqual(client.transport.written, b"")
        self.assertEqual([record.status for record in client.records], [499])

    def test_a_trusted_proxy_that_names_no_request(self) -> None:
        self.answers(200)
        self.answers(401, user=None)

    def test_without_routes_there_is_nothing_to_judge_by(self) -> None:
        gate = self.serving(bare=True)
        self.answers(200, *nginx("DELETE", "/admin"), gate=gate)
        self.answers(401, *nginx("DELETE", "/admin"), gate=gate, user=None)
        self.answers(403, *nginx("GET", "/a/../admin"), "X-Forwarded-Uri: /", gate=gate)

    def test_attack_8_and_9_an_untrusted_peer_names_a_request(self) -> None:
        for lines in (nginx("GET", "/pub"), traefik("GET", "/pub"), traefik("GET", "/", "open.example.com")):
            self.answers(401, *lines, peer=CLIENT, user=None)
            self.answers(401, *lines, "X-Forwarded-For: 10.0.0.1", peer=CLIENT, user=None)
        self.answers(200, *nginx("DELETE", "/admin"), peer=CLIENT)
        self.answers(403, line="GET /authenticate/pub", peer=CLIENT)

    def test_the_proxys_connection_says_nothing_of_the_client(self) -> None:
        """A proxy may have a certificate, and passes on headers that the client sent: neither is the client's credential."""
        for peer, lines in ((CLIENT, ()), (PROXY, ()), (PROXY, nginx("GET", "/x"))):
            self.answers(401, *lines, peer=peer, user=None)
            self.assertIs(self.identifier.by_connection, False)
        self.ask("GET /x", gate=self.serving())
        self.assertIs(self.identifier.by_connection, True)

    def test_audit_of_an_untrusted_peer(self) -> None:
        client = self.ask(ASK, *nginx("GET", "/pub"), "Authorization: Bearer alice", gate=self.serving(), peer=CLIENT)
        (record,) = client.records
        self.assertEqual((record.target, record.address, record.principal), (b"/authenticate", CLIENT, ALICE))
        self.assertEqual((record.route, record.upstream, record.status), ("authenticate", "forward-auth", 200))


class OriginalTests(ForwardAuthTestCase):
    """Questions of a trusted proxy."""

    def test_every_way_to_tell_is_judged_alike(self) -> None:
        cases = [
            ("GET", "/pub/x", None, 200),
            ("GET", "/", None, 401),
            ("GET", "/x?y=/pub", "alice", 200),
            ("DELETE", "/x", "alice", 403),
            ("delete", "/x", "alice", 403),
            ("GET", "/admin", "alice", 403),
            ("GET", "/admin/x", "admin", 200),
            ("GET", "/near", "alice", 403),
            ("GET", "/pub/../admin", "alice", 403),
            ("GET", "/pub/%2e%2e/admin", "alice", 403),
            ("GET", "//admin", "alice", 403),
            ("GET", "/admin%2Fx", "alice", 403),
            ("GET", "/pub%5c..%5cadmin", "alice", 403),
            ("GET", "/pub/%252e%252e/admin", "alice", 403),
            ("GET", "/pub;/../admin", "alice", 403),
            ("GET", "/pub%00", "alice", 403),
            ("TRACE", "/pub", "alice", 403),
        ]
        for method, uri, user, status in cases:
            self.answers(status, *nginx(method, uri), user=user)
            self.answers(status, f"X-Original-Method: {method}", f"X-Original-URL: https://gw{uri}", user=user)
            self.answers(status, *traefik(method, uri), user=user)
        for method, uri, user, status in cases:
            if method != "TRACE":
                response = self.question(line=f"{method} /authenticate{uri}", user=user)
                self.assertIn(response.status, (status, 400 if status == 403 else status), uri)

    def test_networks_go_by_the_client(self) -> None:
        self.answers(200, *nginx("GET", "/near"), "X-Forwarded-For: 198.51.100.7", user=None)
        self.answers(403, *nginx("GET", "/near"), "X-Forwarded-For: 198.51.100.7, 192.0.2.1", user=None)

    def test_host(self) -> None:
        self.answers(200, *traefik("GET", "/admin", "open.example.com"), user=None)
        self.answers(200, *traefik("GET", "/admin", "OPEN.example.com.:443"), user=None)
        url = "X-Original-URL: https://open.example.com/admin"
        self.answers(200, "X-Original-Method: GET", url, user=None)
        self.answers(401, *nginx("GET", "/admin"), "X-Forwarded-Host: open.example.com", user=None)

    def test_no_route(self) -> None:
        gate = self.serving(self.open)
        self.answers(403, *nginx("GET", "/x"), gate=gate)
        self.answers(403, *nginx("GET", "/token"), gate=gate)
        self.answers(403, *nginx("GET", "/authenticate"), gate=gate)

    def test_an_open_route_says_nothing_of_identity(self) -> None:
        response = self.answers(200, *nginx("GET", "/pub"))
        self.assertIsNone(response.get(b"x-auth-username"))
        self.assertIsNone(response.get(b"authorization"))

    def test_identity_is_that_of_the_route(self) -> None:
        response = self.answers(200, *nginx("GET", "/x"))
        self.assertEqual(response.get(b"x-auth-username"), b"alice")
        self.assertIsNone(response.get(b"authorization"))

    def test_original_request_in_part_or_in_two_sets_of_headers(self) -> None:
        """A client's own header beside the proxy's: most proxies forward headers that they do not know."""
        good = nginx("GET", "/pub"), traefik("GET", "/pub")
        for lines in (
            (*good[0], "X-Forwarded-Uri: /pub"),
            (*good[0], "X-Forwarded-Method: GET"),
            (*good[0], "X-Original-URL: http://gw/pub"),
            (*good[0], "X-Original-URI: /pub"),
            (*good[0], "X-Original-Method: GET"),
            (*good[1], "X-Forwarded-Host: gw"),
            (*good[1], "X-Original-Method: GET"),
            good[0][:1],
            good[1][:2],
            good[1][1:],
            (good[1][0], good[1][2]),
            nginx("", "/pub"),
            nginx("GET", ""),
            nginx("GET", "pub"),
            nginx("GET", "*"),
            nginx("GET", "http://gw/pub"),
            nginx("GET", "/pub#x"),
            nginx("GET", "/pub /x"),
            nginx("GET /x", "/pub"),
            nginx("CONNECT", "/pub"),
            traefik("GET", "/pub", "a/pub"),
            traefik("GET", "/pub", "a?"),
            traefik("GET", "pub", "gw/"),
            traefik("GET", ":80/pub", "gw"),
            ("X-Original-Method: GET", "X-Original-URL: /pub"),
        ):
            self.answers(403, *lines)
        for line in (*good[0], *good[1][::2]):
            self.answers(403, line, line="GET /authenticate/pub")

    def test_attack_64_a_method_that_is_not_known_passes_no_rule_about_methods(self) -> None:
        self.answers(200, "X-Original-URI: /pub")
        self.answers(403, "X-Original-URI: /x")
        self.answers(403, "X-Original-URI: /x", line="GET /authenticate")
        self.answers(200, *nginx("GET", "/x"))

    def test_audit_shows_what_was_asked_about(self) -> None:
        client = self.ask(ASK, *nginx("POST", "/admin?x=1"), "X-Forwarded-For: 192.0.2.9", "Authorization: Bearer alice",
                          gate=self.serving(), peer=PROXY)  # fmt: skip
        (record,) = client.records
        self.assertEqual((record.method, record.target, record.host), (b"POST", b"/admin?x=1", b"gw"))
        self.assertEqual((record.address, record.principal, record.status), ("192.0.2.9", ALICE, 403))
        self.assertEqual((record.route, record.upstream, record.reason), ("closed", "forward-auth", "insufficient_scope"))

    def test_audit_of_an_ambiguous_target(self) -> None:
        client = self.ask(ASK, *nginx("GET", "/a/../b"), "Authorization: Bearer alice", gate=self.serving(), peer=PROXY)
        (record,) = client.records
        self.assertEqual((record.target, record.status, record.reason), (b"/a/../b", 403, "bad_target"))

    def test_envoys_head_has_no_body(self) -> None:
        client = self.ask("HEAD /authenticate/x", gate=self.serving(), peer=PROXY)
        self.assertTrue(client.transport.written.startswith(b"HTTP/1.1 401 "))
        self.assertTrue(client.transport.written.endswith(b"\r\n\r\n"))

    def test_nginx_asks_with_get_whatever_the_method(self) -> None:
        """The answer is framed for the proxy's question, not for the original request."""
        response = self.answers(401, *nginx("HEAD", "/x"), user=None)
        self.assertNotEqual(response.body, b"")
        self.assertEqual(len(response.body), int(response.get(b"content-length") or 0))

    def test_the_connection_stays_open(self) -> None:
        client = self.ask(ASK, *nginx("GET", "/a/../b"), gate=self.serving(), peer=PROXY)
        self.assertEqual(client.response().status, 403)
        self.assertFalse(client.transport.disconnecting)


# what proxies send, and one header more
PLAUSIBLE = st.builds(
    lambda asked, more: [*asked, *more],
    st.sampled_from(
        [
            [("X-Original-URI", "/pub")],
            [("X-Original-URL", "http://gw/pub"), ("X-Original-Method", "GET")],
            [("X-Forwarded-Uri", "/pub"), ("X-Forwarded-Host", "gw"), ("X-Forwarded-Method", "GET")],
        ]
    ),
    st.lists(st.sampled_from([("X-Original-Method", "GET"), ("X-Original-URI", "/a?b"), ("X-Forwarded-Host", "gw")]), max_size=1),
)


class TellingTests(GateTestCase):
    @reaches(1)
    @given(
        PLAUSIBLE
        | st.lists(
            st.tuples(
                st.sampled_from(["X-Original-URI", "X-Original-URL", "X-Original-Method", "X-Forwarded-Uri", "X-Forwarded-Host",
                                 "X-Forwarded-Method"]),
                st.sampled_from(["GET", "/pub", "gw", "http://gw/pub"]) | st.text("/a.%?#@: ", max_size=8),
            ),
            max_size=5,
        ),
        st.sampled_from(["", "/pub", "?x"]),
    )  # fmt: skip
    def test_it_is_one_whole_request_or_none(self, fields: list[tuple[str, str]], behind: str) -> None:
        block = "".join(f"{name}: {value}\r\n" for name, value in [("Host", "asked"), *fields]).encode()
        head = parse_request(b"GET /authenticate%b HTTP/1.1" % behind.encode(), parse_block(block, 100))
        try:
            found = original(head, behind.encode())
        except BadRequest:
            return
        told = {name for name, _ in fields if name != "X-Forwarded-Host"}
        if found is None:
            self.assertEqual(told, set())
            self.assertNotEqual(behind, "/pub")
            return
        reached(self)
        self.assertTrue(found.target.startswith(b"/"))
        values = [value.strip(" \t").encode() for _, value in fields] + [b"GET", behind.encode(), b"asked"]
        self.assertIn(found.method, [*values, b"-"])
        # known unless nginx left it out
        if found.method == b"-":
            self.assertTrue(told <= {"X-Original-URI", "X-Original-URL"}, told)
        if b"http://%b%b" % (found.host, found.target) not in values:
            self.assertIn(found.target, values)
            self.assertIn(found.host, values)

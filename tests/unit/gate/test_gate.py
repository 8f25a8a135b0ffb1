"""The gate as requests meet it, through a real channel: who gets to the target, with what, and who does not."""

from __future__ import annotations

import json
from collections.abc import Awaitable
from ipaddress import ip_network
from typing import Any

import attrs
from cryptography.x509.oid import NameOID
from twisted.internet.defer import Deferred
from twisted.trial import unittest

from perimeter.config.language.expressions import compiled
from perimeter.config.site.expression import parse_expression
from perimeter.config.site.rule import Rule
from perimeter.errors import Challenges, CrossSite, InsufficientScope, InvalidToken, Page, SignIn, Unavailable
from perimeter.gate.access import ANY_USER, ANYBODY, UNRESTRICTED, Access, Asks, Restricted
from perimeter.gate.decision import Admitted
from perimeter.gate.entry import maintenance
from perimeter.gate.gate import Gate
from perimeter.gate.identity_lines import IdentityLines, IdentityProfile
from perimeter.gate.policy import Policy
from perimeter.gate.review import Again
from perimeter.gate.routes import Route, RouteTable
from perimeter.http.answers import Answers
from perimeter.http.exchange import Exchange
from perimeter.http.grammar import parse_block
from perimeter.model import (
    AccessRecord,
    ClientConnection,
    Grant,
    GrantKind,
    HeaderBlock,
    Principal,
    RequestHead,
    Restriction,
    SessionUse,
    Version,
)
from tests.unit.doubles.client_certificates import certificate
from tests.unit.doubles.http_rig import Client, Holding, Site, error_page

ALICE = Principal("alice", "local", ("user",))
ADMIN = Principal("root", "local", ("admin",))
PEER = "192.0.2.7"


class FakeIdentifier:
    """Finds principals by their Authorization; ``raises`` or returns ``later`` instead if a test sets it."""

    people = {b"Bearer alice": ALICE, b"Bearer admin": ADMIN}
    sessions = {b"a" * 43: ALICE}

    def __init__(self) -> None:
        self.raises: BaseException | None = None
        self.later: Deferred[Principal | None] | None = None
        self.asked: list[str] = []
        self.by_connection: bool | None = None

    def by_browser(self, headers: HeaderBlock, principal: Principal) -> bool:
        by_session = principal.grant is not None and principal.grant.use is not None
        return by_session or not headers.authorization[0].startswith(b"Bearer")

    def identify_by_session(self, headers: HeaderBlock, address: str, connection: ClientConnection) -> Principal | None:
        return self.sessions.get(headers.session or b"")

    def identify(
        self, headers: HeaderBlock, address: str, connection: ClientConnection, *, by_connection: bool = True
    ) -> Principal | Awaitable[Principal | None] | None:
        self.asked.append(address)
        self.by_connection = by_connection
        if self.raises is not None:
            raise self.raises
        if not headers.authorization:
            return self.sessions.get(headers.session or b"")
        if self.later is not None:
            return self.later
        principal = self.people.get(headers.authorization[0])
        if principal is None:
            raise InvalidToken
        return principal


class GateTestCase(unittest.TestCase):
    def setUp(self) -> None:
        self.target = Holding()
        self.site = Site(self.target)
        self.identifier = FakeIdentifier()
        self.open = self.route("open", "/pub", access=ANYBODY)
        self.closed = self.route("closed", "/admin", policy=Policy((Rule("role", "admin"),)))
        self.root = self.route("root", "/")

    def route(self, name: str, path: str, **options: Any) -> Route:
        return Route(name=name, prefix=path.rstrip("/").encode(), target=self.target, audit=self.site.audit, **options)

    def gate(self, *routes: Route, **options: Any) -> Gate:
        def sign(principal: Principal, audience: str, lifetime: float) -> str:
            raise AssertionError("nothing to sign")

        table = RouteTable(routes or (self.open, self.closed, self.root))
        return Gate(table, self.identifier, IdentityLines(sign, self.site.clock, 1000), **options)  # type: ignore[arg-type]

    def ask(self, line: str, *lines: str, gate: Gate | None = None, peer: str = PEER) -> Client:
        self.site.dispatch = (gate or self.gate()).dispatch  # type: ignore[method-assign]
        client = Client(self.site, peer=peer)
        fields = "".join(f"{field}\r\n" for field in ("Host: gw", *lines))
        client.send(f"{line} HTTP/1.1\r\n{fields}\r\n".encode("latin-1"))
        return client

    def refused(self, status: int, line: str, *lines: str, gate: Gate | None = None, peer: str = PEER) -> Client:
        before = len(self.target.exchanges)
        client = self.ask(line, *lines, gate=gate, peer=peer)
        self.assertEqual(client.response().status, status, line)
        self.assertEqual(len(self.target.exchanges), before, line)
        return client

    def admitted(self, line: str, *lines: str, gate: Gate | None = None, peer: str = PEER) -> Any:
        before = len(self.target.exchanges)
        client = self.ask(line, *lines, gate=gate, peer=peer)
        self.assertEqual(len(self.target.exchanges), before + 1, (line, client.transport.written))
        self.assertEqual(client.transport.written, b"")
        return self.target.exchanges[-1].decision


class OwnConnectionTests(GateTestCase):
    """Rules about certificates and networks judge the client, and not a proxy in front of it."""

    def judged(self, allow: str, *lines: str, question: bool = False) -> bool:
        shown = certificate((NameOID.COMMON_NAME, "proxy"))
        policy = Policy((parse_expression(allow),), clock=lambda: shown.not_valid_before_utc.timestamp())
        gate = self.gate(self.route("r", "/", policy=policy), trusted_proxies=(ip_network("10.0.0.1"),))
        for peer in ("10.0.0.1", "10.0.0.2"):
            connection = ClientConnection(peer, 1, "l", 1, "TLSv1.3", shown)
            head = RequestHead(b"GET", b"/x", Version.HTTP_1_1, self.block(*lines), b"gw")
            again = Again(connection, head, 0.0)
            asking = Admitted(self.root, None, b"/", b"", "192.0.2.1", ("192.0.2.1", "10.0.0.1")) if question else None
            asked = RequestHead(b"GET", b"/x", Version.HTTP_1_1, head.headers, b"gw") if question else head
            try:
                gate.judge(again, asked, None, asking)
                self.found[peer] = True
            except InsufficientScope:
                self.found[peer] = False
        return self.found["10.0.0.1"]

    def block(self, *lines: str) -> HeaderBlock:
        fields = ("Host: gw", "Authorization: Bearer alice", *lines)
        return parse_block("".join(f"{one}\r\n" for one in fields).encode(), 9)

    def setUp(self) -> None:
        super().setUp()
        self.found: dict[str, bool] = {}

    def test_attack_130_the_certificate_of_a_proxy_is_not_the_clients(self) -> None:
        for rule in ("certificate:cn=proxy", "not certificate:cn=other"):
            self.assertFalse(self.judged(rule, "X-Forwarded-For: 192.0.2.1"), rule)
            self.assertTrue(self.found["10.0.0.2"], "a peer that is not trusted speaks for itself")
            self.assertFalse(self.judged(rule, question=True), rule)

    def test_the_address_is_that_of_the_client(self) -> None:
        self.assertTrue(self.judged("network:192.0.2.0/24", "X-Forwarded-For: 192.0.2.1"))
        self.assertFalse(self.found["10.0.0.2"])
        self.assertFalse(self.judged("network:10.0.0.0/8", "X-Forwarded-For: 192.0.2.1"))
        self.assertTrue(self.found["10.0.0.2"])
        self.assertTrue(self.judged("network:192.0.2.0/24", question=True))
        self.assertFalse(self.judged("not network:192.0.2.0/24", question=True))


HTML = "Accept: text/html"
OF_ALICE = f"Cookie: __Host-perimeter={'a' * 43}"
ENDED = f"Cookie: __Host-perimeter={'b' * 43}"
LOGIN = b"/.perimeter/login"


class EscapeTests(GateTestCase):
    def test_attack_1_an_escape_of_a_character_that_the_path_of_a_route_has(self) -> None:
        """Servers decode it, so it must not lead to a route that asks for less."""
        literal, exact = self.route("literal", "/a@b"), attrs.evolve(self.route("exact", "/x:y"), exact=True)
        pattern = attrs.evolve(self.route("pattern", "/n"), pattern=compiled("^/n/[^/]$"))
        below = self.route("open", "/", access=ANYBODY)
        gate = self.gate(literal, exact, pattern, below)
        for path in ("/a%40b", "/a%40b/x", "/x%3Ay", "/n/%20", "/n/%C3", "/x%3Ay;z", "/a%40b%3Bx/y"):
            self.refused(400, f"GET {path}", gate=gate)
        for path in ("/a%20b", "/n/x%20", "/c%40d", "/%C3%A9", "/x%3Ay/z"):
            self.assertEqual(self.admitted(f"GET {path}", gate=gate).route.name, "open", path)
        self.refused(401, "GET /a@b", gate=gate)


class LoginTests(GateTestCase):
    def sent(self, line: str, *lines: str, gate: Gate) -> Client:
        """The client that was sent to the login page."""
        return self.refused(302, line, *lines, gate=gate)

    def test_a_navigation_is_sent_to_the_login_page(self) -> None:
        gate = self.gate(self.route("r", "/", access=Access(login=LOGIN)))
        client = self.sent("GET /a%20b?c=d&e", HTML, gate=gate)
        response = client.response()
        self.assertEqual(response.get(b"location"), b"/.perimeter/login?to=/a%2520b%3Fc%3Dd%26e")
        self.assertEqual(response.get(b"cache-control"), b"no-store")
        self.assertEqual(response.get(b"vary"), b"Sec-Fetch-Mode, Sec-Fetch-Dest, Accept, Cookie")
        self.assertEqual((response.get(b"www-authenticate"), response.body), (None, b""))
        self.assertIsNotNone(response.get(b"date"))
        record = client.records[-1]
        self.assertEqual((record.status, record.reason, record.route), (302, "missing_credentials", "r"))
        self.assertEqual(record.detail, "no credential in the request that the gateway can use")
        self.assertEqual(self.admitted("GET /a", HTML, OF_ALICE, gate=gate).principal, ALICE)

    def test_everything_else_gets_its_401(self) -> None:
        gate = self.gate(self.route("r", "/", access=Access(login=LOGIN, stranger=Challenges.BEARER)))
        for line, *lines in (
            ("GET /",),
            ("GET /", "Accept: */*"),
            ("POST /", HTML, "Content-Length: 0"),
            ("GET /", HTML, "Connection: upgrade", "Upgrade: websocket"),
            ("GET /", HTML, "Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty"),
        ):
            response = self.refused(401, line, *lines, gate=gate).response()
            self.assertIsNone(response.get(b"location"))
            self.assertEqual(response.get(b"www-authenticate"), b'Bearer realm="realm"')
        body = json.loads(self.refused(401, "GET /", gate=gate).response().body)
        self.assertEqual(body, {"auth_uri": ["https://gw/token"]}, "a client of Reactor takes each member for a list of URLs")
        for line in ("Sec-Fetch-Mode: cors", "Origin: https://gw", "X-Requested-With: XMLHttpRequest"):
            body = json.loads(self.refused(401, "GET /", line, gate=gate).response().body)
            self.assertEqual(body, {"auth_uri": ["https://gw/token"], "login": "/.perimeter/login"}, line)

    def test_a_session_that_has_ended(self) -> None:
        gate = self.gate(self.route("r", "/", access=Access(login=LOGIN)))
        self.assertEqual(self.sent("GET /a", HTML, ENDED, gate=gate).records[-1].reason, "session_expired")
        client = self.refused(401, "GET /a", ENDED, "Sec-Fetch-Mode: cors", gate=gate)
        self.assertEqual(client.records[-1].reason, "session_expired")
        body = {
            "error": "session_expired",
            "error_description": "The session has ended: sign in again",
            "auth_uri": ["https://gw/token"],
            "login": "/.perimeter/login",
        }
        self.assertEqual(json.loads(client.response().body), body)

    def test_a_session_that_has_ended_is_anonymous_where_users_may_be(self) -> None:
        gate = self.gate(self.route("r", "/", access=Access(Asks.OPTIONAL, login=LOGIN)))
        self.assertIsNone(self.admitted("GET /", HTML, ENDED, gate=gate).principal)
        self.assertEqual(self.admitted("GET /", HTML, OF_ALICE, gate=gate).principal, ALICE)
        policy = Policy((Rule("role", "user"),))
        strict = self.gate(self.route("r", "/", access=Access(Asks.OPTIONAL, login=LOGIN), policy=policy))
        self.sent("GET /", HTML, ENDED, gate=strict)

    def test_a_route_without_browser_login(self) -> None:
        response = self.refused(401, "GET /", HTML, ENDED).response()
        self.assertIsNone(response.get(b"location"))
        self.assertNotIn("login", json.loads(self.refused(401, "GET /").response().body))

    def test_a_wrong_authorization_is_not_sent_round_in_a_circle(self) -> None:
        gate = self.gate(self.route("r", "/", access=Access(login=LOGIN)))
        self.refused(401, "GET /", HTML, "Authorization: Bearer mallory", gate=gate)

    def seen(self, status: int, line: str, *lines: str, gate: Gate) -> tuple[SignIn | None, bool]:
        """What the page offers to a person, and whether it is HTML."""
        offered: list[SignIn | None] = []

        def page(status: int, phrase: str, sign_in: SignIn | None) -> Page:
            offered.append(sign_in)
            return error_page(status, phrase, sign_in)

        self.site.answers = Answers("realm", (), page, {}, self.site.clock)
        self.refused(status, line, *lines, gate=gate)
        return (offered[0] if offered else None), bool(offered)

    def test_the_page_in_a_frame_and_after_a_form(self) -> None:
        gate = self.gate(self.route("r", "/", access=Access(login=LOGIN)))
        navigate, referrer = ("Sec-Fetch-Mode: navigate", HTML), "Referer: http://gw/page?a"
        frame, form = (*navigate, "Sec-Fetch-Dest: iframe"), (*navigate, "Sec-Fetch-Dest: document")
        for line, lines, expected in (
            ("GET /x", frame, SignIn("/.perimeter/login?to=/", framed=True)),
            ("GET /x", (*frame, referrer), SignIn("/.perimeter/login?to=/page%3Fa", framed=True)),
            ("POST /x", form, SignIn("/.perimeter/login?to=/", sent=True)),
            ("POST /x", (*form, ENDED, referrer), SignIn("/.perimeter/login?to=/page%3Fa", sent=True)),
            ("POST /x", (HTML, "Referer: http://evil/page"), SignIn("/.perimeter/login?to=/", sent=True)),
            ("POST /x", (*form, "Authorization: Bearer mallory"), None),
            ("POST /x", (HTML, "Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty"), None),
        ):
            self.assertEqual(self.seen(401, line, *lines, gate=gate), (expected, True), (line, lines))
        self.assertEqual(self.seen(401, "POST /x", gate=gate), (None, False))
        self.assertEqual(self.seen(401, "POST /x", HTML, gate=self.gate()), (None, True))

    def test_the_page_of_a_user_who_may_not(self) -> None:
        policy = Policy((Rule("role", "admin"),))
        gate = self.gate(self.route("r", "/", access=Access(login=LOGIN), policy=policy))
        grant = Grant("7", 0.0, 9.0, GrantKind.SESSION, use=SessionUse(self.site.clock()))
        self.identifier.sessions = {b"a" * 43: attrs.evolve(ALICE, grant=grant)}
        location = "/.perimeter/login?to=/x%3Fy&again=other"
        self.assertEqual(self.seen(403, "GET /x?y", HTML, OF_ALICE, gate=gate), (SignIn(location, user="alice"), True))
        sent = SignIn("/.perimeter/login?to=/&again=other", sent=True, user="alice")
        self.assertEqual(self.seen(403, "POST /x?y", HTML, OF_ALICE, gate=gate), (sent, True))
        self.assertEqual(self.seen(403, "GET /x", OF_ALICE, gate=gate), (None, False))
        # not by a session
        self.assertEqual(self.seen(403, "GET /x", HTML, "Authorization: Bearer alice", gate=gate), (None, True))
        near = self.gate(self.route("r", "/", access=Access(login=LOGIN), networks=(ip_network("198.51.100.0/24"),)))
        self.assertEqual(self.seen(403, "GET /x", HTML, OF_ALICE, gate=near), (None, True))

    def test_what_is_refused_later_is_sent_too(self) -> None:
        gate = self.gate(self.route("r", "/", access=Access(login=LOGIN)))
        for authorization, result, status in (
            ((), None, 302),
            ((), InvalidToken("x"), 302),
            (("Authorization: Basic x",), InvalidToken("x"), 401),
            (("Authorization: Negotiate x",), None, 302),
            ((), Unavailable(), 503),
        ):
            self.identifier.later = Deferred()
            self.identifier.identify = lambda *_, **__: self.identifier.later  # type: ignore[method-assign]
            client = self.ask("GET /x?y", HTML, *authorization, gate=gate)
            self.assertEqual(client.transport.written, b"")
            if isinstance(result, Exception):
                self.identifier.later.errback(result)
            else:
                self.identifier.later.callback(result)
            self.assertEqual(client.response().status, status, (authorization, result))
            self.assertEqual(client.response().get(b"location"), b"/.perimeter/login?to=/x%3Fy" if status == 302 else None)

    def test_only_a_session_is_good_for_some_pages(self) -> None:
        gate = self.gate(self.route("r", "/", access=Access(Asks.SESSION, login=LOGIN)))
        self.assertEqual(self.admitted("GET /", OF_ALICE, gate=gate).principal, ALICE)
        self.assertEqual(self.admitted("GET /", OF_ALICE, "Authorization: Bearer admin", gate=gate).principal, ALICE)
        for lines in ((), ("Authorization: Bearer alice",), (ENDED,), ("Authorization: Bearer alice", ENDED)):
            self.refused(401, "GET /", *lines, gate=gate)
            self.sent("GET /", HTML, *lines, gate=gate)


class AdmissionTests(GateTestCase):
    def test_open_route(self) -> None:
        decision = self.admitted("GET /pub/x?y=z")
        self.assertEqual((decision.route.name, decision.principal, decision.identity), ("open", None, b""))
        self.assertEqual((decision.target, decision.address), (b"/pub/x?y=z", PEER))
        self.assertEqual(self.identifier.asked, [])

    def test_open_route_identifies_no_client(self) -> None:
        self.assertIsNone(self.admitted("GET /pub", "Authorization: Bearer alice").principal)

    def test_default_is_deny(self) -> None:
        self.refused(401, "GET /")
        client = self.refused(404, "GET /x", gate=self.gate(self.open))
        self.assertEqual([record.reason for record in client.records][-1], "no_route")

    def test_attack_5_health_check_bypass(self) -> None:
        self.refused(401, "GET /admin", "User-Agent: GoogleHC/1.0")
        self.refused(401, "GET /admin", "User-Agent: kube-probe/1.29")

    def test_identified(self) -> None:
        decision = self.admitted("GET /x", "Authorization: Bearer alice")
        self.assertEqual(decision.principal, ALICE)
        self.assertEqual(decision.identity, b"X-Auth-Username: alice\r\nX-Auth-Realm: local\r\nX-Auth-Roles: user\r\n")

    def test_not_allowed(self) -> None:
        client = self.refused(403, "GET /admin", "Authorization: Bearer alice")
        record = client.records[-1]
        self.assertEqual((record.route, record.principal, record.reason), ("closed", ALICE, "insufficient_scope"))
        self.assertEqual(self.admitted("GET /admin", "Authorization: Bearer admin").principal, ADMIN)

    def test_wrong_token(self) -> None:
        self.refused(401, "GET /", "Authorization: Bearer mallory")

    def test_optional(self) -> None:
        gate = self.gate(self.route("opt", "/", access=Access(Asks.OPTIONAL)))
        self.assertIsNone(self.admitted("GET /", gate=gate).principal)
        self.assertEqual(self.admitted("GET /", "Authorization: Bearer alice", gate=gate).principal, ALICE)
        self.refused(401, "GET /", "Authorization: Bearer mallory", gate=gate)

    def test_optional_with_rules(self) -> None:
        policy = Policy((Rule("role", "admin"), Rule("method", "GET")))
        gate = self.gate(self.route("opt", "/", access=Access(Asks.OPTIONAL), policy=policy))
        self.admitted("GET /", gate=gate)
        self.refused(401, "POST /", gate=gate)
        self.refused(403, "POST /", "Authorization: Bearer alice", gate=gate)
        self.admitted("POST /", "Authorization: Bearer admin", gate=gate)

    def test_rules_for_methods_on_an_open_route(self) -> None:
        gate = self.gate(self.route("r", "/", access=ANYBODY, policy=Policy(None, (Rule("method", "DELETE"),))))
        self.admitted("GET /", gate=gate)
        self.refused(403, "DELETE /", gate=gate)

    def test_what_was_found_of_a_target_is_no_permission(self) -> None:
        """A gate caches things between requests, but judges each request by its own user and method."""
        gate = self.gate(self.route("r", "/", policy=Policy((Rule("role", "admin"),), (Rule("method", "DELETE"),))))
        for _ in range(3):
            self.admitted("GET /x?y", "Authorization: Bearer admin", gate=gate)
            self.refused(403, "GET /x?y", "Authorization: Bearer alice", gate=gate)
            self.refused(403, "DELETE /x?y", "Authorization: Bearer admin", gate=gate)
            self.refused(401, "GET /x?y", gate=gate)
            self.refused(400, "GET /x%5c", "Authorization: Bearer admin", gate=gate)

    def test_targets_are_not_mixed_up(self) -> None:
        gate = self.gate(self.route("b", "/", hosts=("b",), rewrite=b"/app"), self.open, self.root)
        for _ in range(2):
            for host, target, name, forwarded in (
                ("b", "/pub", "b", b"/app/pub"),
                ("gw", "/pub", "open", b"/pub"),
                ("gw", "/pub?x", "open", b"/pub?x"),
                ("gw", "/x", "root", b"/x"),
                ("b", "/", "b", b"/app/"),
            ):
                decision = self.admitted(f"GET http://{host}{target}", "Authorization: Bearer alice", gate=gate)
                self.assertEqual((decision.route.name, decision.target), (name, forwarded))

    def test_later(self) -> None:
        self.identifier.later = Deferred()
        client = self.ask("GET /x", "Authorization: Basic x")
        self.assertEqual((client.transport.written, self.target.exchanges), (b"", []))
        self.identifier.later.callback(ALICE)
        decision = self.target.exchanges[0].decision
        assert decision is not None
        self.assertEqual(decision.principal, ALICE)

    def test_later_not_allowed(self) -> None:
        self.identifier.later = Deferred()
        client = self.ask("GET /admin", "Authorization: Basic x")
        self.identifier.later.callback(ALICE)
        self.assertEqual(client.response().status, 403)
        self.assertEqual(self.target.exchanges, [])
        record = client.records[-1]
        self.assertEqual((record.route, record.principal, record.reason), ("closed", ALICE, "insufficient_scope"))

    def test_client_gone_while_an_authenticator_is_asked(self) -> None:
        self.identifier.later = Deferred()
        client = self.ask("GET /x", "Authorization: Basic x")
        client.transport.lose()
        self.identifier.later.callback(ALICE)
        self.assertEqual(self.target.exchanges, [])
        self.assertEqual([record.status for record in client.records], [499])

    def test_attack_50_what_another_site_makes_a_browser_send(self) -> None:
        """The credential is one that browsers add by themselves: no Bearer token."""
        people = self.identifier.people
        self.identifier.people = {**people, b"Basic alice": ALICE}
        upgrade = ("Upgrade: websocket", "Connection: upgrade")
        by_itself, by_script = "Authorization: Basic alice", "Authorization: Bearer alice"
        for line in ("POST /x", "PUT /x", "DELETE /x", "PATCH /x", "FOO /x"):
            client = self.refused(403, line, by_itself, "Origin: https://evil.example")
            record = client.records[-1]
            self.assertEqual((record.reason, record.principal, record.route), ("cross_site", ALICE, "root"))
            self.admitted(line, by_script, "Origin: https://evil.example")
            self.admitted(line, by_itself)
            self.admitted(line, by_itself, "Origin: http://gw")
        for line in ("GET /x", "HEAD /x", "OPTIONS /x"):
            self.admitted(line, by_itself, "Origin: https://evil.example")
        self.refused(403, "GET /x", by_itself, "Origin: https://evil.example", *upgrade)
        self.refused(403, "GET /x", by_itself, "Sec-Fetch-Site: cross-site", *upgrade)
        self.admitted("GET /x", by_itself, "Origin: http://gw", *upgrade)
        self.admitted("GET /x", by_script, "Origin: https://evil.example", *upgrade)
        self.admitted("POST /pub/x", "Origin: https://evil.example")

    def test_attack_50_origins_that_a_route_allows(self) -> None:
        self.identifier.people = {b"Basic alice": ALICE}
        ask = ("POST /x", "Authorization: Basic alice")
        some = self.gate(self.route("r", "/", cross_site=frozenset((b"https://app.example",))))
        self.admitted(*ask, "Origin: https://app.example", gate=some)
        self.admitted(*ask, "Origin: http://gw", gate=some)
        self.refused(403, *ask, "Origin: https://evil.example", gate=some)
        self.admitted(*ask, "Origin: https://evil.example", gate=self.gate(self.route("r", "/", cross_site=None)))

    def test_attack_50_later(self) -> None:
        self.identifier.later = Deferred()
        client = self.ask("POST /x", "Authorization: Basic alice", "Origin: https://evil.example")
        self.identifier.later.callback(ALICE)
        self.assertEqual((client.response().status, client.records[-1].reason), (403, "cross_site"))

    def test_attack_50_what_a_proxy_asks_about(self) -> None:
        """The method and the Upgrade of the question say nothing: those of the request that it is about count."""
        self.identifier.people = {b"Basic alice": ALICE}
        self.admitted("GET /x", "Authorization: Basic alice")
        exchange = self.target.exchanges[-1]
        assert isinstance(exchange.decision, Admitted)
        gate = self.gate(self.route("r", "/"))
        foreign = "Authorization: Basic alice\r\nOrigin: https://evil.example\r\n"
        websocket = f"{foreign}Sec-WebSocket-Key: x\r\n"
        own = "Authorization: Basic alice\r\nOrigin: http://gw\r\n"
        for method, lines, refused in (
            (b"GET", foreign, False),
            (b"HEAD", foreign, False),
            (b"POST", foreign, True),
            (b"DELETE", foreign, True),
            (b"GET", websocket, True),
            (b"POST", own, False),
        ):
            headers = parse_block(f"Host: gw\r\n{lines}".encode(), 20)
            head = RequestHead(method, b"/x", Version.HTTP_1_1, headers, b"gw")
            if refused:
                self.assertRaises(CrossSite, gate.judge, exchange, head, asking=exchange.decision)
            else:
                self.assertIsInstance(gate.judge(exchange, head, asking=exchange.decision), Admitted, (method, lines))

    def test_attack_50_the_origin_behind_a_trusted_proxy(self) -> None:
        self.identifier.people = {b"Basic alice": ALICE}
        gate = self.gate(trusted_proxies=(ip_network("192.0.2.0/24"),))
        lines = ("Authorization: Basic alice", "Origin: https://outside", "X-Forwarded-Proto: https", "X-Forwarded-Host: outside")
        self.admitted("POST /x", *lines, gate=gate)
        self.refused(403, "POST /x", *lines, gate=gate, peer="198.51.100.1")

    def test_credentials_of_the_gateways_own(self) -> None:
        """Each admitted request gets them, whoever sent it."""
        fixed = b"Authorization: Basic eDp5\r\n"
        profile = IdentityProfile(fixed=fixed)
        for access, credential, lines in (
            (ANYBODY, "X: y", b""),
            (Access(Asks.OPTIONAL), "X: y", b""),
            (Access(), "Authorization: Bearer alice", b"X-Auth-Username: alice\r\nX-Auth-Realm: local\r\nX-Auth-Roles: user\r\n"),
        ):
            gate = self.gate(self.route("r", "/", access=access, identity=profile))
            self.assertEqual(self.admitted("GET /", credential, gate=gate).identity, fixed + lines)
        disabled = self.gate(self.route("r", "/", identity=profile), enabled=False)
        self.assertEqual(self.admitted("GET /", gate=disabled).identity, fixed)
        self.assertNotIn("eDp5", repr(profile))

    def test_attack_18_two_credentials_for_a_service(self) -> None:
        gate = self.gate(self.route("r", "/", access=ANYBODY, passes_authorization=True))
        self.admitted("GET /", "Authorization: Basic x", gate=gate)
        self.refused(400, "GET /", "Authorization: Basic x", "Authorization: Basic y", gate=gate)

    def test_disabled(self) -> None:
        decision = self.admitted("GET /admin", gate=self.gate(enabled=False))
        self.assertEqual((decision.principal, decision.identity), (None, b""))

    def test_maintenance(self) -> None:
        builtin = self.route("token", "/token", access=ANYBODY, exact=True, builtin=True)
        gate = self.gate(self.open, builtin, maintenance=True)
        self.refused(503, "GET /pub", gate=gate)
        self.admitted("GET /token", gate=gate)

    def test_a_restricted_token_is_held_to_its_routes(self) -> None:
        for allowed, status in (("root", 200), ("open", 403)):
            grant = Grant("7", 0.0, 9.0, GrantKind.API_TOKEN, Restriction(frozenset((allowed,))))
            self.identifier.people = {b"Bearer x": attrs.evolve(ALICE, grant=grant)}
            client = self.ask("GET /x", "Authorization: Bearer x")
            if status == 200:
                self.target.exchanges.pop().answer(200, b"", b"")
            self.assertEqual(client.response().status, status)
            self.assertEqual(self.target.exchanges, [])

    def test_attack_5_a_restricted_token_cannot_name_another_method_in_a_header(self) -> None:
        grant = Grant("7", 0.0, 9.0, GrantKind.API_TOKEN, Restriction(methods=frozenset(("GET",))))
        self.identifier.people = {b"Bearer x": attrs.evolve(ALICE, grant=grant)}
        self.admitted("GET /x", "Authorization: Bearer x")
        self.refused(403, "GET /x", "Authorization: Bearer x", "X-HTTP-Method-Override: DELETE")
        self.refused(403, "DELETE /x", "Authorization: Bearer x")

    def test_attack_8_a_proxy_that_asks_for_its_client_is_not_the_client(self) -> None:
        self.admitted("GET /x", "Authorization: Bearer alice")
        self.assertTrue(self.identifier.by_connection)
        exchange = self.target.exchanges[-1]
        assert isinstance(exchange.decision, Admitted)
        gate = self.gate()
        self.assertIsInstance(gate.judge(exchange, exchange.head, asking=exchange.decision), Admitted)
        self.assertFalse(self.identifier.by_connection)

    def test_an_endpoint_of_the_gateway_refuses_restricted_tokens(self) -> None:
        grant = Grant("7", 0.0, 9.0, GrantKind.API_TOKEN, Restriction(methods=frozenset(("GET",))))
        self.identifier.people = {b"Bearer x": attrs.evolve(ALICE, grant=grant), b"Bearer alice": ALICE}
        gate = self.gate(self.route("r", "/", access=Access(restricted=Restricted.NOTHING)))
        self.admitted("GET /", "Authorization: Bearer alice", gate=gate)
        self.refused(403, "GET /", "Authorization: Bearer x", gate=gate)

    def test_a_request_by_a_session_is_a_use_of_it(self) -> None:
        use = self.in_session()
        self.admitted("GET /x", "Authorization: Bearer x")
        self.assertEqual(use.at, self.site.clock())
        for change in (7, 0):
            self.site.reactor.advance(change)
            self.admitted("GET /x", "Authorization: Bearer x")
            self.assertEqual(use.at, self.site.clock())

    def test_what_is_judged_again_is_no_use_of_a_session(self) -> None:
        use = self.in_session()
        self.admitted("GET /x", "Authorization: Bearer x")
        exchange = self.target.exchanges[-1]
        began = use.at
        self.site.reactor.advance(60)
        self.gate().judge(exchange, exchange.head)
        self.assertEqual(use.at, began)
        use.at = began + 30  # another request
        self.gate().judge(exchange, exchange.head)
        self.assertEqual(use.at, began + 30)

    def test_a_route_whose_requests_are_no_use_of_a_session(self) -> None:
        use = self.in_session()
        began = use.at
        self.site.reactor.advance(5)
        self.admitted("GET /", "Authorization: Bearer x", gate=self.gate(self.route("r", "/", keeps_session=False)))
        self.assertEqual(use.at, began)

    def test_what_is_refused_is_no_use_of_a_session(self) -> None:
        use = self.in_session()
        began = use.at
        self.site.reactor.advance(5)
        self.refused(403, "GET /admin", "Authorization: Bearer x")
        self.assertEqual(use.at, began)

    def test_where_a_session_is_not_enough(self) -> None:
        use = self.in_session()
        began = use.at
        self.site.reactor.advance(5)
        gate = self.gate(self.route("r", "/", access=UNRESTRICTED, builtin=True))
        client = self.refused(403, "GET /", "Authorization: Bearer x", gate=gate)
        self.assertEqual((client.records[-1].reason, use.at), ("insufficient_scope", began))
        self.assertFalse(UNRESTRICTED.by_session)
        for access in (ANYBODY, ANY_USER, Access()):
            self.assertTrue(access.by_session)

    def test_a_route_for_sessions_that_are_never_unused_for_long(self) -> None:
        """A use of another route does not make up for a time without a use."""
        use = self.in_session()
        strict = self.gate(self.route("r", "/", idle=10.0, access=Access(login=LOGIN)))
        ask = ("GET /x", "Authorization: Bearer x")
        for gap in (10, 10, 9):
            self.site.reactor.advance(gap)
            self.admitted(*ask, gate=strict)
        self.assertEqual((use.gap, use.at), (10.0, self.site.clock()))
        self.site.reactor.advance(10.5)
        self.assertEqual(self.refused(401, *ask, gate=strict).records[-1].reason, "session_expired")
        self.assertEqual(use.gap, 10.0)
        self.admitted(*ask)
        self.assertEqual(use.gap, 10.5)
        self.refused(401, *ask, gate=strict)
        # the login page is to be shown, although there is a session
        location = self.refused(302, *ask, HTML, gate=strict).response().get(b"location")
        self.assertEqual(location, b"/.perimeter/login?to=/x&again=1")
        self.admitted(*ask, gate=self.gate(self.route("r", "/", idle=10.5)))
        self.in_session()  # a new sign-in
        self.admitted(*ask, gate=strict)

    def test_a_use_is_never_taken_back(self) -> None:
        use = self.in_session()
        began = use.at
        self.admitted("GET /x", "Authorization: Bearer x")
        exchange = self.target.exchanges[-1]
        for at, last, gap in ((-10, 0, 0), (0, 0, 0), (3, 3, 3), (5, 5, 3)):
            exchange.time = began + at
            self.gate().judge(exchange, exchange.head)
            self.assertEqual((use.at, use.gap, use.kept), (began + last, gap, began))

    def test_attack_21_and_27_a_page_of_another_site_uses_no_session(self) -> None:
        self.in_session()
        upgrade = ("Connection: upgrade", "Upgrade: websocket")
        for lines in (
            ("Origin: https://evil.example",),
            ("Origin: http://sister.gw",),
            ("Origin: null",),
            ("Sec-Fetch-Site: cross-site",),
            ("Sec-Fetch-Site: same-site",),
        ):
            for line, *more in (("POST /x",), ("DELETE /x",), ("GET /x", *upgrade)):
                client = self.refused(403, line, "Authorization: Bearer x", *lines, *more)
                self.assertEqual(client.records[-1].reason, "cross_site", (line, lines))
        for lines in (("Origin: http://gw",), ("Sec-Fetch-Site: same-origin",), ()):
            self.admitted("POST /x", "Authorization: Bearer x", *lines)
            self.admitted("GET /x", "Authorization: Bearer x", *lines, *upgrade)
        self.admitted("GET /x", "Authorization: Bearer x", "Sec-Fetch-Site: cross-site")
        trusting = self.gate(self.route("r", "/", cross_site=None))
        self.admitted("POST /x", "Authorization: Bearer x", "Origin: null", gate=trusting)

    def app(self, access: Access | None = None) -> Gate:
        """A gate whose route forwards the Authorization of a signed-in browser; the cookie `OF_ALICE` stands for a session."""
        self.site.reactor.advance(1000)
        grant = Grant("7", 0.0, 9.0, GrantKind.SESSION, use=SessionUse(self.site.clock()))
        self.identifier.sessions = {b"a" * 43: attrs.evolve(ALICE, grant=grant)}
        return self.gate(self.route("r", "/", app_authorization=True, access=access or Access(login=LOGIN)))

    def test_what_a_page_of_a_service_sends_to_it_in_authorization(self) -> None:
        gate = self.app()
        lines = b"X-Auth-Username: alice\r\nX-Auth-Realm: local\r\nX-Auth-Roles: user\r\n"
        own = "Authorization: Bearer of the service"
        decision = self.admitted("GET /", OF_ALICE, own, gate=gate)
        self.assertEqual((decision.principal, decision.identity), (ALICE, b"Authorization: Bearer of the service\r\n" + lines))
        self.assertEqual(self.admitted("GET /", OF_ALICE, gate=gate).identity, lines)
        # the gateway's own token of another user is for the service, too, and does not identify the user
        self.assertEqual(self.admitted("GET /", OF_ALICE, "Authorization: Bearer admin", gate=gate).principal, ALICE)
        # two of them could be read in two ways
        self.refused(400, "GET /", OF_ALICE, own, "Authorization: Bearer other", gate=gate)

    def test_without_a_session_authorization_is_for_the_gateway(self) -> None:
        gate = self.app()
        lines = b"X-Auth-Username: root\r\nX-Auth-Realm: local\r\nX-Auth-Roles: admin\r\n"
        self.assertEqual(self.admitted("GET /", "Authorization: Bearer admin", gate=gate).identity, lines)
        self.refused(401, "GET /", "Authorization: Bearer of the service", gate=gate)
        # an ended session is not made good by a token, and the token goes nowhere
        client = self.refused(401, "GET /", ENDED, "Authorization: Bearer admin", gate=gate)
        self.assertEqual(client.records[-1].reason, "session_expired")
        self.refused(302, "GET /", HTML, ENDED, "Authorization: Bearer of the service", gate=gate)
        optional = self.app(Access(Asks.OPTIONAL))
        decision = self.admitted("GET /", ENDED, "Authorization: Bearer admin", gate=optional)
        self.assertEqual((decision.principal, decision.identity), (None, b""))

    def test_attack_27_the_token_of_a_service_does_not_vouch_for_the_page(self) -> None:
        gate = self.app()
        foreign = ("Authorization: Bearer of the service", "Origin: https://evil.example")
        self.assertEqual(self.refused(403, "POST /", OF_ALICE, *foreign, gate=gate).records[-1].reason, "cross_site")

    def in_session(self) -> SessionUse:
        """``Bearer x`` stands for a session, which was used at the present time."""
        self.site.reactor.advance(1000)
        use = SessionUse(self.site.clock())
        grant = Grant("7", 0.0, 9.0, GrantKind.SESSION, use=use)
        self.identifier.people = {b"Bearer x": attrs.evolve(ALICE, grant=grant)}
        return use

    def test_max_body(self) -> None:
        gate = self.gate(self.route("r", "/", access=ANYBODY, max_body=10))
        self.refused(413, "POST /", "Content-Length: 11", gate=gate)
        self.admitted("POST /", "Content-Length: 10", gate=gate)
        self.assertEqual(self.target.exchanges[-1].max_body, 10)

    def test_a_route_without_bodies(self) -> None:
        gate = self.gate(self.route("r", "/", access=ANYBODY, max_body=0))
        self.refused(413, "POST /", "Content-Length: 1", gate=gate)
        self.admitted("POST /", "Content-Length: 0", gate=gate)
        self.admitted("GET /", gate=gate)


class NetworkTests(GateTestCase):
    def test_maintenance_of_a_route(self) -> None:
        page = Page(b"Content-Type: text/html\r\n", b"<p>back at ten")
        closed = maintenance((ip_network("198.51.100.0/24"),), page, 7200)
        gate = self.gate(self.route("r", "/r", access=ANYBODY, closed=closed, max_body=1), self.root)
        client = self.refused(503, "GET /r", gate=gate)
        response = client.response()
        self.assertEqual((response.body, response.get(b"retry-after")), (b"<p>back at ten", b"7200"))
        self.assertEqual((client.records[0].reason, client.records[0].route), ("maintenance", "r"))
        response = self.refused(503, "GET /r", "Accept: application/json", gate=gate).response()
        self.assertEqual(json.loads(response.body)["error"], "maintenance")
        self.admitted("GET /r", gate=gate, peer="198.51.100.7")
        self.refused(503, "POST /r", "Content-Length: 2", gate=gate)
        self.refused(401, "GET /", gate=gate)

    def test_maintenance_without_a_page(self) -> None:
        gate = self.gate(self.route("r", "/", access=ANYBODY, closed=maintenance((), None, None)))
        response = self.refused(503, "GET /", gate=gate).response()
        self.assertEqual((json.loads(response.body)["error"], response.get(b"retry-after")), ("maintenance", None))
        response = self.refused(503, "GET /", HTML, gate=gate).response()
        self.assertEqual(response.get(b"content-type"), b"text/html; charset=utf-8")

    def test_networks_count_before_maintenance(self) -> None:
        closed = maintenance((), None, None)
        gate = self.gate(self.route("r", "/", access=ANYBODY, closed=closed, networks=(ip_network("198.51.100.0/24"),)))
        self.refused(403, "GET /", gate=gate)
        self.refused(503, "GET /", gate=gate, peer="198.51.100.7")

    def test_attack_124_a_claimed_address_does_not_pass_maintenance(self) -> None:
        closed = maintenance((ip_network("198.51.100.0/24"),), None, None)
        route = self.route("r", "/", access=ANYBODY, closed=closed)
        claim = "X-Forwarded-For: 198.51.100.7"
        self.refused(503, "GET /", claim, "X-Real-IP: 198.51.100.7", "Forwarded: for=198.51.100.7", gate=self.gate(route))
        behind = self.gate(route, trusted_proxies=(ip_network(f"{PEER}/32"),))
        self.admitted("GET /", claim, gate=behind)
        self.refused(503, "GET /", f"{claim}, 203.0.113.9", gate=behind)

    def test_networks(self) -> None:
        gate = self.gate(self.route("r", "/", access=ANYBODY, networks=(ip_network("10.0.0.0/8"),)))
        self.refused(403, "GET /", gate=gate)
        self.admitted("GET /", gate=gate, peer="10.1.1.1")

    def test_attack_10_mapped_peer(self) -> None:
        gate = self.gate(self.route("r", "/", access=ANYBODY, networks=(ip_network("10.0.0.0/8"),)))
        self.admitted("GET /", gate=gate, peer="::ffff:10.0.0.1")
        self.refused(403, "GET /", gate=gate, peer="::ffff:192.0.2.7")

    def test_attack_9_forwarded_for_opens_no_network(self) -> None:
        route = self.route("r", "/", access=ANYBODY, networks=(ip_network("10.0.0.0/8"),))
        self.refused(403, "GET /", "X-Forwarded-For: 10.0.0.1", gate=self.gate(route))
        trusting = self.gate(route, trusted_proxies=(ip_network("172.16.0.0/12"),))
        self.refused(403, "GET /", "X-Forwarded-For: 10.0.0.1", gate=trusting)
        self.admitted("GET /", "X-Forwarded-For: 10.0.0.1", gate=trusting, peer="172.16.0.1")
        self.refused(403, "GET /", "X-Forwarded-For: 10.0.0.1, 192.0.2.1", gate=trusting, peer="172.16.0.1")

    def test_attack_100_the_id_of_a_request_is_taken_from_a_trusted_proxy_alone(self) -> None:
        self.site.next_id_line = lambda: b"X-Request-ID: made\r\n"
        trusting = self.gate(trusted_proxies=(ip_network("172.16.0.0/12"),))
        for gate, peer, line, expected in (
            (None, "172.16.0.1", "X-Request-ID: sent", "made"),
            (trusting, "192.0.2.1", "X-Request-ID: sent", "made"),
            (trusting, "172.16.0.1", "X-Request-ID: sent", "sent"),
            (trusting, "172.16.0.1", "X-Request-ID: s e n t", "made"),
            (trusting, "172.16.0.1", "X-Request: sent", "made"),
        ):
            for path, status in (("/pub", 0), ("/admin/x", 401), ("/%2e%2e", 400)):
                client = self.ask(f"GET {path}", line, gate=gate, peer=peer)
                if not status:
                    self.target.exchanges[-1].answer(200, b"", b"")
                else:
                    self.assertEqual(client.response().status, status)
                self.assertIn(b"X-Request-ID: " + expected.encode() + b"\r\n", client.transport.written, (peer, line, path))
                self.assertEqual(client.records[-1].request_id, expected.encode())

    def test_a_trace_notes_that_the_request_is_admitted(self) -> None:
        class Noted:
            def __init__(self) -> None:
                self.admitted_times = 0

            def admitted(self) -> None:
                self.admitted_times += 1

            def answered(self) -> None:
                pass

            def end(self, record: AccessRecord) -> None:
                pass

        gate = self.gate()
        for path, times in (("/pub", 1), ("/admin/x", 0)):
            noted: Any = Noted()

            def dispatch(exchange: Exchange, noted: Any = noted) -> None:
                exchange.trace = noted
                gate.dispatch(exchange)

            self.site.dispatch = dispatch  # type: ignore[method-assign]
            Client(self.site).get(path)
            self.assertEqual(noted.admitted_times, times, path)

    def test_without_ids_none_is_taken_from_a_trusted_proxy(self) -> None:
        gate = self.gate(trusted_proxies=(ip_network("172.16.0.0/12"),))
        client = self.refused(401, "GET /admin/x", "X-Request-ID: sent", gate=gate, peer="172.16.0.1")
        self.assertNotIn(b"X-Request-ID", client.transport.written)

    def test_attack_23_chains_of_proxies_are_remembered_within_bounds(self) -> None:
        gate = self.gate(self.open, trusted_proxies=(ip_network("172.16.0.0/12"),))
        for _ in range(2):
            self.admitted("GET /pub", "X-Forwarded-For: 10.0.0.1,172.16.0.2", gate=gate, peer="172.16.0.1")
        self.admitted("GET /pub", "X-Forwarded-For: 10.0.0.1", "X-Forwarded-For:  172.16.0.2", gate=gate, peer="172.16.0.1")
        self.assertEqual(len(gate._chains), 1, "the text counts, however many headers it comes in")
        for length, kept in ((256, 2), (257, 2)):
            self.admitted("GET /pub", f"X-Forwarded-For: {'x' * length}", gate=gate, peer="172.16.0.1")
            self.assertEqual(len(gate._chains), kept)
        for number in range(4094):
            gate._relayed("172.16.0.1", parse_block(f"X-Forwarded-For: x{number}\r\n".encode(), 9))
        self.assertEqual(len(gate._chains), 4096)
        self.admitted("GET /pub", "X-Forwarded-For: y", gate=gate, peer="172.16.0.1")
        self.assertEqual(len(gate._chains), 1)

    def test_attack_9_audited_address(self) -> None:
        trusting = self.gate(trusted_proxies=(ip_network("172.16.0.0/12"),))
        client = self.refused(401, "GET /", "X-Forwarded-For: 10.0.0.1", gate=trusting)
        self.assertEqual(client.records[-1].address, PEER)
        client = self.refused(401, "GET /", "X-Forwarded-For: 10.0.0.1", gate=trusting, peer="172.16.0.1")
        self.assertEqual(client.records[-1].address, "10.0.0.1")


class PathTests(GateTestCase):
    def test_attack_1_no_way_round_a_rule(self) -> None:
        for path in (
            "/pub/../admin",
            "/pub/%2e%2e/admin",
            "/pub/..;/admin",
            "/pub%2f..%2fadmin",
            "/pub%2Fadmin",
            "/admin%2Fx",
            "/pub%5c..%5cadmin",
            "/pub/%252e%252e/admin",
            "/pub/%25%32%65%25%32%65/admin",
            "/pub%00/admin",
            "/admin;x/y",
            "/;x/admin",
            "/pub;/../admin",
        ):
            client = self.refused(400, f"GET {path}")
            self.assertTrue(client.closed)

    def test_attack_1_other_spellings_of_the_same_path(self) -> None:
        for path in ("//admin", "/%61dmin", "///admin//x", "/admin/", "/admin?x=/pub", "/%41dmin/../admin"):
            status = 400 if ".." in path else 401
            self.refused(status, f"GET {path}")
        self.assertEqual(self.admitted("GET //admin//%78", "Authorization: Bearer admin").target, b"/admin/x")

    def test_attack_3_query_and_fragment(self) -> None:
        for path in ("/admin?/pub", "/admin?x=/pub/..", "/admin%3F/pub", "/admin%23/pub"):
            self.refused(401, f"GET {path}")
        self.refused(400, "GET /admin#/pub")
        self.assertEqual(self.admitted("GET /pub?a=/../b&c=%2f%00").target, b"/pub?a=/../b&c=%2f%00")

    def test_attack_6_rewritten_after_judging(self) -> None:
        api = self.route("api", "/api", access=ANYBODY, rewrite=b"")
        gate = self.gate(api, self.closed)
        self.assertEqual(self.admitted("GET /api/x", gate=gate).target, b"/x")
        self.assertEqual(self.admitted("GET /api//x", gate=gate).target, b"/x")
        self.refused(404, "GET /api%2e/admin", gate=gate)
        self.refused(404, "GET /api./admin", gate=gate)
        self.refused(400, "GET /api/../admin", gate=gate)
        self.refused(400, "GET /api;/../admin", gate=gate)
        self.refused(404, "GET /apix/admin", gate=gate)

    def test_paths_as_they_are_sent(self) -> None:
        raw = attrs.evolve(self.open, path_as_sent=True)
        gate = self.gate(raw, self.closed)
        for path in (
            *(
                "/pub/job/feature%252Fx",
                "/pub/file%2520name",
                "/pub/fetch/http://e/a",
                "/pub/%7Euser",
                "/pub/a%5Cb",
                "/pub/a%2fb",
            ),
            *("/pub/a;x=1", "/pub/a%3Bx", "/pub//", "/pub", "/pub/%61", "/pub/x?y=%2F..//"),
        ):
            self.assertEqual(self.admitted(f"GET {path}", gate=gate).target, path.encode())
        for path in ("/job/feature%252Fx", "/a%5Cb"):  # no route at all
            self.refused(400, f"GET {path}", gate=gate)
        for path in ("/pub/file%2520name", "/pub/a%5Cb"):  # a route without the option
            self.refused(400, f"GET {path}", gate=self.gate(self.open, self.closed))

    def test_attack_65_every_reading_leads_to_one_route(self) -> None:
        raw = attrs.evolve(self.open, path_as_sent=True)
        below = self.route("below", "/pub/admin")
        other = self.route("other", "/")
        every = attrs.evolve(other, path_as_sent=True, access=ANYBODY)
        for paths, gate in (
            (
                *(
                    (
                        "/pub%2Fx",
                        "/pub%252Fx",
                        "//pub/x",
                        "/%70ub/x",
                        "/pub%5Cx",
                        "/pub;x/y",
                        "/pub/../admin",
                        "/pub/%252e%252e/admin",
                    ),
                ),
                self.gate(raw, self.closed, other),
            ),
            (
                *(("/pub//admin", "/pub/%61dmin", "/pub/%2561dmin", "/pub/;x/admin", "/pub%2Fadmin", "/pub/x%2F%2E%2E%2Fadmin"),),
                self.gate(raw, below),
            ),
            (
                *(("//admin", "/%61dmin", "/%2561dmin/x", "/;x/admin", "/%5Cadmin", "/;%252Fadmin", "/admin;x/y", "/%2Fadmin"),),
                self.gate(every, self.closed),
            ),
        ):
            for path in paths:
                client = self.ask(f"GET {path}", gate=gate)
                self.assertIn(client.response().status, (400, 401, 404), path)
                self.assertEqual(self.target.exchanges, [], path)

    def test_a_path_as_it_is_sent_with_a_rewrite(self) -> None:
        for rewrite, sent, forwarded in (
            (b"", "/api/a%2Fb", b"/a%2Fb"),
            (b"", "/api//a", b"//a"),
            (b"", "/api", b"/"),
            (b"", "/api/", b"/"),
            (b"/in", "/api/%7Ea?x", b"/in/%7Ea?x"),
        ):
            gate = self.gate(self.route("api", "/api", access=ANYBODY, rewrite=rewrite, path_as_sent=True))
            self.assertEqual(self.admitted(f"GET {sent}", gate=gate).target, forwarded)
        gate = self.gate(self.route("api", "/api", access=ANYBODY, rewrite=b"", path_as_sent=True))
        for sent, status in (("/%61pi/x", 400), ("//api/x", 400), ("/api%2Fx", 404), ("/api;x/y", 404)):
            self.refused(status, f"GET {sent}", gate=gate)

    def test_encoded_slash_is_an_option(self) -> None:
        lax = attrs.evolve(self.open, allow_encoded_slash=True)
        gate = self.gate(lax, self.closed, self.root)
        self.assertEqual(self.admitted("GET /pub/a%2fb", gate=gate).target, b"/pub/a%2Fb")
        for path in ("/pub/..%2f..%2fadmin", "/pub%2f..%2fadmin", "/pub/%2e%2e%2fadmin"):
            self.refused(400, f"GET {path}", gate=gate)
        laxer = self.gate(attrs.evolve(self.root, allow_encoded_slash=True, access=ANYBODY), self.closed)
        self.refused(400, "GET /x;%2f..%2fadmin", gate=laxer)
        self.refused(400, "GET /%2fadmin", gate=laxer)
        self.refused(400, "GET /admin%2fx", gate=laxer)

    def test_attack_1_encoded_slash_inside_one_route(self) -> None:
        self.refused(400, "GET /pub/a%2fb")
        self.refused(400, "GET /a%2Fb")

    def test_attack_23_targets_that_clients_invent_are_not_kept_for_ever(self) -> None:
        gate = self.gate()
        self.site.dispatch = gate.dispatch  # type: ignore[method-assign]
        client = Client(self.site)
        for number in range(5000):
            client.get(f"/pub/{number}")
            self.target.exchanges.pop().answer(200, b"", b"")
            self.assertEqual(len(gate._places), number % 4096 + 1)
        kept = len(gate._places)
        host = len("gw.example")
        client.get("/pub/".ljust(257 - host, "x"))
        self.target.exchanges.pop().answer(200, b"", b"")
        self.assertEqual(len(gate._places), kept)
        client.get("/pub/".ljust(256 - host, "x"))
        self.assertEqual(len(gate._places), kept + 1)

    def test_what_a_gate_remembers_is_its_own(self) -> None:
        for memory in ("places", "chains"):
            with self.assertRaises(TypeError):
                self.gate(**{memory: {}})

    def test_parameters_inside_one_route(self) -> None:
        self.assertEqual(self.admitted("GET /pub/a;v=1/b").target, b"/pub/a;v=1/b")

    def test_attack_4_host_tricks(self) -> None:
        inner = self.route("inner", "/", hosts=("b.example.com",))
        gate = self.gate(inner, self.route("outer", "/", access=ANYBODY))
        for host in ("b.example.com", "B.example.COM", "b.example.com.", "b.example.com:443", "B.EXAMPLE.COM.:9"):
            self.site.dispatch = gate.dispatch  # type: ignore[method-assign]
            client = Client(self.site)
            client.send(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            self.assertEqual(client.response().status, 401, host)

    def test_attack_2_host_of_the_target_decides(self) -> None:
        inner = self.route("inner", "/", hosts=("b.example.com",))
        gate = self.gate(inner, self.route("outer", "/", access=ANYBODY))
        self.refused(401, "GET http://B.example.com:80/x", gate=gate)


class FailClosedTests(GateTestCase):
    def test_attack_41_authenticator_that_raises(self) -> None:
        self.identifier.raises = RuntimeError("a bug")
        self.refused(500, "GET /")
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_attack_41_authenticator_that_raises_later(self) -> None:
        for error, status in ((RuntimeError("a bug"), 500), (Unavailable("down"), 503)):
            self.identifier.later = Deferred()
            client = self.ask("GET /", "Authorization: Basic x")
            self.identifier.later.errback(error)
            self.assertEqual(client.response().status, status)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertEqual(self.target.exchanges, [])

    def test_a_late_refusal_has_the_challenges_of_the_route(self) -> None:
        gate = self.gate(self.route("r", "/", access=Access(stranger=Challenges.BASIC)))
        for outcome in (InvalidToken(), None):
            self.identifier.later = Deferred()
            client = self.ask("GET /", "Authorization: Basic x", gate=gate)
            if outcome is None:
                self.identifier.later.callback(None)
            else:
                self.identifier.later.errback(outcome)
            response = client.response()
            self.assertEqual(response.status, 401)
            self.assertEqual(response.get(b"www-authenticate"), b'Basic realm="realm", charset="UTF-8"')
            self.assertEqual(client.records[-1].route, "r")

    def test_a_refusal_at_once_has_the_challenges_of_the_route(self) -> None:
        for access, challenge in (
            (Access(stranger=Challenges.BASIC), b'Basic realm="realm", charset="UTF-8"'),
            (Access(), b'Bearer realm="realm"'),
        ):
            gate = self.gate(self.route("r", "/", access=access))
            client = self.refused(401, "GET /", gate=gate)
            response = self.refused(401, "GET /", gate=gate).response()
            self.assertEqual(response.get(b"www-authenticate"), challenge)
            wrong = self.ask("GET /", "Authorization: Bearer mallory", gate=gate).response()
            self.assertTrue((wrong.get(b"www-authenticate") or b"").startswith(challenge), wrong)
            self.assertEqual(client.records[-1].route, "r")

    def test_no_authenticator_vouches_later(self) -> None:
        headers = "Authorization: Bearer alice"
        for asks, status in ((Asks.REQUIRED, 401), (Asks.OPTIONAL, 200)):
            self.identifier.later = Deferred()
            client = self.ask("GET /", headers, gate=self.gate(self.route("r", "/", access=Access(asks))))
            self.identifier.later.callback(None)
            if asks is Asks.OPTIONAL:
                self.target.exchanges[-1].answer(200, b"", b"")
            self.assertEqual(client.response().status, status)

    def test_attack_41_identifier_that_returns_nonsense(self) -> None:
        for nonsense in (True, "alice", 0):
            self.identifier.people = {b"Bearer alice": nonsense}  # type: ignore[dict-item]
            self.refused(500, "GET /", "Authorization: Bearer alice")
        self.assertEqual(len(self.flushLoggedErrors()), 3)

    def test_attack_41_identity_that_cannot_be_encoded(self) -> None:
        surrogate = Principal("\ud800", "local")
        self.identifier.people = {b"Bearer x": surrogate}
        self.refused(500, "GET /", "Authorization: Bearer x")
        self.assertEqual(len(self.flushLoggedErrors(UnicodeEncodeError)), 1)

    def test_attack_41_sick_audit_log(self) -> None:
        self.site.audit.sick = True
        self.refused(503, "GET /pub")
        self.refused(503, "GET /", "Authorization: Bearer alice")

    def test_attack_41_target_that_raises(self) -> None:
        class Broken:
            name = "broken"

            def handle(self, exchange: object) -> None:
                raise KeyError("a bug")

        broken = Route(name="r", prefix=b"", target=Broken(), audit=self.site.audit, access=ANYBODY)
        self.refused(500, "GET /", gate=self.gate(broken))
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_attack_34_and_8_fields_of_the_client_decide_nothing(self) -> None:
        for line in (
            "X-Auth-Username: root",
            "X-Auth-Roles: admin",
            "X-Ldap-Url: ldap://evil",
            "X-Forwarded-Uri: /pub",
            "X-Original-URL: /pub",
            "X-Rewrite-URL: /pub",
            "X-Forwarded-Host: pub",
            "Forwarded: for=10.0.0.1;host=pub",
        ):
            self.refused(401, "GET /admin", line)
            self.refused(403, "GET /admin", line, "Authorization: Bearer alice")

"""The explanation of a request is the decision of the gate."""

from __future__ import annotations

from ipaddress import ip_network

from perimeter.audit.sinks import NoAudit
from perimeter.auth.registry import installed_kinds
from perimeter.config.site.config import SiteConfig
from perimeter.config.site.load import load_site
from perimeter.errors import Refusal
from perimeter.gate.access import FIRST_HAND, UNRESTRICTED
from perimeter.gate.explain import Explanation, Question, Step, explain
from perimeter.gate.gate import Gate
from perimeter.gate.identify import Identifier
from perimeter.gate.identity_lines import IdentityLines
from perimeter.gate.review import Again
from perimeter.gate.routes import Route, RouteTable
from perimeter.http.grammar import parse_block, parse_request
from perimeter.model import ClientConnection, Grant, GrantKind, Principal, Restriction
from perimeter.run.build.route import RouteParts, route_of
from tests.unit.doubles.site import SiteCase

SITE = """\
[listener http]
port = 9443
interface = 127.0.0.1

[upstream app]
servers = http://127.0.0.1:8888

[route all]
path = /
upstream = app

[route admin]
path = /admin
upstream = app
allow = role:admin
deny = method:DELETE

[route inner]
path = /inner
upstream = app
networks = 10.0.0.0/8
auth = none

[route signed]
path = /signed
upstream = app
identity = jwt

[route own]
path = /own
upstream = app
identity = none
authorization = basic svc hunter2

[route raw]
path = /raw
upstream = app
path_as_sent = yes
auth = optional

[audit]
path = access.log

[authenticator local]
type = realmfile
path = users
"""

ALICE = Principal("alice", "local", ("admin",))
BOB = Principal("bob", "local")


class _Target:
    name = "nowhere"

    def handle(self, exchange: object) -> None:
        raise AssertionError("nothing is sent")


class _Full(NoAudit):
    def healthy(self) -> bool:
        return False

    def problem(self) -> str:
        return "access.log: No space left on device"


def _signing(*_: object) -> str:
    raise AssertionError("nothing is signed")


class ExplainTests(SiteCase):
    def setUp(self) -> None:
        super().setUp()
        self.site.write_text(SITE)
        self.sink = NoAudit()

    def gate(self, config: SiteConfig) -> Gate:
        own = [
            Route("token", b"/token", _Target(), self.sink, access=FIRST_HAND, builtin=True, exact=True),  # type: ignore[arg-type]
            Route("tokens", b"/tokens", _Target(), self.sink, access=UNRESTRICTED, builtin=True, exact=True),  # type: ignore[arg-type]
        ]
        routes = [route_of(one, _Target(), self.sink, RouteParts()) for one in config.routes]  # type: ignore[arg-type]
        lines = IdentityLines(_signing, lambda: 0.0, 1)
        enabled, maintenance = config.perimeter.enabled, config.perimeter.maintenance
        return Gate(RouteTable([*routes, *own]), Identifier(()), lines, enabled=enabled, maintenance=maintenance)

    def ask(self, method: str, url: str, principal: Principal | None = None, *, name: str = "", address: str = "") -> Explanation:
        config = load_site(self.site, kinds=installed_kinds())
        return explain(self.gate(config), config, Question(method, url, principal, name, address))

    def steps(self, found: Explanation, name: str) -> list[str]:
        return [step.text for step in found.steps if step.name == name]

    def test_limits_are_named_and_not_counted(self) -> None:
        self.site.write_text(SITE.replace("path = /admin\n", "path = /admin\nrate = 1/h per address\nin_flight = 2 per user\n"))

        def refuse(*arguments: object) -> None:
            raise AssertionError("counted")

        config = load_site(self.site, kinds=installed_kinds())
        routes = [route_of(one, _Target(), self.sink, RouteParts(), (refuse,)) for one in config.routes]  # type: ignore[arg-type]
        gate = Gate(RouteTable(routes), Identifier(()), IdentityLines(_signing, lambda: 0.0, 1))
        found = explain(gate, config, Question("GET", "/admin", ALICE, "", ""))
        self.assertTrue(found.admitted)
        self.assertEqual(
            self.steps(found, "limit"),
            ["rate 1/h per address, which is not counted here", "in_flight 2 per user, which is not counted here"],
        )

    def test_rules_with_networks_and_pages_of_other_sites(self) -> None:
        more = "allow = role:admin and network:10.0.0.0/8\n"
        for cors, told in (
            ("cors = https://a, https://b\n", ["pages of https://a, https://b may read the response"]),
            ("cors = *\n", ["pages of all sites may read the response"]),
            ("cors = pass\n", ["the service decides which pages may read the response"]),
            ("", []),
        ):
            self.site.write_text(SITE + f"[route r]\npath = /r\nupstream = app\n{more}{cors}")
            found = self.ask("GET", "/r", ALICE, address="10.1.2.3")
            matches = "allow = role:admin and network:10.0.0.0/8 matches: role:admin matches; network:10.0.0.0/8 matches"
            self.assertEqual((found.status, self.steps(found, "rules")), (0, [matches]))
            self.assertEqual([one.partition(";")[0].partition(", and gets")[0] for one in self.steps(found, "cors")], told)
        found = self.ask("GET", "/r", ALICE)
        (rules,) = self.steps(found, "rules")
        self.assertEqual(
            (found.status, rules.partition("matches: ")[2]),
            (403, "network:10.0.0.0/8 does not match; for a client with the address 127.0.0.1, because none is given"),
        )

    def test_header_rules_and_users_who_may_only_read(self) -> None:
        (self.directory / "key").write_text("hidden")
        self.site.write_text(
            f"{SITE}[route r]\npath = /r\nupstream = app\nrequest_headers = set X-A %{{user}}\n  set X-Key file:key\n"
            "response_headers = remove Server\nupstream_host = app.internal\nsecurity_headers = strict\n"
            "audit_body = json:/a\nread_only = role:admin\nread_only_commands = Ping\n"
        )
        found = self.ask("GET", "/r", ALICE)
        self.assertEqual(found.status, 0)
        for name, texts in (
            ("request header", ["set X-A %{user}", "set X-Key (secret)"]),
            ("response header", ["remove Server"]),
            ("host", ["the service gets app.internal in Host"]),
            ("security headers", ["added to responses that lack them"]),
            ("read-only", ["only requests with one of read_only_commands are forwarded; others get 403 command_refused"]),
        ):
            self.assertEqual(self.steps(found, name), texts)
        self.assertEqual(self.steps(self.ask("GET", "/r", BOB), "read-only"), [])
        plain = {step.name for step in self.ask("GET", "/x", ALICE).steps}
        self.assertFalse(plain & {"request header", "response header", "host", "security headers", "read-only"})

    def test_the_steps_in_their_order(self) -> None:
        found = self.ask("GET", "/admin//x?y", ALICE)
        self.assertEqual(
            found.steps,
            (
                Step("path", "/admin/x"),
                Step("route", "[route admin] (site.ini:12), host *, path /admin"),
                Step("later", "[route all] (site.ini:8), host *, path / matches too, and comes later: its path is shorter"),
                Step("authentication", "auth = required"),
                Step("user", "alice of realm local, roles: admin"),
                Step("rules", "allow = role:admin matches"),
                Step("header", "X-Auth-Username: alice"),
                Step("header", "X-Auth-Realm: local"),
                Step("header", "X-Auth-Roles: admin"),
                Step("result", "admitted, forwarded to upstream app (http://127.0.0.1:8888) as /admin/x?y"),
            ),
        )
        self.assertEqual((found.admitted, found.status, found.reason), (True, 0, ""))

    def test_the_steps_before_a_refusal_stay(self) -> None:
        found = self.ask("DELETE", "/admin", ALICE)
        self.assertEqual(
            [step.name for step in found.steps], ["path", "route", "later", "authentication", "user", "rules", "result"]
        )
        self.assertEqual((found.admitted, found.status, found.reason), (False, 403, "insufficient_scope"))
        self.assertEqual(self.steps(found, "rules"), ["deny = method:DELETE matches"])
        found = self.ask("GET", "/a/../b", ALICE)
        self.assertEqual(found.steps, (Step("result", "refused with 400 bad_target: a dot segment"),))

    def test_the_verdict_is_that_of_the_gate(self) -> None:
        config = load_site(self.site, kinds=installed_kinds())
        gate = self.gate(config)
        for method in ("GET", "DELETE", "POST"):
            for url in ("/", "/admin", "/admin/..%2f", "/inner/x", "/raw/%2e", "/raw/a%2Fb", "/%00", "/token", "/nowhere;x/../y"):
                head = parse_request(f"{method} {url} HTTP/1.1".encode(), parse_block(b"Host: x\r\n", 1))
                try:
                    gate.judge(Again(ClientConnection("10.0.0.0", 1, "http", 1, ""), head, 0.0), head)
                    expected = 0
                except Refusal as refusal:
                    expected = refusal.status
                found = explain(gate, config, Question(method, f"http://x{url}", address="10.0.0.0"))
                self.assertEqual(found.status, expected, (method, url, found.steps))

    def test_the_address(self) -> None:
        text = "only clients in 10.0.0.0/8; others get 403 network_refused"
        found = self.ask("GET", "/inner")
        self.assertEqual((found.status, self.steps(found, "networks")), (0, [text]))
        found = self.ask("GET", "/inner", address="::ffff:10.9.8.7")
        self.assertEqual((found.status, self.steps(found, "networks")), (0, [f"{text}; this client has 10.9.8.7"]))
        found = self.ask("GET", "/inner", address="192.0.2.1")
        self.assertEqual((found.status, found.reason), (403, "network_refused"))
        self.assertEqual(self.steps(self.ask("GET", "/x", address="192.0.2.1"), "networks"), [])
        found = self.ask("GET", "/inner", address="unix:")
        self.assertEqual((found.status, found.reason), (403, "network_refused"))

    def test_what_is_no_address(self) -> None:
        found = self.ask("GET", "/inner", address="nonsense")
        self.assertEqual(found.steps[-1], Step("result", "not known: nonsense is not an IP address"))
        self.assertIsNone(found.status)

    def test_secrets_are_not_shown_and_nothing_is_signed(self) -> None:
        self.assertEqual(
            self.steps(self.ask("GET", "/signed", ALICE), "header"), ["Authorization: Bearer (an assertion, signed)"]
        )
        found = self.ask("GET", "/own", ALICE)
        self.assertEqual(self.steps(found, "header"), ["Authorization: (secret)"])
        self.assertNotIn("hunter2", repr(found))
        self.assertNotIn("c3ZjOmh1bnRlcjI", repr(found))

    def test_a_route_that_takes_paths_as_they_are_sent(self) -> None:
        found = self.ask("GET", "/raw/a%2Fb//c")
        self.assertEqual(found.status, 0)
        self.assertEqual(self.steps(found, "path"), ["/raw/a%2Fb//c, unchanged because the route has path_as_sent = yes"])
        self.assertEqual(len(self.steps(found, "later")), 1)

    def test_conditions(self) -> None:
        more = (
            "[route post]\npath = /c\nmethods = POST\nupstream = app\n[route old]\npath = exact:/c\nheaders = X-Old: *\n"
            "upstream = app\nauth = none\n[route c]\npath = /c\nredirect = 308 /d\nauth = none\n"
            "[route n]\npath = regex:^/c/([0-9]+)$\nrespond = 204\nauth = none\n"
        )
        self.site.write_text(SITE + more)
        found = self.ask("GET", "/c")
        old = "[route old] (site.ini:51), host *, path exact:/c if header x-old: *: the request does not meet its conditions"
        post = "[route post] (site.ini:47), host *, path /c if method POST: the request does not meet its conditions"
        self.assertEqual(self.steps(found, "skipped"), [old, post])
        self.assertEqual(self.steps(found, "route"), ["[route c] (site.ini:56), host *, path /c"])
        self.assertEqual(len(self.steps(found, "later")), 1)
        self.assertEqual(self.steps(found, "result"), ["admitted, the gateway answers by itself: redirect 308 /d"])
        config = load_site(self.site, kinds=installed_kinds())
        found = explain(self.gate(config), config, Question("GET", "/c", headers=("X-Old: 1",)))
        self.assertEqual(self.steps(found, "route"), ["[route old] (site.ini:51), host *, path exact:/c if header x-old: *"])
        self.assertEqual(
            self.steps(found, "later"),
            [
                "[route all] (site.ini:8), host *, path / matches too, and comes later: exact paths come first",
                "[route post] (site.ini:47), host *, path /c if method POST matches too, and comes later: exact paths come first",
                "[route c] (site.ini:56), host *, path /c matches too, and comes later: exact paths come first",
            ],
        )
        found = self.ask("GET", "/c/12")
        self.assertEqual(self.steps(found, "result"), ["admitted, the gateway answers by itself: respond 204"])
        self.assertIn(
            "[route c] (site.ini:56), host *, path /c matches too, and comes later: it is not in a longer directory",
            self.steps(found, "later"),
        )
        found = self.ask("POST", "/c")
        self.assertIn("comes later: routes with conditions come first", "".join(self.steps(found, "later")))

    def test_no_route_whose_conditions_are_met(self) -> None:
        self.site.write_text(SITE.replace("[route all]\npath = /\n", "[route all]\npath = /\nmethods = POST\n"))
        found = self.ask("GET", "/x")
        self.assertEqual(len(self.steps(found, "skipped")), 1)
        self.assertEqual(
            (found.status, found.steps[-1].text),
            (404, "refused with 404 no_route: no route for this host, path, method, headers and query"),
        )

    def test_the_restriction_of_an_api_token(self) -> None:
        def token(**limits: object) -> Principal:
            grant = Grant("id", 0.0, 1.0, GrantKind.API_TOKEN, Restriction(**limits))  # type: ignore[arg-type]
            return Principal("alice", "local", ("admin",), grant=grant)

        found = self.ask("GET", "/admin", token(routes=frozenset({"all"}), methods=frozenset({"GET"})))
        self.assertEqual(
            (found.status, self.steps(found, "restriction")), (403, ["the API token is for routes all; methods GET"])
        )
        found = self.ask("GET", "/admin", token(networks=(ip_network("10.0.0.0/8"),)), address="10.0.0.1")
        self.assertEqual((found.status, self.steps(found, "restriction")), (0, ["the API token is for networks 10.0.0.0/8"]))
        found = self.ask("GET", "/tokens", token())
        self.assertEqual(
            (found.status, self.steps(found, "restriction")),
            (403, ["the API token is for everything; the endpoint does not accept a restricted token"]),
        )
        self.assertEqual(self.ask("GET", "/token", token()).reason, "invalid_token")
        self.assertEqual(self.ask("GET", "/token", ALICE).status, 0)

    def test_a_user_whom_no_authenticator_can_look_up(self) -> None:
        found = self.ask("GET", "/admin", name="eve")
        self.assertEqual((found.admitted, found.status), (False, None))
        self.assertEqual(found.steps[-1], Step("result", "not known, because no authenticator can look up the user"))
        self.assertEqual(self.ask("GET", "/inner", name="eve").status, 0)

    def test_without_authentication_it_does_not_matter_who_asks(self) -> None:
        self.site.write_text(SITE + "[perimeter]\nenabled = no\n")
        found = self.ask("GET", "/admin", name="eve")
        self.assertEqual((found.status, self.steps(found, "rules")), (0, []))
        self.assertEqual(self.steps(found, "authentication"), ["off, because of [perimeter] enabled = no"])
        self.site.write_text(SITE + "[perimeter]\nmaintenance = yes\n")
        found = self.ask("GET", "/admin", name="eve")
        self.assertEqual((found.status, self.steps(found, "maintenance")), (503, ["[perimeter] maintenance = yes"]))
        self.assertEqual(self.ask("GET", "/token", BOB).status, 0)

    def test_maintenance_of_a_route(self) -> None:
        for allowed, status in (("", 503), ("maintenance_allow = 10.0.0.0/8\n", 0), ("maintenance_allow = 127.0.0.0/8\n", 503)):
            self.site.write_text(SITE.replace("path = /inner\n", f"path = /inner\nmaintenance = yes\n{allowed}"))
            found = self.ask("GET", "/inner")
            self.assertEqual(found.status, status)
            (step,) = self.steps(found, "maintenance")
            self.assertEqual(step, f"only clients in {allowed[20:-1]}; others get 503" if allowed else "all clients get 503")

    def test_the_audit_log_cannot_be_written(self) -> None:
        self.sink = _Full()
        found = self.ask("GET", "/inner")
        self.assertEqual((found.status, found.reason), (503, "audit_unavailable"))

    def test_a_url_of_any_bytes(self) -> None:
        for url in ("/\udcff", "/\ud800", "/ä", "/ ", "", "\r\n"):
            self.assertEqual(self.ask("GET", url).status, 400, repr(url))

"""The operator's page behind a real gate: who gets it, what it does, and what it writes into the audit log."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from html import unescape
from math import inf
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone

from perimeter.audit.sinks import NoAudit
from perimeter.auth.chain.attempts import Attempts, Counted, Key
from perimeter.auth.chain.breaker import CircuitBreaker
from perimeter.auth.registry import installed_kinds
from perimeter.config.site.load import load_site
from perimeter.config.site.login import LoginSettings
from perimeter.config.site.operator import OperatorSettings
from perimeter.errors import StartupError, Unavailable
from perimeter.gate.gate import Gate
from perimeter.gate.identify import Identifier
from perimeter.gate.identity_lines import IdentityLines
from perimeter.gate.routes import RouteTable
from perimeter.metrics.counts import Metrics
from perimeter.metrics.figures import STREAM_ROUTE, Figures, own_figures
from perimeter.metrics.samples import Sampler
from perimeter.metrics.sources import ScrapeSources
from perimeter.model import AuthenticationRequest, Principal
from perimeter.run.build.pages import PageParts
from perimeter.run.build.route import RouteParts, route_of
from perimeter.run.problems import Problem
from perimeter.tokens.revoking import Revoker
from perimeter.tokens.stored import TOKENS
from perimeter.web.endpoints.endpoint import Endpoint
from perimeter.web.endpoints.operator.audit import EVERY, Searches
from perimeter.web.endpoints.operator.events import MOST_VIEWERS, TROUBLES_EVERY, Audience
from perimeter.web.endpoints.operator.gateway import Reload
from perimeter.web.endpoints.operator.page import Desk
from perimeter.workers.gathered import WorkerNow
from tests.unit.doubles.auth import ManualThreads, offload_with
from tests.unit.doubles.http_rig import Client, Response
from tests.unit.doubles.pages import NAVIGATION, OWN_FORM, Browser, FakeChain, PageCase, PageConfig
from tests.unit.doubles.sessions import ALICE, BOB, START, session

MARKUP = "<script>alert(1)</script>"

SITE = """\
[listener https]
port = 9443
tls = yes
[authenticator users]
type = realmfile
path = users
realm = local
[upstream app]
servers = http://127.0.0.1:8888
[route app]
path = /
upstream = app
browser_login = yes
[route admin]
path = /admin
upstream = app
allow = role:admin
[operator]
role = admin
[audit]
path = access.log
format = json
"""


class Keys:
    """A keyring that counts its rotations."""

    entries = ()

    def __init__(self) -> None:
        self.rotated = 0
        self.fault = ""

    def rotate(self) -> None:
        if self.fault:
            raise StartupError(self.fault)
        self.rotated += 1

    def verification_key(self, kid: str) -> None:
        return None


@attrs.frozen
class Guarded:
    name: str
    realm: str
    breaker: CircuitBreaker
    schemes: frozenset[str] = frozenset(("basic", "recall"))
    timeout: float = 5.0


class Chain(FakeChain):
    def __init__(self, case: PageCase) -> None:
        super().__init__()
        self.guarded = (Guarded("users", "local", CircuitBreaker("users", case.clock)),)  # type: ignore[assignment]
        self.waiting = [(Key(Counted.NAME, MARKUP, "local"), Attempts(6, START, START + 30), 30)]

    def refused(self) -> Sequence[Any]:
        return self.waiting

    async def release(self, what: str) -> list[Key]:
        found = [key for key, _, _ in self.waiting if key.value == what]
        self.waiting = [one for one in self.waiting if one[0].value != what]
        return found

    def recall(self, owner: Principal, request: AuthenticationRequest) -> Principal | Deferred[Principal]:
        return ALICE if owner.username == "alice" else owner


class Logs:
    paths: Sequence[Path] = ()


class Assembly:
    """`perimeter.web.endpoints.operator.gateway.InForce`."""

    pools = ()
    forgotten = 0

    def keys_changed(self) -> None:
        self.forgotten += 1


class Gateway:
    """`perimeter.web.endpoints.operator.gateway.Gateway`."""

    def __init__(self, case: OperatorCase) -> None:
        self.assembly: Any = Assembly()
        self.metrics = Metrics()
        self.metrics.in_force = lambda: ScrapeSources({}, self.assembly.pools, False, self.assembly.chain.guarded, (), {}, 3)
        self.samples = Sampler(self.metrics, case.clock)
        self.offload = offload_with(case.threads, case.clock)
        self.last_reload = Reload()
        self.seconds = case.clock.seconds
        self.found: list[Problem] = []
        self.asked = 0
        self.workers: list[WorkerNow] = []
        self.sharing: dict[str, Any] = {}

    def listeners(self) -> list[Any]:
        return []

    def identities(self) -> Mapping[str, Any]:
        return {}

    async def figures(self) -> Figures:
        return attrs.evolve(own_figures(self.metrics, self.seconds(), 60.0), workers=self.workers)

    async def attempts(self) -> Mapping[tuple[str, ...], int]:
        return self.metrics.auth.attempts

    async def shared(self) -> Mapping[str, Any]:
        return self.sharing

    def troubles(self) -> Deferred[Sequence[Problem]]:
        self.asked += 1
        return succeed(self.found)


class OperatorCase(PageCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        super().setUp()

    def endpoints(self, login: LoginSettings) -> list[Endpoint]:
        (self.directory / "site.ini").write_text(SITE)
        (self.directory / "users").write_text("alice: {plain}x\n")
        config = load_site(self.directory / "site.ini", kinds=installed_kinds())
        self.chain = Chain(self)
        self.gateway = Gateway(self)
        self.addCleanup(self.gateway.samples.stop)
        self.logs = Logs()
        tokens = self.state.view(TOKENS)
        target: Any = object()
        routes = [route_of(one, target, NoAudit(), RouteParts()) for one in config.routes]
        gate = Gate(RouteTable(routes), Identifier(()), IdentityLines(lambda *_: "", lambda: 0.0, 1))
        keys = Keys()
        self.gateway.assembly.__dict__.update(
            config=config,
            gates={"https": gate},
            audit=self.logs,
            chain=self.chain,
            keyring=keys,
            tokens=tokens,
            sessions=self.stored,
            revoker=Revoker(tokens, None, self.stored),
        )
        self.keys = keys
        self.audience = Audience(self.gateway.samples, self.gateway.troubles)
        desk = Desk(self.gateway, self.audience, Searches(self.clock))  # type: ignore[arg-type]
        config = PageConfig(login, self.trusted_proxies, OperatorSettings(role="admin"))
        return PageParts(config, self.look, self.book, self.chain, self, desk).endpoints()  # type: ignore[arg-type]

    def enter(self, user: Principal = ALICE) -> Browser:
        self.chain.answer = user
        browser = Browser(self)
        self.assertEqual(browser.sign_in().status, 303)
        return browser

    def page(self, browser: Browser, path: str = "") -> str:
        response = browser.open(f"/.perimeter/operator{path}")
        self.assertEqual(response.status, 200, response.body)
        self.assertEqual(dict(response.fields)[b"cache-control"], b"no-store")
        text = response.body.decode()
        self.assertNotIn(MARKUP, text)
        return text

    def act(self, browser: Browser, page: str, action: str, *lines: str) -> Response:
        """Send the form of a page whose URL begins with ``action``."""
        form = re.search(rf'action="(/\.perimeter/operator/[^"]*{action}[^"]*)">\s*<input[^>]*value="([^"]*)"', page)
        assert form is not None, page
        return browser.send(unescape(form[1]), {"token": form[2]}, *lines)


SECTIONS = (
    "", "/services", "/authenticators", "/certificates", "/sessions", "/tokens", "/waiting", "/routes", "/explain", "/audit",
    "/configuration", "/keys",
)  # fmt: skip


class AccessTests(OperatorCase):
    def test_the_sections(self) -> None:
        browser = self.enter()
        for path in SECTIONS:
            text = self.page(browser, path)
            self.assertEqual(text.count('aria-current="page"'), 1, path)
            event = {"/explain": "explain", "/audit": "audit_search"}.get(path, "operator_view")
            self.assertEqual((self.record.event, self.record.route), (event, "operator"))

    def test_the_links_in_the_header(self) -> None:
        """To the account page and to sign out; to the operator's page from the account page for those whom it admits."""
        text = self.page(self.enter(), "")
        for path in ("account", "operator", "logout"):
            self.assertIn(f'<a href="/.perimeter/{path}"', text)
        link = b'<a href="/.perimeter/operator"'
        self.assertIn(link, self.enter().open("/.perimeter/account").body)
        account = self.enter(BOB).open("/.perimeter/account")
        self.assertEqual(account.status, 200)
        self.assertNotIn(link, account.body)

    def test_other_users_are_refused(self) -> None:
        for path in (*SECTIONS, "/nothing", "/events?token=x"):
            response = Browser(self).open(f"/.perimeter/operator{path}")
            self.assertEqual(response.status, 302)
            self.assertTrue(dict(response.fields)[b"location"].startswith(b"/.perimeter/login?to="))
        browser = self.enter(BOB)
        for path in (*SECTIONS, "/nothing", "/events?token=x"):
            self.assertEqual(browser.open(f"/.perimeter/operator{path}").status, 403, path)
            self.assertEqual(self.record.reason, "insufficient_scope")
        self.assertEqual(browser.send("/.perimeter/operator/keys/rotate", {"token": "x"}).status, 403)
        self.assertEqual(self.keys.rotated, 0)

    def test_what_there_is_not(self) -> None:
        browser = self.enter()
        for path in ("/nothing", "/sessions/x", "/SESSIONS", "/sessions/end"):
            self.assertEqual(browser.open(f"/.perimeter/operator{path}").status, 404, path)
        for path in ("", "/sessions", "/keys/end", "/nothing/rotate"):
            self.assertEqual(browser.send(f"/.perimeter/operator{path}", {"token": "x"}).status, 404, path)

    def test_attack_76_a_script_reads_no_page(self) -> None:
        browser = self.enter()
        for path in SECTIONS:
            response = browser.ask(f"GET /.perimeter/operator{path}", "Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty")
            self.assertEqual(response.status, 403, path)

    def test_attack_26_markup_is_shown_as_text(self) -> None:
        self.chain.waiting.append((Key(Counted.ADDRESS, '"><img src=x>'), Attempts(9, START, inf), 9))
        self.gateway.found = [Problem(0, "upstream", MARKUP, MARKUP), Problem(2, "authenticator", "users", MARKUP)]
        self.gateway.last_reload = Reload(START, MARKUP)
        self.gateway.assembly.config = attrs.evolve(self.gateway.assembly.config, warnings=(MARKUP,))
        evil = attrs.evolve(ALICE, username=MARKUP, roles=("admin", MARKUP))
        browser = self.enter(evil)
        browser.ask("GET /.perimeter/operator", *NAVIGATION, f"User-Agent: {MARKUP}")
        self.chain.answer = evil
        for path in (*SECTIONS, f"/explain?url=/{MARKUP}&user={MARKUP}&address={MARKUP}", f"/sessions?user={MARKUP}",
                     f"/audit?search=1&user={MARKUP}&status={MARKUP}", f"/waiting?done={MARKUP}"):  # fmt: skip
            text = self.page(browser, path.replace("<", "%3C").replace(">", "%3E"))
            self.assertNotIn("<img", text.replace('<img src="/.perimeter/', ""))
        self.assertIn("&lt;script&gt;", self.page(browser, "/waiting"))
        self.assertIn("&lt;script&gt;", self.page(browser, "/sessions"))
        self.assertIn("&lt;script&gt;", self.page(browser))


class NodeTests(OperatorCase):
    def row(self, name: str, state: str = "serving", **more: Any) -> dict[str, Any]:
        known = {"name": name, "state": state, "version": "1.0.0", "configuration": "0123456789ab", "address": "10.0.0.1"}
        return {**known, "heard": 0.5, "clock": -0.002, "age": 95.0, "up": 90000, **more}

    def test_a_machine_that_has_its_state_for_itself_shows_no_nodes(self) -> None:
        self.assertNotIn("nodes-title", self.page(self.enter()))

    def test_the_nodes_that_share_the_state(self) -> None:
        absent = dict.fromkeys(("heard", "clock", "age", "up"))
        self.gateway.sharing = {
            "redis": {"node": "gw-1", "primary": "10.0.0.9:6379", "version": "7.0.15", "problem": ""},
            "nodes": [
                self.row("gw-1"),
                self.row("gw-2", "silent", address=""),
                self.row(MARKUP, "unreadable", version="", configuration="", address=MARKUP, **absent),
            ],
        }
        text = self.page(self.enter())
        self.assertIn("Redis 7.0.15 at 10.0.0.9:6379. As of", text)
        own, silent, unreadable = re.findall(r"<tr><td data-label=\"Node\">.*?</tr>", text)
        self.assertIn("this one, 10.0.0.1", own)
        self.assertIn('<span class="badge good">serving</span>', own)
        for shown in ("0.500 s", "-0.002 s", "1 d 1 h", "1.0.0", "0123456789ab"):
            self.assertIn(shown, own)
        self.assertIn('<span class="badge bad">silent</span> <span class="what">for 1 min 35 s</span>', silent)
        self.assertNotIn("this one", silent)
        self.assertEqual(unreadable.count(">-</td>"), 5)

    def test_redis_does_not_answer(self) -> None:
        redis = {"node": "gw-1", "primary": "", "version": "", "problem": "Redis: it did not answer in time"}
        self.gateway.sharing = {"redis": redis, "nodes": []}
        text = self.page(self.enter())
        self.assertIn("Redis: it did not answer in time. As of", text)
        self.assertIn("No node has written its record, or Redis does not answer.", text)


class ActionTests(OperatorCase):
    def test_a_session_is_ended(self) -> None:
        browser, other = self.enter(), self.enter(BOB)
        page = self.page(browser, "/sessions?user=bob")
        self.assertEqual(page.count("End</"), 0)
        response = self.act(browser, page, "sessions/end\\?")
        self.assertEqual((response.status, dict(response.fields)[b"location"]), (303, b"/.perimeter/operator/sessions"))
        self.assertEqual((self.record.event, self.record.principal and self.record.principal.username), ("session_end", "alice"))
        self.assertIn(b"id=", self.record.target)
        self.assertEqual(self.stored.owned("local", "bob"), [])
        self.assertEqual(other.open("/.perimeter/operator").status, 302)
        page = self.page(browser, "/sessions")
        self.assertIn("of bob has ended.", page)
        self.assertNotIn("has ended.", self.page(browser, "/sessions"))

    def test_a_user_of_a_realm_that_is_no_longer_configured(self) -> None:
        former = attrs.evolve(BOB, realm="former")
        browser, others = self.enter(), [session(former, START + more) for more in (1, 2)]
        self.enter(BOB)
        for one in others:
            self.done(self.stored.add(one))
        for query, rows in (("user=bob", 3), ("user=bob&realm=former", 2), ("user=bob&realm=local", 1), ("realm=former", 2)):
            page = self.page(browser, f"/sessions?{query}")
            self.assertEqual(page.count("/sessions/end?"), rows, query)
            self.assertEqual(page.count(f"id={others[0].id}"), int("local" not in query), query)

    def test_all_of_a_user_is_ended(self) -> None:
        browser = self.enter()
        self.enter(BOB)
        self.enter(BOB)
        self.act(browser, self.page(browser, "/sessions?user=bob"), "sessions/end-user")
        self.assertEqual((self.record.event, self.stored.owned("local", "bob")), ("user_end", []))
        self.assertIn("All sessions and tokens of bob of realm local have ended.", self.page(browser, "/sessions"))

    def test_a_name_is_released(self) -> None:
        browser = self.enter()
        self.act(browser, self.page(browser, "/waiting"), "release")
        self.assertEqual((self.record.event, self.chain.waiting), ("unban", []))
        page = self.page(browser, "/waiting")
        self.assertIn("May try again: name", page)
        self.assertIn("No user or address has to wait", page)

    def test_keys_are_rotated(self) -> None:
        browser = self.enter()
        page = self.page(browser, "/keys")
        self.act(browser, page, "rotate")
        self.assertEqual((self.record.event, self.keys.rotated, self.gateway.assembly.forgotten), ("keys_rotate", 1, 1))
        self.keys.fault = "keyring.json: read-only file system"
        self.act(browser, page, "rotate")
        self.assertEqual((self.keys.rotated, self.gateway.assembly.forgotten), (1, 1))
        self.assertIn("Not done: keyring.json: read-only file system", self.page(browser, "/keys"))

    def test_what_has_ended_already(self) -> None:
        browser = self.enter()
        page = self.page(browser, "/sessions")
        token = re.search(r'sessions/end\?[^>]*>\s*<input[^>]*value="([^"]*)"', page)
        assert token is not None
        browser.send("/.perimeter/operator/sessions/end?id=0000", {"token": token[1]})
        self.assertIn("This session has ended already.", self.page(browser, "/sessions"))

    def test_what_cannot_be_written_is_in_force(self) -> None:
        browser = self.enter()
        self.enter(BOB)
        page = self.page(browser, "/sessions?user=bob")
        self.store.fails = True
        self.act(browser, page, "sessions/end\\?")
        self.assertIn("in force, but it is not written everywhere yet", self.page(browser, "/sessions"))
        self.assertEqual(self.stored.owned("local", "bob"), [])

    def test_attack_27_a_form_without_its_token(self) -> None:
        browser, other = self.enter(), self.enter()
        page, foreign = self.page(browser, "/keys"), self.page(other, "/keys")
        waiting = self.page(browser, "/waiting")
        path = "/.perimeter/operator/keys/rotate"

        def token(text: str) -> str:
            found = re.search(r'name="token" value="([^"]*)"', text)
            assert found is not None
            return found[1]

        for wrong in ("", "x", token(foreign), token(waiting)):
            self.assertEqual(browser.send(path, {"token": wrong}).status, 403)
            self.assertEqual((self.record.reason, self.record.event), ("cross_site", "keys_rotate"))
        for lines in (("Origin: null", *OWN_FORM[:4]), ("Origin: https://evil.example", *OWN_FORM[:4]),
                      ("Sec-Fetch-Site: cross-site", *OWN_FORM[1:4]), ("Sec-Fetch-Site: same-site", *OWN_FORM[1:4])):  # fmt: skip
            self.assertEqual(browser.send(path, {"token": token(page)}, *lines).status, 403, lines)
        self.assertEqual(self.keys.rotated, 0)
        self.assertEqual(browser.send(path, {"token": token(page)}).status, 303)
        self.assertEqual(self.keys.rotated, 1)

    def test_actions_need_a_fresh_sign_in(self) -> None:
        browser = self.enter()
        page = self.page(browser, "/keys")
        self.clock.advance(self.login.fresh - 1)
        self.assertIn('action="/.perimeter/operator/keys/rotate"', self.page(browser, "/keys"))
        self.clock.advance(1)
        response = self.act(browser, page, "rotate")
        self.assertEqual(response.status, 303)
        self.assertEqual(dict(response.fields)[b"location"], b"/.perimeter/login?again=1&to=%2F.perimeter%2Foperator%2Fkeys")
        self.assertEqual(self.keys.rotated, 0)
        page = self.page(browser, "/keys")
        self.assertIn("sign in again", page)
        self.assertNotIn("<form", page)


class QuestionTests(OperatorCase):
    def test_what_would_happen(self) -> None:
        browser = self.enter()
        page = self.page(browser, "/explain?method=GET&url=/admin&user=alice")
        self.assertIn("Admitted", page)
        self.assertIn("allow = role:admin matches", page)
        self.assertIn("X-Auth-Username: alice", page)
        page = self.page(browser, "/explain?method=GET&url=/admin&user=bob")
        self.assertIn("Refused with 403 insufficient_scope", page)
        self.assertIn("Refused with 401 missing_credentials", self.page(browser, "/explain?url=/x"))
        self.assertIn("is not an IP address", self.page(browser, "/explain?url=/x&address=y"))

    def test_the_configuration(self) -> None:
        page = self.page(self.enter(), "/configuration")
        self.assertIn("[route admin]", page)
        self.assertIn("role:admin", page)
        self.assertIn(str(self.directory / "site.ini"), page)

    def test_routes_are_in_the_order_of_matching(self) -> None:
        page = self.page(self.enter(), "/routes")
        self.assertLess(page.index("<b>admin</b>"), page.index("<b>app</b>"))

    def test_a_search(self) -> None:
        log = self.directory / "access.log"
        log.write_text(
            '{"time":"2026-11-27T10:00:00.000Z","user":"alice","status":200,"method":"GET","target":"/<b>x","address":"::1",'
            '"reason":"","attempted_user":null}\n'
            '{"time":"2026-11-27T10:00:01.000Z","user":null,"status":401,"method":"GET","target":"/y","address":"::1",'
            '"reason":"wrong_credentials","attempted_user":"eve"}\n'
        )
        self.logs.paths = [log]
        browser = self.enter()

        def found(query: str) -> str:
            self.clock.advance(EVERY)
            return self.page(browser, f"/audit?search=1{query}")

        page = found("")
        self.assertIn("2 lines", page)
        self.assertNotIn("<b>x", page)
        self.assertEqual(self.record.event, "audit_search")
        self.assertIn("1 line", found("&reason=wrong_credentials"))
        self.assertIn("2026-11-27 10:00:01", found("&user=eve"))
        self.assertIn("A status is a number", found("&status=40"))
        self.assertIn("A time looks like", found("&since=yesterday"))
        self.assertIn("is gone", found("&cursor=1:1"))
        self.assertNotIn("lines</h2>", self.page(browser, "/audit"))

    def test_the_page_refreshes_itself_with_the_parameter_refresh(self) -> None:
        browser = self.enter()
        for query, seconds in (("10", "10"), ("1", "5"), ("99999", "3600")):
            self.assertIn(f'http-equiv="refresh" content="{seconds}"', self.page(browser, f"?refresh={query}"))
        for query in ("", "0x", "-1", "999999", "%D9%A3"):
            self.assertNotIn('http-equiv="refresh" content="0', self.page(browser, f"?refresh={query}"))
        self.assertNotIn("http-equiv", self.page(browser))


class SearchTurnsTests(OperatorCase):
    """Attack 79: what several operators, or one in a loop, make of the searches."""

    def setUp(self) -> None:
        super().setUp()
        log = self.directory / "access.log"
        log.write_text("")
        self.logs.paths = [log]
        self.slow = ManualThreads()
        self.gateway.offload = offload_with(self.slow, self.clock)
        self.visitor = self.enter()

    def ask(self) -> Client:
        """A search, which needs a step of the thread."""
        client = Client(self.served, "TLSv1.3", "192.0.2.7")
        cookies = "; ".join(f"{name}={value}" for name, value in self.visitor.cookies.items())
        client.request("GET", "/.perimeter/operator/audit?search=1", f"Cookie: {cookies}", *NAVIGATION)
        return client

    def end(self, client: Client) -> None:
        """The thread's answer reaches the client."""
        self.slow.step()
        self.clock.advance(0)
        self.assertEqual(client.response(b"GET").status, 200)
        client.transport.lose(ConnectionDone())

    def check_refused(self) -> None:
        """It is the turn of another: the answer is the one that costs least, and no page of the operator's."""
        response = self.ask().response(b"GET")
        self.assertEqual((response.status, response.get(b"retry-after")), (503, b"2"))
        self.assertNotIn(b"Audit log", response.body)
        self.assertEqual((self.record.event, self.record.reason), ("audit_search", "overloaded"))

    def test_attack_79_one_search_at_a_time(self) -> None:
        client = self.ask()
        for _ in range(3):
            self.check_refused()
            self.clock.advance(EVERY)
        self.assertEqual(len(self.slow.jobs), 1)
        self.end(client)
        self.end(self.ask())

    def test_attack_79_one_search_begins_in_a_second(self) -> None:
        self.assertEqual(EVERY, 1.0)
        self.end(self.ask())
        self.clock.advance(0.25)
        client = self.ask()
        self.clock.advance(0.5)
        self.assertEqual(len(self.slow.jobs), 0)
        self.check_refused()
        self.clock.advance(0.25)
        self.assertEqual(len(self.slow.jobs), 1)
        self.end(client)
        self.clock.advance(EVERY)
        self.end(self.ask())

    def test_a_clock_that_was_set_back_delays_no_search_for_long(self) -> None:
        self.end(self.ask())
        self.clock.rightNow -= 3600
        client = self.ask()
        self.clock.advance(EVERY)
        self.end(client)

    def test_attack_79_clients_that_do_not_wait_for_the_answer(self) -> None:
        """The thread reads on when its client has left, so nobody else's search begins; one that has not begun never does."""
        self.ask().transport.lose(ConnectionDone())
        self.clock.advance(EVERY)
        self.check_refused()
        self.slow.step()
        self.end(self.ask())
        waiting = self.ask()
        self.assertEqual(len(self.slow.jobs), 0)
        waiting.transport.lose(ConnectionDone())
        self.clock.advance(EVERY)
        self.assertEqual(len(self.slow.jobs), 0)
        self.end(self.ask())

    def test_what_goes_wrong_in_the_thread_is_answered_and_gives_the_turn_back(self) -> None:
        self.logs.paths = [self.directory / "none" / "access.log"]
        for _ in range(2):
            client = self.ask()
            self.slow.step()
            self.clock.advance(EVERY)
            self.assertIn(b"The log cannot be read: No such file", client.response(b"GET").body)


class StreamTests(OperatorCase):
    """The stream of figures."""

    LINES = ("Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty", "Accept: text/event-stream")

    def stream_of(self, browser: Browser) -> str:
        found = re.search(r'data-stream="([^"]*)"', self.page(browser))
        assert found is not None
        return unescape(found[1])

    def listen(self, browser: Browser, target: str, *lines: str) -> Client:
        client = Client(self.served, "TLSv1.3", "192.0.2.7")
        cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
        client.request("GET", target, f"Cookie: {cookies}", *(lines or self.LINES))
        self.clock.advance(0)
        return client

    def events(self, client: Client, name: str = "sample") -> list[Any]:
        found = re.findall(rb"event: (\w+)\ndata: (.*)\n\n", bytes(client.transport.arrived))
        return [json.loads(text) for kind, text in found if kind.decode() == name]

    def test_an_event_a_second(self) -> None:
        browser = self.enter()
        client = self.listen(browser, self.stream_of(browser))
        self.clock.pump([1.0] * 3)
        found = self.events(client)
        self.assertEqual([one["time"] for one in found], [START + 1, START + 2, START + 3])
        self.assertEqual(found[0]["sessions"], 3)
        self.assertIn(b"text/event-stream", client.transport.arrived)
        client.transport.lose(ConnectionDone())
        self.clock.advance(0)
        self.assertEqual(len(self.audience), 0)
        self.assertEqual((self.record.event, self.record.route), ("operator_stream", STREAM_ROUTE))

    def test_problems_are_sent_every_few_seconds(self) -> None:
        browser = self.enter()
        client = self.listen(browser, self.stream_of(browser))
        self.gateway.found = [Problem(1, "upstream", "app", "http://x: gone")]
        asked = self.gateway.asked
        self.clock.pump([1.0] * TROUBLES_EVERY)
        self.assertEqual(
            self.events(client, "troubles"),
            [[{"severity": 1, "subject": "upstream", "name": "app", "message": "http://x: gone"}]],
        )
        self.assertEqual(self.gateway.asked, asked + 1)

    def test_the_token_of_the_page_is_needed(self) -> None:
        browser, other = self.enter(), self.enter()
        target = self.stream_of(browser)
        foreign = self.stream_of(other)
        for wrong in (target.partition("?")[0], f"{target}x", foreign):
            client = self.listen(browser, wrong)
            self.assertIn(b"403", client.transport.arrived.split(b"\r\n")[0])
        for site in ("cross-site", "same-site"):
            client = self.listen(browser, target, f"Sec-Fetch-Site: {site}")
            self.assertIn(b"403", client.transport.arrived.split(b"\r\n")[0])
        self.assertEqual(len(self.audience), 0)

    def test_attack_79_viewers_are_bounded(self) -> None:
        browser = self.enter()
        target = self.stream_of(browser)
        clients = [self.listen(browser, target) for _ in range(MOST_VIEWERS)]
        self.assertEqual(len(self.audience), MOST_VIEWERS)
        more = self.listen(browser, target)
        self.assertIn(b"503", more.transport.arrived.split(b"\r\n")[0])
        clients[0].transport.lose(ConnectionDone())
        self.clock.advance(0)
        again = self.listen(browser, target)
        self.assertIn(b"200", again.transport.arrived.split(b"\r\n")[0])

    def test_attack_79_a_slow_reader_loses_samples_and_delays_nothing(self) -> None:
        browser = self.enter()
        target = self.stream_of(browser)
        slow, quick = self.listen(browser, target), self.listen(browser, target)
        (exchange,) = slow.channel.exchanges
        exchange.responder.pause()  # type: ignore[union-attr]
        self.clock.pump([1.0] * 5)
        self.assertEqual((len(self.events(slow)), len(self.events(quick))), (0, 5))
        exchange.responder.resume()  # type: ignore[union-attr]
        self.clock.pump([1.0] * 2)
        self.assertEqual([one["time"] for one in self.events(slow)], [START + 6, START + 7])

    def test_samples_end_some_time_after_the_last_viewer(self) -> None:
        browser = self.enter()
        client = self.listen(browser, self.stream_of(browser))
        self.clock.pump([1.0] * 3)
        client.transport.lose(ConnectionDone())
        self.clock.advance(0)
        self.clock.pump([1.0] * 65)
        self.assertEqual(self.gateway.samples.samples, ())


class UnavailableTests(OperatorCase):
    def test_a_failure_of_the_examination_is_no_secret_page(self) -> None:
        browser = self.enter()

        def fails() -> Any:
            raise Unavailable("the gateway stops")

        self.gateway.troubles = fails  # type: ignore[method-assign]
        self.assertEqual(browser.open("/.perimeter/operator").status, 503)

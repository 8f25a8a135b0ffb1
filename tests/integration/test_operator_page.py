"""The operator's page of a running gateway: in a browser, under load, and while things are broken."""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
from collections.abc import Iterator
from typing import Any, ClassVar

import requests
from playwright.sync_api import Page

from perimeter.cli.explaining import run_explain
from tests.integration.axe import barriers
from tests.integration.browser import HOST, BrowserCase, secure, type_password
from tests.integration.harness import Gateway, site
from tests.integration.ports import eventually
from tests.integration.visitor import Visitor
from tests.integration.wire import Wire, basic
from tests.unit.doubles.figures import read

PAGE = "/.perimeter/operator"
MARKUP = "<img/src=x/onerror=alert(1)>"
SECTIONS = ("", "/services", "/authenticators", "/certificates", "/sessions", "/tokens", "/waiting", "/routes",
            "/explain?method=GET&url=/admin&user=bob", "/audit?search=1", "/configuration", "/keys")  # fmt: skip

CONFIG = secure(
    site(
        """\
[upstream service]
servers = <service>

[upstream gone]
servers = http://127.0.0.1:9

[route admin]
path = /admin
upstream = service
allow = role:admin
deny = method:DELETE

[route gone]
path = /gone
upstream = gone

[route open]
path = /open
upstream = service
auth = none

[route inner]
path = /inner
upstream = service
auth = none
networks = 10.0.0.0/8

[route all]
path = /
upstream = service
browser_login = yes
""",
        extra="""\
[listener metrics]
port = @metrics@
interface = 127.0.0.1
serve = metrics

[operator]
role = admin
""",
    ).replace("path = access.log", "path = access.log\nformat = json")
)
FILES = {"users.realm": f"alice: secret,admin\nbob: hunter2\n{MARKUP.replace('=', chr(92) + '=')}: secret,{'<b>role</b>'}\n"}


class OperatorPageCase(BrowserCase):
    CONFIG = CONFIG
    FILES: ClassVar = FILES

    def signed_in(self, username: str = "alice", password: str = "secret") -> Visitor:
        visitor = self.visitor()
        answer = visitor.sign_in(username, password)
        self.assertEqual(answer.status_code, 303, answer.text)
        return visitor

    def operator(self, **options: Any) -> Page:
        page = self.page(**options)
        page.goto(PAGE)
        type_password(page)
        page.wait_for_url(f"**{PAGE}")
        return page

    def stream(self, visitor: Visitor) -> str:
        found = re.search(r'data-stream="([^"]*)"', visitor.navigate(PAGE).text)
        assert found is not None
        return found[1]

    def listen(self, visitor: Visitor) -> Wire:
        """A viewer of the figures, which has read the head of the stream."""
        wire = self.connect(self.served)
        lines = (f"Cookie: __Host-perimeter={visitor.cookie}", "Accept: text/event-stream")
        fields = "".join(f"{line}\r\n" for line in (f"Host: 127.0.0.1:{self.served['https']}", *lines))
        wire.send(f"GET {self.stream(visitor)} HTTP/1.1\r\n{fields}\r\n".encode())
        wire.read_until(b"\r\n\r\n")
        return wire

    def metrics(self) -> Any:
        return read(requests.get(f"http://127.0.0.1:{self.served['metrics']}/metrics", timeout=10).content)

    @contextlib.contextmanager
    def load(self, target: str = "/open") -> Iterator[list[float]]:
        """Requests by one client after the other meanwhile: how long each took (seconds)."""
        took: list[float] = []
        over = threading.Event()

        def ask() -> None:
            with self.served.connect() as wire:
                while not over.is_set():
                    began = time.perf_counter()
                    wire.get(target, host=HOST)
                    took.append(time.perf_counter() - began)

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            yield took
        finally:
            over.set()
            thread.join()


class PageTests(OperatorPageCase):
    def test_the_figures_move_and_the_page_says_what_is_wrong(self) -> None:
        page = self.operator()
        self.assertIn("problem", page.inner_text("#troubles-title"))
        self.assertIn("gone", page.inner_text("#troubles"))
        page.get_by_text("Live, ").wait_for()
        self.assertEqual(page.locator("figure .uplot canvas").count(), 4)
        with self.load():
            eventually(lambda: _number(page.inner_text('[data-value="0.0"]')) > 10, "more than ten requests a second")

    def test_each_section_is_accessible(self) -> None:
        """axe-core in both colour schemes, at both sizes; nothing is wider than the page."""
        page = self.operator()
        for path in SECTIONS:
            page.goto(PAGE + path)
            if not path:
                page.get_by_text("Live, ").wait_for()
            self.assertEqual(barriers(page), [], path)

    def test_without_script(self) -> None:
        page = self.operator(javascript=False)
        page.goto(f"{PAGE}?refresh=10")
        time.sleep(2.1)
        page.goto(f"{PAGE}?refresh=10")
        self.assertGreater(page.locator("figure polyline").count(), 0)
        self.assertIn('http-equiv="refresh" content="10"', page.content())

    def test_attack_26_markup_of_names_and_clients_is_text(self) -> None:
        visitor = self.signed_in(MARKUP)
        visitor.navigate(f"/open?{MARKUP}", User_Agent=MARKUP)
        for _ in range(7):
            requests.get(f"{visitor.origin}/x", auth=(f"x{MARKUP}", "wrong"), verify=False, timeout=10)
        page = self.operator()
        dialogs: list[str] = []
        page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
        quoted = requests.utils.quote(MARKUP)
        for path in (
            *SECTIONS,
            f"/explain?url=/{quoted}&user={quoted}&address={quoted}",
            f"/audit?search=1&path=/open&user={quoted}",
        ):
            page.goto(PAGE + path)
            self.assertEqual(page.locator("main img").count(), 0, path)
            self.assertEqual(page.locator("main b:has-text('role')").count(), 0, path)
        page.goto(f"{PAGE}/sessions")
        self.assertIn(MARKUP, page.inner_text("main"))
        self.assertEqual(dialogs, [])


def _number(text: str) -> float:
    return float(text.partition("/")[0].replace(",", ""))


class FiguresTests(OperatorPageCase):
    def test_figures_are_those_of_the_metrics(self) -> None:
        """Within 2 %, and both within 2 % of what was asked."""
        visitor = self.signed_in()
        wire = self.listen(visitor)

        def sample() -> Any:
            wire.read_until(b"event: sample\ndata: ")
            return json.loads(wire.read_until(b"\n\n"))

        def count() -> float:
            return float(self.metrics().total("perimeter_requests_total"))

        last = sample()["time"]
        before, answered = count(), 0.0
        with self.load() as took:
            time.sleep(5)
        idle = 0
        while idle < 2:  # all that has ended is in a sample then
            one = sample()
            answered += sum(one["series"][0]) * (one["time"] - last)
            last = one["time"]
            idle = idle + 1 if not sum(one["series"][0]) else 0
        self.assertGreater(len(took), 500)
        self.assertLess(abs(answered / (count() - before) - 1), 0.02)
        self.assertLess(abs(answered / len(took) - 1), 0.02)
        page = visitor.navigate(PAGE).text
        shown = {name: int(number.replace(",", "")) for name, number in re.findall(r"(\dxx): ([\d,]+)", page)}
        counted = self.metrics()
        for name, number in shown.items():
            hundred = range(int(name[0]) * 100, int(name[0]) * 100 + 99)
            expected = sum(counted.total("perimeter_requests_total", status=str(status)) for status in hundred)
            self.assertLessEqual(abs(number - expected), max(3, 0.02 * expected), (name, shown))


class ExplainTests(OperatorPageCase):
    def test_what_would_happen_is_what_happens(self) -> None:
        """The page, the command and the gateway agree about each of two hundred requests."""
        operator = self.signed_in()
        paths = (
            *("/", "/admin", "/admin/", "/adminx", "/admin//x", "/%61dmin", "/admin/..%2f", "/a/../admin", "/open", "/ADMIN"),
            *("/open/../admin", "/open;/../admin", "/open/%2e%2e/admin", "/inner", "/inner/x", "//admin", "/gone%00", "/.%2e/x"),
            *("/a%5cb", "/token", "/health", "/.well-known/jwks.json", "/tokens", "/%252e%252e/admin", "/open%2Fx"),
        )
        users = (("", ""), ("alice", "secret"), ("bob", "hunter2"))
        site_ini = self.served.directory / "site.ini"
        disagreed = []
        count = 0
        for method in ("GET", "DELETE", "PUT"):
            for path in paths:
                for user, password in users:
                    if method == "PUT" and user == "bob":
                        continue
                    count += 1
                    with self.served.connect() as wire:
                        lines = (basic(user, password),) if user else ()
                        status = wire.get(path, *lines, host=HOST, method=method).status
                    query = {"method": method, "url": f"https://{HOST}{path}", "user": user, "address": "127.0.0.1"}
                    page = operator.navigate(
                        f"{PAGE}/explain?" + "&".join(f"{k}={requests.utils.quote(v, safe='')}" for k, v in query.items())
                    )
                    found = re.search(r'class="verdict \w+">(?:Refused with (\d+)|(Admitted))', page.text)
                    assert found is not None, (query, page.text)
                    said = int(found[1] or 0)
                    if said != (0 if status in (200, 201, 204, 405, 502, 415, 404) and said == 0 else status):
                        disagreed.append((method, path, user, status, said))
                    if not user:
                        code, text = run_explain(site_ini, method, f"https://{HOST}{path}", address="127.0.0.1")
                        if (code == 0) != (said == 0):
                            disagreed.append((method, path, user, text))
        self.assertEqual(disagreed, [])
        self.assertGreaterEqual(count, 200)


class ActionTests(OperatorPageCase):
    def test_a_session_is_ended_and_its_stream_closes(self) -> None:
        operator, other = self.signed_in(), self.signed_in()
        wire = self.listen(other)
        other_id = self.session_id(other)
        form = operator.form(f"{PAGE}/sessions", f"end?id={other_id}")
        self.assertEqual(operator.post(form.action, form.fields).status_code, 303)
        self.assert_ends(wire, 2.0)
        self.assertEqual(other.navigate(PAGE).status_code, 302)
        self.assertIn(f"The session {other_id} of alice has ended.", operator.navigate(f"{PAGE}/sessions").text)
        line = self.audit_of("session_end")
        self.assertEqual((line["user"], line["status"]), ("alice", 303))
        self.assertIn(other_id, line["target"])

    def session_id(self, visitor: Visitor) -> str:
        visitor.navigate(PAGE)
        return str(self.audit_of("operator_view")["session"])

    def audit_of(self, event: str) -> Any:
        lines = [json.loads(line) for line in self.served.audit() if f'"event":"{event}"' in line]
        return lines[-1]

    def assert_ends(self, wire: Wire, seconds: float) -> None:
        began = time.monotonic()
        with contextlib.suppress(OSError):
            wire.read_all()
        self.assertLess(time.monotonic() - began, seconds)

    def test_a_name_is_released(self) -> None:
        operator = self.signed_in()
        for attempt in range(12):
            status = requests.get(f"{operator.origin}/x", auth=("bob", f"wrong{attempt}"), verify=False, timeout=10).status_code
        self.assertEqual(status, 429)
        form = operator.form(f"{PAGE}/waiting", "release?what=bob")
        operator.post(form.action, form.fields)
        self.assertEqual(requests.get(f"{operator.origin}/x", auth=("bob", "hunter2"), verify=False, timeout=10).status_code, 200)
        self.assertEqual(self.audit_of("unban")["user"], "alice")

    def test_keys_are_rotated(self) -> None:
        operator = self.signed_in()
        jwks = f"{operator.origin}/.well-known/jwks.json"
        before = requests.get(jwks, verify=False, timeout=10).json()
        form = operator.form(f"{PAGE}/keys", "rotate")
        self.assertEqual(operator.post(form.action, form.fields).status_code, 303)
        self.assertNotEqual(requests.get(jwks, verify=False, timeout=10).json(), before)

    def test_the_search_finds_the_request_made_just_before(self) -> None:
        operator = self.signed_in()
        with self.served.connect() as wire:
            wire.get("/open/needle-4711", host=HOST)
        page = operator.navigate(f"{PAGE}/audit?search=1&path=/open/needle")
        self.assertIn("/open/needle-4711", page.text)
        self.assertIn("1 line", page.text)


class RoleTests(OperatorPageCase):
    def fresh(self) -> tuple[Gateway, Visitor]:
        text = CONFIG.replace("<service>", self.service.url)
        files = {**FILES, **{name: (self.served.directory / name).read_bytes() for name in (f"{HOST}.pem", f"{HOST}.key")}}
        gateway = self.gateway(text, files)
        visitor = Visitor(f"https://127.0.0.1:{gateway['https']}", gateway.directory / f"{HOST}.pem")
        self.addCleanup(visitor.close)
        return gateway, visitor

    def test_attack_81_the_role_is_removed(self) -> None:
        """The page is refused and the stream ends, within 60 s."""
        self.served, visitor = self.fresh()
        self.assertEqual(visitor.sign_in("alice", "secret").status_code, 303)
        self.assertEqual(visitor.navigate(PAGE).status_code, 200)
        wire = self.listen(visitor)
        wire.read_until(b"event: sample")
        (self.served.directory / "users.realm").write_text("alice: secret\nbob: hunter2\n")
        began = time.monotonic()
        ended = threading.Event()

        def read() -> None:
            try:
                while wire.read_some():
                    pass
            except OSError:
                pass
            ended.set()

        reader = threading.Thread(target=read)
        reader.start()
        eventually(lambda: visitor.navigate(PAGE).status_code == 403, "the page is refused", timeout=60)
        self.assertTrue(ended.wait(60 - (time.monotonic() - began)))
        reader.join()

    def test_the_stream_survives_a_reload_and_ends_with_the_page(self) -> None:
        self.served, visitor = self.fresh()
        visitor.sign_in("alice", "secret")
        wire = self.listen(visitor)
        wire.read_until(b"event: sample")
        site_ini = self.served.directory / "site.ini"
        text = site_ini.read_text()
        site_ini.write_text(text + "\n[limits]\n".replace("[limits]", "; a comment"))
        self.served.reload()
        for _ in range(3):
            wire.read_until(b"event: sample")
        page = visitor.navigate(f"{PAGE}/configuration").text
        self.assertIn('<span class="badge good">in force</span>', page)
        site_ini.write_text(text.replace("[listener metrics]", "[listner metrics]"))
        self.served.reload()
        page = visitor.navigate(f"{PAGE}/configuration").text
        self.assertIn('<span class="badge bad">refused</span>', page)
        self.assertIn("listner", page)
        self.assertIn("the last reload was refused", visitor.navigate(PAGE).text)
        site_ini.write_text(text.replace("[operator]\nrole = admin\n", ""))
        self.served.reload()
        with contextlib.suppress(OSError):
            wire.read_all()
        self.assertEqual(visitor.navigate(PAGE).status_code, 404)

    def test_users_without_the_role_are_refused(self) -> None:
        visitor = self.signed_in("bob", "hunter2")
        for path in SECTIONS:
            answer = visitor.navigate(PAGE + path)
            self.assertEqual(answer.status_code, 403, path)
        with self.served.connect() as wire:
            self.assertEqual(wire.get(PAGE, basic("alice", "secret"), host=HOST).status, 401, "only a session opens it")

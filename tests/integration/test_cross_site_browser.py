"""50: pages of other origins in a real Chromium, which adds the password that its user has typed before."""

from __future__ import annotations

import json
from typing import Any

from tests.integration.browser import chromium
from tests.integration.harness import USERS, GatewayCase, site
from tests.integration.password_dialog import PasswordDialog
from tests.integration.ports import eventually
from tests.integration.upstreams import Connection
from tests.integration.web_service import accept_websocket, answer, send_text

ROUTES = """\
[upstream service]
servers = {service}

[route listed]
path = /listed
upstream = service
cross_site = {listed}

[route all]
path = /
upstream = service
"""

FORM = b"<!DOCTYPE html><title>page</title><form method=post><input name=amount value=1000></form>"

SEND_FORM = "document.forms[0].action = url; document.forms[0].submit();"
SEND_TEXT_FORM = "document.forms[0].enctype = 'text/plain';" + SEND_FORM
SEND_BLIND_FORM = "document.head.innerHTML = '<meta name=referrer content=no-referrer>';" + SEND_FORM

FETCH = "([url, options]) => fetch(url, options).then(answer => answer.status, () => 'unreadable')"
WEBSOCKET = """url => new Promise(done => {
    const socket = new WebSocket(url);
    socket.onmessage = message => { done(message.data); socket.close(); };
    socket.onerror = () => done('refused');
})"""

REFUSED = (403, "alice", "cross_site")


def serving(connection: Connection) -> None:
    """A page with a form for GET, a WebSocket that says hello, and "done" for all the rest."""
    while True:
        received = connection.request()
        if received.get("sec-websocket-key") is not None:
            accept_websocket(connection, received)
            send_text(connection, "hello")
            while connection.read_some():
                pass
            return
        answer(connection, "text/html", FORM if received.line.startswith("GET ") else b"done")


class CrossSiteBrowserTests(GatewayCase):
    def setUp(self) -> None:
        self.service = self.upstream(serving)
        self.foreign = self.upstream(serving)
        self.sister = f"http://127.0.0.1:{self.foreign.port}"
        self.stranger = f"http://localhost:{self.foreign.port}"
        config = site(ROUTES.format(service=self.service.url, listed=self.sister))
        self.served = self.gateway(config.replace("path = access.log", "path = access.log\nformat = json"), USERS)
        self.own = f"http://127.0.0.1:{self.served['http']}"
        self.by_name = f"http://localhost:{self.served['http']}"
        context = chromium().context()
        self.addCleanup(context.close)
        self.page = context.new_page()
        self.dialog = PasswordDialog(self.page, ("alice", "secret"))
        # the password is typed once for each origin of the gateway, and is the browser's to add from now on
        for origin in (self.own, self.by_name):
            self.visit(origin)
        self.assertEqual(len(self.dialog.challenges), 2)

    def visit(self, origin: str) -> None:
        self.page.goto(origin + "/")

    def form(self, path: str, script: str = SEND_FORM) -> str:
        """What the user sees after a form was sent."""
        with self.page.expect_navigation():
            self.page.evaluate(f"url => {{ {script} }}", self.own + path)
        return self.page.inner_text("body")

    def fetch(self, path: str, **options: Any) -> Any:
        return self.page.evaluate(FETCH, [self.own + path, {"credentials": "include"} | options])

    def socket(self, path: str) -> Any:
        return self.page.evaluate(WEBSOCKET, self.own.replace("http", "ws", 1) + path)

    def arrived(self, path: str) -> int:
        """How many requests for ``path`` have reached the service."""
        return sum(path in received.line for received in self.service.requests)

    def outcomes(self, path: str, count: int) -> list[tuple[Any, ...]]:
        """Method, status, user and reason of each audited request for ``path``; there must be ``count`` of them."""

        def records() -> list[dict[str, Any]]:
            return [record for record in map(json.loads, self.served.audit()) if record["target"] == path]

        eventually(lambda: len(records()) >= count, f"{count} requests for {path}")
        return [(one["method"], one["status"], one["user"], one["reason"]) for one in records()]

    def forms(self, origin: str, path: str) -> list[str]:
        """What the user sees after each kind of form of a page of ``origin``."""
        texts = []
        for script in (SEND_FORM, SEND_TEXT_FORM, SEND_BLIND_FORM):
            self.visit(origin)
            texts.append(self.form(path, script))
        return texts

    def test_attack_50_pages_of_another_origin_in_a_browser(self) -> None:
        """Another port, another name, and the gateway itself by another name: refused although the browser adds the password."""
        for number, origin in enumerate((self.sister, self.stranger, self.by_name)):
            for text in self.forms(origin, f"/form{number}"):
                self.assertIn("This request comes from another site", text, origin)
            self.assertEqual(self.outcomes(f"/form{number}", 3), [("POST", *REFUSED)] * 3, origin)
            self.visit(origin)
            self.assertEqual(self.fetch(f"/fetch{number}", method="POST"), "unreadable")
            self.assertEqual(self.fetch(f"/fetch{number}", method="POST", mode="no-cors"), 0)
            self.assertEqual(self.fetch(f"/fetch{number}", method="DELETE"), "unreadable")
            self.assertEqual(self.socket(f"/socket{number}"), "refused")
            # Chromium asks first, without the password, whether it may send DELETE
            asked = ("OPTIONS", 401, None, "missing_credentials")
            # to a page of another host it lends no password that was typed into a page of this one, except for a form
            post, get = (
                (("POST", *REFUSED), ("GET", *REFUSED)) if origin == self.sister else (("POST", *asked[1:]), ("GET", *asked[1:]))
            )
            self.assertEqual(self.outcomes(f"/fetch{number}", 3), [post, post, asked], origin)
            self.assertEqual(self.outcomes(f"/socket{number}", 1), [get], origin)
            for path in ("form", "fetch", "socket"):
                self.assertEqual(self.arrived(f"/{path}{number}"), 0, (origin, path))

    def test_the_services_own_page_gets_through(self) -> None:
        self.assertEqual(self.forms(self.own, "/form"), ["done"] * 3)
        self.visit(self.own)
        for method in ("POST", "PUT", "DELETE"):
            self.assertEqual(self.fetch("/fetch", method=method), 200, method)
        self.assertEqual(self.socket("/socket"), "hello")
        self.assertEqual([self.arrived(path) for path in ("/form", "/fetch", "/socket")], [3, 3, 1])
        self.assertEqual(len(self.dialog.challenges), 2)

    def test_an_origin_that_the_route_lists_gets_through(self) -> None:
        self.assertEqual(self.forms(self.sister, "/listed/form")[:2], ["done"] * 2)
        self.visit(self.sister)
        self.assertEqual(self.fetch("/listed/fetch", method="POST", mode="no-cors"), 0)
        self.assertEqual(self.socket("/listed/socket"), "hello")
        done = (200, "alice", "")
        # a page that hides its origin is not the one that is listed
        self.assertEqual(self.outcomes("/listed/form", 3), [("POST", *done), ("POST", *done), ("POST", *REFUSED)])
        self.assertEqual(self.outcomes("/listed/fetch", 1), [("POST", *done)])
        self.assertEqual([self.arrived(f"/listed/{path}") for path in ("form", "fetch", "socket")], [2, 1, 1])
        # the list of one route is no other route's, and holds no other port or name
        self.visit(self.sister)
        self.assertIn("another site", self.form("/form"))
        self.assertIn("another site", self.forms(self.stranger, "/listed/other")[0])
        self.assertEqual((self.arrived(" /form"), self.arrived("/listed/other")), (0, 0))

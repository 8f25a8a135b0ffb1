"""Pages of other origins in a real Chromium: what `cors` lets them read, and what reaches the service."""

from __future__ import annotations

import json
from typing import Any

from tests.integration.browser import chromium
from tests.integration.harness import USERS, GatewayCase, site
from tests.integration.password_dialog import PasswordDialog
from tests.integration.upstreams import Connection
from tests.integration.wire import basic

ROUTES = """\
[upstream service]
servers = {service}

[route api]
path = /api
upstream = service
cors = {listed}
cors_methods = GET, PUT
cors_headers = Authorization, X-Asked
cors_expose = X-Answer

[route user]
path = /user
upstream = service
cors = {listed}
cors_credentials = yes

[route all]
path = /all
upstream = service
auth = none
cors = *

[route pass]
path = /pass
upstream = service
auth = optional
cors = pass

[route rest]
path = /
upstream = service
"""

#: what a script of a page gets: status, body and a header of the response, or that it may not read it
FETCH = """([url, options]) => fetch(url, options).then(
    async answer => [answer.status, (await answer.text()).slice(0, 40), answer.headers.get('X-Answer')],
    () => 'unreadable')"""

ALICE = basic("alice", "secret").partition(": ")[2]


def serving(connection: Connection) -> None:
    """A service that has an opinion of its own about pages of other sites, and answers preflights."""
    while True:
        received = connection.request()
        permits = b"Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Methods: DELETE\r\n"
        body = b"" if received.line.startswith("OPTIONS") else b"done"
        connection.send(
            b"HTTP/1.1 200 OK\r\nX-Answer: yes\r\nContent-Type: text/html\r\n%bContent-Length: %d\r\n\r\n%b"
            % (permits, len(body), body)
        )


class CorsBrowserTests(GatewayCase):
    def setUp(self) -> None:
        self.service = self.upstream(serving)
        self.foreign = self.upstream(serving)
        self.listed = f"http://127.0.0.1:{self.foreign.port}"
        self.stranger = f"http://localhost:{self.foreign.port}"
        config = site(ROUTES.format(service=self.service.url, listed=self.listed))
        self.served = self.gateway(config.replace("path = access.log", "path = access.log\nformat = json"), USERS)
        self.own = f"http://127.0.0.1:{self.served['http']}"
        context = chromium().context()
        self.addCleanup(context.close)
        self.page = context.new_page()

    def fetch(self, path: str, **options: Any) -> Any:
        return self.page.evaluate(FETCH, [self.own + path, options])

    def arrived(self, path: str) -> list[str]:
        """The methods of the requests for ``path`` that have reached the service."""
        return [received.line.split()[0] for received in self.service.requests if received.line.split()[1] == path]

    def test_a_listed_page_uses_a_route(self) -> None:
        self.page.goto(self.listed)
        with self.served.connect("http") as wire:
            token = json.loads(wire.get("/token", basic("alice", "secret")).body)["access_token"]
        headers = {"Authorization": f"Bearer {token}", "X-Asked": "x"}
        self.assertEqual(self.fetch("/api/put", method="PUT", headers=headers), [200, "done", "yes"])
        self.assertEqual(self.arrived("/api/put"), ["PUT"], "the gateway answers the preflight")
        # why a request is refused can be read
        status, body, _ = self.fetch("/api/refused", method="PUT")
        self.assertEqual((status, "auth_uri" in body), (401, True))
        self.assertEqual(self.fetch("/api/wrong", headers={"Authorization": "Bearer wrong"})[0], 401)
        # a browser may have added a password by itself
        self.assertIn("cross_site", self.fetch("/api/password", method="PUT", headers={"Authorization": ALICE})[1])
        # what is not listed is not sent
        for options in ({"method": "DELETE"}, {"method": "PUT", "headers": {"X-Other": "x"}}):
            self.assertEqual(self.fetch("/api/other", **options), "unreadable", options)
        self.assertEqual((self.arrived("/api/other"), self.arrived("/api/refused")), ([], []))
        self.assertEqual(self.fetch("/rest", headers={"Authorization": ALICE}), "unreadable", "a route without cors")
        preflights = [one for one in map(json.loads, self.served.audit()) if one["method"] == "OPTIONS"]
        self.assertIn(
            ("/api/put", 204, None, "cors"), [(one["target"], one["status"], one["user"], one["upstream"]) for one in preflights]
        )

    def test_attack_133_other_pages_read_nothing(self) -> None:
        self.page.goto(self.stranger)
        self.assertEqual(self.fetch("/api/put", method="PUT", headers={"Authorization": ALICE}), "unreadable")
        self.assertEqual(self.fetch("/api/get"), "unreadable")
        self.assertEqual(self.fetch("/user/get"), "unreadable")
        self.assertEqual((self.arrived("/api/put"), self.arrived("/api/get")), ([], []))
        # unless the route is for pages of all sites, which read responses that need no credentials
        self.assertEqual(self.fetch("/all/get"), [200, "done", None])
        self.assertEqual(self.fetch("/all/get", credentials="include"), "unreadable")

    def test_a_page_that_acts_as_the_user(self) -> None:
        dialog = PasswordDialog(self.page, ("alice", "secret"))
        self.page.goto(self.own + "/user/page")
        self.page.goto(self.listed)
        self.assertEqual(self.fetch("/user/post", method="POST", credentials="include")[:2], [200, "done"])
        self.assertEqual(self.fetch("/api/get", credentials="include"), "unreadable", "not without cors_credentials")
        self.assertEqual(len(dialog.challenges), 1)

    def test_a_service_that_answers_preflights(self) -> None:
        self.page.goto(self.stranger)
        self.assertEqual(self.fetch("/pass/x", method="DELETE"), [200, "done", None])
        self.assertEqual(self.arrived("/pass/x"), ["OPTIONS", "DELETE"])
        (preflight,) = [one for one in self.service.requests if one.line.startswith("OPTIONS")]
        self.assertIsNone(preflight.get("x-auth-username"))

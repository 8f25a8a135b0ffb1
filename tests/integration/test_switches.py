"""The operator's switches and their effects: maintenance, authentication off, redirects, error pages, audit files."""

from __future__ import annotations

import json

from tests.integration.harness import USERS, Gateway, GatewayCase, site, targets
from tests.integration.upstreams import Connection
from tests.integration.wire import Wire, basic

ALICE = basic("alice", "secret")


class SwitchTests(GatewayCase):
    """``enabled``, ``maintenance``, redirect listeners, error answers, audit files of routes: one gateway, reloaded."""

    def config(self, perimeter: str = "", extra: str = "", pages: str = "") -> str:
        def never(connection: Connection) -> None:
            connection.request()
            connection.read_some()  # until the gateway refuses to read more

        def garbage(connection: Connection) -> None:
            connection.request()
            connection.send(b"this is not HTTP\r\n\r\n")

        if not hasattr(self, "services"):
            self.services = (self.upstream(), self.upstream(never), self.upstream(garbage))
        good, slow, bad = self.services
        routes = f"""
[upstream service]
servers = {good.url}

[upstream slow]
servers = {slow.url}
read_timeout = 300ms

[upstream bad]
servers = {bad.url}

[upstream dead]
servers = http://127.0.0.1:@nothing@

[upstream unknown]
servers = http://no-such-host.invalid:80

[route all]
path = /
upstream = service

[route admin]
path = /admin
upstream = service
allow = role:admin
audit = admin.log

[route slow]
path = /slow
upstream = slow
auth = none
audit = slow.log

[route bad]
path = /bad
upstream = bad
auth = none

[route dead]
path = /dead
upstream = dead
auth = none

[route unknown]
path = /unknown
upstream = unknown
auth = none

[route pages]
path = /pages
static = pages
auth = none

{pages}
"""
        redirect = "[listener redirect]\nport = @redirect@\ninterface = 127.0.0.1\nserve = redirect\nredirect_to = 9443\n"
        return site(routes, perimeter=perimeter, extra=redirect + extra)

    def test_switches_and_error_answers(self) -> None:
        gateway = self.gateway(
            self.config(), {**USERS, "pages/50x.html": "<p>the operator's</p>", "pages/401.html": "<p>who?</p>"}
        )
        wire = self.connect(gateway, "http")
        self.error_answers(wire)
        self.redirects(gateway)
        self.audit_files(gateway, wire)
        self.error_pages(gateway, wire)
        self.maintenance(gateway, wire)
        self.disabled(gateway, wire)

    def error_answers(self, wire: Wire) -> None:
        """502 and 504 as JSON, and as HTML for those who prefer it."""
        for path, status, reason in (
            ("/dead", 502, "upstream_unreachable"),
            ("/unknown", 502, "upstream_unreachable"),
            ("/bad", 502, "upstream_bad_reply"),
            ("/slow", 504, "upstream_timeout"),
        ):
            for accept in ("", "*/*", "application/json", "text/html;q=0.5, application/json", "application/json, text/html"):
                response = wire.get(path, *([f"Accept: {accept}"] if accept else []))
                self.assertEqual(response.status, status, path)
                self.assertEqual(response.get("content-type"), "application/json;charset=UTF-8", accept)
                body = json.loads(response.body)
                self.assertEqual(body["error"], reason)
                self.assertNotIn("127.0.0.1", response.text)
            for accept in (
                "text/html",
                "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
                "application/json;q=0.1, text/html",
            ):
                response = wire.get(path, f"Accept: {accept}")
                self.assertEqual(response.status, status, path)
                self.assertEqual(response.get("content-type"), "text/html; charset=utf-8", accept)
                self.assertIn(f"<title>{status} ", response.text)
                self.assertIn("default-src 'none'", response.get("content-security-policy") or "")
            head = wire.get(path, method="HEAD")
            self.assertEqual((head.status, head.body), (status, b""))

    def redirects(self, gateway: Gateway) -> None:
        wire = self.connect(gateway, "redirect")
        for target, location in (
            ("/", "https://gateway.test:9443/"),
            ("/a/b?c=d&e", "https://gateway.test:9443/a/b?c=d&e"),
            ("/admin", "https://gateway.test:9443/admin"),
        ):
            response = wire.get(target)
            self.assertEqual((response.status, response.get("location")), (301, location))
        self.assertEqual(wire.get("/a", method="POST", body=b"x").get("location"), "https://gateway.test:9443/a")
        self.assertEqual(wire.get("/a", host="other.test:80").get("location"), "https://other.test:9443/a")

    def audit_files(self, gateway: Gateway, wire: Wire) -> None:
        """The audit file of a route contains its requests, also refused ones, and the common file does not contain them."""
        for credential in (ALICE, basic("bob", "hunter2"), "X: y"):
            wire.get("/admin/x", credential)
        lines = gateway.audit("admin.log")
        self.assertEqual([line.split('" ')[1][:3] for line in lines], ["200", "403", "401"])
        self.assertEqual([line.split(" ")[1] for line in lines], ["alice", "bob", "-"])
        self.assertEqual(set(targets(gateway.audit("slow.log"))), {"/slow"})
        self.assertEqual([target for target in targets(gateway.audit()) if target.startswith(("/admin/", "/slow"))], [])

    def error_pages(self, gateway: Gateway, wire: Wire) -> None:
        gateway.configure(self.config(pages="[errors]\npage = 500 502 503 504 /pages/50x.html\n  401 /pages/401.html\n"))
        self.assertIn("STATUS=listening", gateway.reload())
        for accept in ("text/html", "*/*"):
            response = wire.get("/dead", f"Accept: {accept}")
            self.assertEqual((response.status, response.body), (502, b"<p>the operator's</p>"))
            self.assertTrue((response.get("content-type") or "").startswith("text/html"))
        self.assertEqual(json.loads(wire.get("/dead", "Accept: application/json").body)["error"], "upstream_unreachable")
        response = wire.get("/x", "Accept: text/html")
        self.assertEqual((response.status, response.body), (401, b"<p>who?</p>"))
        challenges = ['Bearer realm="example"', 'Basic realm="example", charset="UTF-8"']
        self.assertEqual(response.get_all("www-authenticate"), challenges)
        self.assertEqual(wire.get("/x", "Accept: text/html", basic("alice", "wrong")).status, 401)

    def maintenance(self, gateway: Gateway, wire: Wire) -> None:
        """503 with JSON on every route, for every client, every Accept header and all configured pages."""
        for pages in ("", "[errors]\npage = 503 /pages/50x.html\n"):
            gateway.configure(self.config("maintenance = yes", pages=pages))
            self.assertIn("STATUS=listening", gateway.reload())
            self.assertIn("maintenance = yes: every route answers 503", gateway.log)
            reached = len(self.services[0].requests)
            for path in ("/", "/admin", "/dead", "/slow", "/pages/50x.html"):
                for line in ("X: y", ALICE, "Accept: text/html", basic("alice", "wrong")):
                    response = wire.get(path, line)
                    self.assertEqual(response.status, 503, path)
                    self.assertEqual(response.get("content-type"), "application/json;charset=UTF-8", f"{pages}{line}")
                    self.assertEqual(json.loads(response.body)["error"], "maintenance")
            self.assertEqual(len(self.services[0].requests), reached)

    def disabled(self, gateway: Gateway, wire: Wire) -> None:
        """Every request is routed without authentication, with a clear warning. No identity header from a client passes."""
        gateway.configure(self.config("enabled = no"))
        self.assertIn("STATUS=listening", gateway.reload())
        gateway.await_log("SECURITY IS OFF")
        for path in ("/x", "/admin/x"):
            response = wire.get(path, "X-Auth-Username: root", basic("alice", "wrong"))
            self.assertEqual(response.status, 200, path)
            received = self.services[0].requests[-1]
            self.assertIsNone(received.get("x-auth-username"))
            self.assertIsNone(received.get("authorization"))
        gateway.configure(self.config())
        gateway.reload()
        self.assertEqual(wire.get("/x").status, 401)

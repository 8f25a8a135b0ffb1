"""Routes that give a service another path than the client's: its links, its redirects, and paths that nothing may change."""

from __future__ import annotations

import re
from urllib.parse import urljoin

from tests.integration.harness import USERS, GatewayCase, site
from tests.integration.upstreams import Connection
from tests.integration.wire import basic

ALICE = basic("alice", "secret")
PAGE = b'<a href="next.html">next</a>'

SENT = (
    "/job/feature%252Fx",
    "/file%2520name",
    "/fetch/http://e/a",
    "/%7Euser",
    "/a%5Cb",
    "/a%2fb",
    "/a//b",
    "/a;v=1/b",
    "/caf%c3%a9",
    "/%41?x=%2F..//&y",
    "/artifact/%25/x",
)


def service(connection: Connection) -> None:
    """Redirects from /moved, in its own words: as it heeds X-Forwarded-Prefix, or not."""
    while True:
        request = connection.request()
        prefix = request.get("x-forwarded-prefix") or ""
        path = request.line.split(" ")[1]
        if path in ("/moved", "/moved-aware"):
            location = (prefix if path.endswith("aware") else "") + "/here"
            head = f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nSet-Cookie: a=b; Path={location}\r\nContent-Length: 0\r\n\r\n"
            connection.send(head.encode())
        else:
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%b" % (len(PAGE), PAGE))


class RewriteTests(GatewayCase):
    def setUp(self) -> None:
        self.service = self.upstream(service)
        routes = f"""
[upstream service]
servers = {self.service.url}

[route pre]
path = /pre
upstream = service
rewrite = /

[route open]
path = /open
upstream = service
rewrite = /
auth = none

[route raw]
path = /raw
upstream = service
auth = none
path_as_sent = yes

[route stripped]
path = /stripped
upstream = service
rewrite = /
auth = none
path_as_sent = yes

[route guarded]
path = /raw/guarded
upstream = service
allow = role:admin
"""
        self.served = self.gateway(site(routes, perimeter="trusted_proxies = 127.0.0.1\n"), USERS)
        self.wire = self.connect(self.served, "http")

    def test_links_of_the_page_at_the_root_of_a_service(self) -> None:
        self.assertEqual(self.wire.get("/pre").status, 401)
        for method in ("GET", "HEAD"):
            for query in ("", "?a=b"):
                answer = self.wire.get(f"/pre{query}", ALICE, method=method)
                self.assertEqual((answer.status, answer.get("location")), (301, f"/pre/{query}"))
        self.assertEqual(self.service.requests, [])
        page = self.wire.get("/pre/", ALICE)
        link = re.search(r'href="(.*)"', page.text)
        assert link is not None
        self.assertEqual(self.wire.get(urljoin("/pre/", link[1]), ALICE).status, 200)
        self.assertEqual(self.service.requests[-1].line, "GET /next.html HTTP/1.1")
        self.assertEqual(self.wire.get("/open", method="POST", body=b"x").status, 200)
        self.assertEqual(self.service.requests[-1].line, "POST / HTTP/1.1")

    def test_prefix_and_redirects(self) -> None:
        for path in ("/open/moved", "/open/moved-aware"):
            answer = self.wire.get(path)
            self.assertEqual(self.service.requests[-1].get("x-forwarded-prefix"), "/open")
            self.assertEqual((answer.status, answer.get("location")), (302, "/open/here"), path)
            self.assertEqual(answer.get("set-cookie"), "a=b; Path=/open/here")
        # behind a proxy that removes a prefix itself, whose client it names
        told = ("X-Forwarded-For: 203.0.113.7:4711", "X-Forwarded-Prefix: /outer", "X-Forwarded-Host: public.test")
        self.wire.get("/open/x", *told, "X-Forwarded-Port: 8443")
        received = self.service.requests[-1]
        self.assertEqual(received.get("x-forwarded-prefix"), "/outer/open")
        self.assertEqual(received.get("x-forwarded-host"), "public.test")
        self.assertEqual(received.get("x-forwarded-port"), "8443")
        self.assertEqual(received.get("x-real-ip"), "203.0.113.7")
        self.assertIsNone(self.wire.get("/raw/x").get("x-forwarded-prefix"))

    def test_paths_as_they_are_sent(self) -> None:
        for path in SENT:
            self.assertEqual(self.wire.get(f"/raw{path}").status, 200, path)
            self.assertEqual(self.service.requests[-1].line, f"GET /raw{path} HTTP/1.1")
            self.assertEqual(self.wire.get(f"/stripped{path}").status, 200, path)
            self.assertEqual(self.service.requests[-1].line, f"GET {path} HTTP/1.1")

    def test_attack_65_no_reading_leads_to_another_route(self) -> None:
        for path in (
            *("/raw//guarded", "/raw/%67uarded", "/raw/%2567uarded/x", "/raw/%252567uarded", "/raw/;x/guarded", "/raw%2Fguarded"),
            *(
                "/raw/x%2F..%2Fguarded",
                "/raw/x/..%5Cguarded",
                "/raw/%5Cguarded",
                "/raw/;%2Fguarded",
                "/raw/guarded%3Fx",
                "/raw/guarded;x",
            ),
            *(
                "/raw/%2e%2e/pre",
                "/raw/%252e%252e/pre",
                "/raw/..;/pre",
                "/raw/%00",
                "/raw/a%250d%250aX:y",
                "/raw/%c0%ae%c0%ae/pre",
            ),
            *("/raw/guarded%252Fx", "/raw/guarded%20", "//raw/guarded", "/raw///guarded///x"),
        ):
            with self.served.connect("http") as wire:
                status = wire.get(path).status
            if path == "/raw/guarded%20":  # another name, and no reading of the guarded one
                self.assertEqual(status, 200)
                self.service.requests.clear()
            else:
                self.assertIn(status, (400, 401, 404), path)
                self.assertEqual(self.service.requests, [], path)

"""Attacks with the request target, against a running gateway: it forwards exactly the bytes that it has judged."""

from __future__ import annotations

from typing import ClassVar

from tests.integration.harness import USERS, site
from tests.integration.stage import StageCase
from tests.integration.wire import basic

ROUTES = """\
[upstream service]
servers = <service>

[route sentinel]
host = sentinel.test
path = /
upstream = service
auth = none

[route open]
path = /pub
upstream = service
auth = none

[route root]
path = /
upstream = service
auth = none

[route admin]
path = /admin
upstream = service
allow = role:admin

[route slashes]
path = /hbase
upstream = service
auth = none
allow_encoded_slash = yes

[route stripped]
path = /api
rewrite = /
upstream = service
auth = none

[route stripped-admin]
path = /api/admin
rewrite = /admin
upstream = service

[route replaced]
path = /old
rewrite = /new/place
upstream = service
auth = none

[route readonly]
path = /readonly
upstream = service
auth = none
allow = method:GET, method:PUT
deny = method:PUT

[route health]
path = /status-page
upstream = service
auth = none

[route host]
host = a.b.example.com
path = /
upstream = service

[route address]
host = [2001:db8::1]
path = /public-root
upstream = service

[route host-without-a-root]
host = wild.example.com
path = /public-root
upstream = service

"""


def get(target: str, *lines: str, host: str = "gateway.test", method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {target} HTTP/1.1", f"Host: {host}", *lines, "", ""]).encode("iso-8859-1")


class PathAttacks(StageCase):
    CONFIG = site(ROUTES)
    FILES: ClassVar = USERS

    def test_attack_01_path_traversal_past_a_rule(self) -> None:
        """No spelling of /admin is served by the rule of /pub, and none is left for the upstream to resolve."""
        ambiguous = (
            *("/pub/../admin", "/pub/%2e%2e/admin", "/pub/%2E%2E/admin", "/pub/.%2e/admin", "/pub/%2e./admin", "/pub/..", "/.."),
            *("/pub/./x", "/pub/%2e/x", "/pub/..;/admin", "/pub/..;a=b/admin", "/pub/.;/x", "/pub/%2e%2e;x/admin"),
            *("/pub/..%2fadmin", "/pub%2f..%2fadmin", "/pub/%2e%2e%2fadmin", "/admin%2Fx", "/pub%2Fx", "/pub/a%2fb"),
            *("/pub/%5Cadmin", "/pub/..%5cadmin", "/pub\\admin", "/pub\\..\\admin", "/pub/%5c..%5cadmin"),
            *("/pub/%252e%252e/admin", "/pub/%252fadmin", "/pub/%25%32%65", "/pub/%2500", "/pub/%255cadmin"),
            *("/pub/%00", "/admin%00", "/pub/%00/../admin", "/pub/%0d%0aX:%20y", "/pub/%0a", "/pub/%1f", "/pub/%7f"),
            *("/;x/admin", "/pub;x", "/pub;/admin", "/admin;x", "/admin;x/y"),
            *("/pub/%", "/pub/%2", "/pub/%zz", "/pub/%u002e", "/pub/\xe9", "/pub/\x80"),
        )
        for target in ambiguous:
            self.refused(get(target))
        for target in ("//admin", "///admin", "/admin/", "//admin//x", "/%61dmin", "/%61%64%6D%69%6E/x", "/admin?/pub"):
            self.refused(get(target), 401, closes=False)
        root = basic("alice", "secret")
        forwarded = {
            "//admin": "/admin",
            "/admin///x//": "/admin/x/",
            "/%61dmin/%7eme": "/admin/~me",
            "/admin/%c3%a9%20%2b": "/admin/%C3%A9%20%2B",
            "/admin/100%25": "/admin/100%25",
            "/admin/a;v=1/b?x=/../y;//z": "/admin/a;v=1/b?x=/../y;//z",
            "/admin/.../..x/x..": "/admin/.../..x/x..",
        }
        for target, arrives in forwarded.items():
            self.assertEqual(self.forwarded(get(target, root)).line, f"GET {arrives} HTTP/1.1")
        # A user without the role gets the decision of /admin for every one of those spellings.
        for target in forwarded:
            self.refused(get(target, basic("bob", "hunter2")), 403, closes=False)

    def test_attack_01_encoded_slash_where_the_route_opts_in(self) -> None:
        """The slash stays encoded, and every reading of the path must belong to the same route."""
        self.assertEqual(self.forwarded(get("/hbase/a%2fb")).line, "GET /hbase/a%2Fb HTTP/1.1")
        self.assertEqual(self.forwarded(get("/hbase/t%2F%2Fx;y")).line, "GET /hbase/t%2F%2Fx;y HTTP/1.1")
        escapes = ("/hbase/..%2fadmin", "/hbase/x%2f..%2f..%2fadmin", "/hbase%2f..%2fadmin", "/hbase/%2e%2e%2fadmin")
        for target in (*escapes, "/hbase/..;%2fadmin", "/hbase/x%2f.", "/hbase/%252fadmin", "/hbase%2fx"):
            self.refused(get(target))

    def test_attack_01_overlong_utf8(self) -> None:
        """What lax decoders read as a dot, slash, backslash or NUL is refused; other bytes, UTF-8 or not, pass unchanged."""
        overlong = (
            "%c0%ae%c0%ae/admin",
            "..%c0%af",
            "%C1%9Cadmin",
            "%e0%80%ae./x",
            "%E0%9F%BF",
            "%f0%80%80%af",
            "%c0%80",
            "%c1%bf",
        )
        for spelling in overlong:
            self.refused(get(f"/pub/{spelling}"))
        for octets in ("%C0%20%E9t%E9", "%C3%A9", "%E2%82%AC", "%F0%9F%98%80", "%E0%A4%B9", "%F0%90%80%80", "%FF%FE"):
            self.assertEqual(self.forwarded(get(f"/pub/{octets}")).line, f"GET /pub/{octets} HTTP/1.1")

    def test_attack_02_target_forms(self) -> None:
        """Only the origin-form, and the absolute-form, whose host replaces Host, are accepted."""
        for target in ("xadmin", "admin", "pub/x", "*", "gateway.test:443", "http:/pub/x", "http:pub", "ftp://gateway.test/pub"):
            self.refused(get(target))
        for target in ("http:///pub/x", "http://a@gateway.test/pub/x", "http://u:p@gateway.test/pub/x", "http://gw.test\\@x/pub"):
            self.refused(get(target))
        for target in ("http://gateway.test:99999999/pub", "http://[::1/pub", "http://%67w/pub", "http://gateway.test/pub#x"):
            self.refused(get(target))
        for target in ("http://gateway.test/pub/../admin", "http://gateway.test/pub/%2e%2e/admin", "http://gateway.test#/pub"):
            self.refused(get(target))
        for target in ("*", "/pub"):
            self.refused(get(target, method="CONNECT"))
        self.refused(get("gateway.test:80", method="CONNECT"))
        self.refused(get("*", method="OPTIONS"))
        self.refused(b"GET  /pub HTTP/1.1\r\nHost: a\r\n\r\n")
        self.refused(b"GET /pub x HTTP/1.1\r\nHost: a\r\n\r\n")
        self.refused(b"GET /pub\tHTTP/1.1\r\nHost: a\r\n\r\n")
        self.refused(b"GET http://other/pub HTTP/1.1\r\n\r\n")
        # The target's host decides, not Host; in both directions.
        self.refused(get("http://other/admin", host="sentinel.test"), 401, closes=False)
        self.refused(get("http://a.b.example.com/pub/x", host="gateway.test"), 401, closes=False)
        received = self.forwarded(get("http://gateway.test:8080/pub/x?y", host="a.b.example.com"))
        self.assertEqual(received.line, "GET /pub/x?y HTTP/1.1")
        self.assertEqual((received.get("host"), received.get("x-forwarded-host")), ("gateway.test:8080", "gateway.test:8080"))
        self.assertEqual(self.forwarded(get("HTTPS://gateway.test//pub")).line, "GET /pub HTTP/1.1")
        self.assertEqual(self.forwarded(get("http://sentinel.test?a=b", host="gateway.test")).line, "GET /?a=b HTTP/1.1")

    def test_attack_03_query_or_fragment_satisfies_a_path_rule(self) -> None:
        """Rules see the path only; a raw fragment is refused."""
        for query in ("x=/pub", "/pub", "/../pub", "x=%2Fpub", "?/status-page", ";/pub", "x=/status"):
            self.refused(get(f"/admin/secret?{query}"), 401, closes=False)
        for target in ("/admin/secret%23/pub", "/admin/%23/pub", "/admin/secret%3f/pub", "/admin/%3F", "//admin/%23"):
            self.refused(get(target), 401, closes=False)
        for target in ("/admin#/pub", "/pub/x#y", "/pub#", "/pub/x?y#z", "#", "/#"):
            self.refused(get(target))
        # A query that looks like another path reaches the upstream unchanged, as a query.
        self.assertEqual(self.forwarded(get("/pub/x?y=/../admin%2f")).line, "GET /pub/x?y=/../admin%2f HTTP/1.1")
        self.assertEqual(self.forwarded(get("/pub/a%23b%3fc")).line, "GET /pub/a%23b%3Fc HTTP/1.1")
        # A segment with another name: it is judged with that name, and stays encoded, so that no server reads a query in it.
        self.assertEqual(self.forwarded(get("/admin%23/pub?x")).line, "GET /admin%23/pub?x HTTP/1.1")

    def test_attack_04_case_and_host_tricks(self) -> None:
        """Every spelling of a host gets the rule of the plain one: /public-root is open elsewhere and closed there."""
        self.assertEqual(self.forwarded(get("/public-root")).line, "GET /public-root HTTP/1.1")
        spellings = ("a.b.example.com", "A.b.example.com", "A.B.EXAMPLE.COM", "a.b.example.com.", "A.b.Example.com.:443")
        for host in (*spellings, "a.b.example.com:80", "a.b.example.com:", "wild.example.com", "WILD.example.com.:8443"):
            self.refused(get("/public-root", host=host), 401, closes=False)
        for host in ("[2001:db8::1]", "[2001:DB8::1]:80", "[2001:0db8:0:0:0:0:0:1]", "[2001:db8::0.0.0.1]:"):
            self.refused(get("/public-root", host=host), 401, closes=False)
        for host in (
            "[2001:db8::2]",
            "[::ffff:2001:db8]",
            "a.b.example.com..",
            "b.example.com",
            "xa.b.example.com",
            "a.b.example.com.evil.test",
        ):
            self.assertEqual(self.raw(get("/public-root", host=host)).status, 200, host)
        bad = ("a.b.example.com:80:80", "a.b.example.com:x", "a.b.example.com/", "u@a.b.example.com", "%61.b.example.com", "")
        for host in (
            *bad,
            "a.b.example.com gateway.test",
            "a.b.example.com\tx",
            "[::1",
            "::1",
            "[::1]x",
            "[::1%25lo]",
            "[]",
            "a.b.ex\xe4mple.com",
            "<b>",
        ):
            self.refused(get("/public-root", host=host))

    def test_attack_05_health_check_bypass(self) -> None:
        """The User-Agent of a health check gives no access."""
        agents = ("GoogleHC/1.0", "kube-probe/1.29", "ELB-HealthChecker/2.0", "HAProxy", "Consul Health Check", "")
        for agent in agents:
            self.refused(get("/admin", f"User-Agent: {agent}"), 401, closes=False)
        for path in ("/admin/status", "/admin/healthz", "/admin/ping", "/admin/.well-known/jwks.json"):
            self.refused(get(path, "User-Agent: kube-probe/1.29"), 401, closes=False)
        for line in ("X-Health-Check: 1", "X-Forwarded-Uri: /status", "X-Original-Uri: /status"):
            self.refused(get("/admin", line), 401, closes=False)
        self.assertEqual(self.forwarded(get("/status-page", "User-Agent: kube-probe/1.29")).line, "GET /status-page HTTP/1.1")

    def test_attack_06_rewrite_after_judging(self) -> None:
        """The result of a rewrite is the path that was judged, or the request is refused."""
        for target in (
            "/api/../admin",
            "/api/%2e%2e/admin",
            "/api%2f..%2fadmin",
            "/api/..;/admin",
            "/api/;x/../admin",
            "/api/%2e",
        ):
            self.refused(get(target))
        for target in ("/api;x/admin", "/api/admin;x", "/api;/admin/x", "/api/;x/admin"):
            self.refused(get(target))
        # Not below /api at all: the forwarded path is the one that the rule of the root has judged.
        for target, arrived in {"/api%2e/admin": "/api./admin", "/api%2e%2e/admin": "/api../admin", "/apix": "/apix"}.items():
            self.assertEqual(self.forwarded(get(target)).line, f"GET {arrived} HTTP/1.1")
        # Slashes are collapsed before the longest match is searched
        for target in ("/api//admin", "/api/%61dmin", "//api///admin/x", "/api/admin"):
            self.refused(get(target), 401, closes=False)
        arrives = {
            "/api/": "/",
            "/api/?x": "/?x",
            "/api//x": "/x",
            "/api/x/": "/x/",
            "/api/%7ex": "/~x",
            "/api///evil.test/x": "/evil.test/x",
            "/old": "/new/place",
            "/old/": "/new/place/",
            "/old//a?b=/old": "/new/place/a?b=/old",
        }
        for target, rewritten in arrives.items():
            self.assertEqual(self.forwarded(get(target)).line, f"GET {rewritten} HTTP/1.1")
        # a slash is added first, on the same gateway
        for target, location in {"/api": "/api/", "/api?x": "/api/?x", "//api?//evil.test": "/api/?//evil.test"}.items():
            self.assertEqual(self.refused(get(target), 301, closes=False).get("location"), location)
        alice = self.forwarded(get("/api/admin/x", basic("alice", "secret")))
        self.assertEqual((alice.line, alice.get("x-auth-username")), ("GET /admin/x HTTP/1.1", "alice"))

    def test_attack_41_rules_for_methods_fail_closed_without_authentication(self) -> None:
        """A route without authentication still applies its rules."""
        self.assertEqual(self.forwarded(get("/readonly/x")).line, "GET /readonly/x HTTP/1.1")
        for method in ("DELETE", "PUT", "POST", "HEAD", "get", "OPTIONS"):
            self.refused(get("/readonly/x", method=method), 403, closes=False)

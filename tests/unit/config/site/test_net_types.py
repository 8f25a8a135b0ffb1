"""Networks, hosts, servers, URLs, route paths, header names, rules and error pages."""

from __future__ import annotations

import base64
from ipaddress import ip_network
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from perimeter.config.language import net_types as nettypes
from perimeter.config.language.datatypes import FILE_NAME, BadValue
from perimeter.config.site import compression, dialling, errors, server
from perimeter.config.site.dialling import Pin
from perimeter.config.site.errors import ErrorPage
from perimeter.config.site.expression import EXPRESSION
from perimeter.config.site.route_host import ROUTE_HOST
from perimeter.config.site.rule import Rule
from perimeter.config.site.server import ServerSettings
from tests.unit.config.language.test_datatypes import HERE, DatatypeCase
from tests.unit.doubles.properties import reached, reaches


class NetworkTests(DatatypeCase):
    def test_networks(self) -> None:
        self.good(
            nettypes.NETWORK,
            {"10.0.0.0/8": ip_network("10.0.0.0/8"), "192.0.2.1": ip_network("192.0.2.1/32"), "fd00::/8": ip_network("fd00::/8")},
        )
        self.bad(nettypes.NETWORK, ["10.0.0.0/33", "10.0.0", "localhost", "", "10.0.0.0/8 x"])
        self.suggests(nettypes.NETWORK, {"10.1.2.3/8": "10.0.0.0/8", "fd00::1/8": "fd00::/8"})

    def test_attack_10_a_mapped_network_would_never_match(self) -> None:
        self.suggests(nettypes.NETWORK, {"::ffff:10.0.0.0/104": "10.0.0.0/8", "::ffff:10.0.0.1": "10.0.0.1/32"})

    def test_interfaces(self) -> None:
        self.good(nettypes.INTERFACE, {"127.0.0.1": "127.0.0.1", "::1": "::1", "0.0.0.0": "0.0.0.0"})
        self.bad(nettypes.INTERFACE, ["eth0", "*", "127.0.0.1:80"])
        self.suggests(nettypes.INTERFACE, {"localhost": "127.0.0.1", "[::1]": "::1", "/run/gw.sock": "unix:/run/gw.sock"})

    def test_unix_sockets(self) -> None:
        longest = "unix:/" + "x" * (nettypes.LONGEST_SOCKET - 1)
        self.good(nettypes.INTERFACE, {"unix:/run/gw.sock": "unix:/run/gw.sock", longest: longest})
        self.bad(nettypes.INTERFACE, [f"{longest}x", "unix:", "unix:gw.sock", "unix:@abstract", "unix:/run/", "unix:/run/\x00"])
        self.suggests(nettypes.INTERFACE, {"unix:/run//gw.sock": "unix:/run/gw.sock", "unix:/run/../gw.sock": "unix:/gw.sock"})

    def test_peers(self) -> None:
        self.good(nettypes.PEER_NETWORK, {"10.0.0.0/8": ip_network("10.0.0.0/8"), "unix:": nettypes.UNIX_PEERS})
        self.suggests(nettypes.PEER_NETWORK, {"unix": "unix:", "unix:/run/x": "unix:"})
        everywhere = (ip_network("0.0.0.0/0"), ip_network("::/0"))
        self.assertFalse(nettypes.in_networks("unix:", everywhere))
        self.assertTrue(nettypes.in_networks("unix:", (*everywhere, nettypes.UNIX_PEERS)))
        self.assertFalse(nettypes.in_networks("127.0.0.1", (nettypes.UNIX_PEERS,)))
        self.assertNotIn("127.0.0.1", nettypes.UNIX_PEERS)


class NameTests(DatatypeCase):
    def test_hosts(self) -> None:
        self.good(
            ROUTE_HOST,
            {
                "*": "*",
                "gw.example.com": "gw.example.com",
                "GW.Example.COM": "gw.example.com",
                "gw.example.com.": "gw.example.com",
                "my_host": "my_host",
                "192.0.2.1": "192.0.2.1",
                "[2001:DB8::1]": "[2001:db8::1]",
                "xn--bcher-kva.example": "xn--bcher-kva.example",
                "*.Example.com.": "*.example.com",
                "*.com": "*.com",
                "**.Example.com.": "**.example.com",
            },
        )
        self.bad(
            ROUTE_HOST,
            [
                "a b",
                "-a",
                "a..b",
                "www.*",
                "*example.com",
                "*.*.a",
                "*.",
                "**.",
                "***.a",
                "**.*.a",
                "*.**.a",
                "**.10.0.0.1",
                "*.[::1]",
                "*.0.0.1",
                "http://a",
                "a/b",
                "300.1.1.1",
                "a" * 64,
                "[x]",
                "a\n",
            ],
        )
        self.suggests(
            ROUTE_HOST,
            {"gw.example.com:9443": "gw.example.com", "2001:db8::1": "[2001:db8::1]", "bücher.example": "xn--bcher-kva.example"},
        )

    def test_header_names(self) -> None:
        self.good(nettypes.HEADER_NAME, {"X-Auth-Username": "X-Auth-Username", "CDAP-UserId": "CDAP-UserId"})
        self.bad(nettypes.HEADER_NAME, ["X_Auth", "X Auth", "X-Auth:", "", "-X", "X--Y", "Hôte"])

    def test_a_header_with_another_meaning_carries_no_identity(self) -> None:
        self.bad(
            nettypes.HEADER_NAME, ["Authorization", "host", "Transfer-Encoding", "content-length", "X-Forwarded-For", "Cookie"]
        )

    def test_index_files(self) -> None:
        self.good(FILE_NAME, {"index.html": "index.html"})
        self.bad(FILE_NAME, ["a/b", "..", ".", "/x", "a/"])


class ServerTests(DatatypeCase):
    def test_servers(self) -> None:
        self.good(
            server.SERVER,
            {
                "http://127.0.0.1:8888": ServerSettings("http", "127.0.0.1", 8888),
                "HTTPS://App.Example": ServerSettings("https", "app.example", 443),
                "http://app": ServerSettings("http", "app", 80),
                "http://[::1]:81": ServerSettings("http", "::1", 81),
                "sample:": ServerSettings("sample", "", 0),
                "unix:/run/x": ServerSettings("unix", "", 0, path="/run/x"),
                "unix:/run/x weight=3 backup": ServerSettings("unix", "", 0, 3, True, "/run/x"),
                f"unix:/{'x' * 106}": ServerSettings("unix", "", 0, path=f"/{'x' * 106}"),
            },
        )

    def test_what_is_no_server(self) -> None:
        self.bad(
            server.SERVER,
            [
                "ftp://a",
                "http://",
                "http://:80",
                "http://a:0",
                "http://a:65536",
                "http://a:x",
                "http://user@a",
                "http://u:p@a",
                "http://::1:80",
                "http://[::1",
                "http://[a]",
                "http://a?x",
                "http://a#x",
                "http://a b",
                "unix:",
                "unix:/",
                "unix:x",
                "unix:/run/",
                "unix://run/x",
                "unix:@x",
                "unix:/a\x00",
                f"unix:/{'x' * 107}",
                f"unix:/{'ü' * 53}x",
                "sample",
            ],
        )

    def test_suggestions(self) -> None:
        self.suggests(
            server.SERVER,
            {
                "127.0.0.1:8888": "http://127.0.0.1:8888",
                "http://a:80/": "http://a:80",
                "http://a/v1": "http://a",
                "sample": "sample:",
                "http://user:hunter2@a/": "",
                "unix:///run/x": "unix:/run/x",
                "unix:run/x": "unix:/run/x",
                "unix:/run/x/": "unix:/run/x",
                "/run/x": "unix:/run/x",
                "http://unix:/run/x": "unix:/run/x",
                "http://unix:/run/x:/": "unix:/run/x",
                "http+unix:///run/x": "unix:/run/x",
                "unix@/run/x": "unix:/run/x",
                "unix//run/x": "unix:/run/x",
                "unix:/": "",
                f"unix:/{'x' * 107}": "",
            },
        )

    def test_what_a_server_is_called(self) -> None:
        socket = server.SERVER.convert("unix:/run/x", Path())
        self.assertEqual((socket.url, socket.authority), ("unix:/run/x", "localhost"))

    def test_pins(self) -> None:
        digest = bytes(range(32))
        text = f"sha256//{base64.b64encode(digest).decode()}"
        self.good(dialling.PIN, {text: Pin(digest)})
        self.assertEqual(str(Pin(digest)), text)
        bare = text.removeprefix("sha256//")
        self.bad(
            dialling.PIN, ["", "sha256//", bare, text[:-1], f"{text}=", f"sha1//{bare}", f"sha256//{'A' * 44}", text.lower()[:20]]
        )
        self.suggests(
            dialling.PIN,
            {
                bare: text,
                f'pin-sha256="{bare}"': text,
                f"sha256/{bare}": text,
                f"sha256//{'-_' * 21}A": f"sha256//{'+/' * 21}A=",
                "sha256//short": "",
            },
        )

    def test_media_types(self) -> None:
        self.good(
            compression.MEDIA_TYPE,
            {
                "text/html": "text/html",
                "Text/*": "text/*",
                "application/*+json": "application/*+json",
                "application/vnd.x-1+json": "application/vnd.x-1+json",
            },
        )
        self.bad(
            compression.MEDIA_TYPE,
            ["text", "text/", "/html", "*/*", "text/html; charset=utf-8", "text/*html", "text/*+", "a/b/c"],
        )

    def test_urls(self) -> None:
        self.good(
            nettypes.URL, {url: url for url in ("https://gw.example.com:9443/token", "http://[::1]:10009", "https://a/t?x=1")}
        )
        self.bad(
            nettypes.URL, ["gw.example.com", "ftp://a", "https://", "https://u@a/", "https://a/#x", "https://a:0/", 'https://a/"']
        )


class RoutePathTests(DatatypeCase):
    def test_paths(self) -> None:
        paths = ("/", "/v1/ecflow", "/a-b_c~d/e.f", "/a:b@c", "/.well-known", "/...")
        self.good(nettypes.URL_PATH, {path: path for path in paths})

    def test_attack_1_a_path_with_two_readings_is_no_route(self) -> None:
        self.bad(
            nettypes.URL_PATH,
            [
                "/a/../b",
                "/..",
                "/a/./b",
                "//a",
                "/a//b",
                "/a%2Fb",
                "/a?b",
                "/a#b",
                "/a;b",
                "/a\\b",
                "/a b",
                "/é",
                "a",
                "*",
                "/a/",
            ],
        )
        self.suggests(nettypes.URL_PATH, {"/a/": "/a", "//a//b/": "/a/b", "a/b": "/a/b", "/a/./b": "/a/b", "/a/../b": ""})

    @reaches(5)
    @given(st.lists(st.sampled_from(["/a", "/b.c", "/...", "/.a", "/", ".", "%2e", "%"]), max_size=4).map("".join))
    def test_what_is_accepted_is_in_normal_form(self, text: str) -> None:
        try:
            path = nettypes.URL_PATH.convert(text, HERE)
        except BadValue:
            return
        reached(self)
        segments = path[1:].split("/")
        self.assertTrue(path == "/" or not {"", ".", ".."} & set(segments))
        self.assertNotIn("%", path)

    @reaches(2)
    @given(st.text(alphabet="/.a", max_size=12))
    def test_a_suggestion_is_itself_accepted(self, text: str) -> None:
        try:
            nettypes.URL_PATH.convert(text, HERE)
        except BadValue as bad:
            if bad.suggestion.startswith("/") and text.startswith("/"):
                reached(self)
                self.assertEqual(nettypes.URL_PATH.convert(bad.suggestion, HERE), bad.suggestion)


class RuleTests(DatatypeCase):
    def test_rules(self) -> None:
        self.good(
            EXPRESSION,
            {
                "role:admin": Rule("role", "admin"),
                "user: alice": Rule("user", "alice"),
                "realm:a:b": Rule("realm", "a:b"),
                "method:GET": Rule("method", "GET"),
            },
        )
        self.bad(EXPRESSION, ["admin", "role:", ":x", "Role:x", "group:x", "method:G T"])
        self.suggests(EXPRESSION, {"rol:x": "role:x", "method:get": "method:GET", "GET": "method:GET", "usr:alice": "user:alice"})

    def test_error_pages(self) -> None:
        self.good(errors.PAGE, {"500 502 503 504 /50x.html": ErrorPage((500, 502, 503, 504), "/50x.html")})
        self.bad(errors.PAGE, ["/50x.html", "500", "200 /x", "500,502 /x", "5000 /x", "500 x", "500 /../x"])

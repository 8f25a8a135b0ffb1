"""Routes that the gateway answers by itself: redirects and fixed responses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from perimeter.config.language.datatypes import BadValue
from perimeter.config.language.expressions import compiled
from perimeter.config.site.route_target import REDIRECT, RESPONSE, Redirect, Response
from perimeter.gate.gate import Gate
from perimeter.gate.target import ITarget
from perimeter.targets.answering import LocationTarget, ResponseTarget
from tests.unit.doubles.exchange_rig import Rig
from tests.unit.gate.test_gate import GateTestCase


def redirect(text: str) -> Redirect:
    found = REDIRECT.convert(text, Path("/"))
    assert found is not None
    return found


def respond(text: str) -> Response:
    found = RESPONSE.convert(text, Path("/"))
    assert found is not None
    return found


class RedirectTextTests(TestCase):
    def test_targets(self) -> None:
        for text, elsewhere in (
            ("301 /new", False),
            ("302 /", False),
            ("303 %{path}/", False),
            ("307 https://a.example", True),
            ("308   http://a.example:8080%{uri}", True),
            ("308 https://[::1]/$1?$2#x", True),
            ("308 https://%{host}:8443%{rest}%{query}", True),
        ):
            found = redirect(text)
            self.assertIs(found.elsewhere, elsewhere)
            self.assertEqual(str(found), " ".join(text.split()))

    def test_faults(self) -> None:
        for text in (
            "", "308", "300 /a", "304 /a", "200 /a", "/a", "308 a", "308 ftp://a/", "308 //a/", "308 /\\a", "308 /a b", '308 /"',
            "308 https:///a", "308 https://a_b@c/", "308 https://a..b/", "308 /$0", "308 /$", "308 /%{user}", "308 /%{uri",
            "308 /\u00e9",
        ):  # fmt: skip
            self.assertRaises(BadValue, redirect, text)

    def test_attack_127_no_part_of_a_request_can_be_a_part_of_the_host(self) -> None:
        for location in (
            "https://a.example$1", "https://$1", "https://$1.a.example/", "https://a.example:$1/", "https://a.example@$1",
            "$1", "%{query}", "%{host}/x", "https://%{host}$1", "https://%{host}.b.example/", "https://a.%{host}/", "https://%{path}",
            "https://a.example%{host}", "//$1", "/\\$1", "https:$1", "https://a.example\\$1",
        ):  # fmt: skip
            self.assertRaises(BadValue, redirect, f"308 {location}")


class ResponseTextTests(TestCase):
    def test_statuses(self) -> None:
        self.assertEqual(respond("204"), Response(204, b""))
        self.assertEqual(respond("200 all is well: \u00e9"), Response(200, "all is well: \u00e9".encode()))
        self.assertEqual(respond("404"), Response(404, b"Not Found\n"))
        self.assertEqual(respond("503 back  soon\nreally"), Response(503, b"back  soon\nreally"))
        self.assertEqual(str(respond("503 x")), "503")
        for text in (
            "100",
            "101",
            "301",
            "304",
            "199",
            "600",
            "299",
            "20",
            "abc",
            "204 x",
            "401",
            "405",
            "407",
            "426",
            "206",
            "205",
            "416",
        ):
            self.assertRaises(BadValue, respond, text)

    def test_the_length_of_a_text(self) -> None:
        self.assertEqual(len(respond(f"200 {'a' * 65536}").body), 65536)
        self.assertRaises(BadValue, respond, f"200 {'a' * 65537}")


class AnsweringTests(GateTestCase):
    def serving(self, target: Any, prefix: str = "", **options: Any) -> Gate:
        route = self.route("r", prefix)
        return self.gate(attrs.evolve(route, target=target, access=options.pop("access", self.open.access), **options))

    def location(self, text: str, path: str, *lines: str, **options: Any) -> str | None:
        gate = self.serving(LocationTarget(redirect(text)), **options)
        client = self.ask(f"GET {path}", *lines, gate=gate)
        response = client.response()
        self.assertIn(response.status, (301, 302, 303, 307, 308, 400))
        value = response.get(b"location")
        return None if value is None else value.decode()

    def test_they_are_targets(self) -> None:
        self.assertTrue(verifyObject(ITarget, LocationTarget(redirect("308 /"))))
        self.assertTrue(verifyObject(ITarget, ResponseTarget(respond("204"), "text/plain")))

    def test_parts_of_the_request(self) -> None:
        for text, path, expected in (
            ("308 https://b.example%{uri}", "/a/b?c=d&e", "https://b.example/a/b?c=d&e"),
            ("308 https://b.example/x%{path}", "/a/b?c", "https://b.example/x/a/b"),
            ("308 https://b.example/x%{query}", "/a?c=d", "https://b.example/x?c=d"),
            ("308 https://b.example/x%{query}", "/a", "https://b.example/x"),
            ("308 https://%{host}%{uri}", "/a", "https://gw/a"),
            ("308 https://%{host}:8443/", "/a", "https://gw:8443/"),
            ("308 /new", "/a", "/new"),
            ("308 %{path}/", "/a", "/a/"),
            ("308 /$$1", "/a", "/$1"),
            ("308 https://b.example/?to=%{path}", "/a&b=c;d+e", "https://b.example/?to=/a%26b%3Dc%3Bd%2Be"),
            ("308 https://b.example%{uri}", "/a%20b", "https://b.example/a%20b"),
            ("308 https://b.example/x%{path}", "/a=b&c", "https://b.example/x/a=b&c"),
            ("308 https://b.example/%{query}", "/a?b=c&d", "https://b.example/?b=c&d"),
        ):
            self.assertEqual(self.location(text, path), expected, (text, path))

    def test_the_rest_of_the_path(self) -> None:
        for path, expected in (("/old/a?b", "/new/a"), ("/old", "/new"), ("/old/", "/new/")):
            self.assertEqual(self.location("308 /new%{rest}", path, prefix="/old"), expected)
        self.assertEqual(self.location("308 /new%{rest}", "/old", prefix="/old", exact=True), "/new")

    def test_groups_of_the_expression(self) -> None:
        options = {"prefix": "/x", "pattern": compiled("^/x/([0-9]+)(/.*)?$")}
        for text, path, expected in (
            ("308 https://b.example/$1$2", "/x/12/a%2520b?q", None),
            ("308 https://b.example/$1$2", "/x/12/a%20b?q", "https://b.example/12/a%20b"),
            ("308 https://b.example/$1$2%{query}", "/x/12?q", "https://b.example/12?q"),
            ("308 /n?id=$1&at=$2", "/x/1/a=b", "/n?id=1&at=/a%3Db"),
        ):
            self.assertEqual(self.location(text, path, **options), expected, path)

    def test_attack_127_what_a_browser_takes_for_another_host(self) -> None:
        options = {"prefix": "", "pattern": compiled("^/go(.*)$")}
        self.assertEqual(self.location("308 /$1", "/go/evil.example", **options), "/evil.example")
        self.assertEqual(self.location("308 /$1", "/go//evil.example", **options), "/evil.example")
        self.assertIsNone(self.location("308 /$1", "/go%5Cevil.example", **options))
        self.assertEqual(self.location("308 %{rest}", "/go", prefix="/go"), "/")
        rig = Rig("GET / HTTP/1.1", target=b"/?a\\b")
        LocationTarget(redirect("308 /x%{query}")).handle(rig.exchange)
        self.assertEqual((rig.reply.status, rig.reply.get("location")), (400, None))
        rig = Rig("GET / HTTP/1.1", target=b"/")
        rig.exchange.head.host = b"evil.example/x"
        LocationTarget(redirect("308 https://%{host}/")).handle(rig.exchange)
        self.assertEqual((rig.reply.status, rig.reply.get("location")), (400, None))

    def test_a_fixed_response(self) -> None:
        gate = self.serving(ResponseTarget(respond("404 no such page"), "text/plain; charset=utf-8"))
        client = self.ask("GET /a", gate=gate)
        response = client.response()
        self.assertEqual((response.status, response.body), (404, b"no such page"))
        self.assertEqual(response.get(b"content-type"), b"text/plain; charset=utf-8")
        self.assertEqual((response.get(b"x-content-type-options"), response.get(b"cache-control")), (b"nosniff", None))
        self.assertIsNotNone(response.get(b"date"))
        self.assertEqual((client.records[-1].status, client.records[-1].upstream), (404, "respond"))
        empty = self.ask("GET /a", gate=self.serving(ResponseTarget(respond("204"), "text/plain"))).response()
        self.assertEqual((empty.status, empty.body, empty.get(b"content-type")), (204, b"", None))

    def test_what_a_user_gets_is_not_for_others(self) -> None:
        for target in (ResponseTarget(respond("200 x"), "text/plain"), LocationTarget(redirect("308 /"))):
            gate = self.serving(target, access=self.root.access)
            self.assertEqual(
                self.ask("GET /", "Authorization: Bearer alice", gate=gate).response().get(b"cache-control"), b"no-store"
            )
            self.assertEqual(self.ask("GET /", gate=gate).response().status, 401)

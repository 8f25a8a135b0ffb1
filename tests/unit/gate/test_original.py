"""The request that a proxy asks about: described once and completely, or refused (attacks 8, 9)."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from perimeter.errors import BadRequest, BadTarget
from perimeter.gate.original import original
from perimeter.http.grammar import parse_block, parse_request
from perimeter.model import RequestHead


class OriginalTests(TestCase):
    def ask(self, *fields: str, method: str = "GET", behind: bytes = b"") -> RequestHead | None:
        block = "".join(f"{field}\r\n" for field in ("Host: asked", "Authorization: Bearer t", *fields))
        line = b"%b /authenticate%b HTTP/1.1" % (method.encode(), behind)
        return original(parse_request(line, parse_block(block.encode("latin-1"), 100)), behind)

    def found(self, *fields: str, method: str = "GET", behind: bytes = b"") -> tuple[bytes, bytes, bytes]:
        request = self.ask(*fields, method=method, behind=behind)
        assert request is not None
        self.assertEqual(request.headers.authorization, (b"Bearer t",))
        return request.method, request.host, request.target

    def refused(self, kind: type[BadRequest], *fields: str, behind: bytes = b"") -> None:
        self.assertRaises(kind, self.ask, *fields, behind=behind)

    def test_no_request_is_named(self) -> None:
        for behind in (b"", b"?x=y"):
            self.assertIsNone(self.ask(behind=behind))
            self.assertIsNone(self.ask("X-Forwarded-Host: h", behind=behind))

    def test_nginx(self) -> None:
        self.assertEqual(self.found("X-Original-URI: /a?b", "X-Original-Method: PUT"), (b"PUT", b"asked", b"/a?b"))
        url = self.found("X-Original-URL: https://h:81/a?b", "X-Original-Method: PUT")
        self.assertEqual(url, (b"PUT", b"h:81", b"/a?b"))

    def test_nginx_without_a_method(self) -> None:
        """The question's own method is GET whatever the client's is."""
        for method in ("GET", "POST"):
            self.assertEqual(self.found("X-Original-URI: /a?b", method=method), (b"-", b"asked", b"/a?b"))
            self.assertEqual(self.found("X-Original-URL: https://h/a", method=method), (b"-", b"h", b"/a"))

    def test_nginx_in_part(self) -> None:
        for fields in (
            ["X-Original-Method: GET"],
            ["X-Original-URI: /a", "X-Original-Method:"],
            ["X-Original-URI: /a", "X-Original-URL: https://h/a", "X-Original-Method: GET"],
            ["X-Original-URL: /a", "X-Original-Method: GET"],
        ):
            self.refused(BadTarget, *fields)

    def test_traefik_and_others(self) -> None:
        fields = ["X-Forwarded-Method: PUT", "X-Forwarded-Host: h:81", "X-Forwarded-Uri: /a?b"]
        self.assertEqual(self.found(*fields), (b"PUT", b"h:81", b"/a?b"))
        for left_out in fields:
            if "Host" not in left_out:
                self.refused(BadTarget, *(field for field in fields if field != left_out))
        for name in ("Method", "Host", "Uri"):
            emptied = [f"X-Forwarded-{name}:" if f"-{name}:" in field else field for field in fields]
            self.refused(BadTarget, *emptied)

    def test_a_method_without_host_or_uri(self) -> None:
        self.refused(BadTarget, "X-Forwarded-Method: GET", "X-Forwarded-Uri: /a")

    def test_envoy(self) -> None:
        self.assertEqual(self.found(method="PUT", behind=b"/a?b"), (b"PUT", b"asked", b"/a?b"))

    def test_attack_8_original_request_in_two_sets_of_headers(self) -> None:
        nginx = ["X-Original-URI: /a", "X-Original-Method: GET"]
        traefik = ["X-Forwarded-Method: GET", "X-Forwarded-Host: h", "X-Forwarded-Uri: /a"]
        self.refused(BadTarget, *nginx, *traefik)
        self.refused(BadTarget, *nginx, behind=b"/a")
        self.refused(BadTarget, *traefik, behind=b"/a")
        self.refused(BadTarget, *nginx, "X-Forwarded-Uri: /a")

    def test_attack_8_header_of_the_original_request_twice(self) -> None:
        for fields in (
            ["X-Original-URI: /a", "X-Original-URI: /b", "X-Original-Method: GET"],
            ["X-Original-URI: /a", "X-Original-Method: GET", "X-Original-Method: GET"],
            ["X-Forwarded-Host: h", "X-Forwarded-Host: h"],
        ):
            self.refused(BadTarget, *fields)

    def test_attack_18_no_part_spills_over(self) -> None:
        for method, host, uri in (
            ("GET http://evil/", "h", "/a"),
            ("GET", "h/evil", "/a"),
            ("GET", "h", "evil/a"),
            ("GET", "user@h", "/a"),
            ("GET", "h", "/a HTTP/1.0"),
            ("GET", "h", "/a#b"),
            ("G T", "h", "/a"),
            ("GET", "h ", "a"),
        ):
            fields = [f"X-Forwarded-Method: {method}", f"X-Forwarded-Host: {host}", f"X-Forwarded-Uri: {uri}"]
            self.refused(BadRequest, *fields)

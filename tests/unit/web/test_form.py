"""Forms: parsed when a resource asks, by one parser, within bounds. Attack 45."""

from __future__ import annotations

import time
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase
from twisted.web import http
from twisted.web.resource import Resource

from perimeter.errors import BadRequest
from perimeter.web.bridge import SiteTarget
from perimeter.web.endpoints.endpoint import Nothing
from perimeter.web.form import MAX_FIELDS, MAX_FORM, form, parse_form
from tests.unit.doubles.exchange_rig import Rig

_URLENCODED = "Content-Type: application/x-www-form-urlencoded"


def nested_multipart(depth: int = 250, size: int = 64 * 1024) -> tuple[str, bytes]:
    """A Content-Type line and a body of ``size`` bytes: parts that hold parts. The standard library takes seconds for it."""
    lines = [b"--b0\r\nContent-Disposition: form-data; name=x\r\n"]
    for level in range(1, depth):
        lines.append(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (level, level))
    body = b"".join(lines)
    body += b"\r\n" + b"a\r\n" * ((size - len(body)) // 3 - 1)
    return "Content-Type: multipart/form-data; boundary=b0", body


class ParserTests(TestCase):
    def test_fields(self) -> None:
        self.assertEqual(parse_form(b"token=a%20b+c&token=&hint=%ff"), {b"token": [b"a b c", b""], b"hint": [b"\xff"]})
        self.assertEqual(parse_form(b""), {})
        self.assertEqual(parse_form(b"a=b=c"), {b"a": [b"b=c"]})
        self.assertEqual(parse_form(b"alone"), {b"alone": [b""]})

    def test_attack_45_what_is_no_form_is_refused(self) -> None:
        for text in (b"a=%", b"a=%4", b"a=%zz", b"%=1", b"a=\xff", b"a=b\r\n", b"a=\0"):
            with self.assertRaises(BadRequest, msg=text):
                parse_form(text)

    def test_attack_45_bounds(self) -> None:
        self.assertEqual(len(parse_form(b"&".join(b"a%d=" % number for number in range(MAX_FIELDS)))), MAX_FIELDS)
        for text in (b"a&" * MAX_FIELDS + b"a", b"&" * MAX_FORM, b"a" * (MAX_FORM + 1)):
            with self.assertRaises(BadRequest, msg=text[:8]):
                parse_form(text)


class Leaf(Resource):
    isLeaf = True

    def __init__(self, act: Any) -> None:
        super().__init__()
        self._act = act

    def render(self, request: Any) -> Any:
        return self._act(request)


def ask(act: Any, line: str, headers: list[str], body: bytes = b"", max_body: int = 64 * 1024) -> Rig:
    rig = Rig(line, [*headers, *([f"Content-Length: {len(body)}"] if body else [])])
    SiteTarget("inner", Leaf(act), Clock(), max_body).handle(rig.exchange)
    if body:
        rig.feed(body)
    return rig


class AskingTests(TestCase):
    def test_a_resource_asks_for_a_form(self) -> None:
        rig = ask(lambda request: form(request)[b"a"][0], "POST / HTTP/1.1", [_URLENCODED + "; charset=UTF-8"], b"a=b%20c")
        self.assertEqual(rig.reply.body, b"b c")

    def test_attack_45_what_is_not_declared_as_a_form_is_none(self) -> None:
        for line in ("Content-Type: multipart/form-data; boundary=b", "Content-Type: text/plain", "X-Other: 1"):
            rig = ask(lambda request: repr(form(request)).encode(), "POST / HTTP/1.1", [line], b"a=b")
            self.assertEqual(rig.reply.body, b"{}", line)

    def test_a_malformed_form_is_400(self) -> None:
        rig = ask(lambda request: b"%d" % len(form(request)), "POST / HTTP/1.1", [_URLENCODED], b"a=%zz")
        self.assertEqual(rig.reply.status, 400)

    def test_the_body_can_still_be_read(self) -> None:
        rig = ask(
            lambda request: repr((form(request), request.content.read())).encode(), "POST / HTTP/1.1", [_URLENCODED], b"a=b"
        )
        self.assertEqual(rig.reply.body, repr(({b"a": [b"b"]}, b"a=b")).encode())


class UnaskedTests(TestCase):
    """A form that a resource does not ask for is not parsed, and costs no time."""

    def test_attack_45_nothing_is_parsed_unasked(self) -> None:
        def forbidden(*args: Any, **kw: Any) -> Any:
            raise AssertionError("parsed without being asked")

        for name in ("parse_qs", "_getMultiPartArgs", "_parseContentType"):
            self.patch(http, name, forbidden)
        multipart, body = nested_multipart(3, 1024)
        for line in (_URLENCODED, multipart):
            rig = ask(lambda request: b"ok", "POST /x?a=b&c=d HTTP/1.1", [line, "Cookie: a=b; c=d"], body)
            self.assertEqual((rig.reply.status, rig.reply.body), (200, b"ok"), line)

    def test_attack_45_nested_multipart(self) -> None:
        multipart, body = nested_multipart()
        self.assertTrue(60_000 < len(body) <= 64 * 1024, len(body))
        began = time.thread_time()
        rig = ask(lambda request: b"ok", "POST / HTTP/1.1", [multipart], body)
        spent = time.thread_time() - began
        self.assertEqual(rig.reply.status, 200)
        self.assertLess(spent, 0.05)

    def test_attack_45_a_head_full_of_whatever_costs(self) -> None:
        """Each of these, with 32 KiB, took up to 13 ms: a hundred times the time of an ordinary head."""
        size = 32_000
        heads = [
            ("GET /?" + "&" * size, []),
            ("GET /?" + "%&" * (size // 2), []),
            ("GET " + "/" * size, []),
            ("GET " + "/%2F" * (size // 4), []),
            ("GET /", ["Cookie: " + ";" * size]),
            ("GET /", ["Cookie: " + "a=;" * (size // 3)]),
            ("GET /", ["Accept: " + "," * size]),
            ("GET /", ["Accept: " + "text/html;q=0.1," * (size // 16)]),
        ]
        for line, headers in heads:
            spent = []
            for _ in range(3):
                rig = Rig(line + " HTTP/1.1", headers)
                began = time.thread_time()
                SiteTarget("inner", Nothing("/", beneath=True), Clock()).handle(rig.exchange)
                spent.append(time.thread_time() - began)
                self.assertIn(rig.reply.status, (400, 404), line[:12])
            self.assertLess(min(spent), 0.002, (line[:12], [header[:16] for header in headers]))

    def test_arguments_and_cookies_are_there_for_a_resource_that_asks(self) -> None:
        for line, headers, body, act, answer in (
            (
                "GET /?q=%20x&q=2 HTTP/1.1",
                [],
                b"",
                lambda request: repr(request.args).encode(),
                repr({b"q": [b" x", b"2"]}).encode(),
            ),
            (
                "POST /?q=1 HTTP/1.1",
                [_URLENCODED],
                b"f=2",
                lambda r: repr(r.args).encode(),
                repr({b"q": [b"1"], b"f": [b"2"]}).encode(),
            ),
            (
                "GET / HTTP/1.1",
                ["Cookie: a=1; b=2", "Cookie: c=3=4"],
                b"",
                lambda r: b"|".join(map(r.getCookie, (b"a", b"c"))),
                b"1|3=4",
            ),
            ("GET / HTTP/1.1", ["Cookie: a"], b"", lambda r: repr(r.getCookie(b"a")).encode(), b"None"),
        ):
            self.assertEqual(ask(act, line, headers, body).reply.body, answer, line)

    def test_attack_45_more_arguments_than_a_resource_could_mean(self) -> None:
        rig = ask(lambda request: repr(request.args).encode(), "GET /?" + "a=&" * 5000 + " HTTP/1.1", [])
        self.assertEqual(rig.reply.status, 400)

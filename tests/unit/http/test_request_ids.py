"""The ids of requests: how they are made, which are taken from a proxy, and where responses show them."""

from __future__ import annotations

import json

from twisted.internet.task import Clock
from twisted.trial import unittest

from perimeter.errors import AuditUnavailable, InsufficientScope, InternalError, MissingCredentials, NoRoute, Page, SignIn
from perimeter.http.answers import Answers
from perimeter.http.exchange import Exchange
from perimeter.http.grammar import parse_block
from perimeter.http.request_ids import PLACE, id_in, id_line, id_of_proxy, next_line, no_line
from tests.unit.doubles.http_rig import Client, Holding, Site

ID = b"0af7651916cd43dd8448eb211c80319c"
LINE = b"X-Request-ID: " + ID + b"\r\n"
BROWSER = "Accept: text/html"


class IdTests(unittest.TestCase):
    def test_each_id_is_different_and_has_32_hexadecimal_digits(self) -> None:
        lines = [next_line() for _ in range(1000)]
        self.assertEqual(len(set(lines)), 1000)
        for line in lines:
            self.assertRegex(line, rb"\AX-Request-ID: [0-9a-f]{32}\r\n\Z")

    def test_successive_ids_have_no_common_part(self) -> None:
        ids = [id_in(next_line()) for _ in range(300)]
        for start in range(0, 32, 8):
            self.assertGreater(len({one[start : start + 8] for one in ids}), 290)

    def test_an_id_and_its_line(self) -> None:
        self.assertEqual(id_line(ID), LINE)
        self.assertEqual(id_in(LINE), ID)
        self.assertEqual(no_line(), b"")
        self.assertEqual(id_in(b""), b"")

    def test_an_id_of_a_proxy(self) -> None:
        for value in (ID, b"a", b"6ba7b810-9dad-11d1-80b4-00c04fd430c8", b"Root=1-67/x.y_z:+=", b"a" * 128):
            self.assertEqual(id_of_proxy(parse_block(b"Host: gw\r\nx-request-id: " + value + b"\r\n", 10)), value)

    def test_attack_100_an_id_that_means_something_in_a_log_is_not_taken(self) -> None:
        for value in (
            b"",
            b"a" * 129,
            b"a b",
            b'a"b',
            b"a\\b",
            b"<b>",
            b"a,b",
            b"-a",
            b"=a",
            b"a%0ab",
            b"a\tb",
            b"\xc3\xa9",
            b"a&b",
        ):
            block = b"Host: gw\r\nX-Request-ID: " + value + b"\r\n"
            self.assertEqual(id_of_proxy(parse_block(block, 10)), b"", value)
        twice = b"Host: gw\r\nX-Request-ID: a\r\nX-Request-ID: b\r\n"
        self.assertEqual(id_of_proxy(parse_block(twice, 10)), b"")
        self.assertEqual(id_of_proxy(parse_block(b"Host: gw\r\n", 10)), b"")


class AnswerTests(unittest.TestCase):
    def begun(self, *lines: str, method: str = "GET", ids: bool = True) -> tuple[Client, Exchange]:
        target = Holding()
        site = Site(target, Clock())

        def page(status: int, phrase: str, sign_in: SignIn | None) -> Page:
            return Page(b"Content-Type: text/html\r\n", b"<p>" + PLACE if ids else b"<p>")

        own = Page(b"Content-Type: text/html\r\n", b"own: " + PLACE)
        site.answers = Answers("realm", ("https://gw/token",), page, {404: own}, site.clock, ids=ids)
        site.next_id_line = (lambda: LINE) if ids else no_line
        client = Client(site)
        client.request(method, "/", *lines)
        return client, target.exchanges[0]

    def test_each_kind_of_response_has_the_header(self) -> None:
        for answer in (
            lambda exchange: exchange.answer(200, b"", b"x"),
            lambda exchange: exchange.start(200, b"", 5),
            lambda exchange: exchange.refuse(NoRoute("")),
        ):
            client, exchange = self.begun()
            answer(exchange)
            self.assertEqual(client.transport.written.count(LINE), 1)
            self.assertEqual(exchange.request_id, ID.decode())

    def test_the_audit_record_has_it(self) -> None:
        client, exchange = self.begun()
        exchange.answer(200, b"", b"")
        self.assertEqual(client.records[0].request_id, ID)

    def test_without_ids_nothing_shows_one(self) -> None:
        client, exchange = self.begun(ids=False)
        exchange.refuse(InsufficientScope(""))
        self.assertNotIn(b"request", client.transport.written.lower())
        self.assertEqual((client.records[0].request_id, exchange.request_id), (b"", ""))

    def test_a_tunnel_has_the_header(self) -> None:
        client, exchange = self.begun("Connection: upgrade", "Upgrade: x")
        exchange.switch(b"Upgrade: x\r\n", None)  # type: ignore[arg-type]
        self.assertEqual(client.transport.written.count(LINE), 1)

    def test_a_malformed_head_has_an_id(self) -> None:
        target = Holding()
        site = Site(target, Clock())
        site.next_id_line = lambda: LINE
        client = Client(site)
        client.send(b"GET / HTTP/1.1\r\nHost : gw\r\n\r\n")
        self.assertEqual(client.response().status, 400)
        self.assertEqual(client.transport.written.count(LINE), 1)
        self.assertEqual(client.records[0].request_id, ID)

    def test_a_response_in_place_of_an_unrecorded_one_has_it_once(self) -> None:
        client, exchange = self.begun()
        client.site.audit.failing = True
        exchange.answer(200, b"", b"x")
        self.assertEqual(client.response().status, AuditUnavailable.status)
        self.assertEqual(client.transport.written.count(LINE), 1)

    def test_error_bodies_and_pages_show_it(self) -> None:
        for refusal in (InsufficientScope(""), InternalError("")):
            client, exchange = self.begun()
            exchange.refuse(refusal)
            self.assertEqual(json.loads(client.response().body)["request_id"], ID.decode())
        client, exchange = self.begun(BROWSER)
        exchange.refuse(InternalError(""))
        self.assertEqual(client.response().body, b"<p>" + ID)
        client, exchange = self.begun(BROWSER)
        exchange.refuse(MissingCredentials())
        self.assertEqual(client.response().body, b"<p>" + ID)
        client, exchange = self.begun(BROWSER)
        exchange.refuse(NoRoute(""))
        self.assertEqual(client.response().body, b"own: " + ID)

    def test_a_401_for_a_program_has_the_members_that_reactor_documents_alone(self) -> None:
        client, exchange = self.begun()
        exchange.refuse(MissingCredentials())
        self.assertEqual(json.loads(client.response().body), {"auth_uri": ["https://gw/token"]})

    def test_two_refusals_of_one_kind_show_their_own_ids(self) -> None:
        client, exchange = self.begun("Accept: application/json")
        lines = iter([b"X-Request-ID: two\r\n"])
        client.site.next_id_line = lambda: next(lines)
        exchange.refuse(InternalError(""))
        client.get("/", "Accept: application/json")
        client.site.route.target.exchanges[-1].refuse(InternalError(""))
        self.assertEqual([json.loads(one.body)["request_id"] for one in client.responses()], [ID.decode(), "two"])

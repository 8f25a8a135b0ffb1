"""The rules of an exchange: which calls may follow each other, when it has ended, and what it drops then."""

from __future__ import annotations

from collections.abc import Callable

from twisted.trial import unittest

from perimeter.errors import InternalError
from perimeter.http.exchange import Exchange
from tests.unit.doubles.http_rig import Body, Client, Holding, Responder, Site


class ExchangeTestCase(unittest.TestCase):
    def begun(self, method: str = "GET", *lines: str, body: bytes = b"") -> tuple[Client, Exchange]:
        target = Holding()
        client = Client(Site(target))
        client.request(method, "/", *lines, body=body)
        return client, target.exchanges[0]


class ResponseTests(ExchangeTestCase):
    def test_a_head_is_sent_at_once_unless_it_is_kept_back(self) -> None:
        client, exchange = self.begun()
        exchange.start(200, b"", 5)
        self.assertEqual(client.transport.written, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")

    def test_a_head_kept_back_is_sent_before_the_end(self) -> None:
        client, exchange = self.begun()
        exchange.start(200, b"", 5, flush=False)
        exchange.flush()
        self.assertEqual(client.transport.written, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
        client, exchange = self.begun()
        exchange.start(200, b"", 5, flush=False)
        exchange.abort("reason")
        exchange.flush()
        self.assertEqual(client.transport.written, b"")

    def test_a_body_where_none_was_announced_cuts(self) -> None:
        for method, status, cut in (("GET", 200, True), ("GET", 205, True), ("GET", 305, True), ("HEAD", 200, False)):
            client, exchange = self.begun(method)
            exchange.start(status, b"", 0)
            exchange.write(b"x")
            self.assertEqual(client.transport.aborted, cut, (method, status))
            self.assertNotIn(b"x", client.transport.written.partition(b"\r\n\r\n")[2])

    def test_a_body_that_the_status_does_not_have_is_ignored(self) -> None:
        for status in (204, 304):
            client, exchange = self.begun()
            exchange.start(status, b"", None)
            exchange.write(b"x")
            exchange.finish()
            self.assertFalse(client.transport.aborted, status)
            self.assertTrue(client.transport.written.endswith(b"\r\n\r\n"))
            self.assertEqual(client.records[0].sent, 0)

    def test_no_informational_response_after_the_final_one(self) -> None:
        client, exchange = self.begun()
        exchange.start(200, b"", 5)
        before = client.transport.written
        exchange.interim(103, b"")
        self.assertEqual(client.transport.written, before)

    def test_whether_it_has_started_and_ended(self) -> None:
        _, exchange = self.begun()
        self.assertEqual((exchange.started, exchange.ended), (False, False))
        exchange.start(200, b"", 5)
        self.assertEqual((exchange.started, exchange.ended), (True, False))
        exchange.write(b"hello")
        exchange.finish()
        self.assertEqual((exchange.started, exchange.ended), (True, True))


class EndTests(ExchangeTestCase):
    def test_each_end_is_one(self) -> None:
        ends: list[Callable[[Exchange], None]] = [
            lambda exchange: exchange.answer(200, b"", b""),
            lambda exchange: exchange.abort("reason"),
            lambda exchange: exchange.refuse(InternalError()),
            lambda exchange: exchange.fail_body(InternalError()),
            lambda exchange: exchange.client_gone(),
        ]
        for end in ends:
            client, exchange = self.begun()
            end(exchange)
            self.assertTrue(exchange.ended)
            self.assertIsNone(exchange.responder)
            exchange.answer(200, b"", b"late")
            self.assertNotIn(b"late", client.transport.written)
            self.assertEqual(len(client.records), 1)

    def test_a_tunnel_that_was_closed_has_ended(self) -> None:
        client, exchange = self.begun("GET", "Connection: upgrade", "Upgrade: x")
        exchange.switch(b"", Body())
        exchange.tunnel_close()
        self.assertTrue(exchange.ended)
        before = client.transport.written
        exchange.tunnel_send(b"late")
        self.assertEqual(client.transport.written, before)

    def test_a_response_that_cannot_be_recorded_is_replaced(self) -> None:
        client, exchange = self.begun()
        responder = exchange.responder
        assert isinstance(responder, Responder)
        client.site.audit.failing = True
        exchange.answer(200, b"", b"hello")
        self.assertEqual((exchange.ended, client.transport.aborted), (True, False))
        self.assertEqual(client.response().status, 503)
        self.assertNotIn(b"hello", client.transport.written)
        self.assertEqual(responder.told, ["gone"])

    def test_a_sink_gets_nothing_after_the_end(self) -> None:
        ends: list[Callable[[Exchange], None]] = [
            lambda exchange: exchange.answer(200, b"", b""),
            lambda exchange: exchange.abort("reason"),
        ]
        for end in ends:
            _, exchange = self.begun("POST", "Content-Length: 10", body=b"hello")
            body = Body()
            exchange.receive(body)
            end(exchange)
            exchange.body_data(b"late!")
            exchange.body_end(())
            self.assertEqual((body.data, body.ended), (b"hello", False))

    def test_what_is_recorded_before_there_is_a_decision(self) -> None:
        client, exchange = self.begun()
        exchange.decision = None
        exchange.answer(200, b"", b"")
        record = client.records[0]
        self.assertEqual((record.address, record.principal, record.route, record.upstream), ("192.0.2.7", None, "", ""))

"""HTTP/1.1's framing of responses, without a connection; and an exchange on a carrier other than HTTP/1.1."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.trial.unittest import TestCase

from perimeter.config.site.limits import LimitSettings
from perimeter.errors import BadRequest, BodyTooLarge, RevokedToken
from perimeter.gate.decision import Admitted
from perimeter.gate.routes import Route
from perimeter.http.connections import Connections, withdraw_unless
from perimeter.http.exchange import Exchange
from perimeter.http.grammar import parse_block
from perimeter.http.h1.heads import HeadMemory, HeadReader
from perimeter.http.h1.writer import Writer
from perimeter.model import ClientConnection, EarlyEnd, Field, Principal, RequestHead, ResponseHead, Version
from perimeter.run.site import ConnectionFactory
from tests.unit.doubles.http_rig import Body, Client, Echoing, Holding, Responder, Site


class WriterTests(TestCase):
    def setUp(self) -> None:
        self.writes: list[bytes] = []
        self.writer = Writer(self)

    def write(self, data: bytes) -> None:
        """The writer's transport is this test."""
        self.writes.append(data)

    def head(
        self, status: int, length: int | None, bodiless: bool = False, version: Version = Version.HTTP_1_1, last: bool = False
    ) -> bytes:
        self.writes.clear()
        self.writer = Writer(self)
        self.writer.version, self.writer.last = version, last
        self.writer.head(status, b"X: y\r\n", length, b"", bodiless, False)
        return self.writes[0]

    def test_a_writer_announces_no_end_unless_it_has_to(self) -> None:
        self.writer.whole(200, b"", b"ok", b"", False)
        self.assertEqual(self.writes, [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"])

    def test_framing(self) -> None:
        old = Version.HTTP_1_0
        for arguments, framing in (
            ((200, 5), b"Content-Length: 5\r\n"),
            ((200, 0), b"Content-Length: 0\r\n"),
            ((200, None), b"Transfer-Encoding: chunked\r\n"),
            ((200, 5, True), b"Content-Length: 5\r\n"),
            ((200, None, True), b""),
            ((204, 0, True), b""),
            ((304, None, True), b""),
            ((200, 5, False, old), b"Content-Length: 5\r\nConnection: keep-alive\r\n"),
            ((200, None, False, old), b"Connection: close\r\n"),
            ((200, None, True, old), b"Connection: keep-alive\r\n"),
            ((200, 5, False, Version.HTTP_1_1, True), b"Content-Length: 5\r\nConnection: close\r\n"),
            ((200, 5, False, old, True), b"Content-Length: 5\r\nConnection: close\r\n"),
        ):
            written = self.head(*arguments)  # type: ignore[arg-type]
            self.assertEqual(written.partition(b"X: y\r\n")[2], framing + b"\r\n", arguments)
            self.assertEqual(self.writer.last, b"close" in framing, arguments)

    def test_a_response_of_unknown_length(self) -> None:
        self.writer.head(200, b"", None, b"Fine", False, True)
        self.writer.data(b"hello")
        self.writer.end([(b"x", b"y")])
        head = b"HTTP/1.1 200 Fine\r\nTransfer-Encoding: chunked\r\n\r\n"
        self.assertEqual(self.writes, [head + b"5\r\nhello\r\n", b"0\r\nx: y\r\n\r\n"])
        self.writer.whole(200, b"", b"next", b"", False)
        self.assertEqual(self.writes[2], b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext")

    def test_a_held_head_leaves_once(self) -> None:
        for leave in (self.writer.flush, lambda: self.writer.end(())):
            self.writes.clear()
            self.writer.head(200, b"", 0, b"", False, True)
            self.assertEqual(self.writes, [])
            leave()
            self.writer.flush()
            self.writer.end(())
            self.assertEqual(self.writes, [b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"])

    def test_whole_responses(self) -> None:
        for status, bodiless, expected in (
            (200, False, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
            (200, True, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"),
            (304, True, b"HTTP/1.1 304 Not Modified\r\n\r\n"),
            (204, True, b"HTTP/1.1 204 No Content\r\n\r\n"),
        ):
            self.writes.clear()
            self.writer.whole(status, b"", b"ok", b"", bodiless)
            self.assertEqual(self.writes, [expected])

    def test_informational_responses_are_not_for_http_1_0(self) -> None:
        self.writer.interim(103, b"Link: x\r\n")
        self.writer.version = Version.HTTP_1_0
        self.writer.interim(103, b"Link: x\r\n")
        self.assertEqual(self.writes, [b"HTTP/1.1 103 \r\nLink: x\r\n\r\n"])


class StreamCarrier:
    """A carrier and writer of a protocol with frames: the calls of an exchange, in order."""

    def __init__(self) -> None:
        self.site = Site(Holding())
        self.writer = self
        self.asked: list[object] = []

    def whole(self, status: int, lines: bytes, body: bytes, reason: bytes, bodiless: bool) -> None:
        self.asked.append(("whole", status, body, bodiless))

    def head(self, status: int, lines: bytes, length: int | None, reason: bytes, bodiless: bool, hold: bool) -> None:
        self.asked.append(("head", status, length, bodiless))

    def flush(self) -> None:
        self.asked.append("flush")

    def data(self, data: bytes) -> None:
        self.asked.append(("data", data))

    raw = data

    def end(self, trailers: Sequence[Field]) -> None:
        self.asked.append(("end", tuple(trailers)))

    def interim(self, status: int, lines: bytes) -> None:
        self.asked.append(("interim", status))

    def body_wanted(self) -> None:
        self.asked.append("body wanted")

    def discard_body(self) -> None:
        self.asked.append("discard body")

    def flow_changed(self) -> None:
        self.asked.append("flow")

    def open_tunnel(self, lines: bytes) -> None:
        self.asked.append("tunnel")

    def close_after(self) -> None:
        self.asked.append("close after")

    def response_done(self) -> None:
        self.asked.append("done")

    def abort(self) -> None:
        self.asked.append("abort")


class ExchangeTests(TestCase):
    """The exchange knows no bytes of HTTP/1.1: another carrier gets the same questions."""

    def exchange(self, method: bytes = b"GET", has_body: bool = False) -> Exchange:
        self.carrier = StreamCarrier()
        head = RequestHead(method, b"/", Version.HTTP_2_0, parse_block(b"Host: gw\r\n", 10), b"gw")
        connection = ClientConnection("192.0.2.7", 1, "https", 443, "TLSv1.3")
        return Exchange(self.carrier, head, connection, 1.0, has_body)  # type: ignore[arg-type]

    def test_a_whole_answer(self) -> None:
        exchange = self.exchange()
        exchange.answer(200, b"", b"ok")
        self.assertEqual(self.carrier.asked, [("whole", 200, b"ok", False), "done"])
        self.assertEqual([(record.version, record.sent) for record in self.carrier.site.audit.records], [("HTTP/2.0", 2)])

    def test_a_streamed_answer_to_a_body(self) -> None:
        exchange = self.exchange(b"POST", has_body=True)
        sink = Body()
        exchange.receive(sink)
        exchange.body_data(b"abc")
        exchange.pause_body()
        exchange.resume_body()
        exchange.body_end([(b"x", b"y")])
        self.assertEqual((sink.data, sink.ended, exchange.received), (b"abc", True, 3))
        exchange.start(200, b"", None)
        exchange.write(b"1")
        exchange.finish([(b"grpc-status", b"0")])
        self.assertEqual(
            self.carrier.asked,
            [
                "body wanted",
                "flow",
                "flow",
                ("head", 200, None, False),
                ("data", b"1"),
                ("end", ((b"grpc-status", b"0"),)),
                "done",
            ],
        )

    def test_early_ends(self) -> None:
        exchange = self.exchange(b"POST", has_body=True)
        exchange.max_body = 2
        exchange.receive(Body())
        self.assertRaises(BodyTooLarge, exchange.body_data, b"abc")
        exchange.fail_body(BadRequest())
        body = b'{"error":"bad_request","error_description":"The request is malformed"}'
        self.assertEqual(self.carrier.asked[1:], ["close after", ("whole", 400, body, False), "done"])
        exchange = self.exchange()
        exchange.start(200, b"", 2)
        exchange.write(b"abc")
        self.assertEqual(self.carrier.asked, [("head", 200, 2, False), "abort"])
        self.assertEqual([record.reason for record in self.carrier.site.audit.records], [EarlyEnd.RESPONSE_TOO_LONG])

    def test_withdrawn(self) -> None:
        for started, status in ((False, 401), (True, 200)):
            exchange = self.exchange()
            exchange.responder = responder = Responder()
            if started:
                exchange.start(200, b"", None)
            exchange.withdraw(RevokedToken())
            self.assertEqual(responder.told, ["gone"])
            self.assertEqual([(one.status, one.reason) for one in self.carrier.site.audit.records], [(status, "revoked")])
            self.assertEqual("abort" in self.carrier.asked, started)

    def test_attack_21_every_exchange_of_a_connection_is_judged(self) -> None:
        exchanges, carriers = [], []
        for name in ("alice", "bob", None):
            exchange = self.exchange()
            exchange.start(200, b"", None)
            principal = None if name is None else Principal(name, "local")
            route = Route(name="a-route", prefix=b"", target=Holding(), audit=self.carrier.site.audit)
            exchange.decision = Admitted(route, principal, b"/", b"", "192.0.2.7")
            exchanges.append(exchange)
            carriers.append(self.carrier)

        class Connection:
            def __init__(self) -> None:
                self.exchanges = exchanges

        connections = Connections([Connection()])  # type: ignore[list-item]
        self.assertEqual(connections.in_flight(), 3)
        withdraw_unless(lambda principal, _: principal.username == "bob", connections.exchanges())
        self.assertEqual(["abort" in carrier.asked for carrier in carriers], [True, False, False])


class HeadMemoryTests(TestCase):
    def test_the_same_text_again(self) -> None:
        reader = HeadReader()
        text = b"GET / HTTP/1.1\r\nHost: gw\r\n\r\n"
        self.assertEqual(reader.read(text + b"rest", LimitSettings()), b"rest")
        first = reader.head
        self.assertEqual(reader.read(text + text, LimitSettings()), text)
        self.assertIs(reader.head, first)
        self.assertEqual(reader.read(b"\r\n" + text, LimitSettings()), b"")
        self.assertIsNone(reader.read(text[:-1], LimitSettings()))

    def test_nothing_is_remembered_at_first(self) -> None:
        memory: HeadMemory[ResponseHead] = HeadMemory()
        self.assertIsNone(memory.after(b""))
        self.assertIsNone(memory.after(b"HTTP/1.1 200 OK\r\n\r\n"))


class GoAwayTests(TestCase):
    PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))

    def test_http_2_with_prior_knowledge(self) -> None:
        """RFC 9113, section 7: HTTP_1_1_REQUIRED is 13. The frames say that no stream was processed."""
        for cut in range(1, len(self.PREFACE)):
            client = Client(Site(Holding()))
            client.send(self.PREFACE[:cut])
            client.send(self.PREFACE[cut:])
            settings = b"\0\0\0\x04\0\0\0\0\0"
            goaway = b"\0\0\x08\x07\0\0\0\0\0" + b"\0\0\0\0" + b"\0\0\0\x0d"
            self.assertEqual(client.transport.written, settings + goaway)
            self.assertTrue(client.closed)
            self.assertEqual(
                [(record.method, record.status, record.reason) for record in client.records],
                [(b"PRI", 505, "version_not_supported")],
            )

    def test_after_requests_of_http_1(self) -> None:
        client = Client(Site(Echoing()))
        client.get()
        client.send(self.PREFACE)
        self.assertTrue(client.transport.written.endswith(b"\x0d"))
        self.assertEqual([record.status for record in client.records], [200, 505])

    def test_other_versions_get_an_answer_in_http_1_1(self) -> None:
        for line in (b"GET / HTTP/2.0", b"PRI / HTTP/2.0", b"PRI * HTTP/3.0"):
            client = Client(Site(Holding()))
            client.send(line + b"\r\n\r\n")
            self.assertEqual(client.response().status, 505, line)


class ProtocolChoiceTests(TestCase):
    def test_by_what_was_agreed_upon(self) -> None:
        factory = ConnectionFactory(Site(Holding()), "https")  # type: ignore[arg-type]
        for alpn in (b"", b"http/1.1"):
            self.assertEqual(factory.build(None, alpn).listener, "https")
        self.assertRaises(ValueError, factory.build, None, b"h2")

    def test_one_exchange_at_a_time(self) -> None:
        client = Client(Site(target := Holding()))
        self.assertEqual(list(client.channel.exchanges), [])
        client.get()
        self.assertEqual(list(client.site.connections.exchanges()), target.exchanges)
        self.assertEqual(client.site.connections.in_flight(), 1)
        client.channel.cut()
        client.wait(1)
        self.assertEqual([record.reason for record in client.records], [EarlyEnd.SHUTDOWN])

"""Exactly one access record for each request, however it ends, in the file before the last byte of the response is sent."""

from __future__ import annotations

from twisted.trial import unittest

from perimeter.errors import AuditUnavailable, InternalError, MissingCredentials, Rejected
from perimeter.http.exchange import Exchange
from perimeter.model import AccessRecord
from tests.unit.doubles.http_rig import Body, Client, Echoing, Holding, Responder, Site


class RecordTests(unittest.TestCase):
    def client(self, target: object | None = None) -> Client:
        return Client(Site(target or Echoing()), tls_version="TLSv1.3")

    def begun(self, *lines: str, method: str = "GET", body: bytes = b"") -> tuple[Client, Exchange]:
        target = Holding()
        client = self.client(target)
        client.request(method, "/a?b", *lines, body=body)
        return client, target.exchanges[0]

    def only(self, client: Client, status: int, reason: str = "") -> None:
        """One record, also after every event that could write another."""
        client.transport.lose()
        client.wait(100)
        self.assertEqual([(record.status, record.reason) for record in client.records], [(status, reason)])

    def test_what_it_holds(self) -> None:
        client, exchange = self.begun("Content-Length: 3", method="POST", body=b"abc")
        exchange.receive(Body())
        client.wait(2)
        exchange.start(201, b"", None)
        exchange.write(b"hello")
        exchange.finish()
        record = client.records[0]
        self.assertEqual(
            (record.method, record.target, record.version, record.host), (b"POST", b"/a?b", "HTTP/1.1", b"gw.example")
        )
        self.assertEqual((record.status, record.sent, record.received, record.reason), (201, 5, 3, ""))
        self.assertEqual((record.address, record.listener, record.tls), ("192.0.2.7", "https", "TLSv1.3"))
        self.assertEqual((record.route, record.upstream, record.principal), ("a-route", "holding", None))
        self.assertEqual((record.time, record.duration), (0, 2))
        self.assertEqual((record.detail, record.attempted_user), ("", None))
        assert record.headers is not None
        self.assertEqual(record.headers.get(b"content-length"), b"3")
        self.only(client, 201)

    def test_upstream_can_be_named_by_the_target(self) -> None:
        client, exchange = self.begun()
        exchange.upstream = "another"
        exchange.answer(200, b"", b"")
        self.assertEqual(client.records[0].upstream, "another")

    def test_attack_10_mapped_address(self) -> None:
        site = Site(Echoing())
        Client(site, peer="::ffff:10.0.0.1").get()
        self.assertEqual(site.audit.records[0].address, "10.0.0.1")

    def test_before_the_last_byte_of_an_answer(self) -> None:
        client, exchange = self.begun()
        exchange.answer(200, b"", b"hello")
        self.assertEqual(client.site.audit.written_before, [0])
        self.only(client, 200)

    def test_before_the_last_byte_of_a_known_length(self) -> None:
        client, exchange = self.begun()
        exchange.start(200, b"", 5)
        exchange.write(b"hell")
        self.assertEqual(client.records, [])
        before = len(client.transport.written)
        exchange.write(b"o")
        self.assertEqual(client.site.audit.written_before, [before])
        self.assertEqual(client.records[0].sent, 5)
        exchange.finish()
        self.only(client, 200)

    def test_before_the_last_chunk(self) -> None:
        client, exchange = self.begun()
        exchange.start(200, b"", None)
        exchange.write(b"hello")
        self.assertEqual(client.records, [])
        before = len(client.transport.written)
        exchange.finish()
        self.assertEqual(client.site.audit.written_before, [before])
        self.only(client, 200)

    def test_before_the_head_where_no_body_follows(self) -> None:
        for method, status, length in (
            ("GET", 200, 0),
            ("HEAD", 200, 5),
            ("HEAD", 200, None),
            ("GET", 204, None),
            ("GET", 304, 5),
        ):
            client, exchange = self.begun(method=method)
            exchange.start(status, b"", length)
            self.assertEqual(client.site.audit.written_before, [0], (method, status, length))
            exchange.finish()
            self.only(client, status)

    def test_client_gone_before_the_answer(self) -> None:
        client, exchange = self.begun()
        responder = exchange.responder
        assert isinstance(responder, Responder)
        client.transport.lose()
        self.assertEqual(responder.told, ["gone"])
        exchange.answer(200, b"", b"late")
        exchange.refuse(InternalError())
        self.only(client, 499, "client_gone")

    def test_client_gone_while_the_answer_was_sent(self) -> None:
        client, exchange = self.begun()
        exchange.start(200, b"", 10)
        exchange.write(b"half")
        client.transport.reset()
        exchange.write(b"more")
        exchange.finish()
        self.only(client, 200, "client_gone")
        self.assertEqual(client.records[0].sent, 4)

    def test_client_gone_between_last_byte_and_finish(self) -> None:
        client, exchange = self.begun()
        exchange.start(200, b"", 4)
        exchange.write(b"all.")
        client.transport.lose()
        exchange.finish()
        self.only(client, 200)

    def test_client_gone_after_the_answer(self) -> None:
        client, exchange = self.begun()
        exchange.answer(200, b"", b"hello")
        self.only(client, 200)

    def test_client_gone_in_the_middle_of_its_body(self) -> None:
        client, exchange = self.begun("Content-Length: 10", method="POST", body=b"half")
        exchange.receive(Body())
        self.only(client, 499, "client_gone")
        self.assertEqual(client.records[0].received, 4)

    def test_client_gone_in_the_middle_of_a_head(self) -> None:
        client = self.client()
        client.send(b"GET /secret HTTP/1.1\r\nHo")
        self.only(client, 499, "client_gone")
        record = client.records[0]
        self.assertEqual((record.method, record.target, record.route), (b"GET", b"/secret", ""))

    def test_client_gone_with_a_pipelined_request_waiting(self) -> None:
        """A request that the gateway never began to serve has one line too, complete or not."""
        client, _ = self.begun()
        client.get("/waiting")
        self.only(client, 499, "client_gone")

    def test_nothing_sent_nothing_recorded(self) -> None:
        client = self.client()
        client.transport.lose()
        self.assertEqual(client.records, [])

    def test_refused_head(self) -> None:
        client = self.client()
        client.send(b"BREW /pot HTTP/1.1\r\nHost: a b\r\n\r\nGET / HTTP/1.1\r\nHost: gw\r\n\r\n")
        self.only(client, 400, "bad_request")
        self.assertEqual((client.records[0].method, client.records[0].target), (b"BREW", b"/pot"))

    def test_refusal(self) -> None:
        client, exchange = self.begun()
        exchange.refuse(MissingCredentials("none"))
        exchange.refuse(InternalError("a bug"))
        self.assertEqual((client.records[0].detail, client.records[0].attempted_user), ("none", None))
        self.only(client, 401, "missing_credentials")
        self.assertEqual(client.site.audit.written_before, [0])

    def test_refused_login(self) -> None:
        client, exchange = self.begun()
        refusal = Rejected("no authenticator knows this user")
        refusal.attempted_user = "bob"
        exchange.refuse(refusal)
        self.only(client, 401, "wrong_credentials")
        self.assertEqual(client.records[0].attempted_user, "bob")

    def test_refusal_after_the_response_began(self) -> None:
        client, exchange = self.begun()
        exchange.start(200, b"", None)
        exchange.refuse(InternalError("a bug"))
        self.only(client, 200, "internal_error")
        self.assertEqual(client.records[0].detail, "a bug")

    def test_malformed_body(self) -> None:
        client, exchange = self.begun("Transfer-Encoding: chunked", method="POST")
        exchange.receive(Body())
        client.send(b"garbage\r\n")
        self.only(client, 400, "bad_request")

    def test_abort(self) -> None:
        client, exchange = self.begun()
        exchange.start(200, b"", None)
        exchange.abort("upstream_aborted")
        exchange.abort("again")
        self.assertTrue(client.transport.aborted)
        self.only(client, 200, "upstream_aborted")

    def test_target_that_raises(self) -> None:
        class Broken:
            name = "broken"

            def handle(self, exchange: Exchange) -> None:
                raise RuntimeError("a bug")

        client = self.client(Broken())
        client.get()
        self.assertEqual(client.response().status, 500)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.only(client, 500, "internal_error")


class StrictTests(unittest.TestCase):
    """A strict audit log that cannot be written: the response never becomes whole, and the record says what the client saw."""

    def begun(self, method: str = "GET") -> tuple[Client, Exchange, Responder]:
        target = Holding()
        client = Client(Site(target))
        client.site.audit.failing = True
        client.request(method, "/")
        exchange = target.exchanges[0]
        responder = exchange.responder
        assert isinstance(responder, Responder)
        return client, exchange, responder

    def kept(self, client: Client) -> AccessRecord:
        """The one record that was kept, after everything that could bring another."""
        client.transport.lose()
        client.wait(100)
        (record,) = client.site.audit.kept
        self.assertEqual(len(client.records), 1)
        self.assertEqual((record.reason, record.detail), ("audit_unavailable", "access.log: No space left on device"))
        return record

    def cut(self, client: Client, responder: Responder, status: int, sent: int) -> None:
        """The client saw a part of the response, and then a reset."""
        self.assertTrue(client.transport.aborted)
        self.assertEqual(responder.told, ["gone"])
        record = self.kept(client)
        self.assertEqual((record.status, record.sent), (status, sent))

    def replaced(self, client: Client, responder: Responder, method: bytes = b"GET") -> None:
        """The client saw 503, and nothing of the response."""
        response = client.response(method)
        self.assertEqual(response.status, 503)
        self.assertIsNotNone(response.get(b"retry-after"))
        self.assertNotIn(b"secret", client.transport.written)
        self.assertFalse(client.transport.aborted)
        self.assertEqual(responder.told, ["gone"])
        record = self.kept(client)
        self.assertEqual((record.status, record.sent), (503, len(response.body)))

    def test_answer(self) -> None:
        client, exchange, responder = self.begun()
        exchange.answer(200, b"", b"secret")
        self.replaced(client, responder)

    def test_known_length(self) -> None:
        client, exchange, responder = self.begun()
        exchange.start(200, b"", 6)
        exchange.write(b"secre")
        exchange.write(b"t")
        self.assertFalse(client.responses()[0].whole)
        exchange.finish()
        self.cut(client, responder, 200, 5)

    def test_known_length_whose_head_waits(self) -> None:
        client, exchange, responder = self.begun()
        exchange.start(200, b"X-Secret: secret\r\n", 6, flush=False)
        exchange.write(b"secret")
        exchange.finish()
        self.replaced(client, responder)

    def test_chunked(self) -> None:
        client, exchange, responder = self.begun()
        exchange.start(200, b"", None)
        exchange.write(b"secret")
        exchange.finish()
        self.assertFalse(client.responses()[0].whole)
        self.cut(client, responder, 200, 6)

    def test_chunked_whose_head_waits(self) -> None:
        target = Holding()
        client = Client(Site(target))
        client.site.audit.failing = True
        client.get()
        exchange = target.exchanges[0]
        exchange.start(200, b"", None, flush=False)
        exchange.finish()
        self.assertEqual(client.response().status, 503)
        client.site.audit.failing = False
        client.get()
        target.exchanges[1].answer(200, b"", b"good")
        self.assertEqual(client.responses()[1].body, b"good", "the framing is that of the second response alone")

    def test_no_body(self) -> None:
        for flush in (True, False):
            client, exchange, responder = self.begun("HEAD")
            exchange.start(200, b"", 5, flush=flush)
            exchange.finish()
            self.replaced(client, responder, b"HEAD")

    def test_refusal(self) -> None:
        client, exchange, responder = self.begun()
        exchange.refuse(MissingCredentials())
        self.replaced(client, responder)

    def test_refusal_for_this_reason(self) -> None:
        client, exchange, _ = self.begun()
        exchange.refuse(AuditUnavailable("access.log: No space left on device"))
        response = client.response()
        self.assertEqual(response.status, 503)
        record = self.kept(client)
        self.assertEqual((record.status, record.sent), (503, len(response.body)))

    def test_client_that_left(self) -> None:
        client, _, responder = self.begun()
        client.transport.lose()
        self.assertEqual(responder.told, ["gone"])
        (record,) = client.site.audit.kept
        self.assertEqual((record.status, record.reason), (499, "client_gone"))

    def test_tunnel(self) -> None:
        client, exchange, responder = self.begun()
        client.site.audit.failing = False
        exchange.switch(b"", Body())
        client.site.audit.failing = True
        client.records.clear()
        exchange.tunnel_close()
        self.cut(client, responder, 101, 0)

    def test_refused_head(self) -> None:
        client = Client(Site(Echoing()))
        client.site.audit.failing = True
        client.send(b"garbage\r\n\r\n")
        self.assertEqual(client.response().status, 503)
        self.assertTrue(client.closed)
        client.wait(10)
        self.assertEqual(len(client.records), 1)

    def test_pipelined_requests_behind_it_are_not_served(self) -> None:
        target = Holding()
        client = Client(Site(target))
        client.site.audit.failing = True
        client.send(b"GET / HTTP/1.1\r\nHost: gw\r\n\r\n" * 3)
        target.exchanges[0].start(200, b"", None)
        target.exchanges[0].finish()
        self.assertEqual(len(target.exchanges), 1)
        self.assertEqual(len(client.records), 1)

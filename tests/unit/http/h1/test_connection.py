"""A client's connection: keep-alive, pipelining, bodies both ways, limits and flow control, on a transport without a socket."""

from __future__ import annotations

import json
from math import inf

import attrs
from twisted.trial import unittest

from perimeter.config.site.limits import LimitSettings
from perimeter.errors import InternalError, MissingCredentials
from perimeter.http.exchange import Exchange
from tests.unit.doubles.http_rig import Body, Client, Echoing, Holding, Responder, Site, stalled
from tests.unit.http.h1.test_framing import BAD_CHUNKED
from tests.unit.http.test_grammar import BAD_BLOCKS, BAD_REQUEST_BLOCKS


class ChannelTestCase(unittest.TestCase):
    def client(self, target: object | None = None, **limits: float) -> Client:
        site = Site(target or Echoing(), limits=attrs.evolve(LimitSettings(), **limits))
        return Client(site)

    def holding(self, **limits: float) -> tuple[Client, Holding]:
        target = Holding()
        return self.client(target, **limits), target


class KeepAliveTests(ChannelTestCase):
    def test_one_after_the_other(self) -> None:
        client = self.client()
        for number in range(5):
            client.get(f"/{number}")
        bodies = [response.body for response in client.responses()]
        self.assertEqual(bodies, [b"GET /%d " % number for number in range(5)])
        self.assertFalse(client.closed)
        self.assertEqual([record.target for record in client.records], [b"/%d" % number for number in range(5)])

    def test_connection_close_is_obeyed_and_announced(self) -> None:
        client = self.client()
        client.get("/", "Connection: close")
        self.assertEqual(client.response().get(b"connection"), b"close")
        self.assertTrue(client.closed)

    def test_nothing_is_served_after_close(self) -> None:
        client = self.client()
        client.send(b"GET /1 HTTP/1.1\r\nHost: gw\r\nConnection: close\r\n\r\nGET /2 HTTP/1.1\r\nHost: gw\r\n\r\n")
        self.assertEqual(client.response().body, b"GET /1 ")
        self.assertEqual(len(client.records), 1)

    def test_http_1_0_closes(self) -> None:
        client = self.client()
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        response = client.response()
        self.assertEqual((response.status, response.get(b"connection")), (200, b"close"))
        self.assertTrue(client.closed)
        self.assertEqual(client.records[0].version, "HTTP/1.0")

    def test_http_1_0_keep_alive(self) -> None:
        client = self.client()
        client.send(b"GET /1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        client.send(b"GET /2 HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n")
        first, second = client.responses()
        self.assertEqual((first.get(b"connection"), second.body), (b"keep-alive", b"GET /2 "))
        self.assertFalse(client.closed)

    def test_http_1_0_unknown_length_ends_with_the_connection(self) -> None:
        client, target = self.holding()
        client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        exchange = target.exchanges[0]
        exchange.start(200, b"", None)
        exchange.write(b"some")
        exchange.write(b"thing")
        self.assertEqual(client.records, [])
        exchange.finish()
        response = client.response()
        self.assertEqual((response.body, response.get(b"connection")), (b"something", b"close"))
        self.assertIsNone(response.get(b"transfer-encoding"))
        self.assertTrue(client.closed)
        self.assertEqual(client.records[0].sent, 9)

    def test_empty_lines_before_a_request_are_skipped(self) -> None:
        client = self.client()
        client.send(b"\r\n\r\nGET /1 HTTP/1.1\r\nHost: gw\r\n\r\n\r\n")
        client.send(b"\r")
        client.send(b"\nGET /2 HTTP/1.1\r\nHost: gw\r\n\r\n")
        self.assertEqual([response.body for response in client.responses()], [b"GET /1 ", b"GET /2 "])

    def test_attack_22_empty_lines_gain_no_time(self) -> None:
        client = self.client(head_timeout=10)
        for _ in range(11):
            client.send(b"\r\n" * 32_000)
            client.wait(1)
        self.assertTrue(client.closed)
        self.assertEqual(client.records, [])

    def test_same_header_block_again(self) -> None:
        """The block is parsed once; the request line is not."""
        client = self.client()
        for line in (b"GET /1", b"POST /2", b"GET /3"):
            client.send(line + b" HTTP/1.1\r\nHost: gw\r\nX: y\r\n\r\n")
        client.send(b"GET /4 HTTP/1.1\r\nHost: gw\r\nX: z\r\n\r\n")
        self.assertEqual([record.headers and record.headers.get(b"x") for record in client.records], [b"y", b"y", b"y", b"z"])
        self.assertEqual([response.body for response in client.responses()][1], b"POST /2 ")

    def test_same_head_again(self) -> None:
        """However much of a head equals the previous one, the differences and the rest are used."""
        client = self.client()
        client.get("/1")
        client.get("/1")
        client.send(b"GET /1 HTTP/1.1\r\nHost: gw.exa")
        client.send(b"mple\r\n\r\nGET /12 HTTP/1.1\r\nHost: gw.example\r\n\r\n\r\nGET /1 HTTP/1.1\r\nHost: gw.example\r\n\r\n")
        client.send(b"GET /1 HTTP/1.1\r\nHost: gw.example\r\nHost: gw.example\r\n\r\n")
        bodies = [response.body for response in client.responses()]
        self.assertEqual(bodies[:-1], [b"GET /1 ", b"GET /1 ", b"GET /1 ", b"GET /12 ", b"GET /1 "])
        self.assertEqual(client.records[-1].status, 400)

    def test_shut_down_closes_an_idle_connection(self) -> None:
        client = self.client()
        client.channel.shut_down()
        self.assertTrue(client.closed)

    def test_shut_down_leaves_an_idle_connection_for_one_more_request(self) -> None:
        client = self.client()
        client.channel.shut_down(idle=False)
        self.assertFalse(client.closed)
        client.get()
        self.assertEqual(client.response().get(b"connection"), b"close")
        self.assertTrue(client.closed)

    def test_shut_down_while_requests_wait_for_their_turn(self) -> None:
        """The next request is the last one. An incomplete request is not answered."""
        for waiting, bodies in ((b"GET /2 HTTP/1.1\r\nHost: gw\r\n\r\n", [b"GET /1 ", b"GET /2 "]), (b"GET /2", [b"GET /1 "])):
            client = self.client()
            client.transport.receive(b"GET /1 HTTP/1.1\r\nHost: gw\r\n\r\n" + waiting)
            client.channel.shut_down()
            self.assertFalse(client.closed)
            client.wait(1)
            self.assertTrue(client.closed)
            self.assertEqual([response.body for response in client.responses()], bodies)

    def test_shut_down_of_a_request_that_waited_and_takes_its_time(self) -> None:
        client, target = self.holding()

        def dispatch(exchange: Exchange) -> None:
            target.handle(exchange)
            if exchange.head.target == b"/1":
                exchange.answer(200, b"", b"1")

        client.site.dispatch = dispatch
        client.transport.receive(b"GET /1 HTTP/1.1\r\nHost: gw\r\n\r\nGET /2 HTTP/1.1\r\nHost: gw\r\n\r\n")
        client.channel.shut_down()
        client.wait(1)
        self.assertEqual((client.closed, len(target.exchanges)), (False, 2))
        target.exchanges[1].answer(200, b"", b"2")
        self.assertEqual([response.body for response in client.responses()], [b"1", b"2"])
        self.assertTrue(client.closed)

    def test_shut_down_finishes_the_request_in_hand(self) -> None:
        client, target = self.holding()
        client.get()
        client.channel.shut_down()
        self.assertFalse(client.closed)
        target.exchanges[0].answer(200, b"", b"done")
        self.assertEqual(client.response().get(b"connection"), b"close")
        self.assertTrue(client.closed)

    def test_channels_are_known_to_their_site(self) -> None:
        client = self.client()
        self.assertEqual(client.site.connections, {client.channel})
        client.transport.lose()
        self.assertEqual(client.site.connections, set())
        self.assertEqual(len(client.site.deadlines), 0)


class EndTests(ChannelTestCase):
    def test_the_rest_of_a_large_upload_and_the_next_request_are_read(self) -> None:
        """The client was held back, its request is answered without its body, and the next request comes."""
        client, target = self.holding()
        client.request("POST", "/", "Content-Length: 100000")
        client.send(b"x" * 100_000)
        self.assertFalse(client.transport.reading)
        target.exchanges[0].refuse(MissingCredentials())
        self.assertTrue(client.transport.reading)
        client.get("/2")
        self.assertEqual([exchange.head.target for exchange in target.exchanges], [b"/", b"/2"])

    def test_a_skipped_body_is_complete(self) -> None:
        client, target = self.holding()
        client.request("POST", "/", "Content-Length: 5", body=b"hello")
        exchange = target.exchanges[0]
        exchange.start(200, b"", None)
        self.assertTrue(exchange.body_done)
        exchange.finish()
        self.assertFalse(client.closed)

    def test_a_cut_exchange_is_not_under_way(self) -> None:
        client, target = self.holding()
        client.get()
        self.assertEqual(client.site.connections.in_flight(), 1)
        target.exchanges[0].abort("reason")
        self.assertEqual(client.site.connections.in_flight(), 0)

    def test_a_lost_connection_is_not_cut_again(self) -> None:
        """The client leaves, and the record of its request cannot be written."""
        client, _ = self.holding()
        client.get()
        client.site.audit.failing = True
        client.transport.lose()
        self.assertEqual((len(client.records), client.transport.aborted), (1, False))

    def test_what_follows_the_last_request_is_not_kept(self) -> None:
        client, target = self.holding()
        client.get("/", "Connection: close")
        client.send(b"x" * 1000)
        client.transport.stalled = True
        target.exchanges[0].answer(200, b"", b"")
        self.assertEqual(client.channel._pending, b"")

    def test_what_a_client_is(self) -> None:
        client, target = self.holding()
        client.get()
        connection = target.exchanges[0].connection
        self.assertEqual((connection.address, connection.port, connection.listener), ("192.0.2.7", 4711, "https"))
        self.assertEqual((connection.local_port, connection.tls), (9443, ""))


class PipeliningTests(ChannelTestCase):
    def test_attack_19_slow_then_fast(self) -> None:
        client, target = self.holding()
        client.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: gw\r\n\r\n" % number for number in range(3)))
        self.assertEqual(len(target.exchanges), 1)
        for number in range(3):
            target.exchanges[number].answer(200, b"", b"%d" % number)
        self.assertEqual([response.body for response in client.responses()], [b"0", b"1", b"2"])

    def test_attack_19_fast_after_slow_is_not_begun(self) -> None:
        client, target = self.holding()
        client.get("/slow")
        client.get("/fast")
        self.assertEqual([exchange.head.target for exchange in target.exchanges], [b"/slow"])
        self.assertEqual(client.transport.written, b"")

    def test_bodies_between_pipelined_requests(self) -> None:
        client = self.client()
        client.send(
            b"POST /1 HTTP/1.1\r\nHost: gw\r\nContent-Length: 4\r\n\r\nGET POST /2 HTTP/1.1\r\nHost: gw\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nGET /3 HTTP/1.1\r\nHost: gw\r\n\r\n"
        )
        self.assertEqual([response.body for response in client.responses()], [b"POST /1 GET ", b"POST /2 abc", b"GET /3 "])

    def test_many_pipelined_requests_do_not_nest(self) -> None:
        client = self.client()
        client.send(b"GET / HTTP/1.1\r\nHost: gw\r\n\r\n" * 3000)
        self.assertEqual(len(client.responses()), 3000)

    def test_what_comes_while_others_have_their_turn_waits(self) -> None:
        client = self.client()
        client.transport.receive(b"".join(b"GET /%d HTTP/1.1\r\nHost: gw\r\n\r\n" % number for number in range(2)))
        client.channel.dataReceived(b"GET /2 HTTP/1.1\r\nHost: gw\r\n\r\n")
        client.wait(1)
        self.assertEqual([response.body for response in client.responses()], [b"GET /%d " % number for number in range(3)])

    def test_what_waits_behind_a_slow_request_is_bounded(self) -> None:
        client, target = self.holding()
        client.get()
        client.send(b"GET / HTTP/1.1\r\nHost: gw\r\n\r\n" * 3000)
        self.assertFalse(client.transport.reading)
        for _ in range(3001):
            target.exchanges.pop().answer(200, b"", b"")
        self.assertEqual(len(client.responses()), 3001)
        self.assertTrue(client.transport.reading)

    def test_attack_22_responses_that_are_not_read_hold_up_the_next_request(self) -> None:
        client, target = self.holding()
        client.transport.stalled = True
        client.send(b"GET /1 HTTP/1.1\r\nHost: gw\r\n\r\nGET /2 HTTP/1.1\r\nHost: gw\r\n\r\n")
        target.exchanges[0].answer(200, b"", b"x" * 100_000)
        client.get("/3")
        self.assertEqual(len(target.exchanges), 1)
        client.send(b"GET /more HTTP/1.1\r\nHost: gw\r\n\r\n" * 3000)
        self.assertFalse(client.transport.reading)
        client.transport.take()
        self.assertEqual([exchange.head.target for exchange in target.exchanges], [b"/1", b"/2"])
        target.exchanges[1].answer(200, b"", b"2")
        target.exchanges[2].answer(200, b"", b"3")
        self.assertEqual([response.body[:1] for response in client.responses()], [b"x", b"2", b"3"])
        while len(target.exchanges) < 3003:
            target.exchanges[-1].answer(200, b"", b"")
        self.assertTrue(client.transport.reading)


class ResponseTests(ChannelTestCase):
    def exchange(self, method: str = "GET") -> tuple[Client, Exchange]:
        client, target = self.holding()
        client.request(method, "/")
        return client, target.exchanges[0]

    def test_known_length(self) -> None:
        client, exchange = self.exchange()
        exchange.start(206, b"X: y\r\n", 5, b"Some")
        exchange.write(b"he")
        exchange.write(b"llo")
        exchange.finish()
        self.assertIn(b"HTTP/1.1 206 Some\r\nX: y\r\nContent-Length: 5\r\n\r\nhello", client.transport.written)
        self.assertFalse(client.closed)

    def test_chunked_with_trailers(self) -> None:
        client, exchange = self.exchange()
        exchange.start(200, b"", None)
        exchange.write(b"he")
        exchange.write(b"")
        exchange.write(b"llo")
        exchange.finish(((b"x-sum", b"1"),))
        response = client.response()
        self.assertEqual((response.body, response.trailers, response.whole), (b"hello", [(b"x-sum", b"1")], True))
        self.assertFalse(client.closed)

    def test_head_kept_back_goes_with_the_first_bytes(self) -> None:
        client, exchange = self.exchange()
        exchange.start(200, b"", 5, flush=False)
        self.assertEqual(client.transport.writes, [])
        exchange.write(b"hello")
        self.assertEqual(len(client.transport.writes), 1)
        exchange.finish()
        self.assertEqual(client.response().body, b"hello")

    def test_head_kept_back_and_flushed(self) -> None:
        client, exchange = self.exchange()
        exchange.start(200, b"", None, flush=False)
        exchange.flush()
        exchange.flush()
        self.assertEqual(len(client.transport.writes), 1)
        exchange.finish()
        self.assertEqual(client.response().body, b"")

    def test_head_kept_back_and_finished(self) -> None:
        for length in (None, 0):
            client, exchange = self.exchange()
            exchange.start(200, b"", length, flush=False)
            exchange.finish()
            self.assertTrue(client.response().whole)
            self.assertEqual(len(client.transport.writes), 1)

    def test_head_has_no_body(self) -> None:
        for length in (5, None):
            client, exchange = self.exchange("HEAD")
            exchange.start(200, b"", length)
            exchange.write(b"hello")
            exchange.finish()
            client.request("HEAD", "/2")
            self.assertEqual(client.transport.written.count(b"\r\n\r\n"), 1)
            self.assertTrue(client.transport.written.endswith(b"\r\n\r\n"))
            self.assertEqual(b"Content-Length: 5" in client.transport.written, length == 5)
            self.assertNotIn(b"chunked", client.transport.written)
            self.assertEqual(client.records[0].sent, 0)
            self.assertFalse(client.closed)

    def test_head_answered_at_once_reports_the_length(self) -> None:
        client, exchange = self.exchange("HEAD")
        exchange.answer(200, b"", b"hello")
        self.assertTrue(client.transport.written.endswith(b"Content-Length: 5\r\n\r\n"))

    def test_204_and_304_have_no_body(self) -> None:
        for status in (204, 304):
            for length in (None, 0, 7):
                client, exchange = self.exchange()
                exchange.start(status, b"", length)
                exchange.write(b"ignored")
                exchange.finish()
                self.assertTrue(client.transport.written.endswith(b"\r\n\r\n"), (status, length))
                self.assertFalse(client.transport.aborted)
                self.assertNotIn(b"chunked", client.transport.written)
                if status == 204:
                    self.assertNotIn(b"Content-Length", client.transport.written)
                client.get("/next")
                self.assertFalse(client.closed)

    def test_body_longer_than_announced_cuts(self) -> None:
        client, exchange = self.exchange()
        exchange.start(200, b"", 3)
        exchange.write(b"four")
        self.assertTrue(client.transport.aborted)
        self.assertEqual(client.records[0].reason, "response_too_long")
        self.assertNotIn(b"four", client.transport.written)

    def test_body_shorter_than_announced_cuts(self) -> None:
        client, exchange = self.exchange()
        exchange.start(200, b"", 5)
        exchange.write(b"four")
        exchange.finish()
        self.assertTrue(client.transport.aborted)
        self.assertEqual([record.reason for record in client.records], ["response_too_short"])

    def test_nothing_after_the_end(self) -> None:
        client, exchange = self.exchange()
        exchange.answer(200, b"", b"once")
        before = client.transport.written
        exchange.answer(200, b"", b"twice")
        exchange.start(200, b"", 3)
        exchange.write(b"abc")
        exchange.finish()
        exchange.refuse(InternalError())
        exchange.interim(103, b"")
        exchange.flush()
        exchange.abort("late")
        exchange.tunnel_send(b"late")
        exchange.tunnel_close()
        self.assertEqual(client.transport.written, before)
        self.assertFalse(client.transport.aborted)
        self.assertEqual(len(client.records), 1)

    def test_interim_responses(self) -> None:
        client, exchange = self.exchange()
        exchange.interim(103, b"Link: </x>\r\n")
        exchange.answer(200, b"", b"ok")
        self.assertEqual([response.status for response in client.responses()], [103, 200])
        client, target = self.holding()
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        target.exchanges[0].interim(103, b"")
        self.assertEqual(client.transport.written, b"")

    def test_refusal_after_the_head_cuts(self) -> None:
        client, exchange = self.exchange()
        exchange.start(200, b"", None)
        exchange.write(b"half")
        exchange.refuse(InternalError())
        self.assertTrue(client.transport.aborted)
        self.assertEqual([record.reason for record in client.records], ["internal_error"])
        self.assertFalse(client.responses()[0].whole)

    def test_refusal_keeps_the_connection_where_it_can(self) -> None:
        client, exchange = self.exchange()
        exchange.refuse(MissingCredentials())
        response = client.response()
        self.assertEqual(response.status, 401)
        self.assertEqual(json.loads(response.body), {"auth_uri": ["https://gw/token"]})
        self.assertFalse(client.closed)
        self.assertEqual(client.records[0].reason, "missing_credentials")


class RequestBodyTests(ChannelTestCase):
    def test_length_and_chunks_split_at_every_byte(self) -> None:
        for data in (
            b"POST /a HTTP/1.1\r\nHost: gw\r\nContent-Length: 11\r\n\r\nhello there",
            b"POST /a HTTP/1.1\r\nHost: gw\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n there\r\n0\r\nX: y\r\n\r\n",
        ):
            for cut in range(len(data) + 1):
                client = self.client()
                client.send(data[:cut])
                client.send(data[cut:] + b"GET /b HTTP/1.1\r\nHost: gw\r\n\r\n")
                self.assertEqual([r.body for r in client.responses()], [b"POST /a hello there", b"GET /b "], cut)
                self.assertEqual([record.received for record in client.records], [11, 0])

    def test_byte_by_byte(self) -> None:
        client = self.client()
        data = b"POST /a HTTP/1.1\r\nHost: gw\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        data += b"GET /b HTTP/1.1\r\nHost: gw\r\n\r\n"
        for at in range(len(data)):
            client.send(data[at : at + 1])
        self.assertEqual([r.body for r in client.responses()], [b"POST /a hello", b"GET /b "])

    def test_trailers_reach_the_sink(self) -> None:
        client, target = self.holding()
        client.request("POST", "/", "Transfer-Encoding: chunked", body=b"1\r\na\r\n0\r\nX-Sum: 1\r\n\r\n")
        body = Body()
        target.exchanges[0].receive(body)
        self.assertEqual((body.data, body.ended, list(body.trailers)), (b"a", True, [(b"x-sum", b"1")]))

    def test_body_waits_until_it_is_wanted(self) -> None:
        client, target = self.holding()
        client.request("POST", "/", "Content-Length: 200000")
        client.send(b"x" * 100_000)
        self.assertFalse(client.transport.reading)
        body = Body()
        target.exchanges[0].receive(body)
        self.assertEqual(len(body.data), 100_000)
        self.assertTrue(client.transport.reading)
        client.send(b"x" * 100_000)
        self.assertTrue(body.ended)

    def test_paused_body(self) -> None:
        client, target = self.holding()
        client.request("POST", "/", "Content-Length: 300000")
        exchange = target.exchanges[0]
        body = Body()
        exchange.receive(body)
        exchange.pause_body()
        client.send(b"x" * 100_000)
        self.assertEqual(body.data, b"")
        self.assertFalse(client.transport.reading)
        client.send(b"x" * 200_000)
        exchange.resume_body()
        client.wait(0.25)
        self.assertEqual((len(body.data), body.ended), (300_000, True))
        self.assertTrue(client.transport.reading)

    def test_expect_continue_only_when_the_body_is_wanted(self) -> None:
        client, target = self.holding()
        client.request("POST", "/", "Content-Length: 5", "Expect: 100-continue")
        self.assertEqual(client.transport.written, b"")
        body = Body()
        target.exchanges[0].receive(body)
        self.assertEqual(client.transport.written, b"HTTP/1.1 100 Continue\r\n\r\n")
        client.send(b"hello")
        target.exchanges[0].answer(200, b"", b"")
        self.assertEqual([r.status for r in client.responses()], [100, 200])
        self.assertEqual(body.data, b"hello")
        self.assertFalse(client.closed)

    def test_expect_continue_refused_without_100(self) -> None:
        client, target = self.holding()
        client.request("POST", "/", "Content-Length: 5", "Expect: 100-continue")
        target.exchanges[0].refuse(MissingCredentials())
        response = client.response()
        self.assertEqual((response.status, response.get(b"connection")), (401, b"close"))
        self.assertTrue(client.closed)

    def test_expect_continue_without_a_body(self) -> None:
        client = self.client()
        client.get("/", "Expect: 100-continue")
        self.assertEqual(client.response().status, 200)

    def test_expect_continue_in_http_1_0_is_ignored(self) -> None:
        client = self.client()
        client.send(b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx")
        self.assertEqual(client.response().status, 200)

    def test_unread_body_that_has_come_is_skipped(self) -> None:
        client, target = self.holding()
        client.request("POST", "/1", "Content-Length: 5", body=b"helloGET /2 HTTP/1.1\r\nHost: gw\r\n\r\n")
        target.exchanges[0].refuse(MissingCredentials())
        target.exchanges[1].answer(200, b"", b"two")
        self.assertEqual([r.status for r in client.responses()], [401, 200])
        self.assertEqual([record.received for record in client.records], [5, 0])

    def refused_upload(self, length: str = "Content-Length: 10000000") -> Client:
        """A client whose upload was refused, and goes on."""
        client, target = self.holding()
        client.request("POST", "/", length)
        target.exchanges[0].refuse(MissingCredentials())
        self.assertEqual(client.response().get(b"connection"), b"close")
        self.assertTrue(client.lingers)
        return client

    def test_a_refused_upload_is_read_to_its_end(self) -> None:
        """However long it is. The client that sees no end of the connection before goes on, and then reads its answer."""
        client = self.refused_upload()
        for _ in range(99):
            client.send(b"x" * 100_000)
            client.wait(0.25)
            self.assertTrue(client.lingers)
        client.send(b"x" * 99_999)
        self.assertTrue(client.lingers)
        client.send(b"x")
        self.assertTrue(client.closed)
        self.assertEqual(len(client.records), 1)

    def test_a_refused_upload_in_chunks_is_read_to_its_end(self) -> None:
        client = self.refused_upload("Transfer-Encoding: chunked")
        for _ in range(30):
            client.send(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
        self.assertTrue(client.lingers)
        client.send(b"0\r\nX: y\r\n\r\n")
        self.assertTrue(client.closed)

    def test_what_came_before_the_refusal_counts(self) -> None:
        client, target = self.holding()
        client.request("POST", "/", "Content-Length: 5000", body=b"x" * 3000)
        exchange = target.exchanges[0]
        exchange.receive(Body())
        exchange.pause_body()
        client.send(b"x" * 1000)
        exchange.answer(403, b"", b"no")
        self.assertEqual(client.response().get(b"connection"), b"close")
        client.send(b"x" * 999)
        self.assertTrue(client.lingers)
        client.send(b"x")
        self.assertTrue(client.closed)

    def test_a_response_that_begins_before_the_end_of_an_upload(self) -> None:
        for status, announced in ((200, None), (399, None), (400, b"close"), (503, b"close")):
            client, target = self.holding()
            client.request("POST", "/", "Content-Length: 5")
            target.exchanges[0].receive(Body())
            target.exchanges[0].start(status, b"", 2)
            target.exchanges[0].write(b"ok")
            self.assertEqual(client.response().get(b"connection"), announced, status)
        client, target = self.holding()
        client.request("POST", "/", "Content-Length: 5")
        target.exchanges[0].receive(Body())
        target.exchanges[0].answer(200, b"", b"ok")
        self.assertEqual(client.response().get(b"connection"), b"close")

    def test_attack_23_lingering_is_bounded_in_time(self) -> None:
        client = self.refused_upload("Content-Length: 10000000000")
        for _ in range(119):
            client.send(b"x" * 1_000_000)
            client.wait(0.25)
        self.assertTrue(client.lingers)
        client.wait(0.25)
        self.assertTrue(client.closed)

    def test_attack_22_lingering_needs_a_minimum_rate(self) -> None:
        for step, waits in ((256, True), (255, False)):
            client = self.refused_upload()
            for _ in range(5):
                client.send(b"x" * step)
                client.wait(1)
            self.assertEqual((client.lingers, client.closed), (waits, not waits), step)
            client.wait(5)
            self.assertTrue(client.closed)

    def test_a_body_of_tiny_chunks_is_not_taken_apart(self) -> None:
        client = self.refused_upload("Transfer-Encoding: chunked")
        client.send(b"1\r\nx\r\n" * 1000 + b"0\r\n\r\n")
        self.assertTrue(client.lingers)
        client.wait(11)
        self.assertTrue(client.closed)

    def test_a_malformed_chunk_after_the_answer(self) -> None:
        client = self.refused_upload("Transfer-Encoding: chunked")
        client.send(b"what?\r\n" + b"0\r\n\r\n")
        self.assertTrue(client.lingers)
        client.wait(11)
        self.assertTrue(client.closed)

    def test_an_answer_that_lasts_until_the_end_ends_the_connection_first(self) -> None:
        client, target = self.holding()
        client.send(b"POST / HTTP/1.0\r\nContent-Length: 500\r\n\r\n")
        exchange = target.exchanges[0]
        exchange.start(403, b"", None)
        exchange.write(b"no")
        exchange.finish()
        self.assertTrue(client.transport.half_closed)
        self.assertFalse(client.transport.disconnecting)
        client.send(b"x" * 500)
        self.assertTrue(client.transport.disconnecting)

    def test_a_client_that_never_takes_its_answer_is_cut(self) -> None:
        client, target = self.holding()
        client.request("POST", "/", "Content-Length: 500")
        client.transport.stalled = True
        target.exchanges[0].refuse(MissingCredentials())
        client.wait(59)
        self.assertFalse(client.transport.aborted)
        client.wait(2)
        self.assertTrue(client.transport.aborted)

    def test_an_early_refusal_reads_on(self) -> None:
        client, target = self.holding()
        client.request("POST", "/", "Content-Length: 500000")
        client.send(b"x" * 100_000)
        self.assertFalse(client.transport.reading)
        target.exchanges[0].refuse(MissingCredentials())
        self.assertTrue(client.transport.reading)

    def test_a_body_that_came_in_spite_of_expect_is_not_skipped(self) -> None:
        """Without 100 Continue, what comes next may be the body or the next request (RFC 9110, section 10.1.1)."""
        client, target = self.holding()
        client.request("POST", "/", "Content-Length: 5", "Expect: 100-continue", body=b"helloGET /2 HTTP/1.1\r\nHost: gw\r\n\r\n")
        target.exchanges[0].refuse(MissingCredentials())
        self.assertEqual(client.response().get(b"connection"), b"close")
        self.assertEqual((len(target.exchanges), client.records[0].received), (1, 0))

    def test_a_body_that_came_after_100_is_skipped(self) -> None:
        client, target = self.holding()
        client.request("POST", "/", "Content-Length: 5", "Expect: 100-continue")
        exchange = target.exchanges[0]
        exchange.receive(Body())
        exchange.pause_body()
        client.send(b"helloGET /2 HTTP/1.1\r\nHost: gw\r\n\r\n")
        exchange.refuse(MissingCredentials())
        self.assertEqual([exchange.head.target for exchange in target.exchanges], [b"/", b"/2"])
        self.assertEqual(client.responses()[1].get(b"connection"), None)

    def test_100_is_sent_once(self) -> None:
        client, target = self.holding()
        client.request("POST", "/", "Content-Length: 5", "Expect: 100-continue")
        target.exchanges[0].receive(Body())
        target.exchanges[0].receive(Body())
        self.assertEqual([response.status for response in client.responses()], [100])

    def test_no_request_is_served_while_lingering(self) -> None:
        client, target = self.holding()
        client.request("POST", "/", "Content-Length: 5")
        target.exchanges[0].refuse(MissingCredentials())
        client.send(b"helloGET /2 HTTP/1.1\r\nHost: gw\r\n\r\n")
        self.assertEqual(len(target.exchanges), 1)
        self.assertEqual(len(client.records), 1)

    def test_early_answer_while_the_body_is_read(self) -> None:
        client, target = self.holding()
        client.request("POST", "/", "Content-Length: 5", body=b"he")
        body = Body()
        target.exchanges[0].receive(body)
        target.exchanges[0].answer(200, b"", b"enough")
        self.assertEqual(client.response().body, b"enough")
        self.assertTrue(client.lingers)
        client.send(b"llo")
        self.assertEqual(body.data, b"he")

    def test_attack_18_malformed_body(self) -> None:
        for what, data in BAD_CHUNKED.items():
            client, target = self.holding()
            client.request("POST", "/", "Transfer-Encoding: chunked")
            target.exchanges[0].receive(Body())
            client.send(data + b"xx")
            response = client.response()
            status = 431 if what.startswith("too many") else 400
            self.assertEqual((response.status, response.get(b"connection")), (status, b"close"), what)
            self.assertTrue(client.closed)
            responder = target.exchanges[0].responder
            self.assertIsNone(responder)
            self.assertEqual([record.status for record in client.records], [status])

    def test_malformed_body_reports_the_responder(self) -> None:
        client, target = self.holding()
        client.request("POST", "/", "Transfer-Encoding: chunked")
        exchange = target.exchanges[0]
        responder = exchange.responder
        assert isinstance(responder, Responder)
        exchange.receive(Body())
        client.send(b"xx\r\n")
        self.assertEqual(responder.told, ["gone"])

    def test_malformed_body_after_the_response_began_cuts(self) -> None:
        client, target = self.holding()
        client.request("POST", "/", "Transfer-Encoding: chunked", body=b"1\r\na\r\n")
        exchange = target.exchanges[0]
        exchange.receive(Body())
        exchange.start(200, b"", None)
        exchange.write(b"half")
        client.send(b"xx\r\n")
        self.assertTrue(client.transport.aborted)
        self.assertEqual([record.reason for record in client.records], ["bad_request"])

    def test_max_body(self) -> None:
        client, target = self.holding()
        client.request("POST", "/", "Transfer-Encoding: chunked")
        exchange = target.exchanges[0]
        exchange.max_body = 5
        body = Body()
        exchange.receive(body)
        client.send(b"5\r\nhello\r\n")
        self.assertEqual(body.data, b"hello")
        client.send(b"1\r\n!\r\n")
        self.assertEqual(client.response().status, 413)
        self.assertEqual(body.data, b"hello")
        self.assertTrue(client.lingers)


class RefusedHeadTests(ChannelTestCase):
    def refused(self, data: bytes, status: int) -> None:
        client = self.client()
        client.send(data)
        client.send(b"GET /next HTTP/1.1\r\nHost: gw\r\n\r\n")
        response = client.response()
        self.assertEqual(response.status, status, data[:80])
        self.assertEqual(response.get(b"connection"), b"close")
        self.assertTrue(client.closed)
        self.assertEqual([record.status for record in client.records], [status])
        self.assertEqual(client.records[0].route, "")

    def test_attack_18_request_smuggling(self) -> None:
        for block in (*BAD_BLOCKS.values(), *BAD_REQUEST_BLOCKS.values(), b"X: y\r\n"):
            host = b"" if block in BAD_REQUEST_BLOCKS.values() or block == b"X: y\r\n" else b"Host: gw\r\n"
            self.refused(b"POST / HTTP/1.1\r\n" + host + block + b"\r\nGET /smuggled HTTP/1.1\r\nHost: gw\r\n\r\n", 400)

    def test_attack_18_bare_lf_is_refused_at_once(self) -> None:
        """It can never become a head, so the gateway does not wait for its end."""
        client = self.client()
        client.send(b"GET / HTTP/1.1\nHost: gw\n\n")
        self.assertEqual(client.response().status, 400)

    def test_attack_2_target_forms(self) -> None:
        for line in (b"GET xadmin", b"OPTIONS *", b"CONNECT gw:443", b"GET ftp://gw/", b"GET /#x"):
            self.refused(line + b" HTTP/1.1\r\nHost: gw\r\n\r\n", 400)

    def test_attack_23_huge_header(self) -> None:
        self.refused(b"GET / HTTP/1.1\r\nHost: gw\r\nAuthorization: Basic " + b"x" * 1_000_000 + b"\r\n\r\n", 431)

    def test_attack_23_a_hundred_thousand_headers(self) -> None:
        self.refused(b"GET / HTTP/1.1\r\nHost: gw\r\n" + b"X: y\r\n" * 100_000 + b"\r\n", 431)

    def test_attack_23_many_small_headers(self) -> None:
        self.refused(b"GET / HTTP/1.1\r\nHost: gw\r\n" + b"X:\r\n" * 100 + b"\r\n", 431)

    def test_attack_23_long_target(self) -> None:
        self.refused(b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: gw\r\n\r\n", 414)

    def test_attack_23_head_that_never_ends(self) -> None:
        client = self.client(max_head=1000)
        client.send(b"GET / HTTP/1.1\r\n")
        for _ in range(300):
            client.send(b"X: y\r\n")
        self.assertEqual(client.response().status, 431)
        self.assertEqual(len(client.records), 1)

    def test_versions(self) -> None:
        self.refused(b"PRI / HTTP/2.0\r\n\r\nSM\r\n\r\n", 505)

    def test_tls_client_hello_on_a_plain_port(self) -> None:
        client = self.client()
        client.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\r\n\r\n")
        self.assertEqual(client.response().status, 400)

    def test_absolute_form(self) -> None:
        client = self.client()
        client.send(b"GET http://other/admin?x HTTP/1.1\r\nHost: gw\r\n\r\n")
        self.assertEqual(client.response().body, b"GET /admin?x ")
        self.assertEqual(client.records[0].host, b"other")


class FlowControlTests(ChannelTestCase):
    def test_slow_reader_pauses_the_responder(self) -> None:
        client, target = self.holding()
        exchange, responder = stalled(client, target, 100_000)
        self.assertEqual(responder.told, ["pause"])
        client.transport.take()
        self.assertEqual(responder.told, ["pause", "resume"])
        exchange.finish()
        self.assertEqual(len(client.response().body), 100_000)


class CutTests(ChannelTestCase):
    """The gateway stops, and there is no more time."""

    def test_without_an_answer(self) -> None:
        client, target = self.holding()
        client.get()
        responder = target.exchanges[0].responder
        assert isinstance(responder, Responder)
        client.channel.cut()
        response = client.response()
        self.assertEqual((response.status, response.whole, response.get(b"connection")), (503, True, b"close"))
        self.assertEqual(responder.told, ["gone"])
        self.assertTrue(client.closed)
        self.assertEqual([(record.status, record.reason) for record in client.records], [(503, "shutdown")])

    def test_in_the_middle_of_an_upload(self) -> None:
        client, target = self.holding()
        client.request("POST", "/", "Content-Length: 10", body=b"12345")
        target.exchanges[0].receive(Body())
        client.channel.cut()
        self.assertEqual((client.response().status, client.lingers), (503, True))
        client.channel.cut()
        self.assertTrue(client.closed)

    def test_in_the_middle_of_an_answer(self) -> None:
        client, target = self.holding()
        client.get()
        target.exchanges[0].start(200, b"", 5)
        target.exchanges[0].write(b"he")
        client.channel.cut()
        self.assertTrue(client.transport.aborted)
        self.assertEqual([(record.status, record.reason) for record in client.records], [(200, "shutdown")])

    def test_a_tunnel_is_closed_in_order(self) -> None:
        client, target = self.holding()
        client.get("/", "Connection: upgrade", "Upgrade: websocket")
        exchange = target.exchanges[0]
        responder = exchange.responder
        assert isinstance(responder, Responder)
        exchange.switch(b"", Body())
        exchange.tunnel_send(b"bye")
        client.channel.cut()
        self.assertTrue(client.closed)
        self.assertEqual(client.response().body, b"bye")
        self.assertEqual(responder.told, ["gone"])
        self.assertEqual([record.reason for record in client.records], ["tunnel_opened", "shutdown"])

    def test_nothing_under_way(self) -> None:
        client, _ = self.holding()
        client.channel.cut()
        client.channel.cut()
        self.assertTrue(client.closed)
        self.assertEqual(client.records, [])


class RoomTests(ChannelTestCase):
    """What counts as silent when there is no room for another connection."""

    def test_attack_58_silence_begins_when_nothing_is_under_way(self) -> None:
        client, target = self.holding()
        channel = client.channel
        self.assertEqual(channel.silent_since, 0.0)
        client.wait(1)
        client.send(b"GET / HT")  # a part of a head is silence
        self.assertEqual(channel.silent_since, 0.0)
        client.send(b"TP/1.1\r\nHost: a\r\n\r\n")
        self.assertEqual(channel.silent_since, inf)
        client.wait(1)
        target.exchanges[0].answer(200, b"", b"ok")
        self.assertEqual(channel.silent_since, 2.0)

    def test_attack_58_what_was_not_taken_yet_is_not_silence(self) -> None:
        client, target = self.holding()
        client.get()
        client.transport.stalled = True
        target.exchanges[0].answer(200, b"", b"ok")
        self.assertEqual(client.channel.silent_since, inf)
        client.transport.take()
        self.assertEqual(client.channel.silent_since, 0.0)

    def test_attack_58_a_connection_that_is_closing_is_silent_since_then(self) -> None:
        client, target = self.holding()
        client.wait(3)
        client.request("POST", "/", "Content-Length: 100", body=b"x")
        target.exchanges[0].answer(403, b"", b"no")
        client.wait(1)
        self.assertEqual(client.channel.silent_since, 3.0)
        client.transport.unread_input = True  # the rest of a body that is discarded
        self.assertTrue(client.channel.make_room())

    def test_attack_58_making_room(self) -> None:
        client, _ = self.holding()
        client.transport.unread_input = True
        self.assertFalse(client.channel.make_room())
        self.assertFalse(client.transport.lost)
        client.transport.unread_input = False
        self.assertTrue(client.channel.make_room())
        self.assertTrue(client.transport.lost)
        self.assertEqual((client.records, len(client.site.connections)), ([], 0))

    def test_attack_58_making_room_in_the_middle_of_a_head(self) -> None:
        client, _ = self.holding()
        client.send(b"GET /x HTTP/1.1\r\nHost")
        self.assertTrue(client.channel.make_room())
        self.assertTrue(client.transport.lost)
        self.assertEqual(
            [(record.target, record.status, record.reason) for record in client.records], [(b"/x", 499, "crowded_out")]
        )


class TunnelTests(ChannelTestCase):
    def tunnel(self) -> tuple[Client, Exchange, Body]:
        client, target = self.holding()
        client.get("/", "Connection: upgrade", "Upgrade: websocket")
        client.send(b"early")
        exchange = target.exchanges[0]
        body = Body()
        exchange.switch(b"Connection: upgrade\r\nUpgrade: websocket\r\n", body)
        return client, exchange, body

    def test_both_ways(self) -> None:
        client, exchange, body = self.tunnel()
        client.send(b" and late")
        exchange.tunnel_send(b"down")
        self.assertEqual(body.data, b"early and late")
        response = client.response()
        self.assertEqual((response.status, response.get(b"upgrade"), response.body), (101, b"websocket", b"down"))
        (record,) = client.records
        self.assertEqual((record.status, record.sent, record.received, record.reason), (101, 0, 0, "tunnel_opened"))
        self.assertEqual(client.site.audit.written_before, [0])

    def test_reading_goes_on_after_much_that_came_early(self) -> None:
        client, target = self.holding()
        client.get("/", "Connection: upgrade", "Upgrade: websocket")
        client.send(b"x" * 100_000)
        self.assertFalse(client.transport.reading)
        body = Body()
        target.exchanges[0].switch(b"", body)
        self.assertTrue(client.transport.reading)
        self.assertEqual(len(body.data), 100_000)

    def test_nothing_is_kept(self) -> None:
        client, _, body = self.tunnel()
        for _ in range(3):
            client.send(b"x" * 100_000)
        self.assertEqual(len(body.data), 300_005)
        self.assertEqual(client.channel._pending, b"")

    def test_closed_by_the_upstream(self) -> None:
        client, exchange, _ = self.tunnel()
        exchange.tunnel_send(b"bye")
        exchange.tunnel_close()
        self.assertTrue(client.closed)
        self.assertEqual(client.response().body, b"bye")
        record = client.records[1]
        self.assertEqual((record.status, record.sent, record.received, record.reason), (101, 3, 5, ""))
        client.transport.lose()
        self.assertEqual(len(client.records), 2)

    def test_closed_by_the_client(self) -> None:
        client, exchange, _ = self.tunnel()
        responder = exchange.responder
        assert isinstance(responder, Responder)
        client.transport.lose()
        self.assertEqual(responder.told, ["gone"])
        self.assertEqual([(record.status, record.reason) for record in client.records], [(101, "tunnel_opened"), (101, "")])

    def test_paused_by_the_upstream(self) -> None:
        client, exchange, body = self.tunnel()
        exchange.pause_body()
        self.assertFalse(client.transport.reading)
        client.send(b"!")
        exchange.resume_body()
        client.wait(0.25)
        self.assertEqual(body.data, b"early!")

"""Responses that are compressed on the way to the client."""

from __future__ import annotations

import zlib
from pathlib import Path
from random import Random

from twisted.trial import unittest

from perimeter.config.site.compression import Coding
from perimeter.config.site.header_rule import RESPONSE_RULES
from perimeter.model import Principal
from perimeter.proxy.codings import encoder_of
from perimeter.proxy.compression import Compression, Encoders
from perimeter.proxy.ruled_headers import Edits, RuledHeaders
from tests.unit.doubles.http_rig import Client, Response
from tests.unit.doubles.http_upstream import Gateway, Peer

BODY = b"<p>a line of the page</p>\n" * 100
ONE = ("one",)
SEVERAL = ("one", "two")
CHUNKED = b'HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nETag: "1"\r\nTransfer-Encoding: chunked\r\n\r\n'


def reply(body: bytes = BODY, *lines: str, status: str = "200 OK") -> bytes:
    head = [f"HTTP/1.1 {status}", "Content-Type: text/html", f"Content-Length: {len(body)}", *lines]
    return "\r\n".join([*head, "", ""]).encode() + body


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class CompressedTests(unittest.TestCase):
    servers = ONE

    def setUp(self) -> None:
        self.compression = Compression(
            {Coding.GZIP: encoder_of(Coding.GZIP)}, ("text/html", "text/event-stream"), 1000, Encoders()
        )
        self.gateway = Gateway(*self.servers, settings={"keepalive": 0}, compression=self.compression)

    def begun(self, *lines: str, method: str = "GET") -> tuple[Client, Peer]:
        return self.gateway.begun(method, "/", "Accept-Encoding: gzip", *lines)

    def plain(self, response: Response) -> bytes:
        decoder = zlib.decompressobj(31)
        data = decoder.decompress(response.body)
        self.assertEqual(decoder.eof, response.whole)
        return data

    def check_over(self) -> None:
        self.assertEqual(self.compression.under_way.active, 0)

    def test_a_whole_response(self) -> None:
        client, peer = self.begun()
        peer.reply(reply())
        response = client.response()
        self.assertEqual(self.plain(response), BODY)
        self.assertEqual(response.get(b"content-encoding"), b"gzip")
        self.assertEqual(response.get(b"vary"), b"Accept-Encoding")
        self.assertEqual(response.get(b"content-length"), str(len(response.body)).encode())
        self.assertEqual(client.records[0].sent, len(response.body))
        self.assertLess(len(response.body), 200)
        self.check_over()
        self.assertTrue(peer.ended)

    def test_a_response_in_parts(self) -> None:
        client, peer = self.begun()
        whole = reply()
        for at in range(0, len(whole), 500):
            peer.reply(whole[at : at + 500])
        response = client.response()
        self.assertEqual(self.plain(response), BODY)
        self.assertEqual(response.get(b"transfer-encoding"), b"chunked")
        self.assertIsNone(response.get(b"content-length"))
        self.assertEqual(client.records[0].sent, len(response.body))
        self.check_over()

    def test_what_has_arrived_is_sent_on_at_once(self) -> None:
        client, peer = self.begun()
        peer.reply(CHUNKED)
        self.assertEqual(client.response().get(b"etag"), b'W/"1"')
        decoder = zlib.decompressobj(31)
        seen = b""
        for number in range(3):
            peer.reply(chunk(b"event %d\n" % number))
            body = client.response().body
            self.assertEqual(decoder.decompress(body[len(seen) :]), b"event %d\n" % number)
            seen = body
        self.assertEqual(self.compression.under_way.active, 1)
        peer.reply(b"0\r\nContent-Digest: sha-256=:AA==:\r\nServer-Timing: a\r\n\r\n")
        response = client.response()
        self.assertEqual(self.plain(response), b"event 0\nevent 1\nevent 2\n")
        self.assertEqual(response.trailers, [(b"server-timing", b"a")])
        self.check_over()

    def test_a_response_that_does_not_suit_is_untouched(self) -> None:
        for data in (
            reply(BODY[:999]),
            reply(BODY, "Set-Cookie: a=b"),
            reply(BODY, "Content-Range: bytes 0-2/3", status="206 Partial Content"),
            reply(BODY, "Content-Encoding: br"),
        ):
            client, peer = self.begun()
            peer.reply(data)
            response = client.response()
            self.assertEqual(response.body, data.partition(b"\r\n\r\n")[2])
            self.assertIsNone(response.get(b"vary"))
        self.check_over()

    def test_the_rules_of_the_route_about_headers_count(self) -> None:
        assert RESPONSE_RULES.item is not None
        rule = RESPONSE_RULES.item.convert("set Cache-Control private", Path())
        rules = RuledHeaders(Edits(response=(rule,)))
        gateway = Gateway(*self.servers, compression=self.compression, rules=rules)
        client, peer = gateway.begun("GET", "/", "Accept-Encoding: gzip")
        peer.reply(reply())
        response = client.response()
        self.assertEqual((response.body, response.get(b"cache-control")), (BODY, b"private"))

    def test_a_long_response_that_does_not_suit_is_untouched(self) -> None:
        client, peer = self.begun()
        data = reply(BODY, "Cache-Control: no-store")
        peer.reply(data[:300])
        peer.reply(data[300:])
        response = client.response()
        self.assertEqual((response.body, response.get(b"content-length")), (BODY, str(len(BODY)).encode()))
        self.assertIsNone(response.get(b"vary"))

    def test_a_client_that_accepts_nothing_gets_it_plain_and_caches_know(self) -> None:
        for parts in (1, 2):
            client, peer = self.gateway.begun()
            data = reply(BODY, 'ETag: "1"', "Accept-Ranges: bytes")
            for part in (data,) if parts == 1 else (data[:400], data[400:]):
                peer.reply(part)
            response = client.response()
            self.assertEqual(response.body, BODY)
            self.assertEqual(response.get(b"vary"), b"Accept-Encoding")
            self.assertEqual(response.get(b"etag"), b'"1"')
            self.assertEqual(response.get(b"content-length"), str(len(BODY)).encode())

    def test_head_has_the_lines_of_the_plain_response(self) -> None:
        client, peer = self.begun(method="HEAD")
        peer.reply(reply().partition(b"\r\n\r\n")[0] + b"\r\n\r\n")
        response = client.response()
        self.assertEqual(response.get(b"content-length"), str(len(BODY)).encode())
        self.assertIsNone(response.get(b"content-encoding"))
        self.assertEqual(response.get(b"vary"), b"Accept-Encoding")
        self.check_over()

    def test_attack_121_a_response_for_another_site_is_plain(self) -> None:
        self.gateway.principal = Principal("alice", "staff")
        for line, coded in (("Sec-Fetch-Site: same-origin", b"gzip"), ("Sec-Fetch-Site: cross-site", None), ("X-None: 1", None)):
            client, peer = self.begun(line)
            peer.reply(reply())
            self.assertEqual(client.response().get(b"content-encoding"), coded, line)

    def test_a_response_that_breaks_off_is_cut(self) -> None:
        for end in ("lost", "malformed", "silent"):
            client, peer = self.begun()
            peer.reply(CHUNKED + chunk(BODY))
            self.assertEqual(self.compression.under_way.active, 1)
            if end == "lost":
                peer.transport.lose()
            elif end == "malformed":
                peer.reply(b"no size\r\n")
            else:
                self.gateway.reactor.pump([1.0] * 62)
            self.assertFalse(client.response().whole)
            self.assertTrue(client.transport.aborted)
            self.check_over()

    def test_attack_122_a_client_that_leaves_frees_its_encoder(self) -> None:
        client, peer = self.begun()
        peer.reply(CHUNKED + chunk(BODY))
        self.assertEqual(self.compression.under_way.active, 1)
        client.transport.lose()
        self.check_over()
        self.assertTrue(peer.dropped)

    def test_a_slow_client_pauses_the_service(self) -> None:
        client, peer = self.begun()
        client.transport.stalled = True
        peer.reply(CHUNKED)
        for _ in range(20):
            peer.reply(chunk(Random(1).randbytes(64 * 1024)))
            if not peer.transport.reading:
                break
        self.assertFalse(peer.transport.reading)
        client.transport.take()
        self.assertTrue(peer.transport.reading)
        peer.reply(chunk(b"end") + b"0\r\n\r\n")
        self.assertTrue(self.plain(client.response()).endswith(b"end"))

    def test_a_slow_client_of_a_whole_response_keeps_no_connection_paused(self) -> None:
        client, peer = self.begun()
        client.transport.stalled = True
        exchange = self.gateway.exchanges[-1]
        assert exchange.responder is not None
        exchange.responder.pause()
        self.assertFalse(peer.transport.reading)
        peer.transport.reading = True
        peer.reply(reply())
        client.transport.take()
        self.assertEqual(self.plain(client.response()), BODY)
        self.assertTrue(peer.ended)

    def test_a_tunnel_is_untouched(self) -> None:
        client, peer = self.begun("Connection: upgrade", "Upgrade: websocket")
        peer.reply(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nhello")
        response = client.response()
        self.assertEqual((response.status, response.body), (101, b"hello"))
        self.assertIsNone(response.get(b"vary"))


class BalancedCompressedTests(CompressedTests):
    servers = SEVERAL

    def test_the_request_is_not_counted_any_more(self) -> None:
        client, peer = self.begun()
        self.assertEqual(sum(server.active for server in self.gateway.pool.servers), 1)
        peer.reply(CHUNKED + chunk(BODY) + b"0\r\n\r\n")
        self.assertEqual(sum(server.active for server in self.gateway.pool.servers), 0)
        self.assertEqual(self.plain(client.response()), BODY)

    def test_a_bad_answer_is_not_passed_on_if_another_server_answers(self) -> None:
        self.gateway.pool.settings = self.gateway.pool.settings.__class__(
            "backend", self.gateway.pool.settings.servers, retries=1, keepalive=0
        )
        client, peer = self.begun()
        peer.reply(reply(status="503 Service Unavailable"))
        self.gateway.attempts[-1].accept().reply(reply(b"<p>good</p>" * 100))
        self.assertEqual(self.plain(client.response()), b"<p>good</p>" * 100)
        self.check_over()

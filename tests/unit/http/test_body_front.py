"""Bodies that are watched or held back before their target gets them."""

from __future__ import annotations

from twisted.trial import unittest

from perimeter.errors import InternalError
from perimeter.http.body_front import HeldBody, WatchedBody
from perimeter.http.exchange import Exchange
from tests.unit.doubles.http_rig import Body, Client, Holding, Site


class BodyFrontCase(unittest.TestCase):
    def begun(self, *lines: str, body: bytes = b"") -> tuple[Client, Exchange]:
        target = Holding()
        client = Client(Site(target))
        client.request("POST", "/", *lines, body=body)
        return client, target.exchanges[0]


class WatchedTests(BodyFrontCase):
    def test_it_passes_and_is_seen(self) -> None:
        client, exchange = self.begun("Content-Length: 10", body=b"abc")
        seen: list[tuple[bytes, bool]] = []
        exchange.front = WatchedBody(4, lambda *what: seen.append(what))
        body = Body()
        exchange.receive(body)
        self.assertEqual((body.data, seen, exchange.front), (b"abc", [(b"abc", False)], None))
        client.send(b"de")
        self.assertEqual((body.data, seen), (b"abcde", [(b"abc", False), (b"abcd", False)]))
        client.send(b"fghij")
        self.assertEqual((body.data, body.ended, len(seen)), (b"abcdefghij", True, 2))

    def test_exactly_as_much_as_is_looked_at(self) -> None:
        for size, last in ((4, (b"aaaa", True)), (5, (b"aaaa", False))):
            _, exchange = self.begun(f"Content-Length: {size}", body=b"a" * size)
            seen: list[tuple[bytes, bool]] = []
            exchange.front = WatchedBody(4, lambda *what, seen=seen: seen.append(what))  # type: ignore[misc]
            exchange.receive(Body())
            self.assertEqual(seen[-1], last)

    def test_a_short_body_is_seen_at_its_end(self) -> None:
        client, exchange = self.begun("Content-Length: 4", body=b"ab")
        seen: list[tuple[bytes, bool]] = []
        exchange.front = WatchedBody(100, lambda *what: seen.append(what))
        body = Body()
        exchange.receive(body)
        client.send(b"c")  # not twice as much yet
        self.assertEqual(seen, [(b"ab", False)])
        client.send(b"d")
        self.assertEqual((body.data, body.ended), (b"abcd", True))
        self.assertEqual(seen, [(b"ab", False), (b"abcd", False), (b"abcd", True)])


class HeldTests(BodyFrontCase):
    def held(self, limit: int, *lines: str, body: bytes) -> tuple[Client, Exchange, list[bytes | None]]:
        client, exchange = self.begun(*lines, body=body)
        done: list[bytes | None] = []
        HeldBody(exchange, limit, done.append).begin()
        return client, exchange, done

    def test_it_is_whole_and_then_delivered(self) -> None:
        client, exchange, done = self.held(4, "Content-Length: 4", body=b"abc")
        self.assertEqual(done, [])
        client.send(b"d")
        self.assertEqual(done, [b"abcd"])
        body = Body()
        exchange.receive(body)
        self.assertEqual((body.data, body.ended, exchange.received), (b"abcd", True, 4))
        exchange.answer(200, b"", b"")
        self.assertEqual(client.response().status, 200)
        client.get()  # the connection goes on
        self.assertFalse(client.transport.disconnecting)

    def test_one_byte_too_many(self) -> None:
        client, exchange, done = self.held(4, "Transfer-Encoding: chunked", body=b"4\r\nabcd\r\n1\r\ne\r\n")
        self.assertEqual(done, [None])
        exchange.refuse(InternalError())
        self.assertEqual(client.response().status, 500)

    def test_an_empty_body(self) -> None:
        _, exchange, done = self.held(4, "Transfer-Encoding: chunked", body=b"0\r\nX-Sum: 1\r\n\r\n")
        self.assertEqual(done, [b""])
        body = Body()
        exchange.receive(body)
        self.assertEqual((body.data, body.ended, list(body.trailers)), (b"", True, [(b"x-sum", b"1")]))

    def test_a_target_that_answers_at_once(self) -> None:
        client, exchange, _ = self.held(4, "Content-Length: 1", body=b"a")
        exchange.receive(Body(lambda body: exchange.answer(200, b"", body.data)))
        self.assertEqual(client.response().body, b"a")
        self.assertTrue(exchange.ended)

"""Fairness, counted in work: what one connection may do in one turn of the loop. Attack 46."""

from __future__ import annotations

from collections.abc import Callable

import attrs
from twisted.trial.unittest import TestCase

from perimeter.config.site.limits import LimitSettings
from perimeter.http.h1.framing import ChunkedReader
from perimeter.net.turns import BUDGET, NEXT_TURN, Turns
from perimeter.web.bridge import SiteTarget
from perimeter.web.endpoints.endpoint import Nothing
from tests.unit.doubles.http_rig import Body, Client, Echoing, Holding, Site, read_responses
from tests.unit.doubles.http_upstream import Gateway

GET = b"GET /x HTTP/1.1\r\nHost: gw.example\r\n\r\n"
CHUNK = b"1\r\nx\r\n"


class FairnessCase(TestCase):
    """Every part of work takes a third of the budget, by the timer that the turns are measured with."""

    def client(self, target: object = None, site: Site | None = None) -> Client:
        site = site or Site(target or Echoing())
        self.slow(site)
        return Client(site)

    def slow(self, site: Site) -> None:
        self.ticks = 0.0

        def timer() -> float:
            self.ticks += 1
            return self.ticks * BUDGET * 0.34

        site.turns = Turns(site.reactor, timer)

    def step(self, client: Client) -> None:
        """One turn of the loop."""
        client.site.reactor.advance(NEXT_TURN)

    def answered(self, client: Client) -> int:
        return client.transport.arrived.count(b"HTTP/1.1 ")


class PipeliningTests(FairnessCase):
    def test_attack_46_pipelined_requests(self) -> None:
        client = self.client()
        client.transport.receive(b"".join(b"GET /%d HTTP/1.1\r\nHost: gw\r\n\r\n" % n for n in range(4500)))
        self.assertEqual(self.answered(client), 1, "the first is answered at once")
        turns = 0
        while (before := self.answered(client)) < 4500:
            self.step(client)
            turns += 1
            self.assertIn(self.answered(client) - before, (1, 2, 3))
        self.assertGreaterEqual(turns, 1499)
        bodies = [response.body for response in client.responses()]
        self.assertEqual(bodies, [b"GET /%d " % number for number in range(4500)])
        self.assertTrue(client.transport.reading)
        self.assertEqual(len(client.records), 4500)

    def test_one_request_a_read_waits_for_nothing(self) -> None:
        client = self.client()
        for number in range(1, 10):
            client.transport.receive(GET)
            self.assertEqual((self.answered(client), len(client.site.turns)), (number, 0))
            self.assertTrue(client.transport.reading)

    def test_attack_46_nothing_more_is_read_while_requests_wait(self) -> None:
        client = self.client()
        client.transport.receive(GET * 10)
        self.assertFalse(client.transport.reading)
        client.transport.receive(GET * 10)
        for _ in range(30):
            self.step(client)
        self.assertEqual(self.answered(client), 20)
        self.assertTrue(client.transport.reading)

    def test_attack_46_connections_take_turns(self) -> None:
        site = Site(Echoing())
        clients = [self.client(site=site) for _ in range(4)]
        self.slow(site)
        for client in clients:
            client.transport.receive(GET * 50)
        for _ in range(40):
            self.step(clients[0])
            counts = [self.answered(client) for client in clients]
            self.assertLessEqual(max(counts) - min(counts), 1, counts)
        self.assertLess(sum(counts), 4 + 40 * 4)

    def test_attack_46_whatever_answers(self) -> None:
        def refusing(site: Site) -> None:
            site.dispatch = lambda exchange: exchange.answer(401, b"", b"no")  # type: ignore[method-assign]

        def builtin(site: Site) -> None:
            site.route = attrs.evolve(site.route, target=SiteTarget("own", Nothing("/", beneath=True), site.reactor))

        changes: list[Callable[[Site], None]] = [refusing, builtin]
        for change in changes:
            site = Site(Echoing())
            change(site)
            client = self.client(site=site)
            client.transport.receive(GET * 100)
            self.assertEqual(self.answered(client), 1, change)
            for _ in range(110):
                before = self.answered(client)
                self.step(client)
                self.assertLessEqual(self.answered(client) - before, 3, change)
            self.assertEqual(self.answered(client), 100, change)

    def test_attack_46_bodies_between_requests(self) -> None:
        client = self.client()
        post = b"POST /x HTTP/1.1\r\nHost: gw\r\nContent-Length: 1\r\n\r\n!"
        client.transport.receive(post * 50)
        self.assertEqual(self.answered(client), 1)
        for _ in range(60):
            before = self.answered(client)
            self.step(client)
            self.assertLessEqual(self.answered(client) - before, 3)
        self.assertEqual(self.answered(client), 50)

    def test_a_head_that_is_not_whole_waits_for_its_rest(self) -> None:
        client = self.client()
        client.transport.receive(GET + GET[:10])
        for _ in range(3):
            self.step(client)
        self.assertEqual(self.answered(client), 1)
        self.assertTrue(client.transport.reading)
        client.transport.receive(GET[10:])
        self.assertEqual(self.answered(client), 2)

    def test_a_head_that_never_comes_is_408(self) -> None:
        limits = attrs.evolve(LimitSettings(), head_timeout=10.0, idle_timeout=60.0)
        client = self.client(site=Site(Echoing(), limits=limits))
        client.transport.receive(GET + GET[:10])
        client.wait(11)
        self.assertEqual([response.status for response in client.responses()], [200, 408])

    def test_an_idle_connection_still_ends(self) -> None:
        client = self.client(site=Site(Echoing(), limits=attrs.evolve(LimitSettings(), idle_timeout=5.0)))
        client.transport.receive(GET + GET + b"\r\n")
        client.wait(4)
        self.assertFalse(client.transport.ended)
        client.wait(2)
        self.assertTrue(client.closed)

    def test_a_client_that_leaves_gets_nothing_more(self) -> None:
        client = self.client()
        client.transport.receive(GET * 100)
        self.step(client)
        client.transport.reset()
        done = len(client.records)
        for _ in range(50):
            self.step(client)
        self.assertEqual(len(client.records), done)
        self.assertEqual(len(client.site.turns), 0)

    def test_a_connection_that_shuts_down_answers_one_more_and_says_so(self) -> None:
        client = self.client()
        client.transport.receive(GET * 100)
        client.channel.shut_down()
        self.assertFalse(client.transport.ended)
        for _ in range(3):
            self.step(client)
        self.assertTrue(client.closed)
        self.assertEqual(client.responses()[-1].get(b"connection"), b"close")

    def test_a_slow_reader_is_waited_for(self) -> None:
        client = self.client()
        client.transport.stalled = True
        client.transport.receive((b"GET /" + b"y" * 2000 + GET[6:]) * 60)
        for _ in range(100):
            self.step(client)
        self.assertLess(client.transport.buffered, 3 * 64 * 1024)
        client.transport.take()
        for _ in range(100):
            self.step(client)
        self.assertEqual(self.answered(client), 60)


class ChunkTests(FairnessCase):
    """A chunk of one byte costs as much as one of a thousand."""

    def test_attack_46_a_reader_takes_so_many_chunks_at_a_time(self) -> None:
        reader = ChunkedReader()
        body, rest = reader.feed(CHUNK * 5000)
        self.assertIsNone(rest)
        self.assertTrue(reader.behind)
        taken = [len(body)]
        while reader.behind:
            body, rest = reader.feed(b"")
            self.assertIsNone(rest)
            taken.append(len(body))
        self.assertEqual(sum(taken), 5000)
        self.assertLessEqual(max(taken), 256)
        self.assertEqual(reader.feed(b"0\r\n\r\nnext"), (b"", b"next"))

    def test_few_chunks_are_taken_at_once(self) -> None:
        reader = ChunkedReader()
        self.assertEqual(reader.feed(b"3e8\r\n" + b"x" * 1000 + b"\r\n" + CHUNK * 200)[0], b"x" * 1200)
        self.assertFalse(reader.behind)

    def post(self, sink: Body, count: int) -> Client:
        target = Holding()
        client = self.client(target)
        client.request("POST", "/", "Transfer-Encoding: chunked")
        target.exchanges[0].receive(sink)
        client.transport.receive(CHUNK * count)
        return client

    def test_attack_46_a_body_of_tiny_chunks(self) -> None:
        sink = Body()
        client = self.post(sink, 5000)
        self.assertLessEqual(len(sink.data), 256)
        self.assertFalse(client.transport.reading)
        client.transport.receive(CHUNK * 100 + b"0\r\n\r\n" + GET)
        while not sink.ended:
            before = len(sink.data)
            self.step(client)
            self.assertTrue(sink.ended or 0 < len(sink.data) - before <= 3 * 256)
        self.assertEqual(len(sink.data), 5100)
        self.assertTrue(client.transport.reading)

    def test_attack_46_a_sink_that_pauses_is_not_overrun(self) -> None:
        sink = Body()
        client = self.post(sink, 5000)
        exchange = client.site.route.target.exchanges[0]
        exchange.pause_body()
        before = len(sink.data)
        for _ in range(5):
            self.step(client)
        self.assertEqual(len(sink.data), before)
        self.assertFalse(client.transport.reading)
        exchange.resume_body()
        for _ in range(30):
            self.step(client)
        self.assertEqual(len(sink.data), 5000)
        self.assertTrue(client.transport.reading)

    def test_attack_46_a_sink_that_asks_for_more_gets_it_in_order(self) -> None:
        class Eager(Body):
            """Pauses and resumes while it takes data, as a sink does that was full for a moment."""

            taking = False

            def body_data(self, data: bytes) -> None:
                case.assertFalse(self.taking, "called again before it returned")
                self.taking = True
                exchange.pause_body()
                exchange.resume_body()
                super().body_data(data)
                self.taking = False

        case, target, sink = self, Holding(), Eager()
        client = self.client(target)
        client.request("POST", "/", "Transfer-Encoding: chunked")
        exchange = target.exchanges[0]
        exchange.receive(sink)
        numbers = b"".join(b"4\r\n%04d\r\n" % number for number in range(2000))
        client.transport.receive(numbers + b"0\r\n\r\n")
        self.assertLessEqual(len(sink.data), 4 * 256)
        for _ in range(20):
            self.step(client)
        self.assertEqual(sink.data, b"".join(b"%04d" % number for number in range(2000)))
        self.assertTrue(sink.ended)

    def test_attack_46_an_answer_before_the_body_was_read(self) -> None:
        target = Holding()
        client = self.client(target)
        client.request("POST", "/", "Transfer-Encoding: chunked")
        client.transport.receive(CHUNK * 5000)
        target.exchanges[0].answer(403, b"", b"no")
        for _ in range(5):
            self.step(client)
        self.assertEqual(client.response().status, 403)
        self.assertTrue(client.lingers)

    def test_attack_46_a_response_of_tiny_chunks(self) -> None:
        gateway = Gateway()
        client = self.client(site=gateway)
        gateway.pool.turns = gateway.turns
        client.get()
        peer = gateway.attempts[0].accept()
        peer.reply(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNK * 5000)
        self.assertFalse(peer.transport.reading)
        self.assertLessEqual(len(self.body(client)), 256)
        peer.reply(b"0\r\n\r\n")
        for _ in range(30):
            before = len(self.body(client))
            self.step(client)
            self.assertLessEqual(len(self.body(client)) - before, 3 * 256)
        self.assertEqual(self.body(client), b"x" * 5000)
        self.assertTrue(client.response().whole)
        self.assertTrue(peer.transport.reading)

    def test_attack_46_a_response_of_tiny_chunks_to_a_slow_reader(self) -> None:
        gateway = Gateway()
        client = self.client(site=gateway)
        gateway.pool.turns = gateway.turns
        client.get()
        peer = gateway.attempts[0].accept()
        client.transport.stalled = True
        peer.reply(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1fff0\r\n" + b"x" * 0x1FFF0 + b"\r\n" + CHUNK * 5000)
        for _ in range(30):
            self.step(client)
        self.assertLess(client.transport.buffered, 140_000)
        client.transport.take()
        for _ in range(30):
            self.step(client)
        peer.reply(b"0\r\n\r\n")
        self.assertEqual(len(self.body(client)), 0x1FFF0 + 5000)

    def body(self, client: Client) -> bytes:
        responses = read_responses(client.transport.arrived)
        return responses[0].body if responses else b""

"""Every wait for a client ends (attack 22): heads, idle connections, bodies, readers. The clock is a fake."""

from __future__ import annotations

from math import inf

import attrs
from twisted.trial import unittest

from perimeter.config.site.limits import LimitSettings
from tests.unit.doubles.http_rig import Body, Client, Echoing, Holding, Responder, Site, stalled

LIMITS = LimitSettings(head_timeout=10, idle_timeout=75, body_timeout=30, body_min_rate=256, send_timeout=60)


class DeadlineTestCase(unittest.TestCase):
    def client(self, target: object | None = None, **limits: float) -> Client:
        return Client(Site(target or Echoing(), limits=attrs.evolve(LIMITS, **limits)))

    def holding(self) -> tuple[Client, Holding]:
        target = Holding()
        return self.client(target), target


class DeadlineTests(DeadlineTestCase):
    def test_silent_from_the_start(self) -> None:
        client = self.client()
        client.wait(9.75)
        self.assertFalse(client.closed)
        client.wait(0.25)
        self.assertTrue(client.closed)
        self.assertEqual((client.records, client.transport.written), ([], b""))

    def test_attack_22_slow_headers(self) -> None:
        """A head that comes byte by byte has the same deadline as any other."""
        client = self.client()
        head = b"GET /slow HTTP/1.1\r\nHost: gw\r\n" + b"X: y\r\n" * 10
        for at in range(21):
            client.send(head[at : at + 1])
            client.wait(0.5)
        self.assertEqual(client.response().status, 408)
        self.assertTrue(client.closed)
        self.assertEqual([(record.status, record.reason) for record in client.records], [(408, "request_timeout")])

    def test_idle_after_a_request(self) -> None:
        client = self.client()
        client.get()
        client.wait(74)
        self.assertFalse(client.closed)
        client.get("/again")
        client.wait(74)
        self.assertFalse(client.closed)
        client.wait(2)
        self.assertTrue(client.closed)
        self.assertEqual(len(client.records), 2)

    def test_attack_22_slow_second_head(self) -> None:
        client = self.client()
        client.get()
        client.wait(50)
        client.send(b"GET")
        client.wait(9)
        self.assertFalse(client.closed)
        client.wait(2)
        self.assertEqual([response.status for response in client.responses()], [200, 408])

    def test_attack_22_slow_head_behind_another_request(self) -> None:
        """The deadline of a head also starts if its first bytes came together with the previous request."""
        for begun in (
            b"GET /1 HTTP/1.1\r\nHost: gw\r\n\r\nGET",
            b"POST /1 HTTP/1.1\r\nHost: gw\r\nContent-Length: 1\r\n\r\nxGET",
        ):
            client = self.client()
            client.send(begun)
            client.wait(11)
            self.assertEqual([response.status for response in client.responses()], [200, 408])
            client, target = self.holding()
            client.send(begun)
            client.wait(100)
            target.exchanges[0].receive(Body())
            target.exchanges[0].answer(200, b"", b"")
            client.wait(11)
            self.assertEqual([response.status for response in client.responses()], [200, 408])

    def test_a_late_second_half_of_a_head_is_served(self) -> None:
        client = self.client()
        client.send(b"GET / HTTP/1.1\r\nHost: ")
        client.wait(9)
        client.send(b"gw\r\n\r\n")
        client.wait(60)
        self.assertEqual(client.response().status, 200)
        self.assertFalse(client.closed)

    def test_a_slow_answer_is_not_the_clients_fault(self) -> None:
        client, target = self.holding()
        client.get()
        client.wait(1000)
        target.exchanges[0].answer(200, b"", b"late")
        self.assertEqual(client.response().body, b"late")

    def test_attack_22_slow_body(self) -> None:
        client, target = self.holding()
        client.request("POST", "/", "Content-Length: 100000")
        exchange = target.exchanges[0]
        responder = exchange.responder
        assert isinstance(responder, Responder)
        exchange.receive(Body())
        for _ in range(31):
            client.send(b"x" * 250)
            client.wait(1)
        self.assertEqual(client.response().status, 408)
        self.assertTrue(client.lingers)
        client.wait(6)
        self.assertTrue(client.closed)
        self.assertEqual(responder.told, ["gone"])
        self.assertEqual([(record.status, record.reason) for record in client.records], [(408, "request_timeout")])

    def test_a_body_at_the_minimum_rate_passes(self) -> None:
        client, target = self.holding()
        client.request("POST", "/", "Content-Length: 30000")
        body = Body()
        target.exchanges[0].receive(body)
        for _ in range(100):
            client.send(b"x" * 300)
            client.wait(1)
        self.assertTrue(body.ended)
        target.exchanges[0].answer(200, b"", b"")
        self.assertEqual(client.response().status, 200)

    def test_stalled_body_after_the_response_began_cuts(self) -> None:
        client, target = self.holding()
        client.request("POST", "/", "Content-Length: 100000")
        target.exchanges[0].receive(Body())
        target.exchanges[0].start(200, b"", None)
        client.wait(31)
        self.assertTrue(client.transport.aborted)
        self.assertEqual([record.reason for record in client.records], ["request_timeout"])

    def test_a_body_that_the_target_does_not_read_is_not_the_clients_fault(self) -> None:
        for size in (10_000, 100_000):  # below and above the size at which reading stops
            client, target = self.holding()
            client.request("POST", "/", "Content-Length: 200000")
            body = Body()
            exchange = target.exchanges[0]
            exchange.receive(body)
            exchange.pause_body()
            client.send(b"x" * size)
            client.wait(300)
            self.assertEqual(client.transport.written, b"")
            exchange.resume_body()
            client.send(b"x" * (200_000 - size))
            client.wait(1)
            self.assertTrue(body.ended)

    def test_attack_22_slow_reader(self) -> None:
        client, target = self.holding()
        _, responder = stalled(client, target, 200_000)
        for _ in range(61):
            client.transport.take(100)
            client.wait(1)
        self.assertTrue(client.transport.aborted)
        self.assertEqual(responder.told, ["pause", "gone"])
        self.assertEqual([record.reason for record in client.records], ["client_too_slow"])

    def test_a_reader_at_the_minimum_rate_passes(self) -> None:
        client, target = self.holding()
        exchange, _ = stalled(client, target, 100_000)
        for _ in range(200):
            client.transport.take(300)
            client.wait(1)
        client.transport.take()
        exchange.finish()
        self.assertEqual(len(client.response().body), 100_000)
        self.assertEqual([record.reason for record in client.records], [""])

    def test_attack_22_the_last_response_is_not_taken(self) -> None:
        client = self.client()
        client.transport.stalled = True
        client.get()
        client.wait(80)
        self.assertTrue(client.transport.aborted)

    def test_attack_22_the_last_response_is_not_taken_before_the_end(self) -> None:
        client = self.client()
        client.transport.stalled = True
        client.get("/", "Connection: close")
        client.wait(59)
        self.assertFalse(client.transport.aborted)
        client.wait(2)
        self.assertTrue(client.transport.aborted)

    def test_early_answer_to_a_slow_reader_is_not_cut_off(self) -> None:
        client, target = self.holding()
        client.transport.stalled = True
        client.request("POST", "/", "Content-Length: 100")
        target.exchanges[0].answer(200, b"", b"x" * 10_000)
        client.wait(20)
        self.assertFalse(client.transport.aborted)
        client.wait(60)
        self.assertTrue(client.transport.aborted)

    def test_refused_head_that_is_not_read(self) -> None:
        client = self.client()
        client.send(b"garbage\r\n\r\n")
        client.wait(6)
        self.assertTrue(client.closed)
        self.assertTrue(client.transport.disconnecting)
        self.assertEqual(len(client.records), 1)

    def test_tunnels_may_be_silent(self) -> None:
        client, target = self.holding()
        client.get("/", "Connection: upgrade", "Upgrade: websocket")
        target.exchanges[0].switch(b"", Body())
        client.wait(10_000)
        self.assertFalse(client.closed or client.transport.aborted)

    def test_attack_22_slow_reader_of_a_tunnel(self) -> None:
        client, target = self.holding()
        client.get("/", "Connection: upgrade", "Upgrade: websocket")
        target.exchanges[0].switch(b"", Body())
        client.transport.stalled = True
        target.exchanges[0].tunnel_send(b"x" * 200_000)
        client.wait(61)
        self.assertTrue(client.transport.aborted)
        self.assertEqual([record.reason for record in client.records], ["tunnel_opened", "client_too_slow"])


class WindowTests(DeadlineTestCase):
    """Each window counts only what passed within it, and each wait has exactly its time."""

    def test_attack_22_a_fast_start_of_a_body_buys_one_window(self) -> None:
        client, target = self.holding()
        client.request("POST", "/", "Content-Length: 100000")
        target.exchanges[0].receive(Body())
        client.send(b"x" * 50_000)
        client.wait(59.75)
        self.assertEqual(client.transport.written, b"")
        client.wait(0.25)
        self.assertEqual(client.response().status, 408)

    def test_attack_22_a_fast_start_of_the_reading_buys_one_window(self) -> None:
        client, target = self.holding()
        stalled(client, target, 200_000)
        client.transport.take(50_000)
        client.wait(119.75)
        self.assertFalse(client.transport.aborted)
        client.wait(0.25)
        self.assertTrue(client.transport.aborted)

    def test_a_body_of_exactly_the_minimum_rate_passes(self) -> None:
        for missing, closed in ((0, False), (1, True)):
            client, target = self.holding()
            client.request("POST", "/", "Content-Length: 100000")
            target.exchanges[0].receive(Body())
            client.send(b"x" * (30 * 256 - missing))
            client.wait(30)
            self.assertEqual(client.lingers, closed)

    def test_a_body_that_is_wanted_again_has_a_whole_window(self) -> None:
        client, target = self.holding()
        client.request("POST", "/", "Content-Length: 500000")
        exchange = target.exchanges[0]
        exchange.receive(Body())
        exchange.pause_body()
        client.send(b"x" * 100_000)
        self.assertFalse(client.transport.reading)
        client.wait(45)
        exchange.resume_body()
        client.wait(29.75)
        self.assertEqual(client.transport.written, b"")
        client.wait(0.25)
        self.assertEqual(client.response().status, 408)

    def test_attack_22_a_second_sink_gains_no_time(self) -> None:
        client, target = self.holding()
        client.request("POST", "/", "Content-Length: 100000")
        target.exchanges[0].receive(Body())
        client.wait(20)
        target.exchanges[0].receive(Body())
        client.wait(10)
        self.assertEqual(client.response().status, 408)

    def test_attack_22_slow_body_after_a_response_that_was_read_slowly(self) -> None:
        client, target = self.holding()
        client.transport.stalled = True
        client.get()
        target.exchanges[0].answer(200, b"", b"x" * 200_000)
        client.wait(10)
        client.transport.take()
        client.request("POST", "/", "Content-Length: 100000")
        target.exchanges[1].receive(Body())
        client.wait(29.75)
        self.assertEqual(len(client.responses()), 1)
        client.wait(0.25)
        self.assertEqual([response.status for response in client.responses()], [200, 408])

    def test_attack_22_slow_reader_after_an_upload(self) -> None:
        client, target = self.holding()
        client.request("POST", "/", "Content-Length: 5")
        exchange = target.exchanges[0]
        exchange.receive(Body())
        client.send(b"hello")
        client.transport.stalled = True
        exchange.start(200, b"", None)
        exchange.write(b"x" * 200_000)
        client.wait(59.75)
        self.assertFalse(client.transport.aborted)
        client.wait(0.25)
        self.assertTrue(client.transport.aborted)

    def test_a_request_that_is_being_answered_has_no_deadline(self) -> None:
        client, target = self.holding()
        client.get()
        self.assertEqual(client.channel.deadline, inf)
        client, target = self.holding()
        client.request("POST", "/", "Content-Length: 5")
        self.assertEqual(client.channel.deadline, inf)
        target.exchanges[0].receive(Body())
        self.assertEqual(client.channel.deadline, 30)
        client.send(b"hello")
        self.assertEqual(client.channel.deadline, inf)

    def test_a_request_that_waits_for_its_turn_has_no_deadline(self) -> None:
        client = self.client()
        client.transport.receive(b"GET / HTTP/1.1\r\nHost: gw\r\n\r\n" * 2)
        self.assertEqual(client.channel.deadline, inf)
        client.wait(1)
        self.assertEqual(len(client.responses()), 2)
        self.assertLess(client.channel.deadline, 77)

    def test_the_wait_after_an_early_answer_takes_five_seconds(self) -> None:
        client, target = self.holding()
        client.request("POST", "/", "Content-Length: 100")
        target.exchanges[0].answer(200, b"", b"")
        client.wait(4.75)
        self.assertTrue(client.lingers)
        client.wait(0.25)
        self.assertTrue(client.closed)

    def test_a_late_head_is_answered_before_the_connection_closes(self) -> None:
        client = self.client()
        client.send(b"GET / HTTP/1.1\r\nHost: ")
        client.wait(10)
        response = client.response()
        self.assertEqual((response.status, response.get(b"connection")), (408, b"close"))
        self.assertEqual(client.transport.half_closed, True)

"""Limits of an admitted request: rates of users, requests in flight, bodies, and its time."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from perimeter.errors import RateExceeded, UpstreamUnreachable
from perimeter.gate.clients import client_of
from perimeter.gate.decision import Admitted
from perimeter.gate.target import ITarget
from perimeter.http.exchange import Exchange, refuse_on_error
from perimeter.limits.memory import LimitMemory
from perimeter.limits.rates import RateLimit
from perimeter.model import Principal
from perimeter.targets.limited import FlightLimit, LimitedTarget, Limits, address_of, everybody
from tests.unit.doubles.http_rig import Body, Client, Echoing, Holding, Responder, Site

ANN, BEN = Principal("ann", "staff"), Principal("ben", "staff")


class NotedTrace:
    """A trace that notes what happens."""

    def __init__(self) -> None:
        self.noted: list[str] = []

    def admitted(self) -> None:
        self.noted.append("admitted")

    def request_lines(self) -> bytes:
        self.noted.append("request")
        return b"traceparent: 1\r\n"

    def body_sink(self, sink: Any) -> Any:
        return sink

    def answered(self) -> None:
        self.noted.append("answered")

    def end(self, record: Any) -> None:
        self.noted.append("end")


class LimitedCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.inner: Any = Holding()
        self.memory = LimitMemory.private()
        self.counted: list[str] = []
        self.site = Site(self.inner)
        self.site.reactor.advance(1000)
        # the buckets' clock is the reactor's
        self.memory.buckets._clock = lambda: int(self.site.reactor.seconds() * 1e9)
        self.user: Principal | None = ANN
        self.trace: NotedTrace | None = None
        self.site.dispatch = self.dispatch  # type: ignore[method-assign]

    def limit(self, **limits: Any) -> None:
        made = Limits(clock=self.site.reactor, deadlines=self.site.deadlines, **limits)
        self.target = LimitedTarget(self.inner, made)

    def rate(self, amount: int, burst: int, name: str = "rate") -> RateLimit:
        return RateLimit(
            self.memory.buckets,
            self.memory.secret,
            place=name,
            name=name,
            amount=amount,
            seconds=1,
            burst=burst,
            count=lambda: self.counted.append(name),
        )

    def flight(self, most: int, client: Any = client_of, name: str = "in_flight") -> FlightLimit:
        return FlightLimit(self.memory.flights, self.memory.secret, name, name, most, client, lambda: self.counted.append(name))

    def dispatch(self, exchange: Exchange) -> None:
        """As `perimeter.gate.gate.Gate.dispatch` does it for an admitted request."""
        exchange.decision = Admitted(self.site.route, self.user, exchange.head.target, b"", exchange.connection.address)
        exchange.trace = self.trace
        try:
            self.target.handle(exchange)
        except Exception as error:
            refuse_on_error(exchange, error)

    def get(self, user: Principal | None = ANN, peer: str = "192.0.2.7") -> Client:
        self.user = user
        client = Client(self.site, peer=peer)
        client.get()
        return client

    def answer(self, status: int = 200) -> None:
        self.inner.exchanges.pop(0).answer(status, b"", b"ok")

    def reason(self) -> str:
        return str(self.site.audit.records[-1].reason)


class TargetTests(LimitedCase):
    def test_is_a_target_with_the_name_of_the_inner_one(self) -> None:
        self.limit()
        self.assertTrue(verifyObject(ITarget, self.target))
        self.assertEqual(self.target.name, "holding")

    def test_without_what_has_to_be_followed_the_exchange_is_left_alone(self) -> None:
        self.limit(rates=(self.rate(5, 5),))
        self.get()
        self.assertIsNone(self.inner.exchanges[0].trace)


class RateTests(LimitedCase):
    def test_each_user_has_a_rate(self) -> None:
        self.limit(rates=(self.rate(5, 2),))
        for _ in range(2):
            self.get()
        response = self.get().response()
        self.assertEqual((response.status, response.get(b"retry-after")), (429, b"1"))
        self.assertEqual(response.get(b"ratelimit"), b'"rate";r=0;t=1')
        self.assertEqual(response.get(b"ratelimit-policy"), b'"rate";q=2;w=1')
        self.assertEqual((self.reason(), self.counted, len(self.inner.exchanges)), ("rate_exceeded", ["rate"], 2))
        self.get(BEN)
        self.assertEqual(len(self.inner.exchanges), 3)
        self.site.reactor.advance(0.2)
        self.get()
        self.assertEqual(len(self.inner.exchanges), 4)

    def test_a_response_says_what_is_left(self) -> None:
        self.limit(rates=(self.rate(5, 10), self.rate(1, 3, "slow")))
        client = self.get()
        self.answer()
        lines = [value for name, value in client.response().fields if name == b"ratelimit"]
        self.assertEqual(lines, [b'"rate";r=9;t=1', b'"slow";r=2;t=1'])

    def test_a_client_without_a_user_counts_by_its_address(self) -> None:
        self.limit(rates=(self.rate(1, 1),))
        self.get(None, "2001:db8::1")
        self.assertEqual(self.get(None, "2001:db8::ffff").response().status, 429)
        self.get(None, "2001:db8:0:1::1")
        self.get(None, "192.0.2.1")
        self.assertEqual(len(self.inner.exchanges), 3)

    def test_a_question_of_another_proxy_counts_as_well(self) -> None:
        self.limit(rates=(self.rate(1, 1),))
        decision = Admitted(self.site.route, ANN, b"/", b"", "192.0.2.1")
        self.target.count(decision)
        self.assertRaises(RateExceeded, self.target.count, decision)
        self.assertEqual(self.get().response().status, 429)


class FlightTests(LimitedCase):
    def test_one_more_is_refused_until_one_ends(self) -> None:
        self.limit(flights=(self.flight(2),))
        self.get()
        self.get()
        response = self.get().response()
        self.assertEqual((response.status, response.get(b"retry-after")), (429, b"1"))
        self.assertEqual((self.reason(), self.counted), ("too_many_in_flight", ["in_flight"]))
        self.get(BEN)
        self.answer()
        self.get()
        self.assertEqual(len(self.inner.exchanges), 3)
        self.assertEqual(self.get().response().status, 429)

    def test_a_request_counts_until_its_last_byte(self) -> None:
        self.limit(flights=(self.flight(1),))
        self.get()
        exchange = self.inner.exchanges[0]
        exchange.start(200, b"", None)
        exchange.write(b"a")
        self.assertEqual(self.get().response().status, 429)
        exchange.finish()
        self.get()
        self.assertEqual(len(self.inner.exchanges), 2)

    def test_every_end_of_a_request_ends_its_count(self) -> None:
        self.limit(flights=(self.flight(1, everybody),))

        def refused(exchange: Exchange, client: Client) -> None:
            exchange.refuse(UpstreamUnreachable("x"))

        def cut(exchange: Exchange, client: Client) -> None:
            exchange.start(200, b"", 10)
            exchange.abort("upstream_aborted")

        def closed_tunnel(exchange: Exchange, client: Client) -> None:
            exchange.switch(b"", Body())
            self.assertEqual(self.get().response().status, 429, "a tunnel counts while it is open")
            exchange.tunnel_close()

        ends = (
            lambda exchange, client: exchange.answer(200, b"", b"ok"),
            lambda exchange, client: client.transport.lose(),
            refused,
            cut,
            closed_tunnel,
        )
        for end in ends:
            client = self.get()
            (exchange,) = self.inner.exchanges
            self.inner.exchanges.clear()
            end(exchange, client)
            self.get()
            self.answer()
        self.assertEqual(self.inner.exchanges, [])

    def test_what_a_refused_request_has_counted_is_taken_back(self) -> None:
        self.limit(flights=(self.flight(2, everybody, "all"), self.flight(1, address_of, "address")))
        self.get(peer="192.0.2.1")
        for _ in range(5):
            self.assertEqual(self.get(peer="192.0.2.1").response().status, 429)
        self.get(peer="192.0.2.2")
        self.assertEqual(len(self.inner.exchanges), 2)
        self.assertEqual(self.get(peer="192.0.2.3").response().status, 429)
        self.assertEqual(self.counted, ["address"] * 5 + ["all"])

    def test_a_target_that_raises(self) -> None:
        self.limit(flights=(self.flight(1),))
        self.patch(self.inner, "handle", lambda exchange: 1 / 0)
        self.assertEqual(self.get().response().status, 500)
        self.assertEqual(self.get().response().status, 500)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_without_memory_the_answer_is_503(self) -> None:
        self.limit(flights=(self.flight(1),))
        words = self.memory.flights._words
        words[:] = memoryview(b"\1" * words.nbytes).cast("Q")  # all cells belong to others
        response = self.get().response()
        self.assertEqual((response.status, self.reason()), (503, "overloaded"))


class TimeTests(LimitedCase):
    def test_a_service_that_is_too_slow(self) -> None:
        self.limit(timeout=5.0)
        client = self.get()
        self.site.reactor.advance(4.9)
        self.site.reactor.advance(0)
        self.assertEqual(client.transport.written, b"")
        exchange = self.inner.exchanges[0]
        responder = exchange.responder
        client.wait(0.5)
        self.assertEqual((client.response().status, self.reason()), (504, "deadline_exceeded"))
        assert isinstance(responder, Responder)
        self.assertEqual(responder.told, ["gone"])

    def test_a_response_that_has_begun_is_cut(self) -> None:
        self.limit(timeout=5.0)
        client = self.get()
        exchange = self.inner.exchanges[0]
        exchange.start(200, b"", None)
        exchange.write(b"a")
        client.wait(5.5)
        self.assertTrue(client.transport.aborted)
        self.assertEqual(self.reason(), "deadline_exceeded")

    def test_a_body_that_is_not_complete(self) -> None:
        self.limit(timeout=5.0)
        client = Client(self.site)
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n")
        self.inner.exchanges[0].receive(Body())
        for _ in range(11):
            client.send(b"x" * 1000)
            client.wait(0.5)
        self.assertEqual((client.response().status, self.reason()), (408, "request_timeout"))
        self.assertEqual(client.response().get(b"connection"), b"close")

    def test_a_request_that_is_over_has_no_deadline(self) -> None:
        self.limit(timeout=5.0)
        client = self.get()
        self.answer()
        before = client.transport.written
        self.assertEqual(len(self.site.deadlines), 1, "that of the connection")
        client.wait(10)
        self.assertEqual(client.transport.written, before)
        self.assertEqual(len(self.site.audit.records), 1)

    def test_a_tunnel_has_no_deadline(self) -> None:
        self.limit(timeout=5.0)
        client = self.get()
        self.inner.exchanges[0].switch(b"", Body())
        self.assertEqual(len(self.site.deadlines), 2)
        client.wait(10)
        self.assertEqual(len(self.site.deadlines), 1)
        self.assertFalse(client.transport.aborted)
        self.inner.exchanges[0].tunnel_send(b"late")
        self.assertTrue(client.transport.written.endswith(b"late"))


class BodyTests(LimitedCase):
    def post(self, size: int, user: Principal = ANN) -> Client:
        self.user = user
        client = Client(self.site)
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
        return client

    def test_a_fast_body_is_read_at_the_rate(self) -> None:
        self.limit(bodies=((self.rate(1000, 4000), client_of),))
        client = self.post(200_000)
        body = Body()
        self.inner.exchanges[0].receive(body)
        client.send(b"a" * 4000)
        client.send(b"b" * 3000)
        client.send(b"c" * 70_000)
        self.assertFalse(client.transport.reading)
        self.assertEqual(len(body.data), 7000)
        client.wait(2.9)
        self.assertEqual(len(body.data), 7000, "3 s ahead")
        client.wait(0.2)
        self.assertEqual(len(body.data), 77_000)
        client.send(b"d" * 123_000)
        client.wait(69.5)
        self.assertFalse(body.ended)
        client.wait(0.6)
        self.assertTrue(body.ended)
        self.assertEqual(self.counted, [])

    def test_requests_of_one_user_count_together(self) -> None:
        self.inner = Echoing()
        self.limit(bodies=((self.rate(1000, 1000), client_of),))
        self.post(3000).send(b"a" * 3000)
        other = self.post(10)
        other.send(b"b" * 10)
        other.wait(1.8)
        self.assertEqual(other.transport.written, b"")
        fast = self.post(10, BEN)
        fast.send(b"b" * 10)
        self.assertTrue(fast.transport.written)
        other.wait(0.3)
        self.assertTrue(other.transport.written)

    def test_attack_137_small_bodies_are_counted(self) -> None:
        """Each is complete before it could be held back."""
        self.inner = Echoing()
        self.limit(bodies=((self.rate(1000, 1000), client_of),))
        served = 0
        for _ in range(20):
            client = self.post(500)
            client.send(b"x" * 500)
            client.wait(0.1)
            served += bool(client.transport.written)
        self.assertLessEqual(served, 7)

    def test_the_service_and_the_limit_hold_the_body_each_for_itself(self) -> None:
        self.limit(bodies=((self.rate(1000, 1000), client_of),))
        client = self.post(100000)
        exchange = self.inner.exchanges[0]
        body = Body()
        exchange.receive(body)
        client.send(b"a" * 2000)
        exchange.pause_body()
        client.send(b"b" * 1000)
        client.wait(1.1)
        self.assertEqual(len(body.data), 2000)
        exchange.resume_body()
        self.assertEqual(len(body.data), 3000)
        client.send(b"c")
        exchange.pause_body()
        exchange.resume_body()
        self.assertEqual(len(body.data), 3000)
        client.wait(1.1)
        self.assertEqual(len(body.data), 3001)

    def test_a_client_that_leaves_leaves_no_timer(self) -> None:
        self.limit(bodies=((self.rate(1, 1), client_of),))
        client = self.post(100000)
        self.inner.exchanges[0].receive(Body())
        client.send(b"a" * 5000)
        client.transport.lose()
        self.site.reactor.advance(1)
        self.assertEqual([call for call in self.site.reactor.getDelayedCalls() if call.getTime() > 2000], [])


class TraceTests(LimitedCase):
    def test_a_trace_goes_on(self) -> None:
        self.trace = NotedTrace()
        self.limit(flights=(self.flight(1),))
        self.get()
        exchange = self.inner.exchanges[0]
        assert exchange.trace is not None
        self.assertEqual(exchange.trace.request_lines(), b"traceparent: 1\r\n")
        exchange.trace.admitted()
        self.answer()
        self.assertEqual(self.trace.noted, ["request", "answered", "end"])

    def test_without_a_trace_the_service_gets_no_lines(self) -> None:
        self.limit(flights=(self.flight(1),))
        self.get()
        exchange = self.inner.exchanges[0]
        assert exchange.trace is not None
        self.assertEqual(exchange.trace.request_lines(), b"")
        self.answer()

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial import unittest
from twisted.web.resource import ErrorPage, Resource
from twisted.web.server import NOT_DONE_YET
from zope.interface.verify import verifyObject

from perimeter.errors import InsufficientScope, Rejected
from perimeter.gate.target import ITarget
from perimeter.model import Principal
from perimeter.web.bridge import SiteTarget
from perimeter.web.request import exchange_of, refuse, respond
from tests.unit.doubles.exchange_rig import Rig


class Leaf(Resource):
    """A resource that calls the function of a test."""

    isLeaf = True

    def __init__(self, act: Any) -> None:
        super().__init__()
        self._act = act

    def render_GET(self, request: Any) -> Any:
        return self._act(request)

    def render_POST(self, request: Any) -> Any:
        return self._act(request)


class Producer:
    def __init__(self) -> None:
        self.calls: list[str] = []

    def pauseProducing(self) -> None:
        self.calls.append("pause")

    def resumeProducing(self) -> None:
        self.calls.append("resume")

    def stopProducing(self) -> None:
        self.calls.append("stop")


class BridgeTestCase(unittest.TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.requests: list[Any] = []

    def serve(self, act: Any, rig: Rig | None = None, max_body: int = 1024) -> Rig:
        def remember(request: Any) -> Any:
            self.requests.append(request)
            return act(request)

        rig = rig or Rig()
        SiteTarget("inner", Leaf(remember), self.clock, max_body).handle(rig.exchange)
        return rig

    @property
    def request(self) -> Any:
        return self.requests[0]


class RequestTests(BridgeTestCase):
    def test_is_a_target(self) -> None:
        self.assertTrue(verifyObject(ITarget, SiteTarget("inner", Resource(), self.clock)))

    def test_the_resource_sees_the_judged_request(self) -> None:
        rig = Rig("GET /pub?raw HTTP/1.1", ["X-Thing: 1", "X-Thing: 2"], target=b"/judged/path?q=%20x", address="198.51.100.9")
        self.serve(lambda request: b"ok", rig)
        self.assertEqual(self.request.uri, b"/judged/path?q=%20x")
        self.assertEqual(self.request.args, {b"q": [b" x"]})
        self.assertEqual(self.request.requestHeaders.getRawHeaders(b"x-thing"), [b"1", b"2"])
        self.assertEqual(self.request.getHeader(b"host"), b"gw.example")
        self.assertEqual(self.request.getClientAddress().host, "198.51.100.9")
        self.assertTrue(self.request.isSecure() or rig.exchange.connection.tls)

    def test_hop_by_hop_fields_stay_out(self) -> None:
        rig = Rig(headers=["Connection: close, x-private", "X-Private: 1", "TE: trailers", "X-Kept: 1"])
        self.serve(lambda request: b"ok", rig)
        for name in (b"connection", b"x-private", b"te"):
            self.assertIsNone(self.request.getHeader(name))
        self.assertEqual(self.request.getHeader(b"x-kept"), b"1")

    def test_cookies_are_parsed(self) -> None:
        self.serve(lambda request: request.getCookie(b"a"), rig := Rig(headers=["Cookie: a=b"]))
        self.assertEqual(rig.reply.body, b"b")

    def test_the_exchange_can_be_reached(self) -> None:
        rig = Rig(principal=Principal("alice", "local"))
        self.serve(lambda request: exchange_of(request).decision.principal.username.encode(), rig)
        self.assertEqual(rig.reply.body, b"alice")

    def test_a_request_from_elsewhere_has_no_exchange(self) -> None:
        self.assertRaises(LookupError, exchange_of, object())
        self.assertRaises(LookupError, refuse, object(), Rejected())


class BodyTests(BridgeTestCase):
    def test_a_body_arrives_whole(self) -> None:
        rig = self.serve(lambda request: request.content.read()[::-1], Rig("POST / HTTP/1.1", ["Content-Length: 6"]))
        self.assertEqual(self.requests, [])
        rig.feed(b"abc")
        rig.feed(b"def")
        self.assertEqual(rig.reply.body, b"fedcba")

    def test_a_chunked_body_has_a_content_length(self) -> None:
        rig = self.serve(
            lambda request: request.getHeader(b"content-length"), Rig("POST / HTTP/1.1", ["Transfer-Encoding: chunked"])
        )
        rig.feed(b"3\r\nabc\r\n0\r\nX-Auth-Username: root\r\n\r\n")
        self.assertEqual(rig.reply.body, b"3")
        self.assertIsNone(self.request.getHeader(b"x-auth-username"))

    def test_a_form_is_parsed(self) -> None:
        form = b"user=a%20b"
        rig = Rig("POST / HTTP/1.1", ["Content-Type: application/x-www-form-urlencoded", f"Content-Length: {len(form)}"])
        self.serve(lambda request: request.args[b"user"][0], rig).feed(form)
        self.assertEqual(rig.reply.body, b"a b")

    def test_attack_23_announced_body_too_large(self) -> None:
        rig = self.serve(lambda request: b"ok", Rig("POST / HTTP/1.1", ["Content-Length: 1025"]))
        self.assertEqual(rig.reply.status, 413)
        self.assertEqual(rig.reply.get("connection"), "close")
        self.assertTrue(rig.client.lingers)

    def test_attack_23_chunked_body_too_large(self) -> None:
        rig = self.serve(lambda request: b"ok", Rig("POST / HTTP/1.1", ["Transfer-Encoding: chunked"]))
        rig.feed(b"400\r\n" + b"x" * 1024 + b"\r\n")
        self.assertEqual(rig.written, b"")
        rig.feed(b"1\r\nx\r\n")
        self.assertEqual(rig.reply.status, 413)
        rig.feed(b"0\r\n\r\n")
        self.clock.advance(0)
        self.assertEqual(self.requests, [])


class ResponseTests(BridgeTestCase):
    def test_a_body_at_once_is_one_write(self) -> None:
        def act(request: Any) -> bytes:
            request.setResponseCode(202)
            request.setHeader(b"X-A", b"1")
            request.responseHeaders.addRawHeader(b"X-A", b"2")
            request.addCookie(b"k", b"v")
            return b"hello"

        rig = self.serve(act)
        self.assertEqual(len(rig.writes), 1)
        self.assertEqual((rig.reply.status, rig.reply.body, rig.reply.whole), (202, b"hello", True))
        self.assertEqual([v for n, v in rig.reply.fields if n == "x-a"], ["1", "2"])
        self.assertEqual(rig.reply.get("set-cookie"), "k=v")
        self.assertTrue(rig.done)
        self.assertEqual(len(rig.records), 1)

    def test_no_server_version_is_reported(self) -> None:
        self.assertIsNone(self.serve(lambda request: b"x").reply.get("server"))

    def test_head_has_a_length_and_no_body(self) -> None:
        rig = self.serve(lambda request: b"hello", Rig("HEAD / HTTP/1.1"))
        self.assertEqual((rig.reply.get("content-length"), rig.reply.body), ("5", b""))
        self.assertTrue(rig.done)

    def test_an_empty_body(self) -> None:
        rig = self.serve(lambda request: b"")
        self.assertEqual((rig.reply.status, rig.reply.get("content-length"), rig.done), (200, "0", True))

    def test_not_modified(self) -> None:
        def act(request: Any) -> bytes:
            request.setResponseCode(304)
            return b""

        rig = self.serve(act)
        self.assertEqual((rig.reply.status, rig.reply.body, rig.done), (304, b"", True))

    def test_a_stream_is_chunked_and_its_head_leaves_at_once(self) -> None:
        rig = self.serve(lambda request: request.write(b"one") or NOT_DONE_YET)
        self.assertEqual((rig.reply.status, rig.reply.body, rig.reply.whole), (200, b"one", False))
        self.request.write(b"two")
        self.request.finish()
        self.assertEqual((rig.reply.body, rig.reply.whole), (b"onetwo", True))

    def test_a_flushed_head_of_a_stream_leaves_before_any_data(self) -> None:
        rig = self.serve(lambda request: request.write(b"") or NOT_DONE_YET)
        self.assertIn(b"chunked", rig.written)

    def test_a_response_shorter_than_promised_is_cut(self) -> None:
        def act(request: Any) -> int:
            request.setHeader(b"Content-Length", b"10")
            request.write(b"abc")
            request.finish()
            return NOT_DONE_YET

        rig = self.serve(act)
        self.assertTrue(rig.aborted)

    def test_a_response_longer_than_promised_is_cut(self) -> None:
        finished: list[Any] = []

        def act(request: Any) -> int:
            request.notifyFinish().addBoth(finished.append)
            request.setHeader(b"Content-Length", b"2")
            request.write(b"abc")
            return NOT_DONE_YET

        rig = self.serve(act)
        self.clock.advance(0)
        self.assertTrue(rig.aborted)
        self.assertIsInstance(finished[0], Failure)

    def test_attack_15_header_values_with_controls(self) -> None:
        def act(request: Any) -> bytes:
            request.setHeader(b"X-Role", b"a\r\nX-Second: 1\x00")
            return b"x"

        rig = self.serve(act)
        self.assertNotIn(b"X-Second:", rig.written.split(b"\r\n\r\n")[0].replace(b"a X-Second:", b""))
        self.assertEqual(rig.reply.status, 500)


class FailureTests(BridgeTestCase):
    def test_attack_16_an_exception_reports_the_client_nothing(self) -> None:
        def act(request: Any) -> bytes:
            raise ValueError("the password is hunter2")

        rig = self.serve(act)
        self.assertEqual((rig.reply.status, rig.reason), (500, "internal_error"))
        self.assertNotIn(b"hunter2", rig.written)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_an_exception_in_the_middle_cuts_the_connection(self) -> None:
        def act(request: Any) -> bytes:
            request.write(b"some")
            raise ValueError("x")

        rig = self.serve(act)
        self.assertTrue(rig.aborted)
        self.assertNotIn(b"Processing Failed", rig.written)
        self.flushLoggedErrors(ValueError)

    def test_a_raised_refusal_is_the_answer(self) -> None:
        def act(request: Any) -> bytes:
            raise InsufficientScope

        self.assertEqual(self.serve(act).reply.status, 403)

    def test_refuse_ends_the_request(self) -> None:
        rig = self.serve(lambda request: NOT_DONE_YET)
        gone = self.failureResultOf
        finished = self.request.notifyFinish()
        refuse(self.request, Rejected())
        self.assertEqual(rig.reply.status, 401)
        self.clock.advance(0)
        gone(finished)
        self.request.write(b"too late")
        self.assertEqual(rig.reply.status, 401)

    def test_not_bytes(self) -> None:
        self.assertEqual(self.serve(lambda request: "text").reason, "internal_error")

    def test_other_methods_are_reported_what_is_allowed(self) -> None:
        rig = self.serve(lambda request: b"x", Rig("DELETE / HTTP/1.1"))
        self.assertEqual((rig.reply.status, rig.reply.get("allow")), (405, "GET, HEAD, POST"))

    def test_stock_error_pages_never_show(self) -> None:
        for root in (Resource(), ErrorPage(500, "brief", "<b>detail</b>")):
            rig = Rig("GET /nothing/here HTTP/1.1")
            SiteTarget("inner", root, self.clock).handle(rig.exchange)
            self.assertIn(rig.reason, ("no_route", "internal_error"))
        self.flushWarnings()
        self.assertEqual(len(self.flushLoggedErrors()), 0)


class FlowTests(BridgeTestCase):
    def test_a_push_producer_follows_the_client(self) -> None:
        producer = Producer()
        rig = self.serve(lambda request: request.registerProducer(producer, True) or NOT_DONE_YET)
        assert rig.exchange.responder is not None
        rig.exchange.responder.pause()
        rig.exchange.responder.resume()
        self.assertEqual(producer.calls, ["pause", "resume"])

    def test_a_producer_that_comes_while_the_client_is_behind_waits(self) -> None:
        producer = Producer()
        rig = self.serve(lambda request: NOT_DONE_YET)
        assert rig.exchange.responder is not None
        rig.exchange.responder.pause()
        self.request.registerProducer(producer, True)
        self.assertEqual(producer.calls, ["pause"])

    def test_a_pull_producer_is_asked_only_while_the_client_keeps_up(self) -> None:
        outer = self

        class Pull:
            left = 5

            def resumeProducing(self) -> None:
                outer.request.write(b"x")
                self.left -= 1
                if not self.left:
                    outer.request.unregisterProducer()
                    outer.request.finish()

        pull = Pull()
        rig = self.serve(lambda request: request.registerProducer(pull, False) or NOT_DONE_YET)
        assert rig.exchange.responder is not None
        rig.exchange.responder.pause()
        self.clock.pump([0.01] * 20)
        behind = pull.left
        self.assertGreater(behind, 0)
        rig.exchange.responder.resume()
        self.clock.pump([0.01] * 20)
        self.assertEqual((rig.reply.body, rig.reply.whole), (b"xxxxx", True))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_the_clients_departure_reaches_the_request(self) -> None:
        producer = Producer()
        rig = self.serve(lambda request: request.registerProducer(producer, True) or NOT_DONE_YET)
        finished = self.request.notifyFinish()
        rig.leave()
        self.assertNoResult(finished)
        self.clock.advance(0)
        self.failureResultOf(finished)
        self.assertEqual(producer.calls, ["stop"])

    def test_a_departure_stops_a_pull_producer(self) -> None:
        class Endless:
            asked = 0

            def resumeProducing(self) -> None:
                self.asked += 1

        pull = Endless()
        rig = self.serve(lambda request: request.registerProducer(pull, False) or NOT_DONE_YET)
        self.clock.pump([0.01] * 3)
        rig.leave()
        self.clock.pump([0.01] * 3)
        asked = pull.asked
        self.clock.pump([0.01] * 3)
        self.assertEqual(pull.asked, asked)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class RespondTests(BridgeTestCase):
    def test_a_coroutines_result_is_the_body(self) -> None:
        waiting: Deferred[bytes] = Deferred()

        async def work() -> bytes:
            return await waiting

        rig = self.serve(lambda request: respond(request, work()))
        self.assertEqual(rig.written, b"")
        waiting.callback(b"done")
        self.assertEqual((rig.reply.body, rig.reply.whole), (b"done", True))

    def test_head_of_a_coroutine(self) -> None:
        async def work() -> bytes:
            return b"done"

        rig = self.serve(lambda request: respond(request, work()), Rig("HEAD / HTTP/1.1"))
        self.assertEqual((rig.reply.get("content-length"), rig.reply.body, rig.done), ("4", b"", True))

    def test_refusals_and_failures(self) -> None:
        async def work(error: Exception) -> bytes:
            raise error

        self.assertEqual(self.serve(lambda request: respond(request, work(Rejected()))).reply.status, 401)
        self.assertEqual(self.serve(lambda request: respond(request, work(KeyError("secret")))).reply.status, 500)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_a_departure_cancels_the_work(self) -> None:
        cancelled: list[Any] = []
        waiting: Deferred[bytes] = Deferred(cancelled.append)

        async def work() -> bytes:
            return await waiting

        rig = self.serve(lambda request: respond(request, work()))
        rig.leave()
        self.clock.advance(0)
        self.assertEqual(cancelled, [waiting])
        self.assertEqual(rig.written, b"")

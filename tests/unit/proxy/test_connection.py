"""Responses of an upstream: where they end, which become a 502, and when their connection may serve another request.

The tests look from the client's side, through a real channel and a real target.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial import unittest

from perimeter.errors import MissingCredentials
from tests.unit.doubles.http_rig import Client
from tests.unit.doubles.http_upstream import OK, Gateway, Peer
from tests.unit.http.h1.test_framing import BAD_CHUNKED, split
from tests.unit.http.test_grammar import BAD_BLOCKS


@attrs.frozen
class Case:
    """A response, and what the client must get."""

    reply: bytes
    status: int
    body: bytes
    reused: bool
    method: str = "GET"
    closes: bool = False


CASES = {
    "length": Case(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, b"hello", True),
    "no bytes": Case(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, b"", True),
    "chunked": Case(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", 200, b"hello", True
    ),
    "chunked, empty": Case(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 200, b"", True),
    "close": Case(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello", 200, b"hello", False),
    "until the end": Case(b"HTTP/1.1 200 OK\r\n\r\nhello", 200, b"hello", False, closes=True),
    "until the end, nothing": Case(b"HTTP/1.1 200 OK\r\n\r\n", 200, b"", False, closes=True),
    "1.0 with length": Case(b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, b"hello", False),
    "1.0 kept alive": Case(b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello", 200, b"hello", True),
    "1.0 until the end": Case(b"HTTP/1.0 200 OK\r\n\r\nhello", 200, b"hello", False, closes=True),
    "HEAD with length": Case(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", 200, b"", True, "HEAD"),
    "HEAD chunked": Case(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 200, b"", True, "HEAD"),
    "HEAD with neither": Case(b"HTTP/1.1 200 OK\r\n\r\n", 200, b"", True, "HEAD"),
    "204": Case(b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", True),
    "204 with a length of 0": Case(b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", 204, b"", True),
    "304 with the length of what it stands for": Case(b"HTTP/1.1 304 X\r\nContent-Length: 500\r\n\r\n", 304, b"", True),
    "304 with a coding": Case(b"HTTP/1.1 304 X\r\nTransfer-Encoding: chunked\r\n\r\n", 304, b"", True),
    "100 first": Case(b"HTTP/1.1 100 Continue\r\n\r\n" + OK, 200, b"ok", True),
    "several interim": Case(b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 100 Continue\r\nX: y\r\n\r\n" + OK, 200, b"ok", True),
    "error": Case(b"HTTP/1.1 500 Oops\r\nContent-Length: 2\r\n\r\nno", 500, b"no", True),
    "unknown status": Case(b"HTTP/1.1 799 Hm\r\nContent-Length: 2\r\n\r\nno", 799, b"no", True),
}

BAD_REPLIES = {
    "no HTTP": b"SSH-2.0-OpenSSH\r\n\r\n",
    "a bare LF": b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    "HTTP/2": b"HTTP/2.0 200 OK\r\n\r\n",
    "a body in a 204": b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok",
    "chunks in a 204": b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked in HTTP/1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "101 without an Upgrade": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    "101 to no protocol without an Upgrade": b"HTTP/1.1 101 Hm\r\nUpgrade:\r\nConnection: upgrade\r\n\r\n",
    "nothing but empty lines": b"\r\n\r\n",
    "interim without end": b"HTTP/1.1 100 Continue\r\n\r\n" * 11,
    "a huge head": b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000,
    "a huge head, whole": b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
    "too many fields": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 201 + b"\r\n",
    **{f"header: {what}": b"HTTP/1.1 200 OK\r\n" + block + b"\r\n" for what, block in BAD_BLOCKS.items()},
}


class ResponseTestCase(unittest.TestCase):
    def asked(self, method: str = "GET") -> tuple[Gateway, Client, Peer]:
        gateway = Gateway()
        client, peer = gateway.begun(method)
        peer.request()
        return gateway, client, peer


class FramingTests(ResponseTestCase):
    def seen(self, case: Case, pieces: list[bytes], what: str) -> None:
        gateway, client, peer = self.asked(case.method)
        for piece in pieces:
            peer.reply(piece)
        if case.closes:
            peer.transport.lose()
        response = client.response(case.method.encode())
        self.assertEqual((response.status, response.body, response.whole), (case.status, case.body, True), what)
        self.assertEqual(gateway.idle, int(case.reused), what)
        self.assertEqual(len(client.records), 1, what)
        self.assertFalse(client.transport.aborted, what)
        # whether the connection is reused or not, the next request gets its own response
        client.get("/next")
        if not case.reused:
            self.assertTrue(peer.ended or peer.transport.lost, what)
            peer = gateway.attempts[-1].accept()
        peer.reply(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext")
        self.assertEqual(client.responses(case.method.encode())[-1].body, b"next", what)

    def test_date_is_added_where_it_is_missing(self) -> None:
        """RFC 9110, section 6.6.1: the gateway adds a Date if the upstream sent none."""
        for date in (b"", b"Date: Sun, 22 Nov 2026 12:00:00 GMT\r\n"):
            for length in (b"Content-Length: 2\r\n\r\nok", b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"):
                _, client, peer = self.asked()
                peer.reply(b"HTTP/1.1 200 OK\r\n" + date + length)
                written = client.transport.written
                self.assertEqual(written.lower().count(b"\r\ndate: "), 1, written)
                self.assertTrue(not date or date in written, written)

    def test_attack_18_split_at_every_byte(self) -> None:
        for what, case in CASES.items():
            for cut in range(len(case.reply) + 1):
                self.seen(case, [case.reply[:cut], case.reply[cut:]] if 0 < cut < len(case.reply) else [case.reply], what)

    def test_byte_by_byte(self) -> None:
        for what, case in CASES.items():
            self.seen(case, [case.reply[at : at + 1] for at in range(len(case.reply))], what)

    @given(st.sampled_from(sorted(CASES)), st.lists(st.integers(0, 200), max_size=8))
    @settings(max_examples=100, deadline=None)
    def test_random_splits(self, what: str, cuts: list[int]) -> None:
        case = CASES[what]
        self.seen(case, split(case.reply, cuts), what)

    def test_trailers_pass_but_for_what_is_ours(self) -> None:
        _, client, peer = self.asked()
        peer.reply(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Sum: 1\r\nX-Auth-Username: x\r\n\r\n")
        self.assertEqual(client.response().trailers, [(b"x-sum", b"1")])

    def test_until_the_end_is_chunked_for_the_client(self) -> None:
        _, client, peer = self.asked()
        peer.reply(b"HTTP/1.1 200 OK\r\n\r\nhello")
        self.assertFalse(client.responses()[0].whole)
        self.assertEqual(client.records, [])
        peer.transport.lose()
        self.assertEqual(client.response().get(b"transfer-encoding"), b"chunked")
        self.assertFalse(client.closed)

    def test_early_hints_pass_only_where_the_route_wants_them(self) -> None:
        """Clients that take any response for the final one would lose that (RFC 8297, section 3)."""
        client, peer = Gateway().begun()
        peer.reply(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + OK)
        self.assertEqual([response.status for response in client.responses()], [200])

    def test_early_hints_pass_and_other_interim_responses_do_not(self) -> None:
        client, peer = Gateway(early_hints=True).begun()
        peer.reply(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\nX-Auth-Roles: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + OK)
        hints, final = client.responses()
        self.assertEqual((hints.status, hints.fields, final.status), (103, [(b"link", b"</x>")], 200))

    def test_a_lone_head_is_passed_on_at_once(self) -> None:
        _, client, peer = self.asked()
        peer.reply(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
        self.assertEqual(client.responses()[0].status, 200)
        peer.reply(b"he")
        self.assertEqual(client.responses()[0].body, b"he")

    def test_no_date_or_framing_of_the_upstream_is_doubled(self) -> None:
        _, client, peer = self.asked()
        peer.reply(b"HTTP/1.1 200 OK\r\nDate: then\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok")
        self.assertEqual(client.transport.written, b"HTTP/1.1 200 OK\r\nDate: then\r\nContent-Length: 2\r\n\r\nok")


class BadReplyTests(ResponseTestCase):
    def test_attack_18_ambiguous_replies(self) -> None:
        for what, reply in BAD_REPLIES.items():
            gateway, client, peer = self.asked()
            peer.reply(reply)
            response = client.response()
            self.assertEqual(response.status, 502, what)
            self.assertTrue(peer.dropped, what)
            self.assertEqual(gateway.idle, 0, what)
            self.assertEqual([record.reason for record in client.records], ["upstream_bad_reply"], what)
            self.assertFalse(client.closed, what)

    def test_attack_18_ambiguous_replies_byte_by_byte(self) -> None:
        for what, reply in BAD_REPLIES.items():
            if len(reply) < 1000:
                _, client, peer = self.asked()
                for at in range(len(reply)):
                    peer.reply(reply[at : at + 1])
                self.assertEqual(client.response().status, 502, what)
                self.assertTrue(peer.dropped, what)

    def test_attack_18_malformed_chunks_cut_the_client(self) -> None:
        for what, data in BAD_CHUNKED.items():
            _, client, peer = self.asked()
            peer.reply(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
            peer.reply(data + b"xx")
            self.assertTrue(client.transport.aborted, what)
            self.assertFalse(client.responses()[0].whole, what)
            self.assertTrue(peer.dropped, what)
            self.assertEqual([record.reason for record in client.records], ["upstream_bad_reply"], what)

    def test_attack_23_the_largest_head(self) -> None:
        """65536 bytes, without the empty line at the end, pass. More do not, whole or not."""
        start = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: "
        for size, expected in ((65536, 200), (65537, 502)):
            head = start.ljust(size, b"y")
            for pieces in ([head + b"\r\n\r\n"], [head, b"\r\n\r\n"]):
                _, client, peer = self.asked()
                peer.reply(pieces[0])
                self.assertEqual(len(client.responses()), 1 if expected == 502 or len(pieces) == 1 else 0)
                for piece in pieces[1:]:
                    peer.reply(piece)
                self.assertEqual(client.response().status, expected)

    def test_ten_interim_responses_are_borne(self) -> None:
        _, client, peer = self.asked()
        peer.reply(b"HTTP/1.1 100 Continue\r\n\r\n" * 10 + OK)
        self.assertEqual(client.response().status, 200)

    def test_interim_responses_are_counted_by_request(self) -> None:
        gateway, client, peer = self.asked()
        for _ in range(3):
            peer.reply(b"HTTP/1.1 100 Continue\r\n\r\n" * 8 + OK)
            client.get()
        self.assertEqual([response.status for response in client.responses()], [200, 200, 200])
        self.assertEqual(len(gateway.attempts), 1)

    def test_attack_18_bytes_after_the_response(self) -> None:
        nothing = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
        for reply, body in (
            (OK + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", b"ok"),
            (OK + b"\r\n", b"ok"),
            (nothing + b"x", b""),
        ):
            gateway, client, peer = self.asked()
            peer.reply(reply)
            self.assertEqual((client.response().body, client.response().whole), (body, True))
            self.assertFalse(client.transport.aborted)
            self.assertEqual(gateway.idle, 0)
            self.assertTrue(peer.ended)

    def test_attack_18_bytes_on_an_idle_connection(self) -> None:
        gateway, client, peer = self.asked()
        peer.reply(OK)
        self.assertEqual(gateway.idle, 1)
        peer.reply(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        self.assertEqual(gateway.idle, 0)
        self.assertTrue(peer.dropped)
        client.get("/next")
        gateway.attempts[-1].accept().reply(OK)
        self.assertEqual([response.body for response in client.responses()], [b"ok", b"ok"])

    def test_attack_18_a_body_for_head(self) -> None:
        gateway, client, peer = self.asked("HEAD")
        peer.reply(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
        self.assertEqual(client.response(b"HEAD").body, b"")
        self.assertEqual(gateway.idle, 0)
        self.assertTrue(peer.ended)

    def test_attack_18_responses_of_two_requests_are_not_mixed(self) -> None:
        """The second client never gets data for the first client."""
        gateway, client, peer = self.asked()
        peer.reply(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        client.transport.lose()
        self.assertTrue(peer.dropped)
        other = gateway.client()
        other.get()
        peer.reply(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        self.assertEqual(other.transport.written, b"")
        gateway.attempts[-1].accept().reply(OK)
        self.assertEqual(other.response().body, b"ok")

    @given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=4), st.booleans())
    @settings(max_examples=150, deadline=None)
    def test_arbitrary_bytes_never_escape(self, data: bytes, cuts: list[int], begun: bool) -> None:
        gateway, client, peer = self.asked()
        for piece in split((b"HTTP/1.1 200 OK\r\n" if begun else b"") + data, cuts):
            peer.reply(piece)
        peer.transport.lose()
        client.wait(61)
        self.assertEqual(len(client.records), 1)
        self.assertEqual(gateway.pool.connections, [])


class LossTests(ResponseTestCase):
    def test_closed_before_any_answer_on_a_fresh_connection(self) -> None:
        for method in ("GET", "POST"):
            _, client, peer = self.asked(method)
            peer.transport.lose()
            self.assertEqual(client.response().status, 502)
            self.assertEqual([record.reason for record in client.records], ["upstream_unreachable"])

    def test_closed_in_the_middle_of_the_head(self) -> None:
        gateway, client, peer = self.asked()
        peer.reply(b"HTTP/1.1 200 OK\r\nConte")
        peer.transport.lose()
        self.assertEqual(client.response().status, 502)
        self.assertEqual([record.reason for record in client.records], ["upstream_bad_reply"])
        self.assertEqual(len(gateway.attempts), 1)

    def test_closed_after_an_interim_response(self) -> None:
        gateway, client, peer = self.asked()
        peer.reply(b"HTTP/1.1 100 Continue\r\n\r\n")
        peer.transport.lose()
        self.assertEqual(client.response().status, 502)
        self.assertEqual(len(gateway.attempts), 1)

    def test_closed_in_the_middle_of_the_body_cuts_the_client(self) -> None:
        for reply in (
            b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n",
        ):
            _, client, peer = self.asked()
            peer.reply(reply)
            peer.transport.lose()
            self.assertTrue(client.transport.aborted)
            self.assertFalse(client.responses()[0].whole)
            self.assertEqual([record.reason for record in client.records], ["upstream_aborted"])

    def test_reset_of_a_body_without_length_cuts_the_client(self) -> None:
        """A reset does not end a response: the client must notice that it is incomplete."""
        _, client, peer = self.asked()
        peer.reply(b"HTTP/1.1 200 OK\r\n\r\nhalf")
        peer.transport.reset()
        self.assertTrue(client.transport.aborted)
        self.assertFalse(client.responses()[0].whole)


class EndTests(ResponseTestCase):
    def test_a_connection_that_is_lost_needs_no_close_and_has_no_deadline(self) -> None:
        gateway, _, peer = self.asked()
        watched = len(gateway.deadlines)
        peer.transport.lose()
        self.assertEqual(len(gateway.deadlines), watched - 1)
        peer.connection.close()
        peer.connection.drop()
        self.assertFalse(peer.ended)

    def test_what_comes_while_a_connection_closes_does_not_cut_it(self) -> None:
        """The rest of what was written to the server is still delivered."""
        _, _, peer = self.asked()
        peer.reply(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        self.assertTrue(peer.ended)
        peer.connection.dataReceived(b"x")
        self.assertFalse(peer.dropped)

    def test_a_connection_that_was_dropped_at_the_head_of_a_response_is_not_kept(self) -> None:
        gateway, client, peer = self.asked("HEAD")
        gateway.audit.failing = True
        peer.reply(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
        self.assertEqual(client.response(b"HEAD").status, 503)
        self.assertTrue(peer.dropped)
        self.assertEqual(gateway.idle, 0)

    def test_a_connection_for_an_exchange_that_has_ended_is_dropped(self) -> None:
        gateway = Gateway()
        gateway.client().get()
        gateway.exchanges[0].refuse(MissingCredentials())
        peer = gateway.attempts[0].accept()
        self.assertEqual((peer.dropped, peer.request()), (True, b""))

    def test_closed_before_the_answer_to_a_later_request(self) -> None:
        """The body of the response before it was complete: that says nothing about this one."""
        gateway, client, peer = self.asked()
        peer.reply(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
        peer.reply(b"ok")
        client.get("/2")
        peer.transport.lose()
        gateway.attempts[1].accept().reply(OK)
        self.assertEqual([response.body for response in client.responses()], [b"ok", b"ok"])


class TimeoutTests(ResponseTestCase):
    def test_no_answer(self) -> None:
        gateway, client, peer = self.asked()
        client.wait(59.75)
        self.assertEqual(client.transport.written, b"")
        client.wait(0.25)
        self.assertEqual(client.response().status, 504)
        self.assertTrue(peer.dropped)
        self.assertEqual([record.reason for record in client.records], ["upstream_timeout"])
        self.assertEqual(gateway.idle, 0)

    def test_each_step_counts_anew(self) -> None:
        _, client, peer = self.asked()
        for piece in (b"HTTP/1.1 200 OK\r\n", b"Content-Length: 4\r\n\r\n", b"ab", b"cd"):
            client.wait(59)
            peer.reply(piece)
        self.assertEqual(client.response().body, b"abcd")

    def test_stalled_body_cuts_the_client(self) -> None:
        _, client, peer = self.asked()
        peer.reply(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
        client.wait(61)
        self.assertTrue(client.transport.aborted)
        self.assertTrue(peer.dropped)
        self.assertEqual([record.reason for record in client.records], ["upstream_timeout"])

    def test_idle_connections_have_no_read_timeout(self) -> None:
        gateway, client, peer = self.asked()
        gateway.pool.servers[0].idle_timeout = 100.0
        peer.reply(OK)
        client.wait(70)
        self.assertEqual(gateway.idle, 1)
        self.assertFalse(peer.ended)

    def test_a_slow_client_is_not_the_upstreams_fault(self) -> None:
        gateway, client, peer = self.asked()
        client.transport.stalled = True
        peer.reply(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"x" * 100_000)
        self.assertFalse(peer.transport.reading)
        for _ in range(150):
            client.transport.take(300)
            client.wait(1)
        self.assertFalse(client.transport.aborted)
        client.transport.take()
        peer.reply(b"x" * 100_000)
        self.assertEqual(len(client.response().body), 200_000)
        self.assertEqual(gateway.idle, 1)

    def test_an_upstream_that_stalls_after_the_client_has_caught_up(self) -> None:
        for more in (b"", b"x"):
            _, client, peer = self.asked()
            client.transport.stalled = True
            peer.reply(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"x" * 100_000)
            client.wait(10)
            client.transport.take()
            client.wait(1)
            if more:
                peer.reply(more)
            client.wait(62)
            self.assertTrue(client.transport.aborted)
            self.assertEqual([record.reason for record in client.records], ["upstream_timeout"])

    def test_an_answer_before_the_end_of_the_upload_has_no_time_yet(self) -> None:
        gateway = Gateway(early_hints=True)
        client, peer = gateway.begun("POST", "/", "Content-Length: 30000")
        client.transport.stalled = True
        peer.reply(b"HTTP/1.1 200 OK\r\nContent-Length: 100001\r\n\r\n" + b"x" * 100_000)
        client.transport.take()
        for _ in range(100):
            client.send(b"x" * 300)
            client.wait(1)
        peer.reply(b"y")
        self.assertTrue(client.response().whole)

    def test_an_upload_may_take_longer_than_the_answer(self) -> None:
        gateway = Gateway()
        client, peer = gateway.begun("POST", "/", "Content-Length: 30000")
        for _ in range(100):
            client.send(b"x" * 300)
            client.wait(1)
        self.assertEqual(client.transport.written, b"")
        peer.reply(OK)
        self.assertEqual(client.response().body, b"ok")

    def test_no_answer_to_an_upload(self) -> None:
        """The time limit for the response starts at the end of the request."""
        gateway = Gateway()
        client, peer = gateway.begun("POST", "/", "Content-Length: 30000")
        for _ in range(100):
            client.send(b"x" * 300)
            client.wait(1)
        client.wait(58)
        self.assertEqual(client.transport.written, b"")
        client.wait(2)
        self.assertEqual(client.response().status, 504)
        self.assertTrue(peer.dropped)

    def test_each_request_has_its_own_time(self) -> None:
        gateway, client, peer = self.asked()
        peer.reply(OK)
        client.wait(50)
        client.get("/2")
        client.wait(59)
        self.assertEqual(len(client.responses()), 1)
        client.wait(2)
        self.assertEqual([response.status for response in client.responses()], [200, 504])
        self.assertEqual(len(gateway.attempts), 1)

    def test_an_upstream_that_takes_nothing(self) -> None:
        gateway = Gateway()
        client, peer = gateway.begun("POST", "/", "Content-Length: 300000")
        peer.transport.stalled = True
        client.send(b"x" * 200_000)
        client.wait(61)
        self.assertEqual(client.response().status, 504)
        self.assertTrue(peer.dropped)

    def test_an_upload_that_was_held_up_takes_the_time_that_it_takes(self) -> None:
        gateway = Gateway()
        client, peer = gateway.begun("POST", "/", "Content-Length: 300000")
        peer.transport.stalled = True
        client.send(b"x" * 100_000)
        client.send(b"x" * 70_000)
        client.wait(59)
        peer.transport.take()
        for _ in range(100):
            client.send(b"x" * 1300)
            client.wait(1)
        self.assertEqual(client.transport.written, b"")
        peer.reply(OK)
        self.assertEqual(client.response().body, b"ok")

    def test_a_connection_that_does_not_close_is_cut(self) -> None:
        gateway = Gateway()
        client, peer = gateway.begun("POST", "/", "Content-Length: 300000")
        peer.transport.stalled = True
        client.send(b"x" * 100_000)
        peer.reply(b"HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n")
        self.assertEqual(client.response().status, 413)
        self.assertTrue(peer.ended)
        client.wait(5)
        peer.connection.close()  # which gains it no time
        client.wait(4.75)
        self.assertFalse(peer.dropped)
        client.wait(0.25)
        self.assertTrue(peer.dropped)
        self.assertEqual(gateway.pool.connections, [])


class Receiver:
    """Records what an upstream connection delivers."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *arguments: self.calls.append((name, *arguments))

    def named(self, name: str) -> list[tuple[object, ...]]:
        return [call[1:] for call in self.calls if call[0] == name]


class DeliveryTests(unittest.TestCase):
    def connected(self) -> Peer:
        gateway = Gateway()
        gateway.pool.connect(gateway.pool.servers[0])
        return gateway.attempts[0].accept()

    def begun(self, peer: Peer, *, tunnel: bool = False) -> Any:
        receiver = Receiver()
        peer.connection.begin(receiver, head_only=False, tunnel=tunnel, complete=True)  # type: ignore[arg-type]
        return receiver

    def test_a_repeated_head_is_parsed_once(self) -> None:
        peer = self.connected()
        replies = []
        for _ in range(2):
            receiver = self.begun(peer)
            peer.reply(OK)
            replies += receiver.named("reply_whole")
        self.assertEqual([body for _, body in replies], [b"ok", b"ok"])
        self.assertIs(replies[0][0], replies[1][0])

    def test_nothing_is_delivered_where_nothing_came(self) -> None:
        for reply in (
            b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        ):
            peer = self.connected()
            receiver = self.begun(peer, tunnel=True)
            peer.reply(reply)
            self.assertEqual([call[0] for call in receiver.calls], ["reply_head", "reply_settled"])

    def test_what_follows_a_switch_that_was_given_up_is_not_delivered(self) -> None:
        peer = self.connected()
        receiver = self.begun(peer, tunnel=True)
        receiver.reply_head = lambda head, length: peer.connection.leave()
        peer.reply(b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nevil")
        self.assertEqual(receiver.calls, [])
        self.assertTrue(peer.dropped)

"""Random requests in random pieces to targets that answer now or later; and the same meaning for every parser (attack 18)."""

from __future__ import annotations

import itertools
from typing import Any

import attrs
import h11
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial import unittest

from perimeter.errors import Refusal
from perimeter.gate.decision import Admitted
from perimeter.http.exchange import Exchange
from perimeter.http.grammar import parse_block, parse_request
from perimeter.http.h1.framing import ChunkedReader, LengthReader, body_reader, chunk, last_chunk
from perimeter.proxy.headers import HeaderRules, request_head
from tests.unit.doubles.http_rig import Body, Client, Holding, Site
from tests.unit.doubles.properties import reached, reaches

BODIES = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([b"GET / HTTP/1.1\r\nHost: gw\r\n\r\n", b"0\r\n\r\n", b"\r\n\r\n", b"x" * 70_000]),
)


@attrs.frozen
class Script:
    """A request, and how its target treats it."""

    method: bytes = b"GET"
    body: bytes | None = None
    chunked: bool = False
    later: bool = False
    reads: bool = True
    parts: int = 1

    def wire(self, number: int) -> bytes:
        lines = b"%b /%d HTTP/1.1\r\nHost: gw\r\n" % (self.method, number)
        if self.body is None:
            return lines + b"\r\n"
        if not self.chunked:
            return lines + b"Content-Length: %d\r\n\r\n" % len(self.body) + self.body
        middle = len(self.body) // 2
        chunks = b"".join(chunk(part) for part in (self.body[:middle], self.body[middle:]) if part)
        return lines + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + last_chunk(())


SCRIPTS = st.lists(
    st.builds(
        Script,
        method=st.sampled_from([b"GET", b"POST", b"HEAD", b"PUT"]),
        body=st.none() | BODIES,
        chunked=st.booleans(),
        later=st.booleans(),
        reads=st.booleans(),
        parts=st.integers(0, 3),
    ),
    min_size=1,
    max_size=6,
)


class Scripted:
    """Answers each request as its script says: at once, or when `turn` is called."""

    name = "scripted"

    def __init__(self, scripts: list[Script]) -> None:
        self.scripts = scripts
        self.waiting: list[tuple[Exchange, Script, Body | None]] = []
        self.bodies: dict[int, bytes] = {}

    def handle(self, exchange: Exchange) -> None:
        script = self.scripts[int(exchange.head.target[1:])]
        if script.later:
            self.waiting.append((exchange, script, None))
        else:
            self.take(exchange, script)

    def take(self, exchange: Exchange, script: Script) -> None:
        if script.reads:
            exchange.receive(Body(lambda body: self.answer(exchange, script, body.data)))
        else:
            self.answer(exchange, script, b"")

    def answer(self, exchange: Exchange, script: Script, data: bytes) -> None:
        number = int(exchange.head.target[1:])
        self.bodies[number] = data
        if not script.parts:
            exchange.answer(200, b"", b"answer %d" % number)
            return
        exchange.start(200, b"", None)
        for _ in range(script.parts):
            exchange.write(b"answer %d;" % number)
        exchange.finish()

    def turn(self) -> None:
        """One that waits goes on."""
        if self.waiting:
            exchange, script, _ = self.waiting.pop(0)
            self.take(exchange, script)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[start:end] for start, end in itertools.pairwise(places)]


class InterleavingTests(unittest.TestCase):
    @given(SCRIPTS, st.lists(st.integers(0, 1_000_000), max_size=12), st.randoms(use_true_random=False), st.booleans())
    @settings(max_examples=150, deadline=None)
    def test_attack_19_every_request_is_answered_in_order(
        self, scripts: list[Script], cuts: list[int], random: Any, stalled: bool
    ) -> None:
        target = Scripted(scripts)
        client = Client(Site(target))
        client.transport.stalled = stalled
        data = b"".join(script.wire(number) for number, script in enumerate(scripts))
        for piece in pieces(data, cuts):
            client.send(piece)
            if random.random() < 0.5:
                target.turn()
            if random.random() < 0.3:
                client.transport.take(random.randrange(client.transport.buffered + 1))
                client.wait(0.01)
        client.transport.take()
        for _ in range(3 * len(scripts) + 3):
            target.turn()
            client.wait(0.01)
        methods = [script.method for script in scripts]
        responses = client.responses(*methods)
        # A body that is not read ends the connection unless it is complete, and the requests behind it are dropped.
        whole = len(scripts)
        if client.closed:
            whole = len(responses)
            # an empty body in chunks is a body too: its last chunk may not have come
            self.assertTrue(any(not script.reads and script.body is not None for script in scripts[:whole]))
        self.assertEqual(len(responses), whole)
        for number, response in enumerate(responses):
            script = scripts[number]
            self.assertEqual((response.status, response.whole), (200, True))
            if script.method != b"HEAD":
                self.assertTrue(response.body.startswith(b"answer %d" % number))
            if script.reads:
                self.assertEqual(target.bodies[number], script.body or b"")
        self.assertEqual([record.target for record in client.records], [b"/%d" % number for number in range(whole)])
        self.assertFalse(client.transport.aborted)

    @given(
        st.lists(st.one_of(st.binary(max_size=50), st.sampled_from([b"\r\n", b"GET / HTTP/1.1\r\nHost: gw\r\n\r\n"])), max_size=8)
    )
    @settings(max_examples=100, deadline=None)
    def test_arbitrary_bytes_never_escape(self, chunks: list[bytes]) -> None:
        target = Holding()
        client = Client(Site(target))
        for data in chunks:
            client.send(data)
            while target.exchanges:
                target.exchanges.pop().answer(200, b"", b"")
        client.transport.take()
        statuses = [response.status for response in client.responses()]
        self.assertTrue(all(status == 200 for status in statuses[:-1]), statuses)
        client.wait(100)
        self.assertTrue(client.transport.lost or client.transport.disconnecting)
        self.assertEqual(self.flushLoggedErrors(), [])


# -- one meaning for every parser

NAMES = st.sampled_from(
    b"X-A Cookie Content-Type Accept Connection Upgrade TE Trailer Keep-Alive Expect Content-Length Transfer-Encoding".split()
    + b"content_length Transfer_Encoding X-Auth-Roles X_Auth_Roles Proxy-Connection".split()
)
VALUES = st.one_of(
    st.sampled_from(
        [b"close", b"5", b"05", b"chunked", b"Chunked", b"0", b"x-a, keep-alive", b"upgrade", b"100-continue", b"a\tb"]
    ),
    st.binary(max_size=8),
)
SPACE = st.sampled_from([b"", b" ", b"\t ", b"  "])
LINES = st.builds(lambda n, s, v, e: n + b":" + s + v + e + b"\r\n", NAMES, SPACE, VALUES, SPACE)
BLOCKS = st.builds(
    lambda before, after: b"".join(before) + b"Host: gw.example\r\n" + b"".join(after),
    st.lists(LINES, max_size=3),
    st.lists(LINES, max_size=3),
)
REQUEST_LINES = st.builds(
    lambda method, target: method + b" " + target + b" HTTP/1.1",
    st.sampled_from([b"GET", b"POST", b"HEAD", b"PUT", b"X"]),
    st.sampled_from([b"/", b"/a?b", b"/%20", b"http://other/x", b"/a;b=c", b"/a{b}|c"]),
)


def by_h11(data: bytes) -> list[tuple[bytes, bytes, bytes]]:
    """Method, target and body of each request in ``data``, as h11 reads them."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=100_000)
    connection.receive_data(data)
    connection.receive_data(b"")
    found: list[tuple[bytes, bytes, bytes]] = []
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Request):
            found.append((bytes(event.method), bytes(event.target), b""))
        elif isinstance(event, h11.Data):
            method, target, body = found[-1]
            found[-1] = (method, target, body + bytes(event.data))
        elif event is h11.PAUSED:
            if connection.our_state is h11.SEND_RESPONSE:
                connection.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
                connection.send(h11.EndOfMessage())
            connection.start_next_cycle()
        elif isinstance(event, h11.ConnectionClosed) or event is h11.NEED_DATA:
            return found


class OneMeaningTests(unittest.TestCase):
    @reaches(12)
    @given(st.lists(st.tuples(REQUEST_LINES, BLOCKS, st.binary(max_size=30)), min_size=1, max_size=3), st.booleans())
    @settings(max_examples=150, deadline=None)
    def test_attack_18_what_is_forwarded_means_the_same_to_h11(
        self, requests: list[tuple[bytes, bytes, bytes]], identity: bool
    ) -> None:
        """Whatever is accepted, serialised for the upstream, is the same number of requests with the same bodies for h11."""
        rules = HeaderRules()
        wire = b""
        expected: list[tuple[bytes, bytes, bytes]] = []
        for line, block, body in requests:
            try:
                head = parse_request(line, parse_block(block, 100))
            except Refusal:
                continue
            target = Holding()
            client = Client(Site(target))
            client.send(line + b"\r\n" + block + b"\r\n")
            exchange = target.exchanges[0]
            own = b"X-Auth-Username: u\r\n" if identity else b""
            decision = Admitted(client.site.route, None, head.target, own, "192.0.2.7")
            sent = request_head(exchange, decision, rules, b"fallback", None)
            again = _parsed(sent)
            self.assertEqual((again.method, again.target, again.host), (head.method, head.target, head.host))
            self.assertEqual(again.headers.chunked, head.headers.chunked)
            self.assertEqual(again.headers.content_length, head.headers.content_length)
            self.assertEqual(again.headers.get_all(b"x-auth-username"), [b"u"] if identity else [])
            self.assertEqual(again.headers.get_all(b"x-auth-roles"), [])
            self.assertEqual(again.headers.connection, frozenset())
            if head.headers.chunked:
                sent += (chunk(body) if body else b"") + last_chunk(())
                self.assertIsInstance(body_reader(exchange.head.headers), ChunkedReader)
            else:
                length = head.headers.content_length or 0
                if length > 1000:
                    continue
                body = (body * 40)[:length].ljust(length, b"x")
                sent += body
                self.assertEqual(isinstance(body_reader(exchange.head.headers), LengthReader), length > 0)
                self.assertEqual(exchange.has_body, length > 0)
            expected.append((head.method, head.target, body))
            wire += sent
        if expected:
            reached(self)
        self.assertEqual(by_h11(wire), expected)

    @reaches(5)
    @given(REQUEST_LINES, BLOCKS)
    @settings(max_examples=150, deadline=None)
    def test_attack_18_what_is_accepted_is_framed_as_h11_frames_it(self, line: bytes, block: bytes) -> None:
        try:
            head = parse_request(line, parse_block(block, 100))
        except Refusal:
            return
        reached(self)
        connection = h11.Connection(h11.SERVER)
        connection.receive_data(line + b"\r\n" + block + b"\r\n")
        event = connection.next_event()
        self.assertIsInstance(event, h11.Request)
        assert isinstance(event, h11.Request)
        fields = [(name, value) for name, value in event.headers]
        chunked = any(name == b"transfer-encoding" for name, _ in fields)
        lengths = [int(value) for name, value in fields if name == b"content-length"]
        self.assertEqual(head.headers.chunked, chunked)
        self.assertEqual([] if head.headers.content_length is None else [head.headers.content_length], lengths)


def _parsed(sent: bytes) -> Any:
    line, _, rest = sent.partition(b"\r\n")
    block, empty, body = rest.partition(b"\r\n\r\n")
    assert empty
    assert not body
    return parse_request(line, parse_block(block + b"\r\n", 100))

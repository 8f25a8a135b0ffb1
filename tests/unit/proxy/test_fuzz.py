"""Client, gateway and upstream in random steps: every body arrives complete, once, and with its own request."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial import unittest

from perimeter.http.grammar import parse_block, parse_request
from perimeter.http.h1.framing import BodyReader, ChunkedReader, LengthReader, chunk, last_chunk
from perimeter.model import RequestHead
from tests.unit.doubles.http_rig import Client
from tests.unit.doubles.http_upstream import Gateway, Peer

SIZES = st.sampled_from([None, 0, 1, 10, 1000, 70_000, 200_000])


@attrs.frozen
class Job:
    """A request with ``sent`` bytes and a response with ``back`` bytes, with different framings."""

    method: str
    sent: int | None
    chunked: bool
    back: int
    framing: str

    def request(self, number: int) -> bytes:
        head = f"{self.method} /{number} HTTP/1.1\r\nHost: gw\r\n".encode()
        if self.sent is None:
            return head + b"\r\n"
        body = content(number, self.sent)
        if not self.chunked:
            return head + b"Content-Length: %d\r\n\r\n" % len(body) + body
        return head + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(body)

    def reply(self, number: int) -> tuple[bytes, bool]:
        """The response, and whether the connection ends after it."""
        body = content(number + 100, self.back)
        if self.method == "HEAD":
            return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body), False
        if self.framing == "length":
            return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body, False
        if self.framing == "chunked":
            return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(body), False
        if self.framing == "interim":
            return b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body, False
        return b"HTTP/1.1 200 OK\r\n\r\n" + body, True


def content(number: int, size: int) -> bytes:
    return (b"%d;GET / HTTP/1.1\r\n\r\n0\r\n\r\n" % number * (size // 10 + 1))[:size]


def chunked(body: bytes) -> bytes:
    third = len(body) // 3 + 1
    return b"".join(chunk(body[at : at + third]) for at in range(0, len(body), third)) + last_chunk(())


JOBS = st.lists(
    st.builds(
        Job,
        method=st.sampled_from(["GET", "POST", "HEAD", "PUT"]),
        sent=SIZES,
        chunked=st.booleans(),
        back=SIZES.map(lambda size: size or 0),
        framing=st.sampled_from(["length", "chunked", "interim", "close"]),
    ),
    min_size=1,
    max_size=4,
)


class Service:
    """An upstream that parses requests, and answers each when it is complete."""

    def __init__(self, peer: Peer, jobs: list[Job], bodies: dict[int, bytes]) -> None:
        self.peer = peer
        self.jobs = jobs
        self.bodies = bodies
        self.out = b""
        self.ends = False
        self.read = 0
        self.requests = self.parse()
        next(self.requests)
        self.buffer = b""

    def parse(self) -> Iterator[None]:
        yield
        while True:
            while b"\r\n\r\n" not in self.buffer:
                yield
            text, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
            line, _, block = text.partition(b"\r\n")
            head = parse_request(line, parse_block(block + b"\r\n", 100))
            body = b""
            rest: bytes | None = None
            reader = body_reader(head)
            while reader is not None and rest is None:
                data, self.buffer = self.buffer, b""
                raw, rest = reader.feed(data)
                body += raw
                if rest is None:
                    yield
            if rest is not None:
                self.buffer = rest
            number = int(head.target[1:])
            assert number not in self.bodies, "a request came twice"
            self.bodies[number] = body
            reply, self.ends = self.jobs[number].reply(number)
            self.out += reply

    def step(self, random: Random) -> None:
        transport = self.peer.transport
        transport.stalled = random.random() < 0.5
        if transport.stalled:
            transport.take(random.randrange(transport.buffered + 1))
        else:
            transport.take()
        self.buffer += transport.arrived[self.read :]
        self.read = len(transport.arrived)
        next(self.requests)
        if self.out and transport.reading:
            size = random.choice([1, 10, 1000, 100_000])
            piece, self.out = self.out[:size], self.out[size:]
            self.peer.reply(piece)
        if not self.out and self.ends and not transport.unread:
            transport.lose()


def body_reader(head: RequestHead) -> BodyReader | None:
    if head.headers.chunked:
        return ChunkedReader()
    return LengthReader(head.headers.content_length) if head.headers.content_length else None


class TogetherTests(unittest.TestCase):
    @given(JOBS, st.integers(0, 2**32))
    @settings(max_examples=60, deadline=None)
    def test_bodies_arrive_whole_and_with_their_own_request(self, jobs: list[Job], seed: int) -> None:
        random = Random(seed)
        gateway = Gateway()
        client = gateway.client()
        services: list[Service] = []
        bodies: dict[int, bytes] = {}
        data = b"".join(job.request(number) for number, job in enumerate(jobs))
        for _ in range(4000):
            self.step(random, client, gateway, services, jobs, bodies)
            if data and len(client.transport.unread) < 50_000:
                size = random.choice([1, 30, 1000, 100_000])
                client.send(data[:size])
                data = data[size:]
            if len(client.records) == len(jobs) and not client.transport.buffered:
                break
        client.transport.take()
        responses = [r for r in client.responses(*(job.method.encode() for job in jobs)) if not r.interim]
        self.assertEqual(len(responses), len(jobs))
        for number, (job, response) in enumerate(zip(jobs, responses, strict=True)):
            self.assertEqual((response.status, response.whole), (200, True))
            expected = b"" if job.method == "HEAD" else content(number + 100, job.back)
            self.assertTrue(response.body == expected, (number, len(response.body), len(expected)))
            self.assertTrue(bodies[number] == content(number, job.sent or 0))
        self.assertEqual([record.received for record in client.records], [job.sent or 0 for job in jobs])
        self.assertEqual([record.sent for record in client.records], [len(response.body) for response in responses])
        self.assertFalse(client.transport.aborted)

    def step(
        self, random: Random, client: Client, gateway: Gateway, services: list[Service], jobs: list[Job], bodies: dict[int, bytes]
    ) -> None:
        client.transport.stalled = random.random() < 0.5
        if client.transport.stalled:
            client.transport.take(random.randrange(client.transport.buffered + 1))
        else:
            client.transport.take()
        if len(services) < len(gateway.attempts) and random.random() < 0.5:
            services.append(Service(gateway.attempts[len(services)].accept(), jobs, bodies))
        for service in services:
            if not service.peer.transport.lost:
                service.step(random)
        gateway.reactor.advance(0.001)

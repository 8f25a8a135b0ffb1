"""Doubles that more than one test uses: what stands around a real `Exchange`, so that targets are tested on the real one."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred

from perimeter.errors import Refusal
from perimeter.gate.decision import Admitted
from perimeter.gate.routes import Route
from perimeter.http.exchange import Exchange
from perimeter.http.grammar import parse_block, parse_request
from perimeter.http.h1.framing import body_reader
from perimeter.http.h1.writer import Writer
from perimeter.model import AccessRecord, ClientConnection, HeaderBlock, Principal


class FakeAudit:
    """A sink that keeps the records."""

    def __init__(self) -> None:
        self.records: list[AccessRecord] = []

    def record(self, access_record: AccessRecord) -> bool:
        self.records.append(access_record)
        return True

    def healthy(self) -> bool:
        return True


class FakeAnswers:
    """Renders a refusal so that tests can read it back."""

    def date(self) -> bytes:
        return b"Date: Fri, 15 Jan 2027 08:00:00 GMT\r\n"

    def render(self, refusal: Refusal, headers: HeaderBlock) -> tuple[int, bytes, bytes]:
        lines = b"X-Challenges: %b\r\n" % refusal.stranger.value.encode()
        allow = ", ".join(getattr(refusal, "allow", ()))
        if allow:
            lines += b"Allow: %b\r\n" % allow.encode()
        return refusal.status, lines, json.dumps({"reason": refusal.reason}).encode()


class FakeTarget:
    name = "a-target"


class FakeOffload:
    """Does jobs at once, or one by one with `step` where ``by_hand`` is set. ``jobs`` counts them."""

    def __init__(self) -> None:
        self.by_hand = False
        self.jobs = 0
        self.waiting: list[tuple[Deferred[Any], Callable[[], Any]]] = []

    def run(self, fn: Callable[..., Any], *args: Any) -> Deferred[Any]:
        self.jobs += 1
        done: Deferred[Any] = Deferred()
        self.waiting.append((done, partial(fn, *args)))
        if not self.by_hand:
            self.step()
        return done

    proceed = run

    def step(self) -> None:
        done, call = self.waiting.pop(0)
        try:
            result = call()
        except Exception:
            done.errback()
        else:
            done.callback(result)


class FakeSite:
    def __init__(self) -> None:
        self.answers = FakeAnswers()
        self.audit = FakeAudit()

    def clock(self) -> float:
        return 1_800_000_000.0


class FakeChannel:
    """A `perimeter.http.carrier.Carrier`. ``written`` is what the client would have received."""

    def __init__(self) -> None:
        self.site = FakeSite()
        self.writer = Writer(self)
        self.last = False
        self.written = b""
        self.writes: list[bytes] = []
        self.done = False
        self.aborted = False
        self.discarded = False
        self.wanted = False

    def write(self, data: bytes) -> None:
        self.writes.append(data)
        self.written += data

    def body_wanted(self) -> None:
        self.wanted = True

    def discard_body(self) -> None:
        self.discarded = True

    def flow_changed(self) -> None:
        pass

    def open_tunnel(self, lines: bytes) -> None:
        self.writer.switch(lines)

    def close_after(self) -> None:
        self.last = True

    def response_done(self) -> None:
        self.done = True

    def abort(self) -> None:
        self.aborted = True


class Reply:
    """A response as it was written, taken apart."""

    def __init__(self, written: bytes) -> None:
        head, _, self.body = written.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        self.status = int(lines[0].split(b" ")[1])
        self.fields = [
            (n.lower().decode(), v.strip().decode("latin-1")) for n, _, v in (line.partition(b":") for line in lines[1:])
        ]
        if self.get("transfer-encoding") == "chunked":
            self.body, self.whole = _dechunked(self.body)
        else:
            self.whole = len(self.body) == int(self.get("content-length") or 0)

    def get(self, name: str) -> str | None:
        values = [value for key, value in self.fields if key == name]
        assert len(values) < 2, (name, values)
        return values[0] if values else None

    def json(self) -> Any:
        return json.loads(self.body)


def _dechunked(data: bytes) -> tuple[bytes, bool]:
    """The body, and whether its last chunk is there."""
    body = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        octets = int(size, 16)
        if not octets:
            return body, True
        body, data = body + data[:octets], data[octets + 2 :]
    return body, False


class Rig:
    """One request on a real `Exchange` with fakes around it."""

    def __init__(
        self,
        request_line: str = "GET / HTTP/1.1",
        headers: Sequence[str] = (),
        *,
        target: bytes | None = None,
        principal: Principal | None = None,
        decided: bool = True,
        address: str = "192.0.2.7",
        prefix: bytes = b"",
    ) -> None:
        fields = [*headers] if any(line.lower().startswith("host:") for line in headers) else ["Host: gw.example", *headers]
        block = parse_block("".join(line + "\r\n" for line in fields).encode("latin-1"), 100)
        head = parse_request(request_line.encode("latin-1"), block)
        self.channel = FakeChannel()
        connection = ClientConnection("192.0.2.7", 4711, "https", 9443, "TLSv1.3")
        self._reader = body_reader(block)
        self.channel.writer.version = head.version
        has_body = self._reader is not None
        self.exchange = Exchange(self.channel, head, connection, 1_800_000_000.0, has_body)  # type: ignore[arg-type]
        if decided:
            judged = head.target if target is None else target
            route = Route(name="a-route", prefix=prefix, target=FakeTarget(), audit=self.channel.site.audit)  # type: ignore[arg-type]
            self.exchange.decision = Admitted(route, principal, judged, b"", address)

    def feed(self, data: bytes) -> None:
        """Bytes of the request's body come, framed as its head says."""
        assert self._reader is not None
        try:
            body, rest = self._reader.feed(data)
            if body:
                self.exchange.body_data(body)
        except Refusal as refusal:
            self.exchange.fail_body(refusal)
            return
        if rest is not None:
            self.exchange.body_end(self._reader.trailers)

    @property
    def reply(self) -> Reply:
        return Reply(self.channel.written)

    @property
    def records(self) -> list[AccessRecord]:
        return self.channel.site.audit.records

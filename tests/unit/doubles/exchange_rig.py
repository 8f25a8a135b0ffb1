"""One request on a real channel with a real exchange, held for a target of the test; and a thread pool that works at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from perimeter.gate.decision import Admitted
from perimeter.gate.routes import Route
from perimeter.http.exchange import Exchange
from perimeter.model import AccessRecord, Principal
from tests.unit.doubles.http_rig import Client, Holding, Site


class FakeOffload:
    """Does jobs at once, or one by one with `step` if ``by_hand`` is set. ``jobs`` counts them."""

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
        length = int(size, 16)
        if not length:
            return body, True
        body, data = body + data[:length], data[length + 2 :]
    return body, False


class Rig:
    """A request that the gate has admitted (unless not ``decided``); `exchange` waits for a response."""

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
        relayed: tuple[str, ...] = (),
    ) -> None:
        clock = Clock()
        clock.advance(1_800_000_000)
        self.site = Site(Holding(), clock)
        self.client = Client(self.site, "TLSv1.3")
        self.exchanges: list[Exchange] = []

        def dispatch(exchange: Exchange) -> None:
            self.exchanges.append(exchange)
            if decided:
                judged = exchange.head.target if target is None else target
                route = Route(name="a-route", prefix=prefix, target=self.site.route.target, audit=self.site.audit)
                exchange.decision = Admitted(route, principal, judged, b"", address, relayed)

        self.site.dispatch = dispatch  # type: ignore[method-assign]
        fields = [*headers] if any(line.lower().startswith("host:") for line in headers) else ["Host: gw.example", *headers]
        self.client.send("".join(f"{line}\r\n" for line in (request_line, *fields, "")).encode("latin-1"))

    @property
    def exchange(self) -> Exchange:
        (exchange,) = self.exchanges
        return exchange

    def feed(self, data: bytes) -> None:
        """Deliver bytes of the request's body, framed as its head announces."""
        self.client.send(data)

    def leave(self) -> None:
        """The client closes the connection."""
        self.client.transport.lose()

    @property
    def written(self) -> bytes:
        """What the client would have received."""
        return self.client.transport.written

    @property
    def writes(self) -> list[bytes]:
        return self.client.transport.writes

    @property
    def aborted(self) -> bool:
        return self.client.transport.aborted

    @property
    def done(self) -> bool:
        """Whether the exchange is over and therefore audited."""
        return bool(self.records)

    @property
    def reply(self) -> Reply:
        return Reply(self.written)

    @property
    def reason(self) -> str:
        """The reason of the refusal in the audit log."""
        return self.records[-1].reason

    @property
    def records(self) -> list[AccessRecord]:
        return self.site.audit.records

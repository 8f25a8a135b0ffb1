"""Traffic that continues while something happens to a gateway: open requests, and load."""

from __future__ import annotations

import threading

from tests.integration.harness import Gateway
from tests.integration.upstreams import OK, Connection
from tests.integration.wire import Wire


class Held:
    """A service that begins a download, a stream or a tunnel, and continues when the test says so."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.begun = threading.Semaphore(0)

    def __call__(self, connection: Connection) -> None:
        while True:
            received = connection.request()
            if "/download" in received.line:
                connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"a" * 100_000)
                self.begun.release()
                self.go.wait(30)
                connection.send(b"b" * 100_000)
            elif "/events" in received.line:
                connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
                connection.send(b"9\r\ndata: 0\n\n\r\n")
                self.begun.release()
                self.go.wait(30)
                connection.send(b"9\r\ndata: 1\n\n\r\n0\r\n\r\n")
            elif "/tunnel" in received.line:
                connection.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nhello")
                self.begun.release()
                while data := connection.read_some():
                    connection.send(data.upper())
                return
            elif "/silent" in received.line:
                self.begun.release()
                self.go.wait(30)
                return
            else:
                connection.send(OK)


class InFlight:
    """A client in the middle of a download, of an event stream, and of a tunnel."""

    def __init__(self, gateway: Gateway, held: Held, listener: str = "http") -> None:
        self.held = held
        self.download = gateway.connect(listener)
        self.download.send(b"GET /download HTTP/1.1\r\nHost: a\r\n\r\n")
        self.events = gateway.connect(listener)
        self.events.send(b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n")
        self.tunnel = gateway.connect(listener)
        self.tunnel.send(b"GET /tunnel HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        for _ in range(3):
            assert held.begun.acquire(timeout=10)
        assert self.events.read_until(b"data: 0\n\n\r\n")
        assert self.tunnel.read_until(b"hello")

    def finish(self) -> None:
        """Check that all three end correctly."""
        self.tunnel.send(b"still here")
        assert self.tunnel.read_exactly(10) == b"STILL HERE"
        self.tunnel.close()
        self.held.go.set()
        response = self.download.response()
        assert response.body == b"a" * 100_000 + b"b" * 100_000, len(response.body)
        assert self.events.read_until(b"0\r\n\r\n") == b"9\r\ndata: 1\n\n\r\n0\r\n\r\n"
        self.download.close()
        self.events.close()


class Load(threading.Thread):
    """Sends requests one after the other, each with its own target. ``answered`` counts complete responses."""

    def __init__(self, gateway: Gateway, name: str, *, keep: bool = True) -> None:
        super().__init__(daemon=True)
        self.gateway = gateway
        self.label = name
        self.answered: list[str] = []
        self.failures: list[str] = []
        self.stopping = False
        self._keep = keep

    def run(self) -> None:
        wire: Wire | None = None
        number = 0
        while not self.stopping:
            number += 1
            target = f"/{self.label}/{number}"
            try:
                if wire is None:
                    wire = self.gateway.connect("http")
                response = wire.get(target)
                if response.status != 200 or response.body != b"ok":
                    self.failures.append(f"{target}: {response}")
                self.answered.append(target)
                if not self._keep or response.get("connection") == "close":
                    wire.close()
                    wire = None
            except (OSError, EOFError) as error:
                self.failures.append(f"{target}: {error!r}")
                if wire is not None:
                    wire.close()
                wire = None
        if wire is not None:
            wire.close()

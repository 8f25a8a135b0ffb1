"""Bodies of every size pass in both directions at the speed of the slower side, and are not kept in memory."""

from __future__ import annotations

import socket
import threading
import time

from tests.integration.harness import USERS, Gateway, GatewayCase, site
from tests.integration.upstreams import Connection
from tests.integration.wire import Wire

GIB = 1 << 30
MIB = 1 << 20
BLOCK = bytes(range(256)) * 4096  # 1 MiB
GROWTH = 32 * MIB
"""Maximum growth of the gateway's memory in bytes, however much data passes."""

ROUTE = """\
[upstream service]
servers = {url}

[route all]
path = /
upstream = service
auth = none
"""


class _Peak:
    """The maximum growth of a gateway's memory while a block ran."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._before = gateway.memory()
        self._most = self._before
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        while not self._stop.wait(0.05):
            self._most = max(self._most, self._gateway.memory())

    def __enter__(self) -> _Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def growth(self) -> int:
        return self._most - self._before


def _warm(wire: Wire) -> None:
    """Send a first request, so that imports and one-time allocations do not count as growth."""
    assert wire.get("/warm").status == 200


class LargeBodies(GatewayCase):
    def _upload(self, *, tls: bool, chunked: bool, size: int) -> None:
        counted: list[int] = []

        def swallow(connection: Connection) -> None:
            while True:
                head = _head(connection.socket)
                if b"POST" in head:
                    # past the buffers of the test upstream, which keep everything
                    if b"transfer-encoding: chunked" in head.lower():
                        received = _drain_chunks(connection.socket)
                    else:
                        received = _drain(connection.socket, size)
                    counted.append(received)
                connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

        gateway = self.gateway(site(ROUTE.format(url=self.upstream(swallow).url), tls=tls), USERS)
        wire = self.connect(gateway, "https" if tls else "http")
        _warm(wire)
        framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % size
        with _Peak(gateway) as peak:
            wire.send(b"POST /up HTTP/1.1\r\nHost: a\r\n%b\r\n\r\n" % framing)
            for _ in range(size // MIB):
                wire.send(b"%x\r\n%b\r\n" % (MIB, BLOCK) if chunked else BLOCK)
            if chunked:
                wire.send(b"0\r\n\r\n")
            response = wire.response()
        self.assertEqual((response.status, counted), (200, [size]))
        self.assertLess(peak.growth, GROWTH)

    def _download(self, *, tls: bool, chunked: bool, size: int) -> None:
        def pour(connection: Connection) -> None:
            while True:
                if b"GET /warm" in connection.head():
                    connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                    continue
                framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % size
                connection.send(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n" % framing)
                for _ in range(size // MIB):
                    connection.send(b"%x\r\n%b\r\n" % (MIB, BLOCK) if chunked else BLOCK)
                if chunked:
                    connection.send(b"0\r\n\r\n")

        gateway = self.gateway(site(ROUTE.format(url=self.upstream(pour).url), tls=tls), USERS)
        wire = self.connect(gateway, "https" if tls else "http")
        _warm(wire)
        with _Peak(gateway) as peak:
            wire.send(b"GET /down HTTP/1.1\r\nHost: a\r\n\r\n")
            self.assertIn(b" 200 ", _head(wire.socket))
            received = _drain_chunks(wire.socket) if chunked else _drain(wire.socket, size)
        self.assertEqual(received, size)
        self.assertLess(peak.growth, GROWTH)

    def test_upload_2_gib_tls(self) -> None:
        self._upload(tls=True, chunked=False, size=2 * GIB)

    def test_download_2_gib_tls(self) -> None:
        self._download(tls=True, chunked=False, size=2 * GIB)

    def test_upload_256_mib_chunked(self) -> None:
        self._upload(tls=False, chunked=True, size=256 * MIB)

    def test_download_256_mib_chunked(self) -> None:
        self._download(tls=True, chunked=True, size=256 * MIB)


def _head(peer: socket.socket) -> bytes:
    """Read a message head, and nothing after it."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = peer.recv(1)
        if not byte:
            raise EOFError("the connection ended in a head")
        head += byte
    return head


def _drain(peer: socket.socket, size: int) -> int:
    """Read and discard ``size`` bytes. Returns how many arrived."""
    received = 0
    while received < size:
        data = peer.recv(min(MIB, size - received))
        if not data:
            break
        received += len(data)
    return received


def _drain_chunks(peer: socket.socket) -> int:
    """Read and discard a chunked body without trailers. Returns its length."""
    total = 0
    while True:
        line = b""
        while not line.endswith(b"\r\n"):
            line += peer.recv(1)
        size = int(line, 16)
        assert _drain(peer, size + 2) == size + 2
        if not size:
            return total
        total += size


class BackPressure(GatewayCase):
    def test_slow_reader_slows_the_upstream(self) -> None:
        """A client that does not read makes the upstream stop, instead of filling the gateway's memory."""
        sent = [0]
        stalled = threading.Event()

        def pour(connection: Connection) -> None:
            if b"GET /warm" in connection.head():
                connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                connection.head()
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % GIB)
            peer = connection.socket
            peer.settimeout(1.0)
            try:
                while sent[0] < GIB:
                    sent[0] += peer.send(BLOCK)
            except TimeoutError:
                stalled.set()

        gateway = self.gateway(site(ROUTE.format(url=self.upstream(pour).url)), USERS)
        wire = self.connect(gateway, "http")
        _warm(wire)
        with _Peak(gateway) as peak:
            wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            self.assertTrue(stalled.wait(30), "the upstream was never held up")
        self.assertLess(sent[0], 64 * MIB)  # the content of the sockets' buffers
        self.assertLess(peak.growth, GROWTH)

    def test_slow_upstream_slows_the_client(self) -> None:
        """An upstream that does not read makes the client stop."""
        release = threading.Event()
        self.addCleanup(release.set)

        def ignore(connection: Connection) -> None:
            connection.head()
            release.wait(30)

        gateway = self.gateway(site(ROUTE.format(url=self.upstream(ignore).url)), USERS)
        client = socket.create_connection(("127.0.0.1", gateway["http"]))
        self.addCleanup(client.close)
        client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % GIB)
        client.settimeout(1.0)
        sent = 0
        with _Peak(gateway) as peak, self.assertRaises(TimeoutError):
            while sent < GIB:
                sent += client.send(BLOCK)
        self.assertLess(sent, 64 * MIB)
        self.assertLess(peak.growth, GROWTH)


class Promptness(GatewayCase):
    def test_server_sent_event_reaches_the_client_at_once(self) -> None:
        """Each event is read before the next one is made."""
        steps = [threading.Semaphore(0), threading.Semaphore(0)]

        def events(connection: Connection) -> None:
            connection.head()
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
            for number in range(3):
                assert steps[0].acquire(timeout=20)
                connection.send(b"data: %d\n\n" % number)
            connection.close()

        gateway = self.gateway(site(ROUTE.format(url=self.upstream(events).url), tls=True), USERS)
        wire = self.connect(gateway)
        wire.send(b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n")
        status, _, fields, _ = wire.read_head()
        self.assertEqual(status, 200)  # the head came before any event did
        self.assertIn(("transfer-encoding", "chunked"), [(name.lower(), value) for name, value in fields])
        for number in range(3):
            steps[0].release()
            event = b"data: %d\n\n" % number
            self.assertEqual(wire.read_until(b"\n\n\r\n"), b"%x\r\n%b\r\n" % (len(event), event))
        self.assertEqual(wire.read_until(b"\r\n\r\n"), b"0\r\n\r\n")

    def test_head_only_answer_is_not_held_back(self) -> None:
        """A response head is passed on before the first byte of the body arrives."""
        gate = threading.Event()
        self.addCleanup(gate.set)

        def slow(connection: Connection) -> None:
            connection.head()
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n")
            gate.wait(20)
            connection.send(b"x")

        gateway = self.gateway(site(ROUTE.format(url=self.upstream(slow).url)), USERS)
        wire = self.connect(gateway, "http")
        began = time.monotonic()
        wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertEqual(wire.read_head()[0], 200)
        self.assertLess(time.monotonic() - began, 15)
        gate.set()
        self.assertEqual(wire.read_exactly(1), b"x")

"""Attacks 45 and 46 against a running gateway: input from unknown clients does not delay other clients."""

from __future__ import annotations

import contextlib
import statistics
import threading
import time

import psutil

from tests.integration.harness import USERS, Gateway, GatewayCase, site
from tests.integration.wire import Wire

TOKENS = "[listener tokens]\nport = @tokens@\ninterface = 127.0.0.1\nserve = tokens\n"


def nested_multipart(depth: int, size: int = 64 * 1024 - 1) -> bytes:
    """The body of a form with nested parts, ``depth`` levels deep. Its boundary is ``b0``."""
    lines = [b"--b0\r\nContent-Disposition: form-data; name=x\r\n"]
    for level in range(1, depth):
        lines.append(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (level, level))
    body = b"".join(lines)
    return body + b"\r\n" + b"a\r\n" * ((size - len(body)) // 3 - 1)


class ParsingTests(GatewayCase):
    def test_attack_45_nested_multipart(self) -> None:
        served = self.gateway(site("", extra=TOKENS), USERS)
        process = psutil.Process(served.pid)
        for listener, targets in (
            ("http", ("/token", "/token/x", "/extendedtoken", "/tokens", "/revoke", "/whoami", "/status")),
            ("tokens", ("/", "/token", "/tokens", "/revoke", "/whoami", "/status", "/none", "/none/at/all")),
        ):
            for target in targets:
                for depth in (40, 250):
                    with self.subTest(listener=listener, target=target, depth=depth):
                        before = sum(process.cpu_times()[:2])
                        with served.connect(listener) as wire:
                            response = post(wire, target, nested_multipart(depth))
                        spent = sum(process.cpu_times()[:2]) - before
                        self.assertIn(response, (400, 401, 404, 405))
                        self.assertLess(spent, 0.15)


class HostTests(GatewayCase):
    def test_attack_54_a_host_of_thousands_of_labels(self) -> None:
        route = "[route star]\npath = /\nhost = b.example.com\nupstream = s\n[upstream s]\nservers = sample:\n"
        served = self.gateway(site(route), USERS)
        process = psutil.Process(served.pid)
        before = sum(process.cpu_times()[:2])
        for name in ("a." * 7_500 + "example.com", "a." * 200 + "example.com"):
            for head in (f"GET / HTTP/1.1\r\nHost: {name}\r\n\r\n", f"GET http://{name}/ HTTP/1.1\r\nHost: a\r\n\r\n"):
                for _ in range(5):
                    with served.connect("http") as wire:
                        wire.send(head.encode())
                        self.assertIn(wire.response().status, (400, 414))
        self.assertLess(sum(process.cpu_times()[:2]) - before, 0.4)


class Floods:
    """Connections that send the same bytes repeatedly, and read everything. They end with the context."""

    def __init__(self, gateway: Gateway, listener: str, count: int, data: bytes) -> None:
        self._wires = [gateway.connect(listener) for _ in range(count)]
        self._data = data
        self._over = threading.Event()
        self._threads = [threading.Thread(target=work, args=(wire,)) for wire in self._wires for work in (self._send, self._read)]

    def __enter__(self) -> Floods:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for wire in self._wires:
            wire.reset()
        for thread in self._threads:
            thread.join(20)

    def _send(self, wire: Wire) -> None:
        with contextlib.suppress(OSError):
            while not self._over.is_set():
                wire.send(self._data)

    def _read(self, wire: Wire) -> None:
        with contextlib.suppress(OSError):
            while not self._over.is_set() and wire.socket.recv(1 << 18):
                pass


class PipeliningTests(GatewayCase):
    """Seconds that a bystander waits for ``/status`` while others send as much as they can: the median and the maximum."""

    def waits(self, served: Gateway, listener: str, floods: int, data: bytes) -> tuple[float, float]:
        waits = []
        with Floods(served, listener, floods, data), served.connect(listener) as wire:
            end = time.monotonic() + 3
            while time.monotonic() < end:
                began = time.monotonic()
                self.assertEqual(wire.get("/status").status, 200)
                waits.append(time.monotonic() - began)
                time.sleep(0.002)
        return statistics.median(waits), max(waits)

    def test_attack_46_pipelined_requests(self) -> None:
        served = self.gateway(site("", extra=TOKENS), USERS)
        for listener, target in (("http", "x"), ("tokens", "status")):
            data = b"GET /%b HTTP/1.1\r\nHost: gateway.test\r\n\r\n" % target.encode() * 4500
            with self.subTest(listener=listener):
                median, longest = self.waits(served, listener, 8, data)
                self.assertLess(median, 0.05)
                self.assertLess(longest, 0.5)

    def test_attack_46_a_body_of_tiny_chunks(self) -> None:
        service = self.upstream()
        served = self.gateway(
            site(f"[upstream s]\nservers = {service.url}\n[route s]\npath = /s\nupstream = s\nauth = none\n"), USERS
        )
        head = b"POST /s HTTP/1.1\r\nHost: gateway.test\r\nTransfer-Encoding: chunked\r\n\r\n"
        median, longest = self.waits(served, "http", 8, head + b"1\r\nx\r\n" * 40_000 + b"0\r\n\r\n")
        self.assertLess(median, 0.05)
        self.assertLess(longest, 0.5)

    def test_all_of_a_client_that_sends_and_ends_its_side_are_answered(self) -> None:
        served = self.gateway(site(""), USERS)
        for count in (2, 500):
            with served.connect("http") as wire:
                wire.send(b"GET /status HTTP/1.1\r\nHost: gateway.test\r\n\r\n" * count)
                wire.half_close()
                self.assertEqual(wire.read_all().count(b"HTTP/1.1 200 "), count)


def post(wire: Wire, target: str, body: bytes) -> int:
    return wire.get(target, "Content-Type: multipart/form-data; boundary=b0", method="POST", body=body).status

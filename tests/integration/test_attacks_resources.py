"""Attacks 22 and 23 against a running gateway: a client cannot occupy resources for long, or use large amounts of them."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import resource
import socket
import ssl
import threading
import time
from collections.abc import Callable
from functools import partial

import psutil

from tests.integration.harness import USERS, Gateway, GatewayCase, site
from tests.integration.ports import eventually
from tests.integration.upstreams import OK, Connection
from tests.integration.wire import Wire, basic, insecure_context

MIB = 1024 * 1024

ALICE = basic("alice", "secret")

SLOW_LIMITS = """
handshake_timeout = 2s
head_timeout = 2s
idle_timeout = 3s
body_timeout = 2s
body_min_rate = 1000
send_timeout = 2s
"""

SOON = 12.0
"""Seconds within which each of these limits must take effect: several times the limit, because the attacks load the machine."""

ROUTES = """
[upstream service]
servers = {url}

[route all]
path = /
upstream = service
auth = none

[route private]
path = /private
upstream = service
"""

PLAIN = "[listener http]\nport = @http@\ninterface = 127.0.0.1\n"


def service(connection: Connection) -> None:
    """Answers every request, and ``/big`` with 64 MiB."""
    while True:
        received = connection.request()
        if received.line.startswith("GET /big"):
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (64 * MIB))
            for _ in range(64):
                connection.send(bytes(MIB))
        else:
            connection.send(OK)


class GoodClients(threading.Thread):
    """A normal client, on new and keep-alive connections, while others attack. ``slowest`` is in seconds."""

    def __init__(self, gateway: Gateway, listener: str) -> None:
        super().__init__(daemon=True)
        self._gateway = gateway
        self._listener = listener
        self._stop_it = threading.Event()
        self.served = 0
        self.slowest = 0.0
        self.failures: list[str] = []

    def __enter__(self) -> GoodClients:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop_it.set()
        self.join(20)

    def run(self) -> None:
        try:
            with self._gateway.connect(self._listener) as kept:
                while not self._stop_it.wait(0.1):
                    for wire in (kept, self._gateway.connect(self._listener)):
                        began = time.monotonic()
                        if (response := wire.get("/good")).status != 200:
                            self.failures.append(str(response))
                        self.slowest = max(self.slowest, time.monotonic() - began)
                        self.served += 1
                        if wire is not kept:
                            wire.close()
        except Exception as error:
            self.failures.append(repr(error))


def dribble_until_closed(wire: Wire, piece: bytes, pause: float) -> float:
    """Send ``piece`` repeatedly, with ``pause`` seconds in between, until the gateway closes or answers. Returns the seconds."""
    began = time.monotonic()
    waiting = threading.Event()
    wire.socket.settimeout(pause)
    while time.monotonic() - began < 15:
        try:
            wire.buffer += wire.socket.recv(65536)
            return time.monotonic() - began
        except TimeoutError:
            pass
        except OSError:
            return time.monotonic() - began
        try:
            wire.send(piece)
        except OSError:
            waiting.wait(0.05)
            return time.monotonic() - began
    raise AssertionError("the connection is still open after 15 s")


class SlowPeerTests(GatewayCase):
    """One gateway with small limits. Each attack has its own name, and normal clients work all the time."""

    def setUp(self) -> None:
        self.service = self.upstream(service)
        self.site = self.gateway(site(ROUTES.format(url=self.service.url), tls=True, limits=SLOW_LIMITS, extra=PLAIN), USERS)

    def all_at_once(self, attacks: dict[str, Callable[[], None]]) -> None:
        """Run attacks at the same time. An exception of any of them fails the test."""
        failures: dict[str, BaseException] = {}

        def guarded(name: str, attack: Callable[[], None]) -> None:
            try:
                attack()
            except BaseException as failure:
                failures[name] = failure

        threads = [threading.Thread(target=guarded, args=one, name=one[0], daemon=True) for one in attacks.items()]
        for thread in threads:
            thread.start()
        end = time.monotonic() + 30
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))
        self.assertEqual([thread.name for thread in threads if thread.is_alive()], [], f"have not ended; failed: {failures}")
        if failures:
            raise AssertionError(str(failures)) from next(iter(failures.values()))

    def test_attack_22_slow_peers(self) -> None:
        """Slow heads, bodies, readers and handshakes end in time, on both kinds of listener, without an effect on others."""
        attacks: dict[str, Callable[[], None]] = {
            "stalled handshake": self.stalled_handshake,
            "dripping handshake": self.dripping_handshake,
        }
        for listener in ("http", "https"):
            for attack in (
                self.silence,
                self.dripping_head,
                self.dripping_second_head,
                self.stalled_head,
                self.dripping_body,
                self.stalled_body,
                self.dripping_chunks,
                self.body_that_stalls_behind_an_upstream,
                self.slow_reader,
                self.reader_that_drips,
                self.idle_connection,
            ):
                attacks[f"{attack.__name__} {listener}"] = partial(attack, listener)
        before = self.site.memory()
        with GoodClients(self.site, "http") as plain, GoodClients(self.site, "https") as tls:
            self.all_at_once(attacks)
            # separately, because it needs a certain amount of work
            self.all_at_once({name: partial(self.pipeline_without_a_reader, name) for name in ("http", "https")})
        for good in (plain, tls):
            self.assertEqual(good.failures, [])
            self.assertGreater(good.served, 20)
            self.assertLess(good.slowest, 4)
        self.assertLess(self.site.memory() - before, 32 * MIB)
        process = psutil.Process(self.site.pid)
        eventually(
            lambda: (
                not [one for one in process.net_connections("tcp") if one.status == psutil.CONN_ESTABLISHED and self.ours(one)]
            ),
            "no connection is left",
        )

    def ours(self, connection: object) -> bool:
        return connection.laddr.port in (self.site["http"], self.site["https"])  # type: ignore[attr-defined]

    def assert_408(self, wire: Wire, took: float) -> None:
        self.assertLess(took, SOON)
        wire.socket.settimeout(10)
        self.assertEqual(wire.response().status, 408)
        self.assertEqual(wire.read_all(), b"")

    # -- handshakes

    def stalled_handshake(self) -> None:
        """It sends no byte of the handshake."""
        with self.site.connect("https", tls=False) as wire:
            began = time.monotonic()
            self.assertEqual(wire.read_all(), b"")
            self.assertLess(time.monotonic() - began, SOON)

    def dripping_handshake(self) -> None:
        """Single bytes do not move the deadline."""
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = insecure_context().wrap_bio(incoming, outgoing)
        with contextlib.suppress(ssl.SSLWantReadError):
            client.do_handshake()
        hello = outgoing.read()
        with self.site.connect("https", tls=False) as wire:
            began = time.monotonic()
            wire.socket.settimeout(0.1)
            for byte in hello[:100]:
                try:
                    wire.send(bytes([byte]))
                    if wire.socket.recv(10) == b"":
                        break
                except TimeoutError:
                    continue
                except OSError:
                    break
            self.assertLess(time.monotonic() - began, SOON)

    # -- heads

    def silence(self, listener: str) -> None:
        """A connection without data is closed without an answer."""
        with self.site.connect(listener) as wire:
            began = time.monotonic()
            self.assertEqual(wire.read_all(), b"")
            self.assertLess(time.monotonic() - began, SOON)

    def dripping_head(self, listener: str) -> None:
        with self.site.connect(listener) as wire:
            wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n")
            self.assert_408(wire, dribble_until_closed(wire, b"X: y\r\n", 0.2))

    def dripping_second_head(self, listener: str) -> None:
        """A connection that has served a request gets no more time for the next head."""
        with self.site.connect(listener) as wire:
            self.assertEqual(wire.get("/x").status, 200)
            self.assert_408(wire, dribble_until_closed(wire, b"G", 0.2))

    def stalled_head(self, listener: str) -> None:
        with self.site.connect(listener) as wire:
            wire.send(b"GET / HTTP/1.1\r\nHost: a\r\nX: ")
            began = time.monotonic()
            wire.buffer += wire.socket.recv(65536)
            self.assert_408(wire, time.monotonic() - began)

    def idle_connection(self, listener: str) -> None:
        with self.site.connect(listener) as wire:
            self.assertEqual(wire.get("/x").status, 200)
            began = time.monotonic()
            self.assertEqual(wire.read_all(), b"")
            self.assertLess(time.monotonic() - began, SOON)

    # -- bodies

    def dripping_body(self, listener: str) -> None:
        """It always sends something, but less than the minimum rate."""
        with self.site.connect(listener) as wire:
            wire.send(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n")
            self.assert_408(wire, dribble_until_closed(wire, b"x" * 10, 0.1))

    def stalled_body(self, listener: str) -> None:
        with self.site.connect(listener) as wire:
            wire.send(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + bytes(5000))
            began = time.monotonic()
            wire.buffer += wire.socket.recv(65536)
            self.assert_408(wire, time.monotonic() - began)

    def dripping_chunks(self, listener: str) -> None:
        """One byte per chunk: the framing does not count as progress."""
        with self.site.connect(listener) as wire:
            wire.send(b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            self.assert_408(wire, dribble_until_closed(wire, b"1\r\nx\r\n", 0.1))

    def body_that_stalls_behind_an_upstream(self, listener: str) -> None:
        """A body that is not needed, because the answer came first, does not keep the connection open."""
        with self.site.connect(listener) as wire:
            wire.send(b"POST /private HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nx")
            self.assertEqual(wire.response().status, 401)
            self.assertLess(dribble_until_closed(wire, b"x", 0.2), SOON)

    # -- readers

    def download(self, listener: str, name: str) -> Wire:
        wire = Wire(self.site[listener], tls=listener == "https", receive_buffer=4096)
        wire.send(f"GET /big/{name}/{listener} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        return wire

    def slow_reader(self, listener: str) -> None:
        """It reads nothing of its response: the connection is aborted, and the audit log says so."""
        with self.download(listener, "slow") as wire:
            mark = f'"GET /big/slow/{listener} HTTP/1.1" 200 '
            eventually(lambda: any(mark in line for line in self.site.audit()), "the slow reader is cut", SOON)
            self.assertLess(len(wire.read_all()), 64 * MIB)

    def reader_that_drips(self, listener: str) -> None:
        """It reads less than the minimum rate."""
        with self.download(listener, "dripping") as wire:
            pause = threading.Event()
            mark = f'"GET /big/dripping/{listener} HTTP/1.1" 200 '
            began = time.monotonic()
            while not any(mark in line for line in self.site.audit()):
                self.assertLess(time.monotonic() - began, SOON, "it may drip for ever")
                wire.socket.recv(16)
                pause.wait(0.1)

    def pipeline_without_a_reader(self, listener: str) -> None:
        """Endless requests whose answers are not read: they wait unread, but not in the gateway's memory."""
        with Wire(self.site[listener], tls=listener == "https", receive_buffer=4096) as wire:
            wire.socket.settimeout(1)
            requests = b"GET /private HTTP/1.1\r\nHost: a\r\n\r\n" * 1000
            sent = 0
            with contextlib.suppress(OSError):
                while sent < 64 * MIB:
                    sent += wire.socket.send(requests[sent % len(requests) :])
            self.assertLess(sent, 48 * MIB, "all of it was taken")
            wire.socket.settimeout(0.2)
            began = time.monotonic()
            while time.monotonic() - began < 15:
                try:
                    wire.socket.send(b"G")
                except TimeoutError:
                    continue
                except OSError:
                    return
            raise AssertionError("the client does not read, and the connection is still open after 15 s")


class ConnectionTests(GatewayCase):
    def test_attack_22_connections_are_bounded(self) -> None:
        """One address gets a limited number of connections. Others are served meanwhile, and silent connections make room."""
        limits = "connections_per_address = 20\nconnections = 30\nhead_timeout = 60s\nbody_timeout = 60s"
        config = site(ROUTES.format(url=self.upstream().url), tls=True, limits=limits, extra=PLAIN).replace(
            "interface = 127.0.0.1", ""
        )
        gateway = self.gateway(config, USERS)
        held = [self.connect(gateway, "http", tls=False) for _ in range(10)]
        # a connection without a handshake counts too, and so does the same address as an IPv4-mapped one
        held += [self.connect(gateway, "https", tls=False) for _ in range(10)]
        for wire in held[:10]:
            self.assertEqual(wire.get("/x").status, 200)
        # a connection with a request under way is not silent, so the others make room, those without a handshake first
        for wire in held[:10]:
            wire.send(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n")
        for _ in range(10):
            fresh = self.connect(gateway, "http", tls=False)
            fresh.send(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n")
            held.append(fresh)
        for wire in held[10:20]:
            self.assertTrue(wire.closed())
        for listener in ("http", "https"):
            for host in ("127.0.0.1", "::ffff:127.0.0.1"):
                over = Wire(gateway[listener], host=host)
                self.addCleanup(over.close)
                self.assertTrue(over.closed(), (listener, host))
        other = socket.socket()
        self.addCleanup(other.close)
        other.bind(("127.0.0.2", 0))
        other.settimeout(10)
        other.connect(("127.0.0.1", gateway["http"]))
        other.sendall(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertIn(b"200 OK", other.recv(65536))
        gateway.await_log("too many")
        for wire in held:
            wire.close()

        def served() -> bool:
            with gateway.connect("http", tls=False) as wire:
                try:
                    return wire.get("/x").status == 200
                except (OSError, EOFError):
                    return False

        eventually(served, "places are free again")
        # and in total, from all addresses
        crowd = []
        for number in range(3, 7):
            for _ in range(9):
                one = socket.socket()
                self.addCleanup(one.close)
                one.bind((f"127.0.0.{number}", 0))
                one.settimeout(10)
                one.connect(("127.0.0.1", gateway["http"]))
                crowd.append(one)

        def refused() -> int:
            count = 0
            for one in crowd:
                one.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    try:
                        count += one.recv(1) == b""
                    except ConnectionResetError:
                        count += 1
            return count

        eventually(lambda: refused() == 36 - 30, "all but 30 are closed, the oldest of all first")
        self.assertEqual(other.recv(1), b"")

    def test_attack_58_silent_connections_and_few_descriptors(self) -> None:
        """With 1,024 descriptors, 1,010 silent connections keep nobody out: half stays free, and the oldest ones make room."""
        limits = "head_timeout = 60s\nidle_timeout = 60s\nhandshake_timeout = 60s\nconnections_per_address = 5000"
        service = self.upstream()
        gateway = self.unstarted(site(ROUTES.format(url=service.url), tls=True, limits=limits, extra=PLAIN), USERS)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
        try:
            gateway.start()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        self.assertIn("at most 512 clients can be connected, not 20000", gateway.log)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
        for listener in ("https", "http"):
            silent = []
            for _ in range(1010):
                one = socket.create_connection(("127.0.0.1", gateway[listener]), timeout=10)
                self.addCleanup(one.close)
                silent.append(one)
            began = time.monotonic()
            for _ in range(3):
                with gateway.connect(listener) as wire:
                    self.assertEqual(wire.get("/x").body, b"ok")
            self.assertLess(time.monotonic() - began, 5)
            eventually(lambda: len(os.listdir(f"/proc/{gateway.pid}/fd")) < 600, "half of the descriptors are free")
            silent[0].setblocking(False)
            self.assertEqual(silent[0].recv(1), b"", "the oldest is closed, in order")
            silent[-1].setblocking(False)
            self.assertRaises(BlockingIOError, silent[-1].recv, 1)
        gateway.await_log("no room for another connection: silent ones are closed")


class LoopTests(GatewayCase):
    def test_attack_60_a_service_that_is_the_gateway_itself(self) -> None:
        """The request goes round a few times, and the operator reads why."""
        gateway = self.gateway(site(ROUTES.format(url="http://127.0.0.1:@http@")), USERS)
        gateway.await_log("is [listener http] of this gateway: requests would go round")
        with gateway.connect("http") as wire:
            response = wire.get("/x", "Connection: X-Perimeter-Hops", "X_Perimeter_Hops: 0")
        self.assertEqual((response.status, json.loads(response.body)["error"]), (508, "loop"))
        self.assertEqual(len(gateway.await_audit(6)), 6)


class UnboundedWorkTests(GatewayCase):
    def endless(self, connection: Connection) -> None:
        """Replies without an end, or with a wrong end."""
        line = connection.request().line
        with contextlib.suppress(OSError):
            if "/endless-head" in line:
                connection.send(b"HTTP/1.1 200 OK\r\n")
                for number in range(100_000):
                    connection.send(b"X-%d: %b\r\n" % (number, b"y" * 1000))
            elif "/endless-line" in line:
                connection.send(b"HTTP/1.1 200 OK\r\nX: ")
                for _ in range(100):
                    connection.send(b"y" * MIB)
            elif "/endless-status" in line:
                connection.send(b"HTTP/1.1 200 " + b"y" * MIB)
            elif "/many-fields" in line:
                connection.send(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 5000 + b"\r\n")
            elif "/endless-interim" in line:
                for _ in range(100_000):
                    connection.send(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 10)
            elif "/endless-chunk-size" in line:
                connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"0" * MIB)
            elif "/endless-chunk-extension" in line:
                connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"x" * MIB)
            elif "/endless-trailers" in line:
                connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: y\r\n" * 200_000)
            else:
                connection.send(OK)

    def test_attack_23_unbounded_work(self) -> None:
        """Huge heads, headers, credentials, tokens and replies: 431, 400, 401 or 502, soon and with little memory."""
        routes = ROUTES.format(url=self.upstream(self.endless).url)
        gateway = self.gateway(site(routes), USERS)
        wide = self.gateway(site(routes, limits="max_head = 8MiB\nmax_headers = 100000"), USERS)
        for one in (gateway, wide):
            self.assertEqual(self.connect(one, "http").get("/x").status, 200)
        before = {one: one.memory() for one in (gateway, wide)}
        with GoodClients(gateway, "http") as good, GoodClients(wide, "http") as good_too:
            self.heads(gateway)
            self.credentials(gateway)
            self.wide_heads(wide)
            self.replies(gateway)
        for clients in (good, good_too):
            self.assertEqual(clients.failures, [])
            self.assertLess(clients.slowest, 4)
        for one, memory in before.items():
            self.assertLess(one.memory() - memory, 64 * MIB)

    def status(self, gateway: Gateway, data: bytes) -> int:
        """The status of the answer to bytes, of which the gateway may read only a part."""
        with gateway.connect("http") as wire:
            began = time.monotonic()
            writer = threading.Thread(target=self.pour, args=(wire, data), daemon=True)
            writer.start()
            response = wire.response()
            self.assertLess(time.monotonic() - began, 10)
            if response.get("connection") == "close":
                wire.read_all()
            writer.join(10)
            return response.status

    @staticmethod
    def pour(wire: Wire, data: bytes) -> None:
        with contextlib.suppress(OSError):
            wire.send(data)

    def heads(self, gateway: Gateway) -> None:
        start = b"GET /x HTTP/1.1\r\nHost: a\r\n"
        for why, data, status in (
            ("a huge header", start + b"X: " + b"y" * 10 * MIB + b"\r\n\r\n", 431),
            ("a huge header that never ends", start + b"X: " + b"y" * 10 * MIB, 431),
            ("a huge name", start + b"X" * 10 * MIB, 431),
            ("100,000 headers", start + b"X: y\r\n" * 100_000 + b"\r\n", 431),
            ("101 headers, in few bytes", start + b"X: y\r\n" * 100 + b"\r\n", 431),
            ("100 headers", start + b"X: y\r\n" * 99 + b"\r\n", 200),
            ("1 MB of Authorization", start + b"Authorization: Bearer " + b"a" * MIB + b"\r\n\r\n", 431),
            ("a huge target", b"GET /" + b"a" * 10 * MIB + b" HTTP/1.1\r\n\r\n", 414),
            ("a huge method", b"G" * 10 * MIB, 414),
            ("empty lines", b"\r\n" * 100_000 + start + b"\r\n", 200),
            ("a chunk size without end", b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + b"0" * MIB, 400),
            (
                "a chunk extension without end",
                b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"x" * MIB,
                400,
            ),
            (
                "trailers without end",
                b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: y\r\n" * 200_000,
                400,
            ),
        ):
            self.assertEqual(self.status(gateway, data), status, why)

    def credentials(self, gateway: Gateway) -> None:
        wire = self.connect(gateway, "http")

        def segment(text: bytes) -> str:
            return base64.urlsafe_b64encode(text).rstrip(b"=").decode()

        good = json.loads(wire.get("/token", ALICE).body)["access_token"]
        head, claims, signature = good.split(".")
        objects, number = b'{"a":' * 120, b'{"alg":' + b"9" * 700 + b"}"
        for why, value, status in (
            ("20 KB of Bearer", "Bearer " + "a" * 20_000, 431),
            ("15 KB of Bearer", "Bearer " + "a" * 15_000, 401),
            ("20 KB of Basic", "Basic " + "a" * 20_000, 431),
            ("a password of 10 KB", "Basic " + base64.b64encode(b"alice:" + b"x" * 10_000).decode(), 401),
            ("a deep header", f"Bearer {segment(b'[' * 700)}.{claims}.{signature}", 401),
            ("a deep header of objects", f"Bearer {segment(objects)}.{claims}.{signature}", 401),
            ("deep claims", f"Bearer {head}.{segment(b'[' * 5000)}.{signature}", 401),
            ("a long number", f"Bearer {segment(number)}.{claims}.{signature}", 401),
            ("dots", "Bearer " + "." * 8000, 401),
        ):
            began = time.monotonic()
            self.assertEqual(wire.get("/private", f"Authorization: {value}").status, status, why)
            self.assertLess(time.monotonic() - began, 3, why)
        realms = ",".join(f"r{number}" for number in range(1000))
        self.assertEqual(wire.get("/private", ALICE, f"X-Auth-Realm: {realms}").status, 400)

    def wide_heads(self, gateway: Gateway) -> None:
        """If an operator sets wide limits, the next bound applies."""
        start = b"GET /x HTTP/1.1\r\nHost: a\r\n"
        private = b"GET /private HTTP/1.1\r\nHost: a\r\n"
        self.assertEqual(self.status(gateway, private + b"Authorization: Bearer " + b"a" * MIB + b"\r\n\r\n"), 431)
        self.assertEqual(self.status(gateway, private + b"Authorization: Basic " + b"a" * MIB + b"\r\n\r\n"), 431)
        self.assertEqual(self.status(gateway, private + b"Authorization: Basic YTpi\r\n" * 90_000 + b"\r\n"), 400)
        self.assertEqual(self.status(gateway, start + b"X: y\r\n" * 300_000 + b"\r\n"), 431)
        self.assertIn(self.status(gateway, start + b"Connection: " + b"a," * 100_000 + b"\r\n\r\n"), (200, 400))

    def replies(self, gateway: Gateway) -> None:
        """An upstream whose head never ends is 502. If the response has begun, the connection is aborted."""
        for path in ("/endless-head", "/endless-line", "/endless-status", "/many-fields", "/endless-interim"):
            with gateway.connect("http") as wire:
                response = wire.get(path)
                self.assertEqual(response.status, 502, path)
                self.assertEqual(json.loads(response.body)["error"], "upstream_bad_reply", path)
                self.assertLess(len(response.interim), 20)
        for path in ("/endless-chunk-size", "/endless-chunk-extension", "/endless-trailers"):
            with gateway.connect("http") as wire:
                wire.send(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
                got = wire.read_all()
                self.assertFalse(got.endswith(b"0\r\n\r\n"), f"{path} ended as if it were whole")

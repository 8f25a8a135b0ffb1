"""WebSocket through the gateway, with a real client and a real server: admission first, then bytes in both directions."""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections.abc import Callable
from typing import Any, ClassVar

from websockets.exceptions import ConnectionClosed, ConnectionClosedError, ConnectionClosedOK, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.sync.server import Server, ServerConnection, serve

from tests.integration.harness import USERS, site
from tests.integration.ports import eventually
from tests.integration.stage import StageCase
from tests.integration.upstreams import Connection
from tests.integration.wire import TIMEOUT, basic, insecure_context

ROUTES = """\
[upstream service]
servers = <service>

[upstream echo]
servers = http://127.0.0.1:@echo@
read_timeout = 2s

[upstream scripted]
servers = <scripted>
read_timeout = 2s

[route echo]
path = /ws
upstream = echo
rewrite = /

[route not]
path = /not
upstream = service
auth = none
websocket = no

[route admin]
path = /admin
upstream = scripted
allow = role:admin

[route scripted]
path = /scripted
upstream = scripted

[route sentinel]
path = /
upstream = service
auth = none
"""

LISTENER = "[listener https]\nport = @https@\ninterface = 127.0.0.1\ntls = yes"

LIMITS = "idle_timeout = 1s\nbody_timeout = 1s\nsend_timeout = 1s"

ALICE = basic("alice", "secret").split(": ", 1)
MIB = 1 << 20
KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
UPGRADE = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", KEY)


def echo(connection: ServerConnection) -> None:
    """Echo every message. ``bye`` closes, and ``who`` returns the identity headers from the gateway."""
    for message in connection:
        if message == "bye":
            connection.close(4001, "as you wish")
        elif message == "who":
            assert connection.request is not None
            connection.send(str(connection.request.headers.get_all("X-Auth-Username")))
        else:
            connection.send(message)


class WebSocketTests(StageCase):
    CONFIG = site(ROUTES, extra=LISTENER, limits=LIMITS)
    FILES: ClassVar = USERS

    def setUp(self) -> None:
        """Start a WebSocket server for this test."""
        super().setUp()
        self.closed: list[tuple[int | None, str | None]] = []
        self.accepted = 0
        self.handle: Callable[[ServerConnection], None] = echo
        self.server: Server = serve(self._serve, "127.0.0.1", self.served["echo"], max_size=None, ping_interval=None)
        thread = threading.Thread(target=self.server.serve_forever)
        thread.start()
        self.addCleanup(thread.join, TIMEOUT)
        self.addCleanup(self.server.shutdown)

    def _serve(self, connection: ServerConnection) -> None:
        self.accepted += 1
        with contextlib.suppress(ConnectionClosed):
            self.handle(connection)
            connection.recv(TIMEOUT)
        self.closed.append((connection.close_code, connection.close_reason))

    def client(self, path: str = "/ws", *headers: list[str], tls: bool = False, **options: Any) -> ClientConnection:
        """A WebSocket client with alice's credentials, closed at the end of the test."""
        port = self.served["https" if tls else "http"]
        if tls:
            # The client reads and writes in two threads. With TLS 1.3 both may change the state of the one TLS session at the
            # same time (a read takes the session's tickets), and before Python 3.13 no lock prevents that: the request gets lost.
            options["ssl"] = context = insecure_context()
            context.maximum_version = ssl.TLSVersion.TLSv1_2
        client = connect(
            f"{'wss' if tls else 'ws'}://127.0.0.1:{port}{path}",
            additional_headers=[(name, value) for name, value in (headers or (ALICE,))],
            max_size=None,
            ping_interval=None,
            compression=None,
            close_timeout=TIMEOUT,
            open_timeout=TIMEOUT,
            proxy=None,
            **options,
        )
        self.addCleanup(client.close)
        return client

    def await_closed(self) -> tuple[int | None, str | None]:
        """Wait until the server's end is closed, and return how."""
        eventually(lambda: self.closed, "the server's end is closed")
        return self.closed[0]

    # -- admission

    def test_tunnel_after_admission(self) -> None:
        """An admitted client talks to the service, which gets its identity; with and without TLS."""
        for tls in (False, True):
            client = self.client("/ws/x?y=z", ALICE, ["X-Auth-Username", "root"], tls=tls)
            client.send("hello")
            self.assertEqual(client.recv(TIMEOUT), "hello")
            client.send("who")
            self.assertEqual(client.recv(TIMEOUT), "['alice']")
            assert client.response is not None
            self.assertEqual(client.response.headers.get_all("X-Auth-Username"), [])
            client.close()

    def test_upgrade_request_as_the_service_sees_it(self) -> None:
        """Each header of the handshake arrives once; credentials do not arrive."""

        def script(connection: Connection) -> None:
            connection.request()
            connection.send(
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Auth-Roles: a\r\n\r\n"
            )
            connection.send(connection.read_exactly(4))

        upstream = self.play(script)
        with self.served.connect("http") as wire:
            lines = ("Connection: keep-alive, Upgrade", *UPGRADE[1:], "Sec-WebSocket-Protocol: chat", ": ".join(ALICE))
            response = wire.get("/scripted/ws", *lines)
            self.assertEqual((response.status, response.get("upgrade")), (101, "websocket"))
            self.assertEqual((response.get("connection"), response.get("x-auth-roles")), ("upgrade", None))
            self.assertEqual((response.get("content-length"), response.get("transfer-encoding")), (None, None))
            self.assertEqual(wire.send(b"\x00\xffab").read_exactly(4), b"\x00\xffab")
            self.assertTrue(wire.closed())
        received = upstream.requests[-1]
        self.assertEqual((received.get("connection"), received.get("upgrade")), ("upgrade", "websocket"))
        self.assertEqual((received.get("sec-websocket-version"), received.get("sec-websocket-protocol")), ("13", "chat"))
        self.assertEqual((received.get("sec-websocket-key"), received.get("authorization")), (KEY.split(": ")[1], None))

    def test_bytes_right_after_the_handshake(self) -> None:
        """A client that does not wait for 101, and a service whose first bytes come together with it, lose no data."""

        def script(connection: Connection) -> None:
            connection.request()
            connection.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nfirst")
            connection.send(connection.read_exactly(5))

        self.play(script)
        with self.served.connect("http") as wire:
            head = "\r\n".join(["GET /scripted/ws HTTP/1.1", "Host: a", *UPGRADE, ": ".join(ALICE), "", ""])
            wire.send(head.encode() + b"early")
            self.assertEqual(wire.response().status, 101)
            self.assertEqual(wire.read_exactly(10), b"firstearly")

    def test_attack_21_unauthenticated_is_401_before_dialling(self) -> None:
        """Without valid credentials the gateway opens no connection to the service."""
        wrong = basic("alice", "wrong")
        for lines, status in (
            ((), 401),
            ((wrong,), 401),
            (("Authorization: Bearer x.y.z",), 401),
            ((basic("bob", "hunter2"),), 403),
        ):
            head = "\r\n".join(["GET /admin/ws HTTP/1.1", "Host: a", *UPGRADE, *lines, "", ""]).encode()
            response = self.refused(head + b"\x81\x05hello", status, closes=False)
            self.assertEqual((response.get("upgrade"), response.get("sec-websocket-accept")), (None, None))
        connections = self.stage.scripted.connections
        with self.assertRaises(InvalidStatus) as caught:
            self.client("/admin/ws", ["X-None", "1"])
        self.assertEqual(caught.exception.response.status_code, 401)
        self.assertEqual((self.stage.scripted.connections, self.accepted), (connections, 0))

    def test_route_without_websocket_is_not_tunnelled(self) -> None:
        """``websocket = no``: the service gets an ordinary request, and the connection stays HTTP."""
        with self.served.connect("http") as wire:
            response = wire.get("/not", *UPGRADE)
            self.assertEqual(response.status, 200)
            received = self.service.requests[-1]
            self.assertEqual((received.get("upgrade"), received.get("connection")), (None, None))
            self.assertEqual(wire.get("/status").body, b"OK")
        with self.assertRaises(InvalidStatus):
            self.client("/not")

    def test_service_that_declines(self) -> None:
        """The service's own refusal of an upgrade is an ordinary response."""

        def script(connection: Connection) -> None:
            connection.request()
            connection.send(b"HTTP/1.1 426 Upgrade Required\r\nSec-WebSocket-Version: 12\r\nContent-Length: 2\r\n\r\nno")
            connection.read_some()

        self.play(script)
        with self.served.connect("http") as wire:
            response = wire.get("/scripted/ws", *UPGRADE, ": ".join(ALICE))
            self.assertEqual((response.status, response.body, response.get("sec-websocket-version")), (426, b"no", "12"))
            self.assertEqual(wire.get("/status").body, b"OK")

    # -- data

    def test_large_messages_both_ways(self) -> None:
        """1 MiB at a time, text and binary, in order, with and without TLS."""
        binary = bytes(range(256)) * (MIB // 256)
        for tls in (False, True):
            client = self.client(tls=tls)
            for message in (binary, "é" * (MIB // 2), binary[::-1]):
                client.send(message)
                self.assertEqual(client.recv(TIMEOUT), message)
            # all of them at the same time
            sender = threading.Thread(target=lambda client=client: [client.send(binary) for _ in range(8)])  # type: ignore[misc]
            sender.start()
            self.assertEqual([client.recv(TIMEOUT) == binary for _ in range(8)], [True] * 8)
            sender.join(TIMEOUT)
            client.close()

    def test_ping_and_pong(self) -> None:
        """Control frames pass in both directions."""
        pinged = threading.Event()

        def handle(connection: ServerConnection) -> None:
            if connection.ping(b"from the server").wait(TIMEOUT):
                pinged.set()
            echo(connection)

        self.handle = handle
        client = self.client()
        self.assertTrue(client.ping(b"from the client").wait(TIMEOUT))
        self.assertTrue(pinged.wait(TIMEOUT))
        client.send("still there")
        self.assertEqual(client.recv(TIMEOUT), "still there")

    # -- the end

    def test_client_closes(self) -> None:
        """The close handshake that a client begins reaches the service with code and reason."""
        client = self.client()
        client.send("x")
        client.recv(TIMEOUT)
        client.close(4000, "enough")
        self.assertEqual(self.await_closed(), (4000, "enough"))
        self.assertEqual(client.close_code, 4000)

    def test_service_closes(self) -> None:
        """The close handshake that the service begins reaches the client."""
        client = self.client()
        client.send("bye")
        with self.assertRaises(ConnectionClosedError) as caught:
            client.recv(TIMEOUT)
        self.assertEqual((caught.exception.rcvd.code, caught.exception.rcvd.reason), (4001, "as you wish"))  # type: ignore[union-attr]
        self.assertEqual(self.await_closed()[0], 4001)

    def test_peer_that_vanishes(self) -> None:
        """If one side closes without a close handshake, the gateway closes the other side."""
        client = self.client()
        client.send("x")
        client.recv(TIMEOUT)
        client.socket.shutdown(2)
        self.assertEqual(self.await_closed()[0], 1006)
        self.handle = lambda connection: connection.socket.shutdown(2)
        client = self.client()
        self.assertRaises((ConnectionClosedError, ConnectionClosedOK), client.recv, TIMEOUT)
        self.assertEqual(client.close_code, 1006)

    def test_last_bytes_arrive_before_the_end(self) -> None:
        """Data that a service sends right before it closes is delivered completely."""
        message = b"x" * (4 * MIB)

        def handle(connection: ServerConnection) -> None:
            connection.send(message)
            connection.close(1001)

        self.handle = handle
        for tls in (False, True):
            client = self.client(tls=tls)
            self.assertEqual(len(client.recv(TIMEOUT)), len(message))
            self.assertRaises(ConnectionClosedOK, client.recv, TIMEOUT)

    def test_idle_tunnel_outlives_every_timeout(self) -> None:
        """Neither the upstream's read_timeout nor a limit of the client's side (a second or two) ends a silent tunnel."""
        client = self.client("/ws")
        client.send("before")
        self.assertEqual(client.recv(TIMEOUT), "before")
        self.assertRaises(TimeoutError, client.recv, 3.5)
        client.send("after")
        self.assertEqual(client.recv(TIMEOUT), "after")
        # the limits do apply to requests that are not tunnels
        self.play(lambda connection: connection.request() and connection.read_some() and None)
        with self.served.connect("http") as wire:
            self.assertEqual(wire.get("/scripted/x", ": ".join(ALICE)).status, 504)
            self.assertTrue(wire.closed())

    # -- the audit log

    def await_line(self, target: str, *, tunnel: bool = True) -> str:
        """The only audit line of a target that no other test requests."""

        def lines() -> list[str]:
            return [line for line in self.served.audit() if f'"GET {target} HTTP/1.1"' in line]

        eventually(lambda: len(lines()) == 1 + tunnel, f"the audit lines for {target}")
        opened, line = lines() if tunnel else ("", *lines())
        self.assertTrue(not tunnel or opened.endswith(" 101 0"), opened)
        return line.replace(f'"GET {target} HTTP/1.1"', "REQUEST")

    def test_audit_lines_when_it_opens_and_when_it_ends(self) -> None:
        """Both lines have the status 101 and the user, and the number of bytes sent to the client until then."""
        client = self.client("/ws/audited/1?b")
        client.send("hello")
        self.assertEqual(client.recv(TIMEOUT), "hello")
        opened = [line for line in self.served.audit() if "/ws/audited/1" in line]
        self.assertEqual([line.partition(" alice ")[2].partition('" ')[2] for line in opened], ["101 0"])
        client.close()
        # 7 bytes of the message and 4 of the closing frame
        self.assertRegex(self.await_line("/ws/audited/1?b"), r"^127\.0\.0\.1 alice \[[^]]+\] REQUEST 101 11$")
        client = self.client("/ws/audited/2")
        client.send("bye")
        self.assertRaises(ConnectionClosedError, client.recv, TIMEOUT)
        self.assertRegex(self.await_line("/ws/audited/2"), r" alice .* 101 15$")
        client = self.client("/ws/audited/3")
        client.socket.shutdown(2)
        self.assertRegex(self.await_line("/ws/audited/3"), r" alice .* 101 0$")
        self.assertRaises(InvalidStatus, self.client, "/admin/audited/4", ["X-None", "1"])
        self.assertRegex(self.await_line("/admin/audited/4", tunnel=False), r" - .* 401 \d+$")
        # a second line for one of them would have been written by now
        audited = [line for line in self.served.audit() if "/audited/" in line]
        self.assertEqual(len(audited), 7)

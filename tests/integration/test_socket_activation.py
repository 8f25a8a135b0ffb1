"""Listening sockets from systemd, with its own program that passes them."""

from __future__ import annotations

import shutil
import socket
import tempfile
import threading

from tests.integration.harness import USERS, Gateway, GatewayCase, site
from tests.integration.ports import eventually
from tests.integration.wire import TIMEOUT, Wire

ROUTES = """
[upstream service]
servers = {url}

[route all]
path = /
upstream = service
auth = none
"""


class SocketActivationTests(GatewayCase):
    def activated(self, *options: str, workers: int = 1, extra: str = "") -> Gateway:
        """A gateway that systemd-socket-activate starts at the first connection."""
        self.need("systemd-socket-activate")
        text = site(ROUTES.format(url=self.upstream().url), perimeter=f"workers = {workers}", extra=extra)
        before = ("systemd-socket-activate", "--setenv=PYTHONPATH", "--setenv=NOTIFY_SOCKET", *options)
        gateway = self.unstarted(text, USERS, before=before)
        gateway.launch()
        return gateway

    def first(self, port: int) -> Wire:
        """A connection that makes systemd start the gateway. It waits in the socket until the gateway serves."""
        eventually(lambda: _listens(port), f"port {port}")
        wire = Wire(port, tls=False)
        self.addCleanup(wire.close)
        return wire

    def test_the_connection_that_starts_the_gateway_is_served(self) -> None:
        for workers in (1, 2):
            gateway = self.activated("--listen=127.0.0.1:@http@", workers=workers)
            wire = self.first(gateway["http"])
            answers: list[int] = []
            asking = threading.Thread(target=lambda wire=wire, answers=answers: answers.append(wire.get("/x").status))
            asking.start()
            gateway.await_notification("READY=1", 60)
            asking.join(TIMEOUT)
            self.assertEqual(answers, [200])
            self.assertEqual(self.connect(gateway, "http").get("/y").status, 200)

    def test_a_socket_is_found_by_its_name_where_the_address_differs(self) -> None:
        gateway = self.activated("--listen=127.0.0.1:@other@", "--fdname=http")
        wire = self.first(gateway["other"])
        gateway.await_notification("READY=1", 60)
        self.assertEqual(wire.get("/x").status, 200)

    def test_a_unix_socket(self) -> None:
        for workers in (1, 2):
            directory = tempfile.mkdtemp(prefix="perimeter-test-")
            self.addCleanup(shutil.rmtree, directory)
            path = f"{directory}/s"
            gateway = self.activated(
                "--listen=127.0.0.1:@http@", f"--listen={path}", workers=workers, extra=f"[listener s]\ninterface = unix:{path}"
            )
            self.first(gateway["http"])
            gateway.await_notification("READY=1", 60)
            gateway.await_log(f"s on unix:{path}")
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(TIMEOUT)
                client.connect(path)
                client.sendall(b"GET /x HTTP/1.1\r\nHost: gw\r\n\r\n")
                self.assertTrue(client.recv(100).startswith(b"HTTP/1.1 200"))

    def test_a_listener_without_a_socket_is_a_start_fault(self) -> None:
        gateway = self.activated("--listen=127.0.0.1:@http@", extra="[listener second]\nport = @second@\ninterface = 127.0.0.1")
        self.first(gateway["http"])
        self.assertEqual(gateway.wait(), 1)
        self.assertIn(f"listener second: systemd has passed sockets, but none for 127.0.0.1:{gateway['second']}", gateway.log)
        self.assertNotIn("Traceback", gateway.log)
        gateway.kill()

    def test_a_socket_without_a_listener_is_a_start_fault(self) -> None:
        gateway = self.activated("--listen=127.0.0.1:@http@", "--listen=127.0.0.1:@lost@", "--fdname=http:lost")
        self.first(gateway["http"])
        self.assertEqual(gateway.wait(), 1)
        self.assertIn(f"a socket for 127.0.0.1:{gateway['lost']} (lost), and no listener has this address or name", gateway.log)
        gateway.kill()


def _listens(port: int) -> bool:
    """Whether something listens there. A connection would start the gateway, so it is not tried."""
    wanted = f"0100007F:{port:04X} 00000000:0000 0A"
    with open("/proc/net/tcp") as table:
        return any(wanted in line for line in table)

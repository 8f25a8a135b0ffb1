"""Services that can be reached around the gateway. Their sockets are real ones on the loopback interface."""

from __future__ import annotations

import http.server
import socket
import threading
from ipaddress import ip_address

import attrs

from perimeter.config.site.server import ServerScheme, ServerSettings
from perimeter.doctor import around
from perimeter.doctor.around import Service, protected_services
from perimeter.doctor.finding import Finding
from perimeter.doctor.sockets import Listening
from tests.unit.doctor.examined import SITE, ExaminedCase


class AroundTests(ExaminedCase):
    def service(self, port: int, host: str = "127.0.0.1", **others: object) -> Service:
        (service,) = protected_services(self.subject().config)
        return Service(service.upstream, ServerSettings(ServerScheme.HTTP, host, port), "/x", **others)  # type: ignore[arg-type]

    def web(self, status: int) -> int:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()

        def close() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        self.addCleanup(close)
        return server.server_address[1]

    def remote(self, port: int) -> list[tuple[str, str, str]]:
        self.patch(around, "is_own", lambda address, own: False)
        return self.said(around.see(self.service(port)))

    def test_a_service_elsewhere_that_answers_anybody(self) -> None:
        for status in (200, 204, 302, 404):
            self.assertEqual(self.remote(self.web(status)), [("service-answers-all", "soon", "[upstream app]")], status)

    def test_a_service_elsewhere_that_protects_itself_or_is_down(self) -> None:
        for status in (401, 403, 407, 500, 503):
            self.assertEqual(self.remote(self.web(status)), [], status)
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            self.assertEqual(self.remote(unused.getsockname()[1]), [])

    def test_paths_are_escaped(self) -> None:
        for path in ("/ä/x", "/a b", "/a%2Fb"):
            service = attrs.evolve(self.service(self.web(200)), path=path)
            self.assertEqual(around.answer_without_credentials(service), 200, path)

    def test_what_is_not_http(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]

            def answer() -> None:
                peer, _ = server.accept()
                with peer:
                    peer.recv(4096)
                    peer.sendall(b"SSH-2.0-x\r\n" * 9)

            thread = threading.Thread(target=answer)
            thread.start()
            self.assertEqual(around.answer_without_credentials(self.service(port)), 0)
            thread.join()

    def sockets(self, *found: tuple[str, int]) -> None:
        sockets = [Listening(ip_address(address), 8888, uid) for address, uid in found]
        self.patch(around, "listening", lambda: sockets)
        self.patch(around, "own_addresses", lambda: frozenset(map(ip_address, ("127.0.0.1", "192.0.2.2"))))
        self.patch(around, "answer_without_credentials", lambda service: 200)

    def local(self, **others: object) -> list[Finding]:
        return around.see(self.service(8888, **others))

    def test_the_sockets_of_the_service_and_no_others(self) -> None:
        self.sockets(("127.0.0.1", 5), ("192.0.2.2", 6))
        self.assertEqual(self.local(), [])  # another user's service on the same port of another address
        self.sockets(("127.0.0.1", 5), ("192.0.2.2", 5))
        (finding,) = self.local()
        self.assertIn("listens on 192.0.2.2:8888 (user ", finding.message)
        self.sockets(("::", 5))
        (finding,) = self.local()
        self.assertIn("listens on [::]:8888", finding.message)

    def test_the_gateways_own_listener_is_no_way_around(self) -> None:
        self.sockets(("127.0.0.1", 5), ("192.0.2.2", 5))
        self.assertEqual(self.local(gateway=frozenset((("192.0.2.2", 8888),))), [])

    def test_which_services_are_protected(self) -> None:
        def paths(text: str) -> list[tuple[str, str]]:
            return [(one.server.url, one.path) for one in protected_services(self.subject(text).config)]

        route = "[route app]\npath = /\n"
        url = "http://127.0.0.1:8888"
        self.assertEqual(paths(SITE), [(url, "/")])
        self.assertEqual(paths(SITE.replace(route, "[route app]\npath = /a\n")), [(url, "/a")])
        self.assertEqual(paths(SITE.replace(route, "[route app]\npath = /a\nrewrite = /b\n")), [(url, "/b")])
        self.assertEqual(paths(SITE.replace(route, f"{route}auth = none\n")), [])
        self.assertEqual(paths(SITE.replace(route, f"{route}auth = none\nnetworks = 10.0.0.0/8\n")), [(url, "/")])
        self.assertEqual(paths(SITE.replace(url, "sample:")), [])

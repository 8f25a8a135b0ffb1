"""How services are connected to, with nginx and haproxy at the other end; and what the gateway does to their responses."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import zlib
from pathlib import Path

import brotli
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from perimeter.net.contexts import ServerIdentity, public_key_pin
from tests.integration.harness import USERS, Gateway, GatewayCase, site
from tests.integration.netkit import identity, pem
from tests.integration.ports import eventually, free_port
from tests.integration.test_operator import Ran
from tests.integration.upstreams import Process

CA = identity("CA", ca=True, common="CA")
SERVICE = identity("service.example", issuer=CA)
OWN = identity("gateway", issuer=CA)
TEXT = "".join(f"line {number} of a long text\n" for number in range(400))


def key_pem(one: ServerIdentity) -> bytes:
    return one.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


class Service(Process):
    """An nginx on a unix socket, on a port with the PROXY protocol, and on one that asks for certificates of clients."""

    def __init__(self, directory: Path, sockets: Path) -> None:
        self.socket = sockets / "app.sock"
        self.proxied = free_port()
        self.secure = free_port()
        self.port = free_port()
        for name, data in (("ca.pem", pem(CA.chain[0])), ("own.pem", pem(*SERVICE.chain)), ("own.key", key_pem(SERVICE))):
            (directory / name).write_bytes(data)
        (directory / "text.txt").write_text(TEXT)
        tls = "ssl_certificate own.pem; ssl_certificate_key own.key; ssl_client_certificate ca.pem; ssl_verify_client on;"
        seen = "$proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_addr $proxy_protocol_server_port"
        seen += " $connection_requests"
        config = directory / "nginx.conf"
        config.write_text(f"""
            daemon off;
            {"user root;" if os.getuid() == 0 else ""}
            worker_processes 1;
            pid nginx.pid;
            error_log stderr;
            events {{}}
            http {{
                access_log off;
                default_type text/plain;
                server {{
                    listen unix:{self.socket};
                    listen 127.0.0.1:{self.port};
                    location / {{ return 200 "$host $http_x_forwarded_for $http_x_auth_username"; }}
                    location = /text {{ alias {directory}/text.txt; }}
                }}
                server {{ listen 127.0.0.1:{self.proxied} proxy_protocol; return 200 "{seen}"; }}
                server {{ listen 127.0.0.1:{self.secure} ssl proxy_protocol; {tls} return 200 "{seen} $ssl_client_s_dn"; }}
            }}
        """)
        super().__init__(["nginx", "-p", str(directory), "-c", str(config), "-e", "stderr"], directory / "nginx.log")
        self._await_port()


class Balancer(Process):
    """A haproxy that takes the PROXY protocol, and answers with the address in it."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        config = directory / "haproxy.cfg"
        config.write_text(f"""
            defaults
                mode http
                timeout client 5s
                timeout connect 5s
                timeout server 5s
            frontend all
                bind 127.0.0.1:{self.port} accept-proxy
                http-request return status 200 content-type text/plain lf-string "%[src] %[dst] %[dst_port]"
        \n""")
        super().__init__(["haproxy", "-f", str(config)], directory / "haproxy.log")
        self._await_port()


class DiallingTests(GatewayCase):
    def setUp(self) -> None:
        super().setUp()
        self.need("nginx")
        sockets = Path(tempfile.mkdtemp(prefix="perimeter-test-"))  # a short path, as sockets need one
        self.addCleanup(shutil.rmtree, sockets)
        self.service = Service(self.directory(), sockets)
        self.addCleanup(self.service.close)

    def get(self, gateway: Gateway, path: str) -> tuple[int, str]:
        with gateway.connect("http") as wire:
            response = wire.get(path, host="gw.example")
        return response.status, response.text

    def start(self, sections: str, files: dict[str, str | bytes] | None = None) -> Gateway:
        return self.gateway(site(sections), {**USERS, **(files or {})})

    def test_unix_sockets(self) -> None:
        missing = self.service.socket.with_name("none.sock")
        gateway = self.start(
            f"[upstream app]\nservers = unix:{self.service.socket} weight=3, http://127.0.0.1:{self.service.port} backup\n"
            "health = GET / every 200ms\n"
            f"[upstream gone]\nservers = unix:{missing}\n"
            "[route app]\npath = /\nupstream = app\nauth = none\n[route gone]\npath = /gone\nupstream = gone\nauth = none\n"
        )
        for _ in range(3):
            self.assertEqual(self.get(gateway, "/x"), (200, "gw.example 127.0.0.1 "))
        self.assertEqual(self.get(gateway, "/gone")[0], 502)
        gateway.await_log(f"cannot connect to {missing}: there is no socket with this path")
        answer = json.loads(Ran("status", "--json", "--config", str(gateway.config)).output)
        servers = {one["url"]: one["state"] for upstream in answer["upstreams"] for one in upstream["servers"]}
        self.assertEqual(servers[f"unix:{self.service.socket}"], "up")
        checked = Ran("check", "--config", str(gateway.config)).output
        self.assertIn(f"app (unix:{self.service.socket}, http://127.0.0.1:{self.service.port})", checked)
        self.service.socket.unlink()
        eventually(lambda: "is down" in gateway.log, "the check of the socket fails")
        self.assertEqual(self.get(gateway, "/x"), (200, "gw.example 127.0.0.1 "))

    def test_the_proxy_protocol(self) -> None:
        self.need("haproxy")
        balancer = Balancer(self.directory())
        self.addCleanup(balancer.close)
        sections = "".join(
            f"[upstream {name}{version}]\nservers = http://127.0.0.1:{port}\nproxy_protocol = {version}\n"
            f"health = GET / every 200ms\n"
            f"[route {name}{version}]\npath = /{name}{version}\nupstream = {name}{version}\nauth = none\n"
            for name, port in (("nginx", self.service.proxied), ("haproxy", balancer.port))
            for version in ("v1", "v2")
        )
        gateway = self.start(sections)
        listener = gateway["http"]
        for version in ("v1", "v2"):
            for _ in range(2):
                with gateway.connect("http") as wire:
                    port = wire.socket.getsockname()[1]
                    text = wire.get(f"/nginx{version}").text
                    self.assertEqual(text, f"127.0.0.1 {port} 127.0.0.1 {listener} 1")
                    self.assertEqual(wire.get(f"/haproxy{version}").text, f"127.0.0.1 127.0.0.1 {listener}")
        answer = json.loads(Ran("status", "--json", "--config", str(gateway.config)).output)
        self.assertEqual({one["state"] for upstream in answer["upstreams"] for one in upstream["servers"]}, {"up"})
        self.assertEqual({one["idle"] for upstream in answer["upstreams"] for one in upstream["servers"]}, {0})

    def test_client_certificates_and_pins(self) -> None:
        other = public_key_pin(CA.chain[0])
        good = public_key_pin(SERVICE.chain[0])
        tls = f"servers = https://127.0.0.1:{self.service.secure}\nserver_name = service.example\nca_certificate = ca.pem\n"
        tls += "proxy_protocol = v2\n"
        own = "client_certificate = gateway.pem\nclient_key = gateway.key\n"
        upstreams = {"good": f"{tls}{own}pin = {other}, {good}\n", "none": tls, "pinned": f"{tls}{own}pin = {other}\n"}
        gateway = self.start(
            "".join(
                f"[upstream {name}]\n{lines}[route {name}]\npath = /{name}\nupstream = {name}\nauth = none\n"
                for name, lines in upstreams.items()
            ),
            {"ca.pem": pem(CA.chain[0]), "gateway.pem": pem(*OWN.chain), "gateway.key": key_pem(OWN)},
        )
        status, text = self.get(gateway, "/good")
        self.assertEqual((status, text.split()[0], text.split()[-1]), (200, "127.0.0.1", "CN=gateway"))
        status, text = self.get(gateway, "/none")
        self.assertEqual((status, "No required SSL certificate" in text), (400, True))
        self.assertEqual(self.get(gateway, "/pinned")[0], 502)
        gateway.await_log("upstream pinned: cannot connect to 127.0.0.1")
        gateway.await_log(f"its public key is not one of those in pin (no pinned key: the server has {good})")

    def test_compression_and_maintenance(self) -> None:
        app = f"[upstream app]\nservers = unix:{self.service.socket}\n[route app]\npath = /\nupstream = app\nauth = none\n"
        gateway = self.start(f"{app}compression = zstd, br, gzip\n", {"page.html": "<p>back at ten"})
        with gateway.connect("http") as wire:
            for accept, coding in (("gzip", "gzip"), ("gzip, br", "br"), ("gzip, br, zstd", "zstd"), ("deflate", None)):
                response = wire.get("/text", f"Accept-Encoding: {accept}")
                self.assertEqual((response.get("content-encoding"), response.get("vary")), (coding, "Accept-Encoding"))
                body = response.body
                if coding == "gzip":
                    body = zlib.decompress(body, 31)
                elif coding == "br":
                    body = brotli.decompress(body)
                elif coding == "zstd":
                    self.assertTrue(body.startswith(b"\x28\xb5\x2f\xfd"))
                    body = TEXT.encode()
                self.assertEqual(body, TEXT.encode())
                self.assertIs(len(response.body) < 2000, coding is not None)
            self.assertIsNone(wire.get("/text", "Accept-Encoding: gzip", "Sec-Fetch-Site: cross-site").get("content-encoding"))
        closed = "maintenance = yes\nmaintenance_page = page.html\nmaintenance_retry_after = 2h\n"
        gateway.configure(site(app + closed))
        gateway.reload()
        with gateway.connect("http") as wire:
            response = wire.get("/text", "Accept: text/html")
        self.assertEqual((response.status, response.text, response.get("retry-after")), (503, "<p>back at ten", "7200"))
        gateway.configure(site(f"{app}{closed}maintenance_allow = 127.0.0.0/8\n"))
        gateway.reload()
        self.assertEqual(self.get(gateway, "/text"), (200, TEXT))

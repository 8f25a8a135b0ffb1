"""Where the gateway listens, and what is in front of it: unix sockets, the PROXY protocol, certificates, another interface.

The peers are haproxy, nginx, curl and OpenSSL's client.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest import SkipTest

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from perimeter.net.contexts import ServerIdentity
from tests.integration.harness import USERS, Gateway, GatewayCase, site
from tests.integration.netkit import identity, pem, rsa_identity
from tests.integration.ports import eventually, free_port
from tests.integration.stage import StageCase
from tests.integration.upstreams import Process
from tests.integration.wire import TIMEOUT, Wire, insecure_context

ECDSA, RSA, OTHER = identity("a.example.com"), rsa_identity("a.example.com", "*.example.com"), identity("other.example.org")


def key(one: ServerIdentity) -> bytes:
    return one.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


CERTIFICATES = {
    f"{name}.{ending}": content
    for name, one in (("ecdsa", ECDSA), ("rsa", RSA), ("other", OTHER))
    for ending, content in (("crt", pem(*one.chain)), ("key", key(one)))
}

ROUTES = """
[upstream service]
servers = <service>

[route near]
path = /near
upstream = service
networks = 192.0.2.0/24
auth = none

[route all]
path = /
upstream = service
auth = none
"""

LISTENERS = """
[listener socket]
interface = unix:<directory>/gateway.sock
mode = 0606

[listener balanced]
port = @balanced@
interface = 127.0.0.1
proxy_protocol = 127.0.0.1

[listener stranger]
port = @stranger@
interface = 127.0.0.1
proxy_protocol = 192.0.2.0/24

[listener relayed]
interface = unix:<directory>/relayed.sock
proxy_protocol = unix:

[listener https]
port = @https@
interface = 127.0.0.1
tls = yes
proxy_protocol = 127.0.0.0/8
certificate = ecdsa.crt
    rsa.crt
    other.crt
private_key = ecdsa.key
    rsa.key
    other.key
unknown_name = refuse
"""

V1 = b"PROXY TCP4 192.0.2.7 127.0.0.1 40000 443\r\n"


class ListeningCase(StageCase):
    CONFIG = site(ROUTES, extra=LISTENERS, perimeter="trusted_proxies = unix:, 198.51.100.0/24")
    FILES = {**USERS, **CERTIFICATES}

    def setUp(self) -> None:
        super().setUp()
        self.socket = self.served.directory / "gateway.sock"

    def curl(self, *arguments: str) -> str:
        self.need("curl")
        command = ["curl", "-sS", "--max-time", "10", "-o", "/dev/null", "-w", "%{http_code}", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT + 5, check=False).stdout

    def status(self) -> str:
        command = (sys.executable, "-c", "from perimeter.cli.main import main; main()", "status", "-c", str(self.served.config))
        return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False).stdout

    def client(self) -> str:
        """The address of the client of the last request, in the audit log and for the service."""
        address = self.served.audit()[-1].split(" ")[0]
        return f"{address} {self.service.requests[-1].get('x-forwarded-for')}"

    def connect_to(self, name: str) -> Wire:
        wire = Wire(self.served[name])
        self.addCleanup(wire.close)
        return wire


class UnixSocketTests(ListeningCase):
    def test_permissions_of_the_socket(self) -> None:
        self.assertEqual(stat.S_IMODE(os.stat(self.socket).st_mode), 0o606)

    def test_its_clients_have_one_address(self) -> None:
        self.assertEqual(self.curl("--unix-socket", str(self.socket), "http://gw/x"), "200")
        self.assertEqual(self.client(), "unix: unix:")

    def test_it_is_in_no_network(self) -> None:
        self.assertEqual(self.curl("--unix-socket", str(self.socket), "http://gw/near"), "403")

    def test_a_trusted_proxy_on_it(self) -> None:
        near = ("-H", "X-Forwarded-For: 192.0.2.9", "http://gw/near")
        self.assertEqual(self.curl("--unix-socket", str(self.socket), *near), "200")
        self.assertEqual(self.client(), "192.0.2.9 192.0.2.9, unix:")

    def test_built_in_endpoints_and_wrong_passwords(self) -> None:
        for user, status in (("alice:secret", "200"), ("alice:wrong", "401"), ("alice:secret", "200")):
            self.assertEqual(self.curl("--unix-socket", str(self.socket), "-u", user, "http://gw/token"), status)
        self.assertTrue(self.served.audit()[-1].startswith("unix: "))

    def test_nginx_connects(self) -> None:
        nginx = self.nginx({}, f"location / {{ proxy_pass http://unix:{self.socket}:/; }}")
        self.assertEqual(self.curl(nginx.url), "200")
        self.assertEqual(self.client(), "unix: unix:")

    def test_the_status_has_the_path(self) -> None:
        self.assertIn(f"socket    {self.socket}", self.status())


class ProxyProtocolTests(ListeningCase):
    def test_curl(self) -> None:
        url = f"http://127.0.0.1:{self.served['balanced']}/x"
        self.assertEqual(self.curl("--haproxy-protocol", url), "200")
        self.assertEqual(self.client(), "127.0.0.1 127.0.0.1")

    def test_the_address_counts_for_rules(self) -> None:
        for header, status in ((V1, 200), (b"PROXY TCP4 192.0.3.7 127.0.0.1 40000 443\r\n", 403)):
            self.assertEqual(self.connect_to("balanced").send(header).get("/near").status, status)

    def test_haproxy_sends_both_versions_to_all_kinds_of_listeners(self) -> None:
        self.need("haproxy")
        proxies = []
        for listener in (f"127.0.0.1:{self.served['balanced']}", f"unix@{self.served.directory}/relayed.sock"):
            for version in (
                "send-proxy",
                "send-proxy-v2",
                "send-proxy-v2 proxy-v2-options unique-id,crc32c check check-send-proxy",
            ):
                proxies.append((free_port(), listener, version))
        secure = free_port(), f"127.0.0.1:{self.served['https']}", "send-proxy-v2"
        config = self.directory() / "haproxy.cfg"
        config.write_text(
            "defaults\n mode tcp\n timeout client 9s\n timeout server 9s\n timeout connect 9s\n"
            + "".join(
                f"listen l{port}\n bind 127.0.0.2:{port}\n server s {place} {version}\n"
                for port, place, version in (*proxies, secure)
            )
        )
        haproxy = Haproxy(config)
        self.addCleanup(haproxy.close)
        for port, place, version in proxies:
            haproxy.await_listening("127.0.0.2", port)
            with Wire(port, host="127.0.0.2") as wire:
                self.assertEqual(wire.get("/x").status, 200, (place, version))
            self.assertEqual(self.client(), "127.0.0.1 127.0.0.1")
        with Wire(secure[0], host="127.0.0.2", tls=True, server_name="a.example.com") as wire:
            self.assertEqual(wire.get("/x").status, 200)

    def test_nginx_sends_it(self) -> None:
        self.need("nginx")
        module = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
        if not module.exists():
            raise SkipTest("the module of nginx is not installed: scripts/install-test-peers installs it")
        port, directory = free_port(), self.directory()
        (directory / "nginx.conf").write_text(
            f"load_module {module}; daemon off; pid {directory}/nginx.pid; error_log stderr; events {{}}\n"
            f"stream {{ server {{ listen 127.0.0.1:{port}; proxy_protocol on; "
            f"proxy_pass 127.0.0.1:{self.served['balanced']}; }} }}"
        )
        nginx = Process(["nginx", "-p", str(directory), "-c", str(directory / "nginx.conf"), "-e", "stderr"], directory / "log")
        nginx.port = port
        self.addCleanup(nginx.close)
        nginx._await_port()
        with Wire(port) as wire:
            self.assertEqual(wire.get("/x").status, 200)
        self.assertEqual(self.client(), "127.0.0.1 127.0.0.1")

    def test_tls_follows_in_the_same_segment(self) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = insecure_context().wrap_bio(incoming, outgoing, server_hostname="a.example.com")
        wire = self.connect_to("https")
        begin = V1
        while True:
            try:
                client.do_handshake()
                break
            except ssl.SSLWantReadError:
                wire.send(begin + outgoing.read())
                begin = b""
                incoming.write(wire.socket.recv(65536))
        client.write(b"GET /near HTTP/1.1\r\nHost: a.example.com\r\nConnection: close\r\n\r\n")
        wire.send(outgoing.read())
        incoming.write(received(wire.socket))
        self.assertTrue(client.read(100).startswith(b"HTTP/1.1 200"))

    def test_a_header_in_single_bytes(self) -> None:
        wire = self.connect_to("balanced")
        wire.dribble(V1)
        self.assertEqual(wire.get("/near").status, 200)

    def test_attack_115_without_a_header_nothing_is_answered(self) -> None:
        for begin in (
            b"GET /near HTTP/1.1\r\nHost: a\r\n\r\n",
            b"\x16\x03\x01\x00\x05hello",
            b"PROXY NONSENSE\r\nGET / HTTP/1.1\r\n\r\n",
        ):
            self.assertEqual(received(self.connect_to("balanced").send(begin).socket), b"")

    def test_attack_115_from_another_address_nothing_is_read(self) -> None:
        wire = self.connect_to("stranger")
        with self.assertRaises(OSError):
            # a reset, or the end
            wire.send(V1 + b"GET /near HTTP/1.1\r\nHost: a\r\n\r\n")
            if not wire.socket.recv(1):
                raise ConnectionResetError
        self.served.await_log("its address is not in proxy_protocol")

    def test_attack_115_a_second_header_is_no_header(self) -> None:
        wire = self.connect_to("balanced").send(
            b"PROXY TCP4 203.0.113.1 127.0.0.1 1 2\r\n" + V1 + b"GET /near HTTP/1.1\r\nHost: a\r\n\r\n"
        )
        self.assertTrue(received(wire.socket).startswith(b"HTTP/1.1 400"))

    def test_attack_115_a_header_on_another_listener_is_refused(self) -> None:
        wire = self.connect_to("http").send(V1 + b"GET /near HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertTrue(received(wire.socket).startswith(b"HTTP/1.1 400"))

    def test_attack_115_headers_of_the_client_do_not_count(self) -> None:
        wire = self.connect_to("balanced").send(b"PROXY TCP4 203.0.113.1 127.0.0.1 1 2\r\n")
        self.assertEqual(wire.get("/near", "X-Forwarded-For: 192.0.2.7").status, 403)


class CertificateTests(ListeningCase):
    def served_to(
        self, name: str | None, *, rsa: bool = False, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
    ) -> ServerIdentity:
        context = insecure_context()
        context.minimum_version = context.maximum_version = version
        if rsa:
            context.set_ciphers("ECDHE-RSA-AES128-GCM-SHA256")
        wire = self.connect_to("https").send(V1)
        with context.wrap_socket(wire.socket, server_hostname=name) as secured:
            der = secured.getpeercert(binary_form=True)
        return next(one for one in (ECDSA, RSA, OTHER) if one.chain[0].public_bytes(Encoding.DER) == der)

    def test_names(self) -> None:
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            for name, expected in (("a.example.com", ECDSA), ("b.example.com", RSA), ("other.example.org", OTHER)):
                self.assertIs(self.served_to(name, version=version), expected, (name, version))

    def test_a_client_that_accepts_rsa_only(self) -> None:
        self.assertIs(self.served_to("a.example.com", rsa=True, version=ssl.TLSVersion.TLSv1_2), RSA)
        found = self.openssl("-sigalgs", "rsa_pss_rsae_sha256", "-tls1_3")
        self.assertIn("Peer signature type: RSA-PSS", found)
        self.assertIn("Peer signature type: ECDSA", self.openssl("-tls1_3"))

    def openssl(self, *options: str) -> str:
        """What `openssl s_client` says about a handshake, behind a relay that adds the header."""
        self.need("openssl", "haproxy")
        port = free_port()
        config = self.directory() / "haproxy.cfg"
        config.write_text(
            "defaults\n mode tcp\n timeout client 9s\n timeout server 9s\n timeout connect 9s\n"
            f"listen l\n bind 127.0.0.1:{port}\n server s 127.0.0.1:{self.served['https']} send-proxy\n"
        )
        haproxy = Haproxy(config)
        self.addCleanup(haproxy.close)
        haproxy.await_listening("127.0.0.1", port)
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", "a.example.com", *options]
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT).stdout

    def test_unknown_names_are_refused(self) -> None:
        for name in ("unknown.org", None):
            self.assertRaises(ssl.SSLError, self.served_to, name)
        self.served.await_log("it asks for no server name that a certificate has")

    def test_the_status_has_all_of_them(self) -> None:
        done = self.status()
        for name in ("ecdsa.crt", "rsa.crt", "other.crt"):
            self.assertIn(name, done)


class Haproxy(Process):
    """haproxy with a configuration file."""

    def __init__(self, config: Path) -> None:
        super().__init__(["haproxy", "-db", "-f", str(config)], config.with_name("haproxy.log"))

    def await_listening(self, host: str, port: int) -> None:
        """Wait until it accepts connections."""

        def up() -> bool:
            try:
                socket.create_connection((host, port), timeout=1).close()
            except OSError:
                assert self._process.poll() is None, self._log.read_text(errors="replace")
                return False
            return True

        eventually(up, "haproxy listens")


def received(sock: socket.socket) -> bytes:
    """All bytes up to the end of the connection."""
    found = b""
    try:
        while data := sock.recv(65536):
            found += data
    except ConnectionResetError:
        return found
    return found


class ReloadTests(GatewayCase):
    def test_attack_115_addresses_that_no_longer_count(self) -> None:
        text = site(ROUTES.replace("<service>", self.upstream().url), perimeter="maintenance = no")
        text = text.replace("interface = 127.0.0.1", "interface = 127.0.0.1\nproxy_protocol = 127.0.0.1")
        gateway = self.gateway(text, USERS)
        named, half = self.connect(gateway, "http"), self.connect(gateway, "http")
        self.assertEqual(named.send(V1).get("/near").status, 200)
        half.send(V1[:20])
        gateway.configure(text.replace("maintenance = no", ""))
        gateway.reload()
        self.assertEqual(named.get("/near").status, 200)
        gateway.configure(text.replace("proxy_protocol = 127.0.0.1", "proxy_protocol = 127.0.0.2"))
        gateway.reload()
        for wire in (named, half):
            self.assertEqual(received(wire.socket), b"")
        gateway.configure(text.replace("proxy_protocol = 127.0.0.1", ""))
        gateway.reload()
        self.assertEqual(self.connect(gateway, "http").get("/x").status, 200)


class WorkersTests(GatewayCase):
    def test_workers_share_a_unix_socket_and_an_upgrade_keeps_it(self) -> None:
        directory = Path(tempfile.mkdtemp(prefix="perimeter-test-"))
        self.addCleanup(shutil.rmtree, directory)
        path = directory / "gateway.sock"
        text = site(ROUTES.replace("<service>", self.upstream().url), perimeter="workers = 2")
        text = text.replace("port = @http@\ninterface = 127.0.0.1", f"interface = unix:{path}\nmode = 0600")
        gateway = self.gateway(text, USERS)
        inode = path.stat().st_ino
        self.assertEqual(self.mode(path), 0o600)
        gateway.configure(text.replace("mode = 0600", "mode = 0666"))
        gateway.reload()
        self.assertEqual(self.mode(path), 0o666)
        lasting = self.answered(path)
        gateway.signal(signal.SIGUSR2)
        gateway.await_notification("RELOADING=1")
        gateway.await_notification("READY=1", 60)
        self.answered(path).close()
        lasting.close()
        self.assertEqual((self.mode(path), path.stat().st_ino), (0o666, inode))
        other = directory / "other.sock"
        gateway.configure(text.replace(str(path), str(other)))
        gateway.reload()
        self.answered(other).close()
        self.assertRaises(ConnectionRefusedError, self.answered, path)

    def mode(self, path: Path) -> int:
        return stat.S_IMODE(path.stat().st_mode)

    def answered(self, path: Path) -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        self.addCleanup(client.close)
        client.settimeout(TIMEOUT)
        client.connect(str(path))
        client.sendall(b"GET /x HTTP/1.1\r\nHost: gw\r\n\r\n")
        self.assertTrue(client.recv(1000).startswith(b"HTTP/1.1 200"))
        return client


class InterfaceTests(GatewayCase):
    def test_another_interface_at_a_reload(self) -> None:
        routes = ROUTES.replace("<service>", self.upstream().url)
        for workers in (1, 2):
            with self.subTest(workers=workers):
                narrow = site(routes, perimeter=f"workers = {workers}")
                gateway = self.gateway(narrow, USERS)
                self.check_reach(gateway, wide=False)
                for interface, wide in (("", True), ("127.0.0.1", False), ("0.0.0.0", True)):
                    gateway.configure(narrow.replace("interface = 127.0.0.1", f"interface = {interface}"))
                    self.assertIn("listening: http", gateway.reload())
                    self.check_reach(gateway, wide=wide)

    def check_reach(self, gateway: Gateway, *, wide: bool) -> None:
        with Wire(gateway["http"]) as wire:
            self.assertEqual(wire.get("/x").status, 200)
        if wide:
            with Wire(gateway["http"], host="127.0.0.2") as wire:
                self.assertEqual(wire.get("/x").status, 200)
        else:
            self.assertRaises(ConnectionRefusedError, Wire, gateway["http"], host="127.0.0.2")

"""`perimeter doctor` with real things: a service on all addresses, a directory that ends, certificates, modes, a gateway."""

from __future__ import annotations

import contextlib
import http.server
import json
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from perimeter.config.site.server import ServerScheme, ServerSettings
from perimeter.config.site.upstream import UpstreamSettings
from perimeter.doctor.around import SECONDS, Service, answer_without_credentials
from tests.integration.directories import SEARCHER, SEARCHER_PASSWORD, Slapd
from tests.integration.harness import SOURCE, GatewayCase, site
from tests.integration.ldapkit import PEOPLE
from tests.integration.netkit import identity, pem
from tests.integration.ports import free_port
from tests.integration.test_upstreams import DnsServer
from tests.integration.upstreams import Connection

USERS = {"users.realm": "alice: horse-battery-staple\n"}
ROUTE = "[upstream app]\nservers = {url}\n[route app]\npath = /\nupstream = app\n"


def doctor(
    config: Path, *arguments: str, before: Callable[[], None] | None = None, environ: dict[str, str] | None = None
) -> tuple[int, str]:
    """The exit status and the output of the command, in a process of its own."""
    command = (sys.executable, "-c", "from perimeter.cli.main import main; main()", "doctor", "--config", str(config), *arguments)
    environ = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(SOURCE), **(environ or {})}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False, preexec_fn=before)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout + done.stderr


class Web:
    """A service in a thread; ``status`` answers each request, and ``seen`` are the heads."""

    def __init__(self, address: str, status: int = 200) -> None:
        seen: list[dict[str, str]] = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                seen.append({"path": self.path, **{name.lower(): value for name, value in self.headers.items()}})
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.seen = seen
        self._server = http.server.ThreadingHTTPServer((address, 0), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class DoctorCase(GatewayCase):
    def findings(self, config: Path, **options: Any) -> dict[str, dict[str, str]]:
        """The findings by their names, of which each has one at most here."""
        self.status, output = doctor(config, "--json", **options)
        answer = json.loads(output)
        return {one["name"]: one for one in answer["findings"]}

    def configured(self, text: str, **files: str | bytes) -> Path:
        gateway = self.unstarted(text, {**USERS, **files})
        (gateway.directory / "users.realm").chmod(0o600)
        return gateway.config


class AroundTests(DoctorCase):
    def web(self, address: str, status: int = 200) -> Web:
        web = Web(address, status)
        self.addCleanup(web.close)
        return web

    def test_a_service_on_all_addresses(self) -> None:
        web = self.web("0.0.0.0")
        found = self.findings(self.configured(site(ROUTE.format(url=f"http://127.0.0.1:{web.port}"))))
        finding = found["service-open"]
        self.assertEqual((finding["grade"], finding["subject"], self.status), ("open", "[upstream app]", 1))
        self.assertIn(f"listens on 0.0.0.0:{web.port}", finding["message"])
        self.assertIn("answers requests without credentials (status 200)", finding["message"])
        self.assertIn("127.0.0.1", finding["remedy"])
        # one request, without anything that could let it in
        (head,) = web.seen
        self.assertEqual(head["path"], "/")
        self.assertFalse({"authorization", "cookie"} & set(head))
        self.assertFalse([name for name in head if name.startswith("x-")])

    def test_a_service_that_asks_for_credentials_itself(self) -> None:
        web = self.web("0.0.0.0", 401)
        found = self.findings(self.configured(site(ROUTE.format(url=f"http://127.0.0.1:{web.port}"))))
        self.assertNotIn("service-open", found)
        self.assertEqual(found["service-listens"]["grade"], "soon")
        self.assertIn("credentials of its own (status 401)", found["service-listens"]["message"])

    def test_a_service_on_the_loopback_address(self) -> None:
        web = self.web("127.0.0.1")
        found = self.findings(self.configured(site(ROUTE.format(url=f"http://localhost:{web.port}"))))
        self.assertFalse({"service-open", "service-listens", "service-answers-all"} & set(found))
        self.assertEqual(web.seen, [])

    def test_a_service_that_is_public_by_its_route(self) -> None:
        web = self.web("0.0.0.0")
        found = self.findings(self.configured(site(ROUTE.format(url=f"http://127.0.0.1:{web.port}") + "auth = none\n")))
        self.assertNotIn("service-open", found)
        self.assertEqual(web.seen, [])

    def test_a_service_that_answers_byte_by_byte_is_found_all_the_same(self) -> None:
        def drip(exchange: Connection) -> None:
            exchange.request()
            with contextlib.suppress(OSError):
                for byte in b"HTTP/1.1 200 OK\r\nX: " + b"x" * 600:
                    exchange.send(bytes((byte,)))
                    time.sleep(0.1)

        upstream = self.upstream(drip)
        service = Service(
            UpstreamSettings("app", (ServerSettings(ServerScheme.HTTP, "127.0.0.1", upstream.port),)),
            ServerSettings(ServerScheme.HTTP, "127.0.0.1", upstream.port),
            "/",
        )
        began = time.monotonic()
        self.assertIn(answer_without_credentials(service), (0, 200))  # the status line may have been complete
        self.assertLess(time.monotonic() - began, SECONDS + 2)

    def test_a_service_that_never_answers_does_not_hold_up_the_others(self) -> None:
        silent = socket.create_server(("0.0.0.0", 0))
        self.addCleanup(silent.close)
        found = self.findings(self.configured(site(ROUTE.format(url=f"http://127.0.0.1:{silent.getsockname()[1]}"))))
        self.assertEqual(found["service-open"]["grade"], "open")


class ServiceTests(DoctorCase):
    def test_a_directory_that_runs_and_one_that_has_ended(self) -> None:
        self.need("slapd", "ldapmodify")
        slapd = Slapd(self.directory())
        self.addCleanup(slapd.kill)
        ldap = (
            f"[authenticator corp]\ntype = ldap\nhostname = localhost:{slapd.port}\nuser_base_dn = {PEOPLE}\n"
            f"bind_dn = {SEARCHER}\nbind_password = env:PASSWORD\nserver_timeout = 2s\n"
        )
        upstream = self.upstream()
        config = self.configured(site(ROUTE.format(url=upstream.url), extra=ldap))
        environ = {"PASSWORD": SEARCHER_PASSWORD}
        found = self.findings(config, environ=environ)
        self.assertFalse({"authenticator-down", "upstream-down", "look-failed"} & set(found), found)
        slapd.kill()
        upstream.close()
        found = self.findings(config, environ=environ)
        self.assertEqual(found["authenticator-down"]["subject"], "[authenticator corp]")
        self.assertIn("connection refused", found["authenticator-down"]["message"])
        self.assertEqual(found["upstream-down"]["subject"], "[upstream app]")
        self.assertEqual(self.status, 1)

    def test_names_that_nobody_knows(self) -> None:
        found = self.findings(self.configured(site(ROUTE.format(url="http://service.invalid:80"))))
        self.assertEqual(found["name-unknown"]["grade"], "fails")
        self.assertIn("service.invalid", found["name-unknown"]["message"])

    def test_names_that_the_gateway_looks_up_by_itself(self) -> None:
        names = DnsServer(self.directory())
        self.addCleanup(names.close)
        web = Web("127.0.0.1")
        self.addCleanup(web.close)
        route = ROUTE.format(url=f"http://app.internal:{web.port}")
        config = self.configured(site(route.replace("[route", f"resolve = dns\nnameservers = 127.0.0.1:{names.port}\n[route", 1)))
        found = self.findings(config)
        self.assertIn("app.internal cannot be looked up at the DNS servers", found["name-unknown"]["message"])
        names.say("app.internal", "127.0.0.1", "127.0.0.9")
        found = self.findings(config)
        self.assertNotIn("name-unknown", found)
        self.assertEqual(found["upstream-down"]["grade"], "soon")  # one of the two
        self.assertIn("127.0.0.9", found["upstream-down"]["message"])
        names.say("app.internal", "127.0.0.1")
        self.assertFalse({"name-unknown", "upstream-down", "service-open"} & set(self.findings(config)))
        exposed = Web("0.0.0.0")
        self.addCleanup(exposed.close)
        config.write_text(config.read_text().replace(f"internal:{web.port}", f"internal:{exposed.port}"))
        self.assertIn("service-open", self.findings(config))
        self.assertEqual([head["host"] for head in exposed.seen], [f"app.internal:{exposed.port}"])


class CertificateTests(DoctorCase):
    def served(self, days: float, *names: str, start: datetime | None = None) -> Path:
        made = identity(*names, days=days, start=start)
        key = made.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        text = site("[route app]\npath = /\nstatic = html\nhost = gw.example\n", tls=True)
        text = text.replace("tls = yes\n", "tls = yes\ncertificate = gw.crt\nprivate_key = gw.key\n")
        config = self.configured(text, **{"gw.crt": pem(*made.chain), "gw.key": key, "html/index.html": "x"})
        (config.parent / "gw.key").chmod(0o600)
        return config

    def test_a_certificate_that_expires_soon(self) -> None:
        found = self.findings(self.served(3.5, "gw.example"))
        finding = found["certificate-expires"]
        self.assertEqual((finding["grade"], finding["subject"]), ("soon", "[listener https]"))
        self.assertRegex(finding["message"], r"gw\.crt: .* expires on [0-9-]+, in 3 days$")
        self.assertNotIn("certificate-name", found)
        self.assertEqual(self.status, 3)

    def test_a_certificate_that_has_expired(self) -> None:
        start = datetime.now(UTC) - timedelta(days=9)
        found = self.findings(self.served(3, "gw.example", start=start))
        # a start refuses it, and so does check
        self.assertEqual(found["configuration-fault"]["grade"], "down")
        self.assertIn("expired on", found["configuration-fault"]["message"])
        self.assertEqual(self.status, 1)

    def test_a_certificate_for_other_names(self) -> None:
        found = self.findings(self.served(300, "other.example"))
        self.assertIn("gw.example", found["certificate-name"]["message"])
        self.assertNotIn("certificate-name", self.findings(self.served(300, "*.example")))


class MachineTests(DoctorCase):
    def test_modes(self) -> None:
        config = self.configured(site("[route a]\npath = /\nstatic = html\nauth = none\n"), **{"html/x": "x"})
        directory = config.parent
        (directory / "users.realm").chmod(0o666)
        (directory / "state").mkdir(0o700)
        (directory / "state" / "keyring.json").write_text("{}")
        (directory / "state" / "keyring.json").chmod(0o640)
        directory.chmod(0o777)
        self.addCleanup(directory.chmod, 0o755)
        self.status, output = doctor(config, "--json")
        found = [(one["name"], one["grade"], one["subject"]) for one in json.loads(output)["findings"]]
        for expected in (
            ("directory-writable", "open", str(directory)),
            ("file-readable", "open", str(directory / "state" / "keyring.json")),
            ("file-readable", "soon", str(directory / "users.realm")),
            ("file-writable", "open", str(directory / "users.realm")),
        ):
            self.assertIn(expected, found)
        self.assertEqual(self.status, 1)

    def test_few_descriptors(self) -> None:
        config = self.configured(site("[route a]\npath = /\nstatic = html\nauth = none\n"), **{"html/x": "x"})
        few = self.findings(config, before=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256)))
        self.assertIn("at most 128 can be connected", few["descriptors-few"]["message"])

    def test_the_limit_of_the_gateway_that_runs_counts(self) -> None:
        gateway = self.gateway(site("[route a]\npath = /\nstatic = html\nauth = none\n"), {**USERS, "html/x": "x"})
        resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE, (512, 512))
        found = self.findings(gateway.config)
        self.assertIn("the running gateway may have 512", found["descriptors-few"]["message"])
        self.assertNotIn("not-running", found)

    def test_secrets_in_the_environment_of_the_running_gateway(self) -> None:
        upstream = self.upstream()
        text = site(ROUTE.format(url=upstream.url) + "authorization = bearer env:DOCTOR_SECRET\n")
        gateway = self.gateway(text, USERS, {"DOCTOR_SECRET": "horse-battery-staple"})
        found = self.findings(gateway.config)
        self.assertNotIn("configuration-fault", found)
        self.assertNotIn("secret-weak", found)
        gateway.stop()
        found = self.findings(gateway.config)
        self.assertIn("environment variable DOCTOR_SECRET is not set", found["configuration-fault"]["message"])
        self.assertIn("as the gateway's service does", found["configuration-fault"]["remedy"])

    def test_a_gateway_with_several_workers(self) -> None:
        text = site("[route a]\npath = /\nstatic = html\nauth = none\n", perimeter="workers = 2")
        gateway = self.gateway(text, {**USERS, "html/x": "x"})
        (gateway.directory / "users.realm").chmod(0o600)
        found = self.findings(gateway.config)
        self.assertFalse({"not-running", "running-problem", "running-version", "look-failed", "look-late"} & set(found), found)

    def test_what_only_the_running_gateway_knows(self) -> None:
        gateway = self.gateway(site("[route a]\npath = /\nstatic = html\nauth = none\n"), {**USERS, "html/x": "x"})
        good = gateway.config.read_text()
        gateway.config.write_text(good + "[route b]\npath = relative\n")
        gateway.reload()
        gateway.config.write_text(good)
        found = self.findings(gateway.config)
        self.assertIn("the last reload was refused", found["running-problem"]["message"])
        self.assertEqual(found["running-problem"]["grade"], "soon")

    def test_guessable_secrets(self) -> None:
        text = site(ROUTE.format(url=f"http://127.0.0.1:{free_port()}") + "authorization = basic gateway s3cret\n")
        config = self.configured(text)
        (config.parent / "users.realm").write_text("alice: alice\nbob: horse-battery-staple\n")
        config.chmod(0o600)
        status, output = doctor(config)
        self.assertIn("open: secret-weak: [route app]: authorization is a secret that can be guessed", output)
        self.assertIn("the password of alice is the name", output)
        self.assertNotIn("s3cret", output)
        self.assertEqual(status, 1)


class CommandTests(DoctorCase):
    @contextlib.contextmanager
    def unchanged(self, directory: Path) -> Iterator[None]:
        """The same names, sizes and times before and after."""

        def looked_at() -> dict[str, tuple[int, int]]:
            return {str(path): (path.lstat().st_mtime_ns, path.lstat().st_size) for path in [directory, *directory.rglob("*")]}

        before = looked_at()
        yield
        self.assertEqual(looked_at(), before)

    def test_nothing_is_changed_and_nothing_is_made(self) -> None:
        config = self.configured(site("[route a]\npath = /\nstatic = html\nauth = none\n", tls=True), **{"html/x": "x"})
        with self.unchanged(config.parent):
            doctor(config)

    def test_a_file_with_faults(self) -> None:
        config = self.configured(site("[route a]\npath = relative\nstatic = html\n\n[nonsense]\n"))
        status, output = doctor(config)
        self.assertEqual(status, 1)
        self.assertEqual(output.count("down: configuration-fault: "), 3, output)
        self.assertRegex(output, r"\n2 looks, [34] findings\n$")

    def test_findings_may_be_ignored(self) -> None:
        config = self.configured(site(ROUTE.format(url="http://service.invalid:80")))
        status, output = doctor(config, "--ignore", "upstream-down", "--ignore", "name-unknown", "--ignore", "descriptors-few")
        self.assertNotIn("upstream-down", output)
        self.assertIn(" ignored\n", output)
        self.assertIn(status, (0, 3))
        status, output = doctor(config, "--ignore", "typo")
        self.assertIn("there is no finding 'typo'", output)

    def test_attack_95_names_in_files_do_not_control_the_terminal(self) -> None:
        config = self.configured(site("[route a]\npath = /\nstatic = html\nauth = none\n"), **{"html/x": "x"})
        made = identity("gw.example", common="\x1b]0;owned\x07\x1b[2J", days=3)
        key = made.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (config.parent / "gw.crt").write_bytes(pem(*made.chain))
        (config.parent / "gw.key").write_bytes(key)
        text = config.read_text().replace("interface", "tls = yes\ncertificate = gw.crt\nprivate_key = gw.key\ninterface", 1)
        config.write_text(text)
        _, output = doctor(config)
        self.assertIn("certificate-expires", output)
        self.assertNotIn("\x1b", output)
        self.assertNotIn("\x07", output)

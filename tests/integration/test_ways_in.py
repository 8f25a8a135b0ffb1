"""More ways to authenticate, against a running gateway: login modules, PAM, client certificates, trusted headers, a plug-in."""

from __future__ import annotations

import contextlib
import hmac
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from unittest import SkipTest
from urllib.parse import parse_qsl, urlencode

import psutil

from tests.integration.directories import SEARCHER, SEARCHER_PASSWORD, Slapd, group, person
from tests.integration.harness import SOURCE, USERS, Gateway, GatewayCase, site
from tests.integration.ldapkit import GROUPS, PEOPLE
from tests.integration.ports import eventually
from tests.integration.wire import Response, Wire, basic, bearer, insecure_context

SAMPLE = """\
[upstream sample]
servers = sample:

[route open]
path = /open
upstream = sample
auth = none

[route optional]
path = /optional
upstream = sample
auth = optional

[route all]
path = /
upstream = sample
"""

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "perimeter-example-authenticator"


def told(response: Response) -> dict[str, str]:
    """The headers that the sample service received, by their names in lower case."""
    fields = json.loads(response.body)["headers"]
    pairs = fields.items() if isinstance(fields, Mapping) else fields
    return {name.lower(): value for name, value in pairs}


class WaysCase(GatewayCase):
    def who(self, gateway: Gateway, *headers: str, name: str = "http", tls: ssl.SSLContext | None = None) -> tuple[int, str, str]:
        """Status, and the user and roles that the service gets."""
        with gateway.connect(name, tls=tls or name == "https") as wire:
            response = wire.get("/", *headers)
        if response.status != 200:
            return response.status, "", ""
        fields = told(response)
        return 200, fields["x-auth-username"], fields.get("x-auth-roles", "")

    def program(self, text: str) -> Path:
        path = self.directory() / "program"
        path.write_text(text)
        path.chmod(0o755)
        return path


class LoginModuleTests(WaysCase):
    def stack(self, modules: str, **options: object) -> str:
        lines = "".join(f"option.{name} = {value}\n" for name, value in options.items())
        return f"[authenticator stack]\ntype = login-modules\ntimeout = 60s\nmodules = {modules}\n{lines}"

    def test_a_program_is_asked(self) -> None:
        program = self.program(
            f"#!{sys.executable}\nimport json, sys\nasked = json.load(sys.stdin)\n"
            "good = asked['password'] == 'open-sesame'\n"
            "print(json.dumps({'result': 'accept', 'roles': ['thief']} if good else {'result': 'reject'}))\n"
        )
        gateway = self.gateway(site(SAMPLE, extra=self.stack("command required", command=program)), USERS)
        self.assertEqual(self.who(gateway, basic("baba", "open-sesame")), (200, "baba", "thief"))
        self.assertEqual(self.who(gateway, basic("baba", "open-barley")), (401, "", ""))
        self.assertEqual(self.who(gateway, basic("alice", "secret")), (200, "alice", "admin,ops"), "the realm file comes first")

    def test_a_directory_in_a_stack(self) -> None:
        self.need("slapd", "ldapmodify")
        server = Slapd(self.directory(), [person("john", "open-sesame"), group("ops", "john")])
        self.addCleanup(server.kill)
        more = self.directory() / "more.realm"
        more.write_text("john: local-password,fallback\n")
        stack = self.stack(
            "realmfile sufficient, ldap required",
            path=more,
            hostname="127.0.0.1",
            port=server.port,
            user_base_dn=PEOPLE,
            role_base_dn=GROUPS,
            bind_dn=SEARCHER,
            bind_password=SEARCHER_PASSWORD,
        )
        gateway = self.gateway(site(SAMPLE, extra=stack), USERS)
        self.assertEqual(self.who(gateway, basic("john", "open-sesame")), (200, "john", "ops"))
        self.assertEqual(self.who(gateway, basic("john", "local-password")), (200, "john", "fallback"))
        self.assertEqual(self.who(gateway, basic("john", "wrong"))[0], 401)
        server.kill()
        self.assertEqual(self.who(gateway, basic("john", "other-password"))[0], 503)
        self.assertEqual(self.who(gateway, basic("john", "local-password"))[0], 200)

    def test_a_program_does_not_outlive_the_gateway(self) -> None:
        marker = self.directory() / "pid"
        program = self.program(f"#!/bin/sh\nread question\necho $$ >{marker}\nsleep 1000\n")
        gateway = self.gateway(site(SAMPLE, extra=self.stack("command required", command=program, deadline="60s")), USERS)
        with gateway.connect("http") as wire:
            wire.send(f"GET / HTTP/1.1\r\nHost: gateway.test\r\n{basic('baba', 'x')}\r\n\r\n".encode())
            eventually(lambda: marker.exists() and marker.read_text().strip(), "the program")
        pid = int(marker.read_text())
        gateway.stop()
        eventually(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE, "its end")

    def test_200_logins_that_block_hold_up_no_other_login(self) -> None:
        """Logins wait for a program that waits for the test, so the order proves that no other request waited for the logins."""
        directory = self.directory()
        go = directory / "go"
        program = self.program(
            f'#!/bin/sh\nread question\nuntil [ -e {go} ]; do sleep 0.2; done\necho \'{{"result": "accept"}}\'\n'
        )
        gateway = self.gateway(site(SAMPLE, extra=self.stack("command required", command=program, deadline="60s")), USERS)
        with ExitStack() as open_until_the_end:
            steady = open_until_the_end.enter_context(gateway.connect("http"))
            self.assertEqual(steady.get("/", basic("alice", "secret")).status, 200)
            before = self.times(steady)
            waiting = []
            for number in range(200):
                wire = open_until_the_end.enter_context(Wire(gateway["http"], timeout=60))
                fields = f"Host: gateway.test\r\nX-Auth-Realm: stack\r\n{basic(f'user{number}', 'x')}\r\n\r\n"
                waiting.append(wire.send(f"GET / HTTP/1.1\r\n{fields}".encode()))
            eventually(lambda: self.children(gateway) >= 64, "64 programs that wait")
            during = self.times(steady)
            self.assertEqual(self.who(gateway, basic("bob", "hunter2"))[0], 200, "the realm file is asked in a line of its own")
            for wire in waiting:
                wire.socket.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    self.fail(f"a login was answered before its module was: {wire.socket.recv(1000)!r}")
                wire.socket.settimeout(60)
            go.touch()
            statuses = [wire.response().status for wire in waiting]
        self.assertEqual(statuses, [200] * 200, (before, during))
        eventually(lambda: self.children(gateway) == 0, "no program left")

    def times(self, wire: Wire) -> list[float]:
        """The slowest of 100 proxied requests, and their median, in seconds, for the message of a failure."""
        times = []
        for _ in range(100):
            began = time.perf_counter()
            self.assertEqual(wire.get("/", basic("alice", "secret")).status, 200)
            times.append(time.perf_counter() - began)
        return [sorted(times)[50], max(times)]

    def children(self, gateway: Gateway) -> int:
        return len(Path(f"/proc/{gateway.pid}/task/{gateway.pid}/children").read_text().split()) + sum(
            len((task / "children").read_text().split())
            for task in Path(f"/proc/{gateway.pid}/task").iterdir()
            if task.name != str(gateway.pid) and (task / "children").exists()
        )


class PamTests(WaysCase):
    """Real PAM services. They can only be in /etc/pam.d, where only root may put them."""

    def service(self, text: str) -> str:
        directory = Path("/etc/pam.d")
        if os.geteuid() != 0 or not directory.is_dir():
            raise SkipTest("to make a PAM service takes root")
        path = directory / f"perimeter-test-{os.getpid()}-{len(list(directory.iterdir()))}"
        path.write_text(text)
        self.addCleanup(path.unlink)
        return path.name

    def pam(self, service: str) -> Gateway:
        extra = f"[authenticator system]\ntype = login-modules\nmodules = pam required\noption.service = {service}\n"
        return self.gateway(site(SAMPLE, extra=extra), USERS)

    def test_the_password_reaches_pam(self) -> None:
        checked = self.program('#!/bin/sh\nread -r given\n[ "$PAM_USER:$given" = "carol:correct-horse" ]\n')
        # pam_exec reports every failure as "system error"; its success skips the line that denies
        asked = f"auth [success=1 default=ignore] pam_exec.so quiet expose_authtok {checked}\n"
        gateway = self.pam(
            self.service(f"{asked}auth requisite pam_deny.so\nauth required pam_permit.so\naccount required pam_permit.so\n")
        )
        self.assertEqual(self.who(gateway, basic("carol", "correct-horse")), (200, "carol", ""))
        self.assertEqual(self.who(gateway, basic("carol", "wrong"))[0], 401)
        self.assertEqual(self.who(gateway, basic("dave", "correct-horse"))[0], 401)

    def test_an_account_that_may_not_be_used(self) -> None:
        gateway = self.pam(self.service("auth required pam_permit.so\naccount required pam_deny.so\n"))
        self.assertEqual(self.who(gateway, basic("carol", "x"))[0], 401)

    def test_pam_permit_and_pam_deny(self) -> None:
        gateway = self.pam(self.service("auth required pam_permit.so\naccount required pam_permit.so\n"))
        self.assertEqual(self.who(gateway, basic("carol", "x")), (200, "carol", ""))
        gateway = self.pam(self.service("auth required pam_deny.so\naccount required pam_permit.so\n"))
        self.assertEqual(self.who(gateway, basic("carol", "x"))[0], 401)

    def test_pam_unix_knows_the_users_of_the_system(self) -> None:
        gateway = self.pam(self.service("auth required pam_unix.so\naccount required pam_unix.so\n"))
        self.assertEqual(self.who(gateway, basic("nobody", "wrong"))[0], 401)

    def test_attack_41_a_module_that_cannot_be_loaded(self) -> None:
        gateway = self.pam(self.service("auth required pam_is_not_there.so\naccount required pam_permit.so\n"))
        self.assertIn(self.who(gateway, basic("carol", "x"))[0], (401, 503))


class CertificateTests(WaysCase):
    def setUp(self) -> None:
        super().setUp()
        self.need("openssl")
        self.ca = self.directory()
        for name in ("ca", "other"):
            self.openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", f"{name}.key")
            self.openssl(
                "req", "-x509", "-new", "-key", f"{name}.key", "-subj", f"/CN={name}", "-days", "2", "-out", f"{name}.crt"
            )

    def openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=60, cwd=self.ca)

    def client(self, subject: str = "", ca: str = "ca", extensions: str = "extendedKeyUsage=clientAuth") -> ssl.SSLContext:
        """A client with a certificate for ``subject``, or without one."""
        context = insecure_context()
        if subject:
            name = sha256(f"{subject}{ca}{extensions}".encode()).hexdigest()[:16]
            self.openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", f"{name}.key")
            self.openssl("req", "-new", "-key", f"{name}.key", "-subj", subject, "-out", f"{name}.csr")
            (self.ca / f"{name}.ext").write_text(extensions)
            self.openssl(
                *("x509", "-req", "-in", f"{name}.csr", "-CA", f"{ca}.crt", "-CAkey", f"{ca}.key", "-CAcreateserial"),
                *("-days", "2", "-extfile", f"{name}.ext", "-out", f"{name}.crt"),
            )
            context.load_cert_chain(self.ca / f"{name}.crt", self.ca / f"{name}.key")
        return context

    def mutual(self, options: str = "", listener: str = "") -> Gateway:
        extra = f"[authenticator cards]\ntype = certificate\nrealm = staff\n{options}"
        config = site(SAMPLE, tls=True, extra=extra).replace(
            "tls = yes\n", f"tls = yes\nclient_ca = {self.ca}/ca.crt\n{listener}"
        )
        return self.gateway(config, USERS)

    def test_attack_50_a_page_of_another_site_does_not_use_the_certificate(self) -> None:
        gateway = self.mutual()
        alice = self.client("/CN=alice")
        upgrade = ("Connection: Upgrade", "Upgrade: websocket")
        for method, lines, status in (
            ("POST", ("Origin: https://evil.example",), 403),
            ("GET", ("Origin: https://evil.example", *upgrade), 403),
            ("POST", ("Origin: https://gateway.test",), 200),
            ("POST", (), 200),
        ):
            with gateway.connect("https", tls=alice) as wire:
                self.assertEqual(wire.get("/", *lines, method=method).status, status, (method, lines))

    def test_a_certificate_is_who_its_subject_is(self) -> None:
        gateway = self.mutual("roles = holder\nroles_from = ou\n")
        alice = self.client("/O=Example/OU=ops/CN=alice")
        self.assertEqual(self.who(gateway, name="https", tls=alice), (200, "alice", "holder,ops"))
        self.assertEqual(self.who(gateway, basic("bob", "hunter2"), name="https", tls=alice), (200, "bob", ""))
        self.assertEqual(self.who(gateway, basic("bob", "x"), name="https", tls=alice)[0], 401, "wrong is wrong")
        self.assertEqual(self.who(gateway, "X-Auth-Realm: local", name="https", tls=alice)[0], 401)
        self.assertEqual(self.who(gateway, name="https", tls=self.client())[0], 401)
        with gateway.connect("https", tls=alice) as wire:
            token = json.loads(wire.get("/token").body)["access_token"]
        self.assertEqual(self.who(gateway, bearer(token), name="https")[1], "alice")

    def test_attack_44_only_a_chain_that_was_verified_counts(self) -> None:
        gateway = self.mutual()
        for context in (
            self.client("/CN=alice", ca="other"),
            self.client("/CN=alice", extensions="extendedKeyUsage=serverAuth"),
        ):
            with self.assertRaises((OSError, EOFError)):
                self.who(gateway, name="https", tls=context)

    def test_attack_44_a_required_certificate_is_required_of_all(self) -> None:
        gateway = self.mutual(listener="client_certificate = required\n")
        self.assertEqual(self.who(gateway, name="https", tls=self.client("/CN=alice"))[0], 200)
        with self.assertRaises((OSError, EOFError)):
            self.who(gateway, basic("bob", "hunter2"), name="https", tls=self.client())

    def test_attack_44_a_session_is_never_resumed(self) -> None:
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            gateway = self.mutual(listener="client_certificate = required\n")
            context = self.client("/CN=alice")
            context.maximum_version = version
            with gateway.connect("https", tls=context) as wire:
                self.assertEqual(wire.get("/").status, 200)
                assert isinstance(wire.socket, ssl.SSLSocket)
                session = wire.socket.session
            if session is None:
                continue
            raw = socket.create_connection(("127.0.0.1", gateway["https"]), 10)
            with context.wrap_socket(raw, session=session) as again:
                again.sendall(b"GET /open HTTP/1.1\r\nHost: gateway.test\r\n\r\n")
                self.assertTrue(again.recv(100))
                self.assertFalse(again.session_reused, version)

    def test_attack_39_a_reload_sends_holders_through_the_door_again(self) -> None:
        gateway = self.mutual()
        with gateway.connect("https", tls=self.client("/CN=alice")) as wire:
            self.assertEqual(wire.get("/").status, 200)
            shutil.copy(self.ca / "other.crt", self.ca / "ca.crt")
            gateway.reload()
            self.assertTrue(wire.closed())

    def test_attack_41_a_ca_that_cannot_be_read_stops_the_start(self) -> None:
        config = site(SAMPLE, tls=True).replace("tls = yes\n", f"tls = yes\nclient_ca = {self.ca}/ca.key\n")
        gateway = self.unstarted(config, USERS)
        gateway.launch()
        self.assertNotEqual(gateway.wait(), 0)
        self.assertIn("ca.key: the file contains no CA certificate in PEM format", gateway.log)
        gateway.kill()


class TrustedHeaderTests(WaysCase):
    def trusting(self, networks: str, extra: str = "") -> Gateway:
        authenticator = (
            "[authenticator front]\ntype = trusted-header\nrealm = corp\nheader = X-Remote-User\nroles_header = X-Remote-Roles\n"
            f"networks = {networks}\n{extra}"
        )
        return self.gateway(site(SAMPLE, extra=authenticator, perimeter="trusted_proxies = 127.0.0.1"), USERS)

    def test_a_trusted_peer_says_who_it_is(self) -> None:
        gateway = self.trusting("127.0.0.1")
        self.assertEqual(self.who(gateway, "X-Remote-User: carol", "X-Remote-Roles: a, b"), (200, "carol", "a,b"))
        self.assertEqual(self.who(gateway)[0], 401)
        self.assertEqual(self.who(gateway, "X-Remote-User: carol", "X-Remote-User: admin")[0], 401)

    def test_attack_8_other_peers_are_not_believed(self) -> None:
        gateway = self.trusting("10.0.0.0/8")
        for forwarded in ("X-Forwarded-For: 10.0.0.1", "X-Real-IP: 10.0.0.1", "Forwarded: for=10.0.0.1"):
            self.assertEqual(self.who(gateway, "X-Remote-User: admin", forwarded)[0], 401)

    def test_attack_12_the_field_reaches_no_service(self) -> None:
        gateway = self.trusting("127.0.0.1")
        with gateway.connect("http") as wire:
            for target in ("/open", "/optional", "/"):
                fields = told(wire.get(target, "X-Remote-User: carol", "X_Remote_User: admin", "X-Remote-Roles: admin"))
                self.assertEqual([name for name in fields if "remote" in name], [], target)

    def test_attack_40_other_domains(self) -> None:
        gateway = self.trusting("127.0.0.1", "domain = company.com\n")
        self.assertEqual(self.who(gateway, "X-Remote-User: a@company.com")[1], "a")
        for name in ("a@evil.com@company.com", "a@evil.com", "a"):
            self.assertEqual(self.who(gateway, f"X-Remote-User: {name}")[0], 401)


class ExampleTests(WaysCase):
    """The package in docs/examples, installed as its README says, except from another index of packages."""

    def installed(self) -> Path:
        source, target = self.directory() / "source", self.directory() / "installed"
        shutil.copytree(EXAMPLE, source, ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__", "dropin.cache"))
        offline = ("--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check")
        command = [sys.executable, "-m", "pip", "install", "--quiet", *offline, "--target", str(target), str(source)]
        subprocess.run(command, check=True, timeout=300)
        return target

    def test_an_authenticator_of_others(self) -> None:
        holders = (("key-1", "importer,writer"), ("key-2", "x"))
        keys = "".join(f"{sha256(key.encode()).hexdigest()} {names}\n" for key, names in holders)
        extra = (
            "[authenticator keys]\ntype = api-keys\nrealm = machines\npath = api.keys\n\n"
            "[augmenter names]\ntype = name-prefix\nrealm = machines\nprefix = import\nadd_roles = machine\n"
        )
        path = os.pathsep.join((str(SOURCE), str(self.installed())))
        gateway = self.gateway(site(SAMPLE, extra=extra), {**USERS, "api.keys": keys}, {"PYTHONPATH": path})
        self.assertEqual(self.who(gateway, "Authorization: Bearer key-1"), (200, "importer", "writer,machine"))
        self.assertEqual(self.who(gateway, "Authorization: Bearer key-3")[0], 401)
        self.assertEqual(self.who(gateway, basic("alice", "secret"))[1], "alice")
        self.assertEqual(self.who(gateway, f"{basic('alice', 'wrong')}, Bearer key-2")[1], "x")
        with gateway.connect("http") as wire:
            refused = wire.get("/")
        self.assertEqual(
            refused.get_all("www-authenticate"),
            ['Bearer realm="example"', 'Basic realm="local", charset="UTF-8"', 'Bearer realm="machines"'],
        )
        # an API token has the present roles of its owner, not those at its creation
        with gateway.connect("http") as wire:
            made = json.loads(wire.get("/token", "Authorization: Bearer key-1").body)["token"]
        (gateway.directory / "api.keys").write_text(keys.replace("importer,writer", "importer,reader"))
        eventually(lambda: "reader" in self.who(gateway, "Authorization: Bearer key-1")[2], "the role is another one")
        self.assertEqual(self.who(gateway, f"Authorization: Bearer {made}"), (200, "importer", "reader,machine"))
        (gateway.directory / "api.keys").write_text("")
        eventually(lambda: self.who(gateway, "Authorization: Bearer key-1")[0] == 401, "a key that was taken away")

    def test_people_sign_in_at_a_provider_of_a_third_party(self) -> None:
        extra = (
            "[provider portal]\ntype = portal\nurl = https://portal.example/in\nsecret = s3cret\ntitle = Portal\n"
            "redirect_uri = https://gateway.test/.perimeter/callback/portal\n"
        )
        path = os.pathsep.join((str(SOURCE), str(self.installed())))
        text = site(SAMPLE.replace("path = /\n", "path = /\nbrowser_login = yes\n"), tls=True, extra=extra)
        gateway = self.gateway(text, USERS, {"PYTHONPATH": path})
        with gateway.connect("https") as wire:
            self.assertIn("Sign in with Portal", wire.get("/.perimeter/login").text)
            for name, secret, status in (("carol", "s3cret", 303), ("carol", "other", 403), ("", "s3cret", 403)):
                begun = wire.get("/.perimeter/start/portal?to=/")
                self.assertEqual(begun.status, 302, begun)
                page, _, query = (begun.get("location") or "").partition("?")
                sent = dict(parse_qsl(query))
                self.assertEqual(
                    (page, sent["return"]), ("https://portal.example/in", "https://gateway.test/.perimeter/callback/portal")
                )
                mac = hmac.new(secret.encode(), f"{sent['state']}\n{name}".encode(), "sha256").hexdigest()
                answer = urlencode({"state": sent["state"], "user": name, "signature": mac})
                flow = (begun.get("set-cookie") or "").partition(";")[0]
                back = wire.get(f"/.perimeter/callback/portal?{answer}", f"Cookie: {flow}")
                self.assertEqual(back.status, status, back)
                cookies = [line.partition(";")[0] for line in back.get_all("set-cookie")]
                session = [line for line in cookies if line.startswith("__Host-perimeter=")]
                self.assertEqual(len(session), int(status == 303))
                if session:
                    self.assertEqual(told(wire.get("/", f"Cookie: {session[0]}"))["x-auth-username"], "carol")

    def test_a_kind_that_is_not_installed_stops_the_start(self) -> None:
        extra = "[authenticator keys]\ntype = api-keys\npath = users.realm\n"
        gateway = self.unstarted(site(SAMPLE, extra=extra), USERS)
        gateway.launch()
        self.assertNotEqual(gateway.wait(), 0)
        self.assertIn("[authenticator keys] type: expected", gateway.log)
        gateway.kill()

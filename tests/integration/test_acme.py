"""Certificates from a real CA: orders, challenges, renewals and failures, with Pebble at the other end."""

from __future__ import annotations

import json
import socket
import ssl
import stat
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from perimeter.net.contexts import dns_names
from tests.integration.harness import Gateway, GatewayCase, eventually
from tests.integration.netkit import identity, pem
from tests.integration.pebble import Pebble
from tests.integration.ports import free_port
from tests.integration.test_operator import Ran
from tests.integration.wire import Wire

NAME = "gw.example.net"
OTHER = "www.example.net"

SITE = """\
[perimeter]
state_dir = state
workers = {workers}

[listener http]
port = {http}
interface = 127.0.0.1
serve = redirect
redirect_to = {https}

[listener https]
port = {https}
interface = 127.0.0.1
tls = yes
acme_names = {names}

[acme]
directory = {directory}
ca_certificate = {ca}
terms_agreed = yes
contact = ops@example.net
{acme}

[audit]
path = access.log

[route files]
path = /
static = html
auth = none
"""


def served(port: int, name: str = NAME) -> x509.Certificate:
    """The certificate that the gateway serves for ``name``."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with Wire(port, tls=context, server_name=name) as wire:
        found = wire.socket.getpeercert(True)  # type: ignore[union-attr]
        return x509.load_der_x509_certificate(found)


class OrderTests(GatewayCase):
    def stage(self, *, names: str = NAME, acme: str = "", workers: int = 1, **options: Any) -> Gateway:
        """A gateway and its CA, which connects to the two ports of the gateway."""
        http, self.https = free_port(), free_port()
        self.pebble = Pebble(self.directory(), http, self.https, *names.split(", "), **options)
        self.addCleanup(self.pebble.close)
        text = SITE.format(
            workers=workers,
            http=http,
            https=self.https,
            names=names,
            directory=self.pebble.directory_url,
            ca=self.pebble.ca,
            acme=acme,
        )
        gateway = self.gateway(text, {"html/index.html": "hello"})
        gateway.ports |= {"http": http, "https": self.https}
        return gateway

    def record(self, gateway: Gateway) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((gateway.directory / "state" / "acme" / f"{NAME}.json").read_text())
        return found

    def trusted(self, gateway: Gateway, name: str = NAME) -> Wire:
        """A connection whose certificate is verified by the root of the CA."""
        context = ssl.create_default_context(cadata=self.pebble.root())
        return self.connect(gateway, "https", tls=context, server_name=name)

    def await_certificate(self, *names: str) -> x509.Certificate:
        """Wait until the gateway serves a certificate for these names."""
        eventually(lambda: set(dns_names(served(self.https))) == set(names), f"a certificate for {names}", 40)
        return served(self.https)

    def test_http_01_and_renewal(self) -> None:
        gateway = self.stage(names=f"{NAME}, {OTHER}")
        self.assertEqual(served(self.https).issuer, served(self.https).subject, "self-signed at first")
        old = self.await_certificate(NAME, OTHER)
        self.assertEqual(self.trusted(gateway).get("/").body, b"hello")
        self.assertEqual(self.trusted(gateway, OTHER).get("/", host=OTHER).body, b"hello")
        state = gateway.directory / "state" / "acme"
        self.assertEqual(stat.S_IMODE(state.stat().st_mode), 0o700)
        self.assertEqual({stat.S_IMODE(path.stat().st_mode) for path in state.iterdir()}, {0o600})
        life = (old.not_valid_after_utc - old.not_valid_before_utc).total_seconds()
        age = self.record(gateway)["renew_at"] - old.not_valid_before_utc.timestamp()
        self.assertTrue(0.5 < age / life < 0.8, age / life)
        self.assertTrue(any("acme-challenge" in line for line in gateway.audit()), "the CA is in the audit log")
        plain = self.connect(gateway, "http").get("/.well-known/acme-challenge/other", host=NAME)
        self.assertEqual(plain.status, 301, "what is not pending goes where it always goes")
        checked = Ran("check", "--config", str(gateway.config))
        self.assertIn(f"certificate of {NAME}, {OTHER} (listener https): to be renewed at ", checked.output)
        status = Ran("status", "--config", str(gateway.config))
        self.assertEqual(status.status, 0, status.output)
        self.assertIn("renewed at", status.output)

        changed: dict[str, float] = {"renew_at": 1}
        if "renewalInfo" in self.pebble.directory():  # Debian's Pebble is older
            now = datetime.now(UTC)
            window = [(now - timedelta(hours=hours)).isoformat() for hours in (2, 1)]
            self.pebble.suggest(old.public_bytes(Encoding.PEM).decode(), *window)
            changed = {"ask_at": 0, "ordered_at": 0}
        (state / f"{NAME}.json").write_text(json.dumps({**self.record(gateway), **changed}))
        gateway.reload()
        eventually(lambda: served(self.https).serial_number != old.serial_number, "the renewed certificate", 40)
        self.assertEqual(self.trusted(gateway).get("/").body, b"hello")

    def test_tls_alpn_01_and_an_account_that_the_ca_knows(self) -> None:
        key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
        gateway = self.stage(
            acme=f"challenge = tls-alpn-01\neab_key_id = kid-1\neab_key = {key}",
            externalAccountBindingRequired=True,
            externalAccountMACKeys={"kid-1": key},
        )
        self.await_certificate(NAME)
        self.assertEqual(self.trusted(gateway).get("/").body, b"hello")
        self.assertNotIn(key, gateway.log)

    def test_two_workers(self) -> None:
        gateway = self.stage(workers=2)
        self.await_certificate(NAME)
        for _ in range(10):
            self.assertEqual(self.trusted(gateway).get("/").body, b"hello")

    def test_stop_while_the_ca_is_silent(self) -> None:
        silent = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(silent.close)
        silent.settimeout(20)
        text = SITE.format(
            workers=1,
            http=free_port(),
            https=free_port(),
            names=NAME,
            directory=f"https://127.0.0.1:{silent.getsockname()[1]}/dir",
            ca="ca.pem",
            acme="",
        )
        gateway = self.gateway(text, {"html/index.html": "hello", "ca.pem": pem(identity("localhost").chain[0])})
        silent.accept()[0].close()
        gateway.await_log("no new certificate for")
        self.assertIn("no connection to the directory", gateway.log)
        (gateway.directory / "state" / "acme" / f"{NAME}.json").unlink()
        gateway.reload()
        connection = silent.accept()[0]
        self.addCleanup(connection.close)
        began = time.monotonic()
        gateway.stop()
        self.assertLess(time.monotonic() - began, 4.0)

    def test_name_that_the_ca_refuses(self) -> None:
        gateway = self.stage(domainBlocklist=[NAME])
        gateway.await_log("no new certificate for")
        status = Ran("status", "--config", str(gateway.config))
        self.assertEqual(status.status, 1)
        self.assertIn(f"problem: certificate https: {NAME}: there is no certificate from the CA yet: ", status.output)
        doctor = Ran("doctor", "--config", str(gateway.config), "--json")
        found = {one["name"]: one for one in json.loads(doctor.output)["findings"]}
        self.assertIn("certificate-refused", found)
        self.assertNotIn("authority-down", found)
        self.assertEqual(self.connect(gateway, "https").get("/").body, b"hello", "it serves with the self-signed one")

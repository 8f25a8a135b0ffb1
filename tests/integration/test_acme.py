"""Certificates from a real CA: orders, challenges, renewals and failures, with Pebble at the other end."""

from __future__ import annotations

import json
import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from perimeter.net.contexts import dns_names
from tests.integration.harness import Gateway, GatewayCase, eventually
from tests.integration.pebble import Pebble
from tests.integration.ports import free_port
from tests.integration.wire import Wire

NAME = "gw.example.net"
OTHER = "www.example.net"

SITE = """\
[perimeter]
state_dir = state

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
{listener}

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
    def stage(self, *, names: str = NAME, acme: str = "", listener: str = "", **options: Any) -> Gateway:
        """A gateway and its CA, which connects to the two ports of the gateway."""
        self.http, self.https = free_port(), free_port()
        self.pebble = Pebble(self.directory(), self.http, self.https, *names.split(", "), **options)
        self.addCleanup(self.pebble.close)
        self.ini = lambda names, acme="": SITE.format(
            http=self.http,
            https=self.https,
            names=names,
            directory=self.pebble.directory_url,
            ca=self.pebble.ca,
            acme=acme,
            listener=listener,
        )
        return self.gateway(self.ini(names, acme), {"html/index.html": "hello"})

    def state(self, gateway: Gateway) -> Path:
        return gateway.directory / "state" / "acme"

    def record(self, gateway: Gateway) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.state(gateway) / f"{NAME}.json").read_text())
        return found

    def trusted(self, gateway: Gateway, name: str = NAME) -> Wire:
        """A connection whose certificate is verified by the root of the CA."""
        context = ssl.create_default_context(cadata=self.pebble.root())
        return self.connect(gateway, "https", tls=context, server_name=name)

    def await_certificate(self, *names: str) -> x509.Certificate:
        """Wait until the gateway serves a certificate for these names."""
        eventually(lambda: set(dns_names(served(self.https))) == set(names), f"a certificate for {names}: {self.pebble.log}", 40)
        return served(self.https)

    def test_http_01(self) -> None:
        gateway = self.stage(names=f"{NAME}, {OTHER}")
        self.assertEqual(served(self.https).issuer, served(self.https).subject, "self-signed at first")
        leaf = self.await_certificate(NAME, OTHER)
        gateway.ports["https"] = self.https
        self.assertEqual(self.trusted(gateway).get("/").body, b"hello")
        self.assertEqual(self.trusted(gateway, OTHER).get("/", host=OTHER).body, b"hello")
        for path in self.state(gateway).iterdir():
            self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600, path)
        self.assertEqual(stat.S_IMODE(self.state(gateway).stat().st_mode), 0o700)
        record = self.record(gateway)
        life = (leaf.not_valid_after_utc - leaf.not_valid_before_utc).total_seconds()
        self.assertLess(record["renew_at"], leaf.not_valid_after_utc.timestamp() - life / 5)
        self.assertGreater(record["renew_at"], leaf.not_valid_before_utc.timestamp() + life / 2)
        self.assertIn("the certificate for gw.example.net, www.example.net is renewed at", gateway.log)
        audit = [line for line in gateway.audit() if "acme-challenge" in line]
        self.assertTrue(audit, "the requests of the CA are in the audit log")

    def test_tls_alpn_01(self) -> None:
        self.stage(acme="challenge = tls-alpn-01")
        self.await_certificate(NAME)

    def test_renewal(self) -> None:
        gateway = self.stage()
        old = self.await_certificate(NAME)
        if "renewalInfo" not in self.pebble.directory():
            self.skipTest("this Pebble has no renewal information: a newer one is built where Go is installed")
        now = datetime.now(UTC)
        self.pebble.suggest(
            old.public_bytes(Encoding.PEM).decode(),
            (now - timedelta(hours=2)).isoformat(),
            (now - timedelta(hours=1)).isoformat(),
        )
        path = self.state(gateway) / f"{NAME}.json"
        path.write_text(json.dumps({**self.record(gateway), "ask_at": 0, "ordered_at": 0}))
        gateway.reload()
        eventually(lambda: served(self.https).serial_number != old.serial_number, "the renewed certificate", 60)

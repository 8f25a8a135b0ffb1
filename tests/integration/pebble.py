"""A real CA for the tests: Pebble, of Let's Encrypt, which scripts/install-test-peers installs or builds."""

from __future__ import annotations

import json
import os
import shutil
import ssl
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any
from unittest import SkipTest

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.integration.netkit import identity, pem
from tests.integration.ports import eventually, free_port

DNS_SERVER = Path(__file__).with_name("dns_server.py")


def program() -> str:
    """The path of Pebble. Skips the test if it is not installed."""
    peers = Path(os.environ.get("PERIMETER_TEST_PEERS") or Path.home() / ".cache" / "perimeter-test-peers")
    found = shutil.which("pebble", path=os.pathsep.join([str(peers / "go"), os.environ.get("PATH", os.defpath)]))
    if found is None:
        raise SkipTest("pebble not installed: scripts/install-test-peers installs all that is needed")
    return found


class Pebble:
    """A process of Pebble, and a DNS server for it in which every name of ``names`` is 127.0.0.1. `close` ends both.

    It connects to ``http_port`` and ``tls_port`` of a name. ``options`` are further members of its configuration.
    """

    def __init__(self, directory: Path, http_port: int, tls_port: int, *names: str, **options: Any) -> None:
        executable = program()
        directory.mkdir(parents=True, exist_ok=True)
        own = identity("localhost")
        self.ca = directory / "pebble.crt"
        self.ca.write_bytes(pem(own.chain[0]))
        (directory / "pebble.key").write_bytes(own.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        port, self._management, dns = free_port(), free_port(), free_port()
        members = {
            "listenAddress": f"127.0.0.1:{port}",
            "managementListenAddress": f"127.0.0.1:{self._management}",
            "certificate": str(self.ca),
            "privateKey": str(directory / "pebble.key"),
            "httpPort": http_port,
            "tlsPort": tls_port,
            "keyAlgorithm": "ecdsa",
            "retryAfter": {"authz": 1, "order": 1},
            **options,
        }
        (directory / "pebble.json").write_text(json.dumps({"pebble": members}))
        (directory / "zone.json").write_text(json.dumps({name: {"ttl": 1, "addresses": ["127.0.0.1"]} for name in names}))
        self.directory_url = f"https://localhost:{port}/dir"
        self._log = directory / "pebble.log"
        environ = {**os.environ, "PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "20"}
        with self._log.open("wb") as log:
            self._dns = subprocess.Popen([sys.executable, str(DNS_SERVER), str(dns), str(directory / "zone.json")], stderr=log)
            self._process = subprocess.Popen(
                [executable, "-config", str(directory / "pebble.json"), "-dnsserver", f"127.0.0.1:{dns}", "-strict"],
                stdout=log,
                stderr=log,
                env=environ,
            )
        try:
            eventually(self._answers, f"Pebble answers; its log: {self._log}", 20)
        except BaseException:
            self.close()
            raise

    def _answers(self) -> bool:
        try:
            self.directory()
        except OSError:
            return False
        return True

    def _context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.ca))

    def directory(self) -> dict[str, Any]:
        """What the directory says."""
        with urllib.request.urlopen(self.directory_url, timeout=5, context=self._context()) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    def root(self) -> str:
        """The certificate of the CA that issues, in PEM."""
        url = f"https://localhost:{self._management}/roots/0"
        with urllib.request.urlopen(url, timeout=5, context=self._context()) as answer:
            return str(answer.read().decode("ascii"))

    def suggest(self, certificate: str, start: str, end: str) -> None:
        """Suggest this window (RFC 3339) to whoever asks when to renew ``certificate`` (PEM)."""
        window = {"suggestedWindow": {"start": start, "end": end}}
        body = json.dumps({"Certificate": certificate, "ARIResponse": json.dumps(window)}).encode()
        url = f"https://localhost:{self._management}/set-renewal-info/"
        urllib.request.urlopen(urllib.request.Request(url, body, method="POST"), timeout=5, context=self._context()).close()

    @property
    def log(self) -> str:
        """What Pebble has logged."""
        return self._log.read_text(errors="replace")

    def close(self) -> None:
        """End both processes, and wait."""
        for process in (self._process, self._dns):
            process.terminate()
            process.wait(10)

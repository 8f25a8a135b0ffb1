"""A real OpenID provider for the tests, which scripts/install-test-peers gets from npm."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import urllib.request
from pathlib import Path
from unittest import SkipTest
from urllib.parse import urlencode

SCRIPT = Path(__file__).parent / "oidc" / "provider.mjs"
START_TIMEOUT = 60.0
SECRET = "p+ss:w/rd secret"


class OpenIdProvider:
    """A process of the provider. `close` ends it."""

    def __init__(self) -> None:
        peers = Path(os.environ.get("PERIMETER_TEST_PEERS") or Path.home() / ".cache" / "perimeter-test-peers")
        modules = peers / "oidc" / "node_modules"
        if shutil.which("node") is None or not modules.is_dir():
            raise SkipTest("oidc-provider not installed: scripts/install-test-peers installs all that is needed")
        self._process = subprocess.Popen(
            ["node", str(SCRIPT), str(modules)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        try:
            self.url = f"http://127.0.0.1:{self._port()}"
        except BaseException:
            self.close()
            raise
        self.realm_url = f"{self.url}/realms/desp/protocol/openid-connect"

    def _port(self) -> int:
        assert self._process.stdout is not None
        output = self._process.stdout.fileno()
        seen = b""
        while b"PORT " not in seen or not seen.endswith(b"\n"):
            readable, _, _ = select.select([output], [], [], START_TIMEOUT)
            data = os.read(output, 4096) if readable else b""
            if not data:
                raise AssertionError(f"the OpenID provider does not start: {seen!r}")
            seen += data
        return int(seen.partition(b"PORT ")[2].split()[0])

    def introspections(self) -> int:
        """How often it was asked about a token."""
        return int(self._post(f"{self.url}/introspections", b"")["count"])

    def _post(self, url: str, data: bytes, **headers: str) -> dict[str, str]:
        request = urllib.request.Request(url, data, headers, method="POST")
        with urllib.request.urlopen(request, timeout=20) as response:
            found: dict[str, str] = json.load(response)
        return found

    def offline_token(self, **grant: str) -> str:
        """A token as a user gets it after a login in a browser."""
        return self._post(f"{self.url}/offline", json.dumps(grant).encode())["token"]

    def rotate(self, *, keep: bool) -> None:
        """Sign with a new key from now on."""
        self._post(f"{self.url}/rotate", json.dumps({"keep": keep}).encode())

    def access_token(self, resource: str = "urn:gateway") -> str:
        """An access token of the client ``private``, for itself. Those for the resource ``urn:opaque`` are opaque."""
        form = {"client_id": "private", "grant_type": "client_credentials", "scope": "data:read", "resource": resource}
        basic = "Basic cHJpdmF0ZTpwJTJCc3MlM0F3JTJGcmQrc2VjcmV0"
        found = self._post(f"{self.realm_url}/token", urlencode(form).encode(), Authorization=basic)
        return found["access_token"]

    def close(self) -> None:
        """End it, and wait."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

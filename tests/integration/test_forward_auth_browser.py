"""Chromium before real proxies that ask the gateway: a user signs in there, uses the service, and signs out."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path
from typing import Any, ClassVar

from tests.integration.browser import HOST, OWN, SECURE_LISTENER, BrowserCase, chromium, type_password
from tests.integration.test_forward_auth_sessions import CONFIG, TlsProxy

STATUS = "path => fetch(path, {method: 'POST', body: 'x'}).then(answer => answer.status)"


class BrowserProxy(TlsProxy):
    """A proxy whose certificate the browser trusts."""

    def _certificate(self, directory: Path) -> tuple[Path, Path]:
        for name, data in chromium().files.items():
            (directory / name).write_bytes(data)
        return directory / f"{HOST}.pem", directory / f"{HOST}.key"


class ProxiedCase(BrowserCase):
    KIND: ClassVar[str]
    CONFIG = CONFIG.replace("[authenticator local]", f"{SECURE_LISTENER}\n[authenticator local]")
    FILES: ClassVar = {"users.realm": "alice: secret,user\n"}

    def setUp(self) -> None:
        self.need(self.KIND)
        super().setUp()
        cls: Any = type(self)
        if "_proxy" not in cls.__dict__:
            directory = Path(tempfile.mkdtemp(prefix="perimeter-proxy-"))
            atexit.register(shutil.rmtree, directory, ignore_errors=True)
            cls._proxy = BrowserProxy(self.KIND, directory, self.served.config)
            atexit.register(cls._proxy.close)
        self.origin = f"https://{HOST}:{cls._proxy.port}"


class Tests:
    def test_a_user_signs_in_and_out(self: Any) -> None:
        context = self.context()
        page = context.new_page()
        page.goto("/page?a=b%20c")
        self.assertTrue(page.url.startswith(f"{self.origin}{OWN}login?"), page.url)
        type_password(page)
        page.wait_for_url(f"{self.origin}/page?a=b%20c")
        self.assertEqual(page.evaluate(STATUS, "/data"), 200)
        for received in self.service.requests:
            self.assertNotIn(b"__Host-perimeter", received.head)
        other = context.new_page()
        other.goto("/page")
        page.goto(f"{OWN}logout")
        with page.expect_response(f"**{OWN}cleared"):
            page.get_by_role("button", name="Sign out", exact=True).click()
        # a page that was open before stays, and its script gets its 401
        self.assertEqual(other.evaluate(STATUS, "/data"), 401)
        page.goto("/page")
        self.assertTrue(page.url.startswith(f"{self.origin}{OWN}login?"), page.url)


class NginxTests(Tests, ProxiedCase):
    KIND = "nginx"


class HAProxyTests(Tests, ProxiedCase):
    KIND = "haproxy"


class CaddyTests(Tests, ProxiedCase):
    KIND = "caddy"

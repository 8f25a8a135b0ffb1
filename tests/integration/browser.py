"""Tests in a real browser: a Chromium that Playwright drives, in front of a gateway with TLS.

One Chromium serves all tests of the process, and each test has contexts of its own (cookies, caches, storage). A test fails if
any of its pages sends a request to a host that is not the test's, breaks its Content-Security-Policy, has an error in a script,
or if a page of the gateway's own may be kept by a cache.

Both caches that can show a page again after a sign-out work as they do for users. Playwright turns the back/forward cache off,
and Chromium keeps nothing in its HTTP cache that came with a certificate it does not trust: hence the two switches in `_launch`.
Go back with `back`.
"""

from __future__ import annotations

import atexit
import base64
import contextlib
import hashlib
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar
from unittest import SkipTest
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Error, Frame, Page, Request, Response, sync_playwright

from tests.integration.harness import Gateway, GatewayCase
from tests.integration.netkit import identity, pem
from tests.integration.upstreams import Upstream
from tests.integration.visitor import Visitor
from tests.integration.web_service import serving

HOST = "app.gateway.test"
SISTER = "sister.gateway.test"
"""Another host of the same site, as Chromium sees it."""
STRANGER = "stranger.test"
"""A host of another site. All names below ``.test`` are this machine."""

DESKTOP = (1280, 800)
PHONE = (360, 740)

SCHEMES = ("light", "dark")
SIZES = (DESKTOP, PHONE)

OWN = "/.perimeter/"
TIMEOUT = 20_000.0
"""For what a page is waited for, in milliseconds."""

SECURE_LISTENER = f"""\
[listener https]
port = @https@
interface = 127.0.0.1
tls = yes
certificate = {HOST}.pem
private_key = {HOST}.key
"""


def secure(text: str) -> str:
    """A configuration of `tests.integration.harness.site` with `SECURE_LISTENER` in place of its own listener."""
    return text.replace("[listener http]\nport = @http@\ninterface = 127.0.0.1\n", SECURE_LISTENER)


class Chromium:
    """The browser of this process, and the key of the gateways that it trusts."""

    def __init__(self) -> None:
        own = identity(HOST, SISTER, STRANGER, "localhost", "127.0.0.1")
        key = own.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self.files = {f"{HOST}.pem": pem(*own.chain), f"{HOST}.key": key}
        """The files that `SECURE_LISTENER` names."""
        public = own.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self._trusted = base64.b64encode(hashlib.sha256(public).digest()).decode()
        self._driver = sync_playwright().start()
        atexit.register(self._driver.stop)
        self._browser = self._launch()
        atexit.register(self._browser.close)

    def _launch(self) -> Browser:
        return self._driver.chromium.launch(
            executable_path="/usr/bin/chromium",
            args=[
                "--no-sandbox",
                f"--ignore-certificate-errors-spki-list={self._trusted}",
                "--host-resolver-rules=MAP *.test 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
            ],
            ignore_default_args=["--disable-back-forward-cache"],
        )

    def context(self, **options: Any) -> BrowserContext:
        """A new context, which the caller closes."""
        made = self._browser.new_context(**options)
        made.set_default_timeout(TIMEOUT)
        return made


_chromium: list[Chromium] = []


def chromium() -> Chromium:
    """The browser of this process, started when it is asked for first."""
    if not _chromium:
        if shutil.which("chromium") is None:
            raise SkipTest("chromium not installed: scripts/install-test-peers installs all that is needed")
        _chromium.append(Chromium())
    return _chromium[0]


class Watch:
    """Collects what a context must not do. ``hosts`` are those that it may ask, with their ports."""

    def __init__(self, context: BrowserContext, hosts: set[str]) -> None:
        self.hosts = hosts
        self.faults: list[str] = []
        self.expected: list[str] = []
        """Parts of console messages that the test provokes, such as the refusal of what an attacker tries."""
        context.on("request", self._request)
        context.on("response", self._response)
        context.on("console", self._console)
        context.on("weberror", lambda error: self._note(f"error in a script: {error.error}"))
        context.on("page", lambda page: page.on("websocket", lambda socket: self._address(socket.url)))

    def _note(self, fault: str) -> None:
        if not any(part in fault for part in self.expected):
            self.faults.append(fault)

    def _request(self, request: Request) -> None:
        self._address(request.url)

    def _address(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https", "ws", "wss") and parts.netloc not in self.hosts:
            self._note(f"request to another host: {url}")

    def _response(self, response: Response) -> None:
        path = urlsplit(response.url).path
        page = path.startswith(OWN) and not path.startswith(f"{OWN}static/")
        refusal = response.request.is_navigation_request() and response.status >= 400
        if (page or refusal) and "no-store" not in response.headers.get("cache-control", ""):
            self._note(f"{response.status} for {path} may be kept by caches")

    def _console(self, message: ConsoleMessage) -> None:
        if "Content Security Policy" in message.text or "Content-Security-Policy" in message.text:
            self._note(f"{message.page.url if message.page else ''}: {message.text}")


class BrowserStage:
    """A gateway and a service (`web_service`) that the tests of a class share. ``config`` names its URL as ``<service>``."""

    def __init__(self, config: str, files: Mapping[str, str | bytes], gateway: type[Gateway] = Gateway) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="perimeter-test-"))
        self.service = Upstream(serving)
        self.gateway = gateway(self._directory, config.replace("<service>", self.service.url), {**files, **chromium().files})
        atexit.register(self._close)
        self.gateway.start()
        self.origin = f"https://{HOST}:{self.gateway['https']}"

    def _close(self) -> None:
        self.gateway.kill()
        self.service.close()
        shutil.rmtree(self._directory, ignore_errors=True)


class BrowserCase(GatewayCase):
    """Tests in a browser on one gateway, configured by ``CONFIG`` and ``FILES``."""

    CONFIG: ClassVar[str]
    FILES: ClassVar[Mapping[str, str | bytes]]

    def setUp(self) -> None:
        """Use the class's gateway, or start it."""
        chromium()
        cls = type(self)
        stage: BrowserStage | None = cls.__dict__.get("_stage")
        if stage is None:
            stage = BrowserStage(self.CONFIG, self.FILES, self.gateway_class)
            cls._stage = stage  # type: ignore[attr-defined]
        self.served = stage.gateway
        self.service = stage.service
        self.origin = stage.origin

    def context(
        self,
        *,
        javascript: bool = True,
        scheme: str = "light",
        size: tuple[int, int] = DESKTOP,
        hosts: tuple[str, ...] = (),
    ) -> BrowserContext:
        """A browser of its own, as far as the gateway can see. ``hosts`` are others that its pages may ask (``host:port``)."""
        made = chromium().context(
            java_script_enabled=javascript,
            color_scheme=scheme,
            viewport={"width": size[0], "height": size[1]},
            is_mobile=size[0] < 600,
            base_url=self.origin,
        )
        self.addCleanup(made.close)
        self.watch = Watch(made, {urlsplit(self.origin).netloc, *hosts})
        self.addCleanup(self._look_at, self.watch)
        return made

    def visitor(self) -> Visitor:
        """A visitor without a browser, by the address of the gateway."""
        made = Visitor(f"https://127.0.0.1:{self.served['https']}", self.served.directory / f"{HOST}.pem")
        self.addCleanup(made.close)
        return made

    def _look_at(self, watch: Watch) -> None:
        self.assertEqual(watch.faults, [])

    def page(self, **options: Any) -> Page:
        """The only page of a new context."""
        return self.context(**options).new_page()


def type_password(page: Page, username: str = "alice", password: str = "secret") -> None:
    """Fill in the form of the login page, and send it."""
    page.fill("input[name=username]", username)
    page.fill("input[name=password]", password)
    page.get_by_role("button", name="Sign in", exact=True).click()


#: the frame that shows what has changed, and the end of the transitions that it begins
_SETTLE = """new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done))).then(
    () => Promise.all(document.getAnimations().map(one => one.finished)))"""


def views(page: Page) -> Iterator[str]:
    """Show the page in both colour schemes, on a desktop and on a phone. Yields a name of each, such as ``360-dark``."""
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        for width, height in SIZES:
            page.set_viewport_size({"width": width, "height": height})
            page.evaluate(_SETTLE)
            yield f"{width}-{scheme}"


def back(page: Page, steps: int = 1) -> None:
    """Go back as the button of the browser does, and wait for the page that it shows.

    Playwright's own ways to wait hear nothing of a page that comes from the back/forward cache.
    """
    left = page.url
    arrived: list[Frame] = []

    def arrive(frame: Frame) -> None:
        arrived.append(frame)

    page.on("framenavigated", arrive)
    page.evaluate("steps => history.go(-steps)", steps)
    deadline = time.monotonic() + TIMEOUT / 1000
    while not arrived or not _complete(page):
        if time.monotonic() > deadline:
            raise AssertionError(f"went back from {left}, and is at {page.url}")
        page.wait_for_timeout(20)
    page.remove_listener("framenavigated", arrive)


def _complete(page: Page) -> bool:
    with contextlib.suppress(Error):  # while one page takes the place of another
        return bool(page.evaluate("document.readyState == 'complete'"))
    return False

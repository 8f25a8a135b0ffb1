"""A real OpenID provider for the tests, which scripts/install-test-peers gets from npm."""

from __future__ import annotations

import atexit
import functools
import json
import os
import re
import select
import shutil
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from unittest import SkipTest
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

SCRIPTS = Path(__file__).parent / "oidc"
#: the provider sends logout tokens to the gateways of tests, whose certificates no CA has issued
NO_CHECKS = {"NODE_TLS_REJECT_UNAUTHORIZED": "0"}
START_TIMEOUT = 60.0
SECRET = "p+ss:w/rd secret"


class Peer:
    """A process of the provider, run by ``script``. `close` ends it."""

    def __init__(self, script: str, *arguments: str) -> None:
        peers = Path(os.environ.get("PERIMETER_TEST_PEERS") or Path.home() / ".cache" / "perimeter-test-peers")
        modules = peers / "oidc" / "node_modules"
        if shutil.which("node") is None or not modules.is_dir():
            raise SkipTest("oidc-provider not installed: scripts/install-test-peers installs all that is needed")
        command = ["node", str(SCRIPTS / script), str(modules), *arguments]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={**os.environ, **NO_CHECKS}
        )
        try:
            self.url = f"http://127.0.0.1:{self._port()}"
        except BaseException:
            self.close()
            raise

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


class OpenIdProvider(Peer):
    """A provider with the addresses of a Keycloak realm, that issues tokens and asks nobody to sign in."""

    def __init__(self) -> None:
        super().__init__("provider.mjs")
        self.realm_url = f"{self.url}/realms/desp/protocol/openid-connect"

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


class SignInProvider(Peer):
    """A provider at which people sign in (oidc/signin.mjs says with which ``options``). ``port`` 0 is a free one."""

    def __init__(self, port: int = 0, **options: object) -> None:
        super().__init__("signin.mjs", str(port), json.dumps(options))

    def _tell(self, what: str, **members: object) -> dict[str, str]:
        return self._post(f"{self.url}/test/{what}", json.dumps(members).encode())

    def client(self, redirect_uri: str, client_id: str = "gateway", **metadata: object) -> None:
        """Register a client, or replace it: by default one with `SECRET` that may refresh. None takes a default away."""
        described = {
            "client_id": client_id,
            "client_secret": SECRET,
            "redirect_uris": [redirect_uri],
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            **metadata,
        }
        self._tell("client", **{name: value for name, value in described.items() if value is not None})

    def account(self, subject: str, **claims: object) -> None:
        """Set the claims of the account ``subject``."""
        self._tell("account", id=subject, **claims)

    def disable(self, subject: str) -> None:
        """Take the account away."""
        self._tell("disable", id=subject)

    def new_keys(self) -> None:
        """Sign with a new key, and publish it alone."""
        self._tell("keys")

    def counts(self) -> dict[str, int]:
        """How many token requests there were, by grant type."""
        return {name: int(count) for name, count in self._tell("counts").items()}

    def tokens(self) -> list[str]:
        """Refresh tokens and access tokens that were issued."""
        return list(self._tell("tokens"))

    def sign_in(self, url: str, account: str) -> str:
        """Do what a browser does that is sent to ``url``. Return the URL that it is sent back to."""
        browser = Browser()
        page = browser.get(url)
        return page if page.partition("?")[0] == browser.awaited(url) else browser.submit(page, account)


@functools.cache
def shared_provider(**options: object) -> SignInProvider:
    """A provider with these options that all tests of this process share. It ends with the process."""
    made = SignInProvider(**options)
    atexit.register(made.close)
    return made


class Browser:
    """A browser at the provider: it keeps cookies and follows redirects within the provider."""

    def __init__(self) -> None:
        self._opener = urllib.request.build_opener(_NoRedirect(), urllib.request.HTTPCookieProcessor())

    @staticmethod
    def awaited(url: str) -> str:
        """The redirect_uri in an authorization request."""
        return parse_qs(urlsplit(url).query)["redirect_uri"][0]

    def get(self, url: str, data: bytes | None = None) -> str:
        """The URL at which the redirects end: that of a page, or one elsewhere, which is not visited."""
        home = urlsplit(url).netloc
        while urlsplit(url).netloc == home:
            try:
                with self._opener.open(url, data, timeout=20):
                    return url
            except urllib.error.HTTPError as error:
                with error:
                    location = error.headers["Location"]
                    if not 300 <= error.code < 400 or not location:
                        raise AssertionError(f"{url}: {error.code} {error.read()[:500]!r}") from None
                url, data = urljoin(url, location), None
        return url

    def submit(self, page: str, account: str) -> str:
        """Sign in as ``account`` on the provider's page."""
        return self.get(page, urlencode({"account": account, "password": "any"}).encode())

    def sign_out(self, url: str) -> str:
        """Say yes on the provider's sign-out page at ``url``. Return the URL that the browser is sent to."""
        with self._opener.open(url, timeout=20) as page:
            text = page.read().decode()
        target, secret = (re.search(f'{name}="([^"]*)"', text) for name in ("action", "value"))
        assert target is not None, text
        assert secret is not None, text
        return self.get(target[1], urlencode({"xsrf": secret[1], "logout": "yes"}).encode())


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments: object) -> None:
        return None

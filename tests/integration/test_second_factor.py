"""Second factors over the wire and in a browser, with two workers: apps, recovery codes, routes that demand one, and commands."""

from __future__ import annotations

import json
import re
import time
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar
from urllib.parse import urljoin

import requests
from click.testing import CliRunner
from playwright.sync_api import Page
from pyotp import TOTP

from perimeter.cli.main import main
from tests.integration.browser import HOST, BrowserCase, secure, type_password
from tests.integration.harness import site
from tests.integration.virtual_authenticator import VirtualAuthenticator
from tests.integration.visitor import BROWSER, Visitor, forms

FACTOR = "/.perimeter/factor"
SETTINGS = f"[second_factor]\nmethods = totp, webauthn\nrp_id = {HOST}\nroles = admin\nissuer = Weather\n"
ROUTES = """\
[upstream service]
servers = <service>

[route vault]
path = /vault
upstream = service
browser_login = yes
factors = 2
factor_age = 12h

[route all]
path = /
upstream = service
browser_login = yes
"""
NAMES = ("bob", "carol", "dave", "erin", "frank", "grace", "heidi")
USERS = {"users.realm": "alice: secret,admin\n" + "".join(f"{name}: secret\n" for name in NAMES)}
PROXY = {"X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": "https", "X-Original-Method": "GET"}


class App:
    """The authenticator app of a user."""

    def __init__(self, page: str) -> None:
        found = re.search(r"secret=([A-Z2-7]{32})", page)
        assert found is not None, page
        self._totp = TOTP(found[1])
        self._step = int(time.time()) // 30

    def first(self) -> str:
        """The code of now."""
        return self._totp.generate_otp(self._step)

    def next(self) -> str:
        """The code after the first one: accepted already, and for a minute and a half."""
        return self._totp.generate_otp(self._step + 1)


class SecondFactorCase(BrowserCase):
    CONFIG = secure(site(ROUTES, extra=SETTINGS, perimeter="workers = 2\ntrusted_proxies = 127.0.0.1")).replace(
        "path = access.log", "path = access.log\nformat = json"
    )
    FILES: ClassVar = USERS

    def half(self, name: str, to: str = "/page") -> Visitor:
        """A user who has entered the password."""
        visitor = self.visitor()
        self.assertEqual(visitor.sign_in(name, "secret", to).status_code, 303)
        return visitor

    def show(self, visitor: Visitor, code: str, to: str = "/page") -> requests.Response:
        form = visitor.form(f"{FACTOR}?to={to}", "factor")
        return visitor.post(FACTOR, form.fields | {"code": code})

    def register(self, visitor: Visitor, to: str = "/page") -> tuple[App, list[str]]:
        """Register an app; the recovery codes come with it."""
        page = visitor.navigate(f"{FACTOR}?to={to}")
        app = App(page.text)
        form = forms(page.text)[-1]
        answer = visitor.post(urljoin(FACTOR, form.action), form.fields | {"code": app.first()})
        self.assertEqual(answer.status_code, 200, answer.text)
        return app, re.findall(r"\b[a-z2-7]{4}(?:-[a-z2-7]{4}){3}\b", answer.text)

    def basic(self, name: str, path: str) -> int:
        value = "Basic " + b64encode(f"{name}:secret".encode()).decode()
        return self.visitor().get(path, Authorization=value).status_code

    def command(self, *arguments: str) -> str:
        """What ``perimeter second-factor`` prints."""
        result = CliRunner().invoke(main, ["second-factor", arguments[0], "--config", str(self.served.config), *arguments[1:]])
        self.assertEqual(result.exit_code, 0, result.output)
        return result.output


class SecondFactorTests(SecondFactorCase):
    def test_who_has_a_role_registers_right_after_the_password(self) -> None:
        """A password is enough for nothing, neither as half a sign-in nor in Authorization."""
        visitor = self.half("alice")
        self.assertIsNone(visitor.cookie)
        self.assertEqual(visitor.navigate("/page").status_code, 302)
        self.assertEqual(self.basic("alice", "/page"), 403)
        _, codes = self.register(visitor)
        self.assertEqual(len(codes), 10)
        self.assertEqual(visitor.navigate("/page").status_code, 200)
        self.assertEqual(visitor.navigate("/vault").status_code, 200)
        again = self.half("alice")
        self.assertEqual(self.show(again, "000000").status_code, 403)
        answer = self.show(again, codes[0])
        self.assertEqual((answer.status_code, answer.headers["Location"]), (303, "/.perimeter/go?to=%2Fpage"))
        self.assertEqual(again.get("/page").status_code, 200)
        self.assertEqual(self.show(self.half("alice"), codes[0]).status_code, 403)

    def test_a_route_that_demands_two(self) -> None:
        """A page is sent to the form; a program gets 403; a password is never enough; tokens are as good as their session."""
        visitor = self.half("bob")
        self.assertEqual(visitor.get("/page").status_code, 200)
        answer = visitor.navigate("/vault?x=1")
        self.assertEqual((answer.status_code, answer.headers["Location"]), (302, f"{FACTOR}?to=/vault%3Fx%3D1"))
        answer = visitor.get("/vault")
        self.assertEqual((answer.status_code, "A second factor is needed" in answer.text), (403, True))
        self.assertEqual((self.basic("bob", "/page"), self.basic("bob", "/vault")), (200, 403))
        weak = self.token(visitor)
        asked = visitor.get("/authenticate", **PROXY, X_Original_URI="/vault")
        self.assertEqual(asked.status_code, 403)
        asked = visitor.navigate("/authenticate", **PROXY, X_Original_URI="/vault")
        self.assertEqual((asked.status_code, asked.headers["X-Perimeter-Login"]), (401, f"{FACTOR}?to=/vault"))
        before = visitor.cookie
        self.register(visitor, "/vault")
        self.assertNotEqual(visitor.cookie, before)
        self.assertEqual(visitor.get("/vault").status_code, 200)
        self.assertEqual(visitor.get("/authenticate", **PROXY, X_Original_URI="/vault").status_code, 200)
        strong = self.token(visitor)
        other = self.visitor()
        for token, status in ((weak, 403), (strong, 200)):
            self.assertEqual(other.get("/vault", Authorization=f"Bearer {token}").status_code, status)
            self.assertEqual(other.get("/page", Authorization=f"Bearer {token}").status_code, 200)
        record = next(one for one in reversed(self.records()) if one["reason"] == "second_factor_needed")
        self.assertEqual((record["status"], record["route"]), (403, "vault"))

    def token(self, visitor: Visitor) -> str:
        """An API token that is made on the account page."""
        form = visitor.form("/.perimeter/account/tokens/new", "tokens")
        answer = visitor.post("/.perimeter/account/tokens", form.fields | {"name": "t", "expires_in": "86400"})
        found = re.search(r"perimeter_2_[A-Za-z0-9_-]{43}", answer.text)
        assert found is not None, answer.text
        return found[0]

    def records(self) -> list[dict[str, object]]:
        """The audit log; no code and no secret is in it."""
        text = (self.served.config.parent / "access.log").read_text()
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    def test_lost_and_reset_by_the_operator(self) -> None:
        visitor = self.half("carol")
        self.register(visitor)
        listed = self.command("list", "--user", "carol")
        self.assertIn("Authenticator app", listed)
        self.assertIn("removed: 1 second factor of carol", self.command("reset", "--user", "carol", "--realm", "local"))
        self.assertNotIn("carol", self.command("list", "--json"))
        again = self.half("carol")
        self.assertEqual(again.get("/page").status_code, 200)
        self.assertEqual(again.navigate("/vault").status_code, 302)
        code = self.command("code", "--user", "carol", "--realm", "local").splitlines()[0]
        self.assertRegex(code, r"\A[a-z2-7]{4}(-[a-z2-7]{4}){3}\Z")

    def test_attack_b2_half_a_sign_in_is_no_session(self) -> None:
        visitor = self.half("alice")
        pending = visitor.session.cookies.get("__Host-perimeter-pending")
        assert pending is not None
        for name in ("__Host-perimeter-pending", "__Host-perimeter"):
            cookie = {"Cookie": f"{name}={pending}"}
            for path in ("/page", "/.perimeter/account", "/authenticate"):
                answer = requests.get(
                    urljoin(visitor.origin, path),
                    headers=cookie,
                    verify=visitor.session.verify,
                    allow_redirects=False,
                    timeout=30,
                )
                self.assertEqual(answer.status_code, 401, (name, path))

    def test_attack_b3_a_hundred_guesses_at_the_same_moment(self) -> None:
        """By both workers: at most five of one sign-in are checked, and a new password gives no more of them."""
        self.register(self.half("dave"))
        visitor = self.half("dave")
        form = visitor.form(FACTOR, "factor")
        cookies = "; ".join(f"{one.name}={one.value}" for one in visitor.session.cookies)

        def guess(number: int) -> int:
            answer = requests.post(
                urljoin(visitor.origin, FACTOR),
                data=form.fields | {"code": f"{number:06}"},
                headers=BROWSER | {"Cookie": cookies},
                verify=visitor.session.verify,
                allow_redirects=False,
                timeout=30,
            )
            return answer.status_code

        with ThreadPoolExecutor(10) as threads:
            statuses = list(threads.map(guess, range(100)))
        self.assertLessEqual(statuses.count(403), 5, statuses)
        self.assertTrue(set(statuses) <= {403, 429, 303}, statuses)
        locations = visitor.navigate(FACTOR).headers.get("Location", "")
        self.assertTrue(locations.startswith("/.perimeter/login"), locations)
        self.assertIsNone(visitor.cookie)

    def test_attack_b3_one_code_in_two_browsers(self) -> None:
        app, codes = self.register(self.half("erin"))
        for code in (app.next(), codes[0]):
            visitors = [self.half("erin") for _ in range(4)]
            sent = [(visitor, visitor.form(FACTOR, "factor").fields | {"code": code}) for visitor in visitors]
            with ThreadPoolExecutor(4) as threads:
                answers = list(threads.map(lambda one: one[0].post(FACTOR, one[1]).status_code, sent))
            self.assertEqual(answers.count(303), 1, answers)
            self.assertEqual(sum(visitor.cookie is not None for visitor in visitors), 1)

    def test_in_a_browser(self) -> None:
        """Register from a deep link, and sign in with the app: the fragment is kept."""
        page = self.page()
        page.goto("/vault?x=1#deep")
        type_password(page, "frank", "secret")
        page.get_by_role("heading", name="Register a second factor").wait_for()
        app = App(page.content())
        page.fill("input[name=code]", app.first())
        page.get_by_role("button", name="Register the app").click()
        page.get_by_role("heading", name="Your recovery codes").wait_for()
        page.get_by_role("link", name="I have saved them").click()
        page.wait_for_url(f"{self.origin}/vault?x=1#deep")
        page.context.clear_cookies()
        self.sign_in_again(page, app)

    def sign_in_again(self, page: Page, app: App) -> None:
        page.goto("/vault?x=2#deep")
        type_password(page, "frank", "secret")
        page.get_by_role("heading", name="Confirm that it is you").wait_for()
        page.fill("input[name=code]", app.next())
        page.get_by_role("button", name="Confirm").click()
        page.wait_for_url(f"{self.origin}/vault?x=2#deep")

    def test_a_passkey_as_the_second_factor(self) -> None:
        """Registered and used on the page that a route leads to."""
        page = self.page()
        device = VirtualAuthenticator(page)
        page.goto("/vault")
        type_password(page, "heidi", "secret")
        page.get_by_role("button", name="Register a passkey").click()
        page.get_by_role("link", name="I have saved them").click()
        page.wait_for_url(f"{self.origin}/vault")
        self.assertEqual(len(device.credentials), 1)
        page.context.clear_cookies()
        page.goto("/page#there")
        type_password(page, "heidi", "secret")
        page.get_by_role("button", name="Use a passkey").click()
        page.wait_for_url(f"{self.origin}/page#there")

"""The gateway's own pages as people see them, each with what it can show: to be photographed, and to be looked at by axe-core."""

from __future__ import annotations

import re
from collections.abc import Callable

import attrs
from playwright.sync_api import Page
from pyotp import TOTP

from tests.integration.browser import HOST, OWN, secure, type_password
from tests.integration.harness import LOGIN_ROUTES, site
from tests.integration.virtual_authenticator import VirtualAuthenticator

CONFIG = secure(
    site(
        LOGIN_ROUTES,
        extra="""\
[login]
title = Forecast dashboards
message = Accounts: service-desk@example.com
stay = 30d

passkeys = yes

[second_factor]
methods = webauthn, totp
rp_id = {HOST}

[operator]
role = admin
""".replace("{HOST}", HOST),
    )
)

_WITH_FACTORS = ("carol", "dave", "erin", "frank")
"""Users who add a second factor, each in one scene."""

NEW = tuple(f"new{number}" for number in range(12))
"""Users for a page that is shown once: one for each time."""

PASSWORDS = {"alice": "wonderland", "bob": "builder", **{name: name for name in (*_WITH_FACTORS, "gina", "hugo")}}
PASSWORDS |= dict.fromkeys(NEW, "beginner")
FILES = {"users.realm": "".join(f"{name}: {word}{', admin' * (name == 'alice')}\n" for name, word in PASSWORDS.items())}

_SEND_FORM = "document.body.insertAdjacentHTML('beforeend', '<form method=post action=/send></form>'); document.forms[0].submit()"


@attrs.frozen
class Scene:
    """A page. ``play`` brings a browser to it, in which ``user`` is signed in; with "" no user is."""

    name: str
    play: Callable[[Page], object]
    user: str = ""


def _wrong(page: Page) -> None:
    page.goto("/dashboards")
    with page.expect_response(f"**{OWN}login"):
        type_password(page, "alice", "wrong")


def _ended(page: Page) -> None:
    """A form of the service's page, sent after the session has ended."""
    page.goto("/dashboards")
    page.context.clear_cookies()
    with page.expect_navigation():
        page.evaluate(_SEND_FORM)


def _token_form(page: Page, name: str = "nightly build", networks: str = "") -> None:
    page.goto(f"{OWN}account/tokens/new")
    page.fill("input[name=name]", name)
    page.fill("textarea[name=networks]", networks)
    with page.expect_navigation():
        page.get_by_role("button", name="Make the token").click()


def _account(page: Page) -> None:
    """The account page with tokens and other sessions."""
    browser = page.context.browser
    assert browser is not None
    for agent in ("Mozilla/5.0 (iPhone; CPU iPhone OS 26_0 like Mac OS X) Version/26.0 Mobile/1 Safari/6", "x" * 300):
        other = browser.new_context(user_agent=agent, base_url=page.url, ignore_https_errors=True)
        sign_in(other.new_page(), "alice")
        other.close()
    for number in range(2):
        _token_form(page, f"{number} " + "long_name" * 10 * number, "192.0.2.0/24 2001:db8::/32" * number)
    page.goto(f"{OWN}account?done=token")


def _half(page: Page, user: str) -> None:
    """The user has entered the password, and comes to the page of the second factor."""
    page.context.clear_cookies()
    page.goto(f"{OWN}login?to={OWN}factor")
    with page.expect_navigation(url=f"**{OWN}factor"):
        type_password(page, user, PASSWORDS[user])


def _register(page: Page) -> None:
    found = re.search(r"secret=([A-Z2-7]{32})", page.content())
    assert found is not None
    page.fill("input[name=code]", TOTP(found[1]).now())
    page.get_by_role("button", name="Register the app").click()
    page.get_by_role("heading", name="Your recovery codes").wait_for()


def _second(page: Page, wrong: str = "") -> None:
    """hugo, who has registered an app, or does so now, signs in."""
    _half(page, "hugo")
    if page.get_by_role("heading", name="Register a second factor").count():
        _register(page)
        _half(page, "hugo")
    if wrong:
        page.fill("input[name=code]", wrong)
        with page.expect_response(f"**{OWN}factor"):
            page.get_by_role("button", name="Confirm").click()


def _first_wrong(page: Page) -> None:
    _half(page, "gina")
    page.fill("input[name=code]", "000000")
    with page.expect_response(f"**{OWN}factor"):
        page.get_by_role("button", name="Register the app").click()


def _codes(page: Page) -> None:
    """The recovery codes of a user who registers a first factor."""
    for user in NEW:
        _half(page, user)
        if page.get_by_role("heading", name="Register a second factor").count():
            _register(page)
            return


def _app_wrong(page: Page) -> None:
    page.goto(f"{OWN}account/factors/app")
    page.fill("input[name=code]", "123456")
    with page.expect_navigation():
        page.get_by_role("button", name="Add the app").click()


def _passkey_added(page: Page) -> None:
    """The recovery codes that come with a first passkey."""
    VirtualAuthenticator(page)
    page.goto(f"{OWN}account/factors/passkey")
    page.fill("input[name=name]", "my laptop")
    page.get_by_role("button", name="Add the passkey").click()
    page.get_by_role("heading", name="Your recovery codes").wait_for()


def _with_passkey(path: str) -> Callable[[Page], object]:
    """A page of the account of a user with a passkey, which was shown."""

    def play(page: Page) -> None:
        _passkey_added(page)
        page.goto(f"{OWN}account/factors/recovery")
        page.get_by_role("button", name="Use a passkey").click()
        page.get_by_role("heading", name="Make new recovery codes?").wait_for()
        page.goto(f"{OWN}account{path}")

    return play


def _factor(page: Page) -> None:
    """The page of a passkey."""
    _with_passkey("")(page)
    page.get_by_role("link", name="Change my laptop").click()


def _operator(page: Page) -> None:
    page.goto(f"{OWN}operator")
    page.get_by_text("Live, ").wait_for()


_OPERATOR = {
    **{name: name for name in ("services", "authenticators", "certificates", "sessions", "tokens", "waiting")},
    **{name: name for name in ("routes", "explain", "audit", "configuration", "keys")},
    "explained": "explain?method=GET&url=/admin&user=bob",
    "found": "audit?search=1",
}
"""Sections of the operator's page, and their paths."""


def at(path: str) -> Callable[[Page], object]:
    """Open the page at ``path``."""
    return lambda page: page.goto(path)


SCENES = (
    Scene("sign-in", at("/dashboards")),
    Scene("sign-in-wrong", _wrong),
    Scene("sign-in-again", at(f"{OWN}login?again=1&to=/dashboards"), "alice"),
    Scene("no-cookie", at(f"{OWN}go?to=/")),
    Scene("sign-out", at(f"{OWN}logout"), "alice"),
    Scene("signed-out", at(f"{OWN}signed-out")),
    Scene("forbidden", at("/admin/settings"), "bob"),
    Scene("not-found", at(f"{OWN}nowhere"), "alice"),
    Scene("ended", _ended, "alice"),
    Scene("account", at(f"{OWN}account"), "bob"),
    Scene("account-used", _account, "alice"),
    Scene("account-others", at(f"{OWN}account/sessions/others"), "bob"),
    Scene("token-form", at(f"{OWN}account/tokens/new"), "bob"),
    Scene("token-form-wrong", lambda page: _token_form(page, "x", "10.0.0.1/8"), "bob"),
    Scene("token-shown", _token_form, "bob"),
    Scene("factor-first", lambda page: _half(page, "gina")),
    Scene("factor-first-wrong", _first_wrong),
    Scene("factor-codes", _codes),
    Scene("factor", _second),
    Scene("factor-wrong", lambda page: _second(page, "000000")),
    Scene("passkey-form", at(f"{OWN}account/factors/passkey"), "bob"),
    Scene("app-form", at(f"{OWN}account/factors/app"), "bob"),
    Scene("app-form-wrong", _app_wrong, "bob"),
    Scene("account-codes", _passkey_added, "carol"),
    Scene("account-factors", _with_passkey(""), "dave"),
    Scene("account-factor", _factor, "erin"),
    Scene("account-recovery", _with_passkey("/factors/recovery"), "frank"),
    Scene("operator", _operator, "alice"),
    *(Scene(f"operator-{name}", at(f"{OWN}operator/{path}"), "alice") for name, path in _OPERATOR.items()),
)


def sign_in(page: Page, user: str) -> None:
    """Sign ``user`` in."""
    page.goto(f"{OWN}login?to=/dashboards")
    type_password(page, user, PASSWORDS[user])
    page.wait_for_url("**/dashboards")


def enter(page: Page, scene: Scene) -> None:
    """Bring ``page``, of a new context, to the scene."""
    if scene.user:
        sign_in(page, scene.user)
    scene.play(page)
    page.wait_for_load_state()

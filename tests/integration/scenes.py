"""The gateway's own pages as people see them, each with what it can show: to be photographed, and to be looked at by axe-core."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import attrs
from playwright.sync_api import Page

from tests.integration.browser import DESKTOP, OWN, PHONE, secure, type_password
from tests.integration.harness import site

SCHEMES = ("light", "dark")
SIZES = (DESKTOP, PHONE)

CONFIG = secure(
    site(
        """\
[upstream service]
servers = <service>

[route admin]
path = /admin
upstream = service
allow = role:admin
browser_login = yes

[route all]
path = /
upstream = service
browser_login = yes
""",
        extra="""\
[login]
title = Forecast dashboards
message = Accounts: service-desk@example.com
stay = 30d

[operator]
role = admin
""",
    )
)

FILES = {"users.realm": "alice: wonderland, admin\nbob: builder\n"}
PASSWORDS = {"alice": "wonderland", "bob": "builder"}

#: the frame that shows what has changed, and the end of the transitions that it begins
_SETTLE = """new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done))).then(
    () => Promise.all(document.getAnimations().map(one => one.finished)))"""
_SEND_FORM = "document.body.insertAdjacentHTML('beforeend', '<form method=post action=/send></form>'); document.forms[0].submit()"


@attrs.frozen
class Scene:
    """A page. ``play`` brings a browser to it, in which ``user`` is signed in; with "" nobody is."""

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


def _token(page: Page) -> None:
    page.goto(f"{OWN}account/tokens/new")
    page.fill("input[name=name]", "nightly job")
    page.get_by_role("button", name="Make the token").click()
    page.get_by_text("nightly job").first.wait_for()


def _wrong_token(page: Page) -> None:
    page.goto(f"{OWN}account/tokens/new")
    page.evaluate("document.querySelectorAll('[required]').forEach(one => one.removeAttribute('required'))")
    page.get_by_role("button", name="Make the token").click()
    page.get_by_role("alert").wait_for()


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
    Scene("account", at(f"{OWN}account"), "alice"),
    Scene("account-token", at(f"{OWN}account/tokens/new"), "alice"),
    Scene("account-token-wrong", _wrong_token, "alice"),
    Scene("account-token-made", _token, "alice"),
    Scene("account-end-others", at(f"{OWN}account/sessions/others"), "alice"),
    Scene("operator", _operator, "alice"),
    *(Scene(f"operator-{name}", at(f"{OWN}operator/{path}"), "alice") for name, path in _OPERATOR.items()),
)


def enter(page: Page, scene: Scene) -> None:
    """Bring ``page``, of a new context, to the scene."""
    if scene.user:
        page.goto(f"{OWN}login?to=/dashboards")
        type_password(page, scene.user, PASSWORDS[scene.user])
        page.wait_for_url("**/dashboards")
    scene.play(page)
    page.wait_for_load_state()


def views(page: Page) -> Iterator[str]:
    """Show the page in both colour schemes, on a desktop and on a phone. Yields a name of each, such as ``360-dark``."""
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        for width, height in SIZES:
            page.set_viewport_size({"width": width, "height": height})
            page.evaluate(_SETTLE)
            yield f"{width}-{scheme}"

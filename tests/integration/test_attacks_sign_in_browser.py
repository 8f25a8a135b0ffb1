"""21, 26, 27, 76: attacks on sign-in and on the gateway's own pages in a real browser."""

from __future__ import annotations

from typing import ClassVar

from playwright.sync_api import Page

from tests.integration.browser import HOST, OWN, SISTER, STRANGER, secure, type_password
from tests.integration.harness import site
from tests.integration.test_attacks_sign_in import MARKUP, QUOTED, ROUTES, USERS_WITH_MARKUP
from tests.integration.test_sign_in_browser import SignInCase, shows

#: the same service is at a sister host and at one of another site, which the attacker controls
ATTACKERS = f"""
[route sister]
host = {SISTER}
path = /
upstream = service
auth = none

[route stranger]
host = {STRANGER}
path = /
upstream = service
auth = none
"""

LOGIN = f"[login]\ntitle = {MARKUP}\nmessage = <script>document.title = 'pwned'</script>\n"

FETCH = "([url, options]) => fetch(url, options).then(async answer => [answer.status, await answer.text()], () => [0, ''])"
WEBSOCKET = """url => new Promise(done => {
    const socket = new WebSocket(url);
    socket.onmessage = message => { done(message.data); socket.close(); };
    socket.onerror = () => done('refused');
})"""
POST_FORM = """([url, fields, type]) => {
    const form = document.createElement('form');
    form.method = 'post'; form.action = url; form.enctype = type;
    for (const [name, value] of Object.entries(fields)) {
        const input = document.createElement('input');
        input.name = name; input.value = value;
        form.append(input);
    }
    document.body.append(form);
    form.submit();
}"""
FRAME = """url => new Promise(done => {
    const frame = document.createElement('iframe');
    frame.src = url;
    frame.onload = () => {
        try { done(frame.contentDocument.body.innerText); } catch (error) { done('blocked: ' + error.name); }
    };
    document.body.append(frame);
})"""
POPUP = """url => new Promise(done => {
    const opened = open(url);
    let tries = 0;
    const look = () => {
        let text = '';
        try { text = opened.closed ? 'closed' : opened.document.body.innerText; } catch (error) { text = error.name; }
        if (text == '' && ++tries < 40) setTimeout(look, 50); else done(text);
    };
    setTimeout(look, 500);
})"""

PAGES = (
    *("login?again=1", "logout", "signed-out", "go?to=/"),
    *("account", "account/tokens/new", "account/sessions/others", "operator", "operator/sessions"),
)
"""Own pages that a user who is signed in can open."""


class ForeignPagesTests(SignInCase):
    """Pages of a sister host, to which SameSite=Lax gives the cookie, and of another site."""

    CONFIG = secure(site(ROUTES + ATTACKERS))
    FILES: ClassVar = USERS_WITH_MARKUP

    def setUp(self) -> None:
        super().setUp()
        port = self.served["https"]
        self.attackers = {name: f"https://{name}:{port}" for name in (SISTER, STRANGER)}
        self.user = self.page(hosts=tuple(f"{name}:{port}" for name in (SISTER, STRANGER)))
        # pages of the attacker at which the service's scripts are refused what they ask for
        self.watch.expected.append("error in a script")
        self.arrive(self.user, "/page")
        self.evil = self.user.context.new_page()

    def still_signed_in(self) -> None:
        self.user.goto("/page")
        self.assertEqual(self.user.url, f"{self.origin}/page")

    def reached(self, path: str) -> int:
        return sum(path in received.line for received in self.service.requests)

    def test_attack_21_a_websocket_of_a_foreign_page(self) -> None:
        for name, origin in self.attackers.items():
            self.evil.goto(f"{origin}/evil")
            url = f"wss://{HOST}:{self.served['https']}/stolen-{name}"
            self.assertEqual(self.evil.evaluate(WEBSOCKET, url), "refused", name)
            self.assertEqual(self.reached("/stolen"), 0)
        self.assertEqual(self.user.evaluate(WEBSOCKET, f"wss://{HOST}:{self.served['https']}/mine"), "hello alice")

    def test_attack_21_a_form_and_a_script_of_a_foreign_page(self) -> None:
        for origin in self.attackers.values():
            for kind in ("application/x-www-form-urlencoded", "text/plain", "multipart/form-data"):
                self.evil.goto(f"{origin}/evil")
                with self.evil.expect_navigation():
                    self.evil.evaluate(POST_FORM, [f"{self.origin}/forged", {"amount": "1000"}, kind])
                self.assertNotIn("Page of the service", self.evil.inner_text("body"))
            self.evil.goto(f"{origin}/evil")
            for options in ({"method": "POST", "mode": "no-cors"}, {"method": "POST"}, {"method": "DELETE"}):
                self.evil.evaluate(FETCH, [f"{self.origin}/forged", {"credentials": "include", **options}])
        self.assertEqual(self.reached("/forged"), 0)
        # the service's own page may do all of it
        self.assertEqual(self.user.evaluate(FETCH, ["/forged", {"method": "DELETE"}])[0], 200)

    def test_attack_27_forms_of_foreign_pages(self) -> None:
        """They cannot sign the user out, or sign them in as another user."""
        for origin in self.attackers.values():
            for path, fields in (
                ("logout", {}),
                ("logout", {"everywhere": "1"}),
                ("login", {"username": "bob", "password": "hunter2", "to": "/"}),
            ):
                self.evil.goto(f"{origin}/evil")
                with self.evil.expect_navigation():
                    self.evil.evaluate(POST_FORM, [f"{self.origin}{OWN}{path}", fields, "application/x-www-form-urlencoded"])
                self.still_signed_in()
                shows(self.user, "socket", "hello alice")

    def test_attack_26_a_foreign_page_that_opens_one_of_ours(self) -> None:
        """It reads nothing of it, and cannot frame it."""
        self.watch.expected += ["frame-ancestors", "Framing"]
        for origin in self.attackers.values():
            for path in PAGES:
                self.evil.goto(f"{origin}/evil")
                self.assertIn("blocked", self.evil.evaluate(FRAME, f"{self.origin}{OWN}{path}"))
                self.assertEqual(self.evil.evaluate(FETCH, [f"{self.origin}{OWN}{path}", {"credentials": "include"}]), [0, ""])


class OwnHostTests(SignInCase):
    """76: a script of a service on the same host, which shares its origin with the gateway's own pages."""

    CONFIG = secure(site(ROUTES, extra="[operator]\nrole = admin\n"))

    def setUp(self) -> None:
        super().setUp()
        self.script = self.page()
        self.arrive(self.script, "/page")
        self.watch.expected.append("Content Security Policy")

    def test_attack_76_a_script_reads_no_page(self) -> None:
        for path in PAGES:
            for options in (
                {},
                {"headers": {"Accept": "text/html"}},
                {"method": "POST", "body": "token=x"},
                {"redirect": "manual"},
                {"mode": "same-origin", "cache": "force-cache"},
                {"headers": {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}},
            ):
                status, text = self.script.evaluate(FETCH, [OWN + path, options])
                self.assertEqual(status, 403, (path, options))
                self.assert_nothing(text)

    def assert_nothing(self, text: str) -> None:
        for part in ("<form", "token", "alice"):
            self.assertNotIn(part, text)

    def test_attack_76_a_script_frames_and_opens_no_page(self) -> None:
        for path in PAGES:
            self.assert_nothing(self.script.evaluate(FRAME, OWN + path))
            with self.script.context.expect_page():
                text = self.script.evaluate(POPUP, OWN + path)
            # the page that opened it has lost its handle, or is not let in
            self.assertIn(text, ("closed", "SecurityError"))
        for element in ("object", "embed"):
            attribute = "data" if element == "object" else "src"
            text = self.script.evaluate(
                """([element, attribute, url]) => new Promise(done => {
                    const made = document.createElement(element);
                    made.setAttribute(attribute, url);
                    const look = () => {
                        let text = '';
                        try { text = made.contentDocument ? made.contentDocument.body.innerText : ''; } catch (error) { }
                        done(text);
                    };
                    made.onload = look; made.onerror = look; setTimeout(look, 1500);
                    document.body.append(made);
                })""",
                [element, attribute, f"{OWN}logout"],
            )
            self.assert_nothing(text)

    def test_attack_76_a_script_sends_no_form(self) -> None:
        """A script can send a form by navigation, but cannot read the token."""
        fields = ({}, {"everywhere": "1"}, {"token": "x"}, {"token": "x", "name": "stolen"})
        for path in ("logout", "account/tokens", "account/sessions/others/end", "operator/keys/rotate"):
            for sent in fields:
                page = self.script.context.new_page()
                page.goto("/page")
                with page.expect_navigation() as answer:
                    page.evaluate(POST_FORM, [OWN + path, sent, "application/x-www-form-urlencoded"])
                assert answer.value is not None
                self.assertIn(answer.value.status, (403, 404, 405), (path, sent))
                page.goto("/page")
                self.assertEqual(page.url, f"{self.origin}/page")
                page.close()
        self.script.goto(f"{OWN}account")
        self.assertNotIn("stolen", self.script.inner_text("body"))
        # while the gateway's own form works
        self.sign_out(self.script)

    def test_attack_76_a_service_worker_of_the_service(self) -> None:
        """It stands before all pages of the host; people can sign in and out nevertheless."""
        page = self.script
        page.goto("/worker")
        page.wait_for_function("document.getElementById('state').textContent == 'ready'")
        self.sign_out(page)
        answer = page.goto("/page")
        assert answer is not None
        self.assertTrue(answer.from_service_worker)
        self.assertEqual(page.url, self.login_url("/page"))
        type_password(page)
        page.wait_for_url(f"{self.origin}/page")
        shows(page, "socket", "hello alice")
        # the worker reads what passes through it: pages that give out rights are not for it
        for path in ("account", "account/tokens/new", "operator"):
            answer = page.goto(OWN + path)
            assert answer is not None
            self.assertEqual((answer.status, answer.from_service_worker), (403, True), path)


class MarkupInBrowserTests(SignInCase):
    """26: what an attacker wrote is shown, and does nothing."""

    CONFIG = secure(site(ROUTES, extra=LOGIN))
    FILES: ClassVar = USERS_WITH_MARKUP

    def harmless(self, page: Page, *shown: str) -> None:
        text = page.inner_text("body")
        for part in shown:
            self.assertIn(part, text)
        self.assertEqual(page.evaluate("document.querySelectorAll('[onerror], [onmouseover], img[src=x]').length"), 0)
        self.assertNotEqual(page.title(), "pwned")

    def test_attack_26_markup_that_a_browser_shows(self) -> None:
        page = self.page()
        dialogs: list[str] = []
        page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
        for name in (MARKUP, QUOTED):
            page.goto("/admin/x")
            self.harmless(page, "<script>document.title = 'pwned'</script>", MARKUP)
            type_password(page, name, "wrong")
            page.get_by_text("The user name or the password is wrong.").wait_for()
            self.assertEqual(page.input_value("input[name=username]"), name)
            self.harmless(page, MARKUP)
            type_password(page, name)
            page.wait_for_url(f"{self.origin}/admin/x")
            self.harmless(page, name)
            page.goto(f"{OWN}logout")
            self.harmless(page, name)
            page.get_by_role("button", name="Sign out", exact=True).click()
            page.get_by_role("heading", name="You are signed out").wait_for()
        self.assertEqual(dialogs, [])

    def test_attack_26_markup_in_the_address(self) -> None:
        page = self.page()
        for value in ("/%22%3E%3Cimg%20src=x%20onerror=alert(1)%3E", "javascript:document.title='pwned'"):
            for path in (f"login?to={value}", f"login?again={value}", f"go?to={value}&fragment={value}"):
                page.goto(OWN + path)
                self.harmless(page)
        page.goto(f"{OWN}login#<img src=x onerror=alert(1)>")
        self.harmless(page)
        type_password(page)
        page.wait_for_url(f"{self.origin}/#**")
        self.harmless(page)

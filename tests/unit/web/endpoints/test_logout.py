"""Sign-out, the page after it, and the picture that empties the browser's memory."""

from __future__ import annotations

from perimeter.config.site.login import Cleared, LoginSettings
from perimeter.run.build.pages import PageParts
from perimeter.sessions.sealing import key_of
from perimeter.web.endpoints.endpoint import Endpoint
from perimeter.web.endpoints.logout import Elsewhere, Logout
from perimeter.web.endpoints.page import Pages
from perimeter.web.endpoints.providers.parts import Provider
from tests.unit.doubles.http_rig import Response
from tests.unit.doubles.pages import NAVIGATION, Browser, PageCase, PageConfig, hidden
from tests.unit.doubles.provider_sessions import ProviderSessionCase, RenewingProvider
from tests.unit.doubles.sessions import ALICE

LOGOUT = "/.perimeter/logout"
SIGNED_OUT = b"/.perimeter/signed-out"
PICTURE = ("Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: image")


class LogoutTests(PageCase):
    def setUp(self) -> None:
        super().setUp()
        self.browser.sign_in()

    def test_it_asks_first(self) -> None:
        page = self.browser.open(LOGOUT)
        self.assertEqual(page.status, 200)
        self.assertIn(b"signed in as <strong>alice</strong>", page.body)
        self.assertNotIn(b"everywhere", page.body)
        self.assertEqual(len(self.stored.all()), 1)
        Browser(self).sign_in()
        self.assertIn(b'name="everywhere"', self.browser.open(LOGOUT).body)

    def test_the_session_ends(self) -> None:
        other = Browser(self)
        other.sign_in()
        (one, kept) = self.stored.all()
        reply = self.browser.send(LOGOUT, hidden(self.browser.open(LOGOUT)))
        self.assertEqual((reply.status, reply.get(b"location")), (303, SIGNED_OUT))
        self.assertEqual(reply.get(b"clear-site-data"), b'"cache"')
        cookie = reply.get(b"set-cookie")
        self.assertEqual(cookie, b"__Host-perimeter=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0")
        self.assertEqual(self.stored.all(), [kept])
        record = self.record
        assert record.principal is not None
        assert record.principal.grant is not None
        self.assertEqual((record.event, record.principal, record.principal.grant.id), ("logout", ALICE, one.id))

    def test_everywhere(self) -> None:
        Browser(self).sign_in()
        self.browser.send(LOGOUT, {**hidden(self.browser.open(LOGOUT)), "everywhere": "1"})
        self.assertEqual(self.stored.all(), [])

    def test_who_is_not_signed_in_has_signed_out(self) -> None:
        browser = Browser(self)
        for reply in (browser.open(LOGOUT), browser.send(LOGOUT, {})):
            self.assertEqual((reply.status, reply.get(b"location")), (303, SIGNED_OUT))
            self.assertEqual((reply.get(b"set-cookie"), reply.get(b"clear-site-data")), (None, None))

    def test_the_cookie_of_a_session_that_has_ended_goes(self) -> None:
        self.done(self.book.end_all(ALICE))
        reply = self.browser.send(LOGOUT, {})
        self.assertEqual((reply.status, reply.get(b"clear-site-data")), (303, b'"cache"'))
        self.assertNotIn("__Host-perimeter", self.browser.cookies)

    def test_attack_27_another_site_ends_no_session(self) -> None:
        form = hidden(self.browser.open(LOGOUT))
        login = hidden(self.browser.open("/.perimeter/login?again=1"))["token"]
        other = Browser(self)
        other.sign_in()
        theirs = hidden(other.open(LOGOUT))["token"]
        for lines in (("Sec-Fetch-Site: cross-site",), ("Origin: null",), ("Origin: https://evil.example",)):
            self.assertEqual(self.browser.send(LOGOUT, form, *NAVIGATION[1:], *lines).status, 403, lines)
        for token in ("", login, theirs):
            self.assertEqual(self.browser.send(LOGOUT, {"token": token}).status, 403, token)
        self.assertEqual(self.browser.send(LOGOUT, {}, "Accept: */*").status, 403, "by a program, too")
        self.assertEqual(len(self.stored.all()), 2)
        self.done(self.book.end_all(ALICE))
        reply = self.browser.send(LOGOUT, {}, "Sec-Fetch-Site: cross-site")
        self.assertEqual((reply.status, reply.get(b"set-cookie")), (403, None))

    def test_the_page_after_it_loads_the_picture(self) -> None:
        page = self.browser.open(SIGNED_OUT.decode())
        self.assertEqual(page.status, 200)
        self.assertIn(b'<img src="/.perimeter/cleared" alt=""', page.body)


class ElsewhereTests(PageCase, ProviderSessionCase):
    """The sign-out at the provider that the session came from."""

    def setUp(self) -> None:
        self.provider = RenewingProvider()
        super().setUp()
        cookie, self.session = self.vouched()
        self.browser.cookies["__Host-perimeter"] = cookie.decode()

    def endpoints(self, login: LoginSettings) -> list[Endpoint]:
        config = PageConfig(login, self.trusted_proxies)
        parts = PageParts(config, self.look, self.book, self.chain, self)  # type: ignore[arg-type]
        pages = Pages("/.perimeter", self.look, self.book)
        there = {"corp": Elsewhere(Provider(self.provider, ""), "https://gw.example/.perimeter/signed-out", self.clock)}
        others = [one for one in parts.endpoints() if not isinstance(one, Logout)]
        return [Logout(pages, login.clear_on_logout, there), *others]

    def sign_out(self, *answers: object, **more: str) -> Response:
        self.provider.answers = list(answers)
        return self.browser.send(LOGOUT, {**hidden(self.browser.open(LOGOUT)), **more})

    def test_the_form_offers_it(self) -> None:
        page = self.browser.open(LOGOUT).body
        self.assertIn(b'<input type="checkbox" name="elsewhere" value="1" checked><span>Sign out of Company login, too', page)
        self.browser.sign_in()
        self.assertNotIn(b"elsewhere", self.browser.open(LOGOUT).body)

    def test_the_session_ends_here_and_a_page_leads_there(self) -> None:
        url = 'https://sso.example.com/end?id_token_hint=a&b="<c>'
        page = self.sign_out(url, elsewhere="1")
        self.assertEqual((page.status, self.stored.all()), (200, []))
        escaped = b"https://sso.example.com/end?id_token_hint=a&amp;b=&#34;&lt;c&gt;"
        self.assertIn(b'<meta http-equiv="refresh" content="0;url=' + escaped + b'">', page.body)
        self.assertIn(b'href="' + escaped + b'"', page.body)
        self.assertIn(b"signs you out of Company login", page.body)
        self.assertIsNone(page.get(b"location"))
        self.assertEqual(page.get(b"cache-control"), b"no-store")
        self.assertNotIn("__Host-perimeter", self.browser.cookies)
        self.assertEqual(self.provider.asked, [("sign_out_url", b"first", "https://gw.example/.perimeter/signed-out", "")])

    def test_only_here(self) -> None:
        reply = self.sign_out()
        self.assertEqual((reply.status, reply.get(b"location"), self.stored.all()), (303, SIGNED_OUT, []))
        self.assertEqual(self.provider.asked, [])

    def test_a_provider_without_such_a_page_or_that_does_not_answer(self) -> None:
        for answer in ("", ValueError("a bug")):
            cookie, self.session = self.vouched()
            self.browser.cookies["__Host-perimeter"] = cookie.decode()
            reply = self.sign_out(answer, elsewhere="1")
            self.assertEqual((reply.status, reply.get(b"location")), (303, SIGNED_OUT), answer)
            self.assertIsNone(self.stored.with_id(self.session.id))

    def test_a_session_on_another_host_signs_out_there_too(self) -> None:
        cookie, _ = self.child(self.session, key_of(self.browser.cookies["__Host-perimeter"].encode()))
        self.browser.cookies["__Host-perimeter"] = cookie.decode()
        self.assertEqual(self.sign_out("https://sso.example.com/end", elsewhere="1").status, 200)
        self.assertEqual(self.provider.asked[0][1], b"first")

    def test_without_the_secret_the_session_ends_nevertheless(self) -> None:
        cookie, child = self.child(self.session, b"k" * 32)
        self.browser.cookies["__Host-perimeter"] = cookie.decode()
        self.assertEqual(self.sign_out(elsewhere="1").status, 303)
        self.assertIsNone(self.stored.with_id(child.id))
        self.assertEqual(self.provider.asked, [])

    def test_attack_27_the_box_needs_the_form_too(self) -> None:
        self.assertEqual(self.browser.send(LOGOUT, {"elsewhere": "1"}).status, 403)
        self.assertEqual((self.provider.asked, len(self.stored.all())), ([], 1))


class ClearedTests(PageCase):
    def picture(self, *lines: str) -> bytes | None:
        reply = self.browser.open("/.perimeter/cleared", *(lines or PICTURE), *PICTURE)
        self.assertEqual((reply.status, reply.get(b"content-type")), (200, b"image/svg+xml"))
        self.assertEqual(reply.get(b"cache-control"), b"no-store")
        return reply.get(b"clear-site-data")

    def test_only_a_page_of_this_origin_empties_the_memory(self) -> None:
        self.assertEqual(self.picture("Sec-Fetch-Site: same-origin"), b'"cache"')
        for site in ("cross-site", "same-site", "none"):
            self.assertIsNone(self.picture(f"Sec-Fetch-Site: {site}"))
        self.assertIsNone(self.picture("Accept: image/*"))
        self.assertIsNone(self.picture("Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: cross-site"))

    def test_what_is_configured(self) -> None:
        self.serve(clear_on_logout=(Cleared.CACHE, Cleared.STORAGE))
        self.assertEqual(self.picture("Sec-Fetch-Site: same-origin"), b'"cache", "storage"')
        self.serve(clear_on_logout=())
        self.assertIsNone(self.picture("Sec-Fetch-Site: same-origin"))
        self.browser.sign_in()
        reply = self.browser.send(LOGOUT, hidden(self.browser.open(LOGOUT)))
        self.assertEqual((reply.status, reply.get(b"clear-site-data")), (303, None))


class StaticTests(PageCase):
    def test_an_asset(self) -> None:
        name = next(name for name in self.look.assets if name.startswith("style."))
        reply = self.browser.ask(f"GET /.perimeter/static/{name}")
        self.assertEqual((reply.status, reply.get(b"content-type")), (200, b"text/css; charset=utf-8"))
        self.assertEqual(reply.get(b"cache-control"), b"public, max-age=31536000, immutable")
        self.assertIn(b"sandbox", reply.get(b"content-security-policy") or b"")
        self.assertEqual(reply.body, self.look.assets[name].content)

    def test_another_name(self) -> None:
        for name in ("", "/", "/style.css", "/style.0123456789abcdef.css", "/../login", "/x/y"):
            self.assertIn(self.browser.ask(f"GET /.perimeter/static{name}").status, (400, 404), name)

    def test_other_paths_below_the_prefix_are_nothing(self) -> None:
        for path in ("", "/", "/nothing", "/login/x", "/go/"):
            self.assertEqual(self.browser.open(f"/.perimeter{path}").status, 404, path)

"""Sign-out, the page after it, and the picture that empties the browser's memory."""

from __future__ import annotations

from perimeter.config.site.login import Cleared
from tests.unit.doubles.pages import NAVIGATION, Browser, PageCase, hidden
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

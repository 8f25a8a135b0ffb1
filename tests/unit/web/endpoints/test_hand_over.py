"""One sign-in for several hosts: the way to the login host and back, and what a ticket is good for."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256
from ipaddress import ip_network
from urllib.parse import parse_qs, quote, urlsplit

from perimeter.errors import StateUnavailable
from perimeter.sessions.sealing import unseal, unseal_under
from perimeter.sessions.session import Origin
from perimeter.web.endpoints.hand_over import AppHosts
from tests.unit.doubles.hosts import APPS, HostsCase, SomeRoute, User, login_url
from tests.unit.doubles.http_rig import Response
from tests.unit.doubles.pages import NAVIGATION, Browser, hidden
from tests.unit.doubles.sessions import ALICE
from tests.unit.web.endpoints.test_login import ELSEWHERE

APP = "https://app.example"
SSO = "https://sso.example"
WIKI = "https://wiki.example"
ENTER = "__Host-perimeter-enter"
SESSION = "__Host-perimeter"

NO_APPS = (
    "evil.example",
    "open.example",
    "sso.example",
    "",
    "app.example:444",
    "app.example.",
    "APP.example",
    "evil@app.example",
    "evil.example/.lab.example",
    "evil.example#.lab.example",
    "evil.example?.lab.example",
    "evil.example\\.lab.example",
    "evil.example:443.lab.example",
    "a.b.lab.example",
    "*.lab.example",
    ".lab.example",
    "lab.example",
    "app.example\r\nX: y",
    "%61pp.example",
    "[::1]",
)
"""What is no host of a route with ``browser_login``, in no spelling."""


def parameters(url: str) -> dict[str, str]:
    return {name: values[-1] for name, values in parse_qs(urlsplit(url).query).items()}


def spelt(sealed: bytes) -> str:
    return urlsafe_b64encode(sealed).rstrip(b"=").decode()


class WayTests(HostsCase):
    """The way of a browser."""

    def signed_in(self, host: str = "app.example", to: str = "/x?y=1") -> User:
        page = self.user.open(login_url(host, to))
        self.assertEqual(page.status, 200)
        self.user.sign_in(page)
        self.assertEqual(self.user.at, f"https://{host}{to}")
        return self.user

    def test_a_browser_without_a_session_is_sent_to_the_login_host(self) -> None:
        answer = self.user.get(login_url("app.example", "/x?y=1"))
        self.assertEqual((answer.status, answer.get(b"cache-control")), (303, b"no-store"))
        url = self.user.location(answer)
        self.assertTrue(url.startswith(f"{SSO}/.perimeter/login?to="), url)
        back = parameters(url)["to"]
        secret = self.user.on("app.example").cookies[ENTER]
        self.assertEqual(
            answer.get(b"set-cookie"),
            f"{ENTER}={secret}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=3600".encode(),
        )
        self.assertEqual(len(secret), 43)
        self.assertEqual(urlsplit(back).path, "/.perimeter/hand-over")
        said = parameters(back)
        self.assertEqual((said["host"], said["to"]), ("app.example", "/x?y=1"))
        self.assertEqual(urlsafe_b64decode(said["n"] + "="), sha256(secret.encode()).digest())

    def test_after_the_sign_in_the_browser_is_where_it_wanted_to_go_with_a_session_of_its_own_there(self) -> None:
        user = self.signed_in()
        parent, child = self.stored.all()
        self.assertEqual((parent.parent, child.parent), ("", parent.id))
        self.assertEqual(child.owner, parent.owner)
        self.assertEqual((child.proved, child.expires, child.idle), (parent.proved, parent.expires, parent.idle))
        self.assertEqual((child.address, child.agent), ("192.0.2.7", ""))
        cookies = [user.on(host).cookies[SESSION] for host in ("sso.example", "app.example")]
        self.assertEqual([self.book.current(cookie.encode()) for cookie in cookies], [parent, child])
        record = self.record
        assert record.principal is not None
        assert record.principal.grant is not None
        self.assertEqual((record.event, record.principal, record.principal.grant.id), ("enter", ALICE, child.id))
        self.assertEqual(record.status, 303)

    def test_what_a_provider_gave_can_be_opened_on_the_other_host(self) -> None:
        user = self.user
        cookie, parent = self.begin(origin=Origin(secret=b"a refresh token"))
        user.on("sso.example").cookies[SESSION] = cookie.decode()
        user.open(login_url("app.example", "/x"))
        self.assertEqual(user.at, f"{APP}/x")
        (child,) = self.stored.children(parent)
        key = unseal(user.on("app.example").cookies[SESSION].encode(), child.sealed)
        self.assertEqual(unseal_under(key, parent.sealed), b"a refresh token")

    def test_another_host_needs_no_second_sign_in(self) -> None:
        user = self.signed_in()
        user.open(login_url("wiki.example", "/w"))
        self.assertEqual(user.at, f"{WIKI}/w")
        self.assertEqual([one.parent == "" for one in self.stored.all()], [True, False, False])
        self.assertEqual(self.logins, [("password", "success")])

    def test_a_host_of_a_wildcard(self) -> None:
        self.signed_in("a.lab.example")

    def test_the_port_is_the_one_that_the_browser_uses(self) -> None:
        page = self.user.open(login_url("app.example:8443", "/x"))
        self.assertTrue(self.user.at.startswith("https://sso.example:8443/"))
        self.user.sign_in(page)
        self.assertEqual(self.user.at, "https://app.example:8443/x")

    def test_the_port_is_the_one_that_a_proxy_names(self) -> None:
        self.trusted_proxies = (ip_network("192.0.2.0/24"),)
        self.serve()
        browser = Browser(self, tls="", host="app.example")
        proto = "X-Forwarded-Proto: https"
        for lines, port in (
            (("X-Forwarded-Host: app.example:8443",), ":8443"),
            (("X-Forwarded-Host: app.example", "X-Forwarded-Port: 8443"), ":8443"),
            (("X-Forwarded-Host: app.example:443",), ""),
            (("X-Forwarded-Host: other.example:8443",), ""),
            ((), ""),
        ):
            answer = browser.open("/.perimeter/login?to=/", *NAVIGATION, proto, *lines)
            self.assertEqual(answer.status, 303)
            location = (answer.get(b"location") or b"").decode()
            self.assertEqual(urlsplit(location).netloc, f"sso.example{port}", lines)

    def test_a_browser_that_is_signed_in_goes_on_at_once(self) -> None:
        user = self.signed_in()
        self.assertEqual(user.location(user.get(login_url("app.example", "/z"))), f"{APP}/z")

    def test_a_sign_in_again_reaches_the_page_of_the_login_host(self) -> None:
        user = self.signed_in()
        for again in ("1", "other"):
            page = user.open(login_url("app.example", "/z", again=again))
            self.assertEqual((page.status, parameters(user.at)["again"]), (200, again))
        self.assertNotIn("again", parameters(user.location(user.get(login_url("wiki.example", "/z", again="x&to=//e")))))
        page = user.open(login_url("app.example", "/z", again="1"))
        user.sign_in(page)
        self.assertEqual(user.at, f"{APP}/z")
        self.assertEqual([one.parent == "" for one in self.stored.all()], [True, False], "the earlier ones have ended")

    def test_the_page_for_second_factors_is_on_the_login_host_too(self) -> None:
        user = self.signed_in()
        url = user.location(user.get(f"{APP}/.perimeter/factor?to=/z"))
        self.assertTrue(url.startswith(f"{SSO}/.perimeter/factor?to="), url)
        user.open(SSO + parameters(url)["to"])
        self.assertEqual(user.at, f"{APP}/z")

    def test_tabs_share_a_secret_so_each_arrives(self) -> None:
        first, second = (self.user.open(login_url("app.example", to)) for to in ("/one", "/two"))
        form = hidden(first)
        self.user.sign_in(second)
        self.assertEqual(self.user.at, f"{APP}/two")
        _, child = self.stored.all()
        self.user.open(SSO + form["to"])
        self.assertEqual(self.user.at, f"{APP}/one")
        self.assertEqual(self.stored.all()[1:], [child], "the session of the first tab goes on")
        self.assertEqual((self.record.event, self.record.principal), ("enter", ALICE))

    def test_a_path_that_is_too_long_for_the_way_leads_to_the_front_page(self) -> None:
        for to, reached in (("/" + "x" * 1000, "/" + "x" * 1000), ("/" + "&" * 1999, "/")):
            user = User(self)
            user.sign_in(user.open(login_url("app.example", to)))
            self.assertEqual(user.at, APP + reached)

    def test_a_session_that_stays_is_handed_over_until_the_browser_is_closed(self) -> None:
        self.serve(stay=30 * 86400.0)
        self.user.sign_in(self.user.open(login_url("app.example")), stay="1")
        parent, child = self.stored.all()
        self.assertEqual((parent.idle, child.idle, child.expires), (0.0, 0.0, parent.expires))
        del self.user.on("app.example").cookies[SESSION]
        self.user.open(login_url("app.example", "/x"))
        self.assertEqual(self.user.at, f"{APP}/x")

    def test_use_on_another_host_keeps_the_session_of_the_login_host(self) -> None:
        user = self.signed_in()
        parent, child = self.stored.all()
        self.clock.advance(3000)
        self.stored._index.uses[child.id].at = self.clock.seconds()
        self.assertEqual(self.book.seen_at(parent), self.clock.seconds())
        self.clock.advance(3000)
        user.open(login_url("wiki.example", "/w"))
        self.assertEqual(user.at, f"{WIKI}/w")

    def test_plain_http(self) -> None:
        browser = Browser(self, tls="", host="app.example")
        page = browser.open("/.perimeter/login?to=/x")
        self.assertEqual(page.status, 403)
        self.assertIn(b'href="https://app.example:9443/.perimeter/login?to=%2Fx"', page.body)
        self.assertEqual(page.get(b"set-cookie"), None)


class PlaceTests(HostsCase):
    """Which host has what."""

    def status(self, host: str, path: str) -> int:
        return User(self).get(f"https://{host}/.perimeter{path}").status

    def test_pages_are_on_the_login_host_alone(self) -> None:
        for path, there in (("/login", 200), ("/account", 302), ("/go", 200), ("/logout", 303)):
            self.assertEqual(self.status("sso.example", path), there, path)
        for host in ("app.example", "x.lab.example", "open.example", "elsewhere.example"):
            for path in ("/account", "/account/tokens", "/go", "/hand-over", "/operator", "/nothing", ""):
                self.assertEqual(self.status(host, path), 404, (host, path))
        self.assertEqual(self.status("sso.example", "/enter"), 404)
        self.assertEqual(self.status("app.example", "/logout"), 303)
        self.assertEqual(self.status("app.example", "/signed-out"), 200)

    def test_who_opens_the_sign_in_page_itself_gets_to_the_account_page(self) -> None:
        user = self.user
        page = user.get(f"{SSO}/.perimeter/login")
        self.assertIn(b'url=/.perimeter/account"', user.sign_in_here(page).body)
        for url in (f"{SSO}/.perimeter/login", f"{SSO}/.perimeter/login?to=/"):
            self.assertEqual(user.location(user.get(url)), f"{SSO}/.perimeter/account")
        self.assertEqual(user.location(user.get(f"{SSO}/.perimeter/login?to=/x")), f"{SSO}/x")
        self.routes = (SomeRoute(("*.example",)),)
        self.serve()
        self.assertEqual(user.location(user.get(f"{SSO}/.perimeter/login")), f"{SSO}/")

    def test_hosts_that_serve_nobody_send_nobody_to_the_login_host(self) -> None:
        for host in ("open.example", "elsewhere.example", "lab.example", "a.b.lab.example"):
            for path in ("/login", "/factor"):
                self.assertEqual(self.status(host, path), 404, (host, path))

    def test_no_form_is_taken_on_a_host_of_services(self) -> None:
        for path in ("/login", "/enter"):
            self.assertEqual(self.user.on("app.example").send(f"/.perimeter{path}", {"username": "alice"}).status, 405)

    def test_a_sign_out_on_one_host_is_one_on_all(self) -> None:
        user = self.user
        user.sign_in(user.open(login_url("app.example")))
        user.open(login_url("wiki.example"))
        other = User(self)
        other.sign_in(other.open(login_url("app.example")))
        self.assertEqual(len(self.stored.all()), 5)
        page = user.get(f"{APP}/.perimeter/logout")
        self.assertEqual(page.status, 200)
        self.assertIn(b'name="everywhere"', page.body)
        lines = ["Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document", f"Origin: {APP}"]
        answer = user.on("app.example").send("/.perimeter/logout", hidden(page), *lines)
        self.assertEqual(answer.status, 303)
        self.assertEqual(len(self.stored.all()), 2, "those of the other browser")
        for host in ("sso.example", "wiki.example"):
            self.assertIsNone(self.book.current(user.on(host).cookies[SESSION].encode()))
        self.assertIn(b"Sign in", user.open(login_url("app.example")).body)

    def test_sessions_on_other_hosts_are_not_counted_as_sign_ins(self) -> None:
        self.serve(max_sessions=2)
        users = [User(self) for _ in range(2)]
        for user in users:
            for host in ("app.example", "wiki.example", "a.lab.example"):
                answer = user.open(login_url(host))
                if answer.status == 200:
                    user.sign_in(answer)
        self.assertEqual(len(self.stored.all()), 8)
        self.assertEqual(len(self.book.owned(ALICE)), 2)
        third = User(self)
        third.sign_in(third.open(login_url("app.example")))
        self.assertEqual(len(self.book.owned(ALICE)), 2)
        self.assertEqual(len(self.stored.all()), 6, "the oldest has ended on all hosts")


class TicketTests(HostsCase):
    """Attack B5."""

    def setUp(self) -> None:
        super().setUp()
        self.user.get(login_url("app.example", "/x"))
        self.way = parameters(self.user.location(self.user.get(login_url("app.example", "/x"))))["to"]
        self.user.sign_in(self.user.open(SSO + "/.perimeter/login?to=" + quote(self.way)))
        self.entered = [url for url in self.user.visited if urlsplit(url).path.endswith("/enter")][-1]
        self.children = len(self.stored.all())

    def ticket(self) -> str:
        """The URL of a ticket that was not used."""
        return self.user.location(self.user.get(SSO + self.way))

    def refused(self, user: User, url: str, status: int = 403) -> Response:
        page = user.get(url)
        self.assertEqual(page.status, status)
        self.assertEqual(len(self.stored.all()), self.children, "no session has begun")
        self.assertIsNone(page.get(b"set-cookie"))
        self.assertIn(b"You are not signed in on this site yet", page.body)
        self.assertEqual(page.get(b"referrer-policy"), b"no-referrer")
        return page

    def test_attack_b5_a_ticket_is_good_once(self) -> None:
        page = self.refused(self.user, self.entered)
        self.assertIn(b'href="/x"', page.body)
        self.assertEqual((self.record.event, self.record.reason), ("enter", "bad_ticket"))

    def test_attack_b5_a_ticket_of_another_host(self) -> None:
        url = self.ticket()
        self.user.open(login_url("wiki.example"))
        self.children += 1
        self.refused(self.user, url.replace("app.example", "wiki.example"))
        self.user.on("wiki.example").cookies[ENTER] = self.user.on("app.example").cookies[ENTER]
        self.refused(self.user, url.replace("app.example", "wiki.example"))
        self.assertEqual(self.user.get(url).status, 303, "it was not used up")

    def test_attack_b5_a_ticket_without_the_cookie_or_with_that_of_another_browser(self) -> None:
        url, other = self.ticket(), User(self)
        self.refused(other, url)
        other.get(login_url("app.example"))
        self.refused(other, url)
        for wrong in ("x" * 43, "x", ""):
            other.on("app.example").cookies[ENTER] = wrong
            self.refused(other, url)
        self.assertEqual(self.user.get(url).status, 303)

    def test_attack_b5_a_ticket_is_good_for_30_seconds(self) -> None:
        url, late = self.ticket(), self.ticket()
        self.clock.advance(29.99)
        self.assertEqual(self.user.get(url).status, 303)
        self.clock.advance(0.01)
        self.refused(self.user, late)

    def test_attack_b5_a_host_that_is_no_route_gets_no_ticket(self) -> None:
        for host in NO_APPS:
            for name in ("host", "host=app.example&host"):
                answer = self.user.get(f"{SSO}/.perimeter/hand-over?{name}={quote(host, safe='')}&n={'n' * 43}&to=/")
                self.assertEqual((answer.status, answer.get(b"location")), (403, None), host)
        for commitment in ("", "n" * 42, "n" * 44, "n" * 42 + "/", "n" * 43 + "%0a"):
            answer = self.user.get(f"{SSO}/.perimeter/hand-over?host=app.example&n={commitment}&to=/")
            self.assertEqual((answer.status, answer.get(b"location")), (403, None), commitment)

    def test_attack_b5_no_ticket_without_a_session(self) -> None:
        other = User(self)
        answer = other.get(SSO + self.way)
        self.assertEqual(other.location(answer), f"{SSO}/.perimeter/login?to={quote(self.way)}")

    def test_attack_b5_the_session_has_ended_meanwhile(self) -> None:
        url = self.ticket()
        self.done(self.book.end_all(ALICE))
        self.children = 0
        self.refused(self.user, url)

    def test_attack_b5_a_ticket_of_a_session_on_a_host_of_services(self) -> None:
        parent, child = self.stored.all()
        url = self.ticket()
        said = json.loads(self.key.unseal(urlsafe_b64decode(parameters(url)["ticket"] + "=="), "hand-over"))
        self.assertEqual(said[0], parent.id)
        forged = self.key.seal(json.dumps([child.id, *said[1:]]).encode(), "hand-over")
        self.refused(self.user, f"{APP}/.perimeter/enter?ticket={spelt(forged)}")
        good = self.key.seal(json.dumps(said).encode(), "hand-over")
        self.assertEqual(self.user.get(f"{APP}/.perimeter/enter?ticket={spelt(good)}").status, 303)

    def test_attack_b5_other_texts(self) -> None:
        url = self.ticket()
        text = parameters(url)["ticket"]
        other = ("B" if text[0] == "A" else "A") + text[1:]
        for wrong in ("", "x", text[:-1], text + "A", text + "=", "é", text + " ", "A" * 5000, other):
            self.refused(self.user, f"{APP}/.perimeter/enter?ticket={quote(wrong)}")
        self.assertEqual(self.user.get(url).status, 303)

    def test_attack_b5_over_plain_http(self) -> None:
        parts = urlsplit(self.ticket())
        browser = Browser(self, tls="", host="app.example")
        browser.cookies = self.user.on("app.example").cookies
        self.assertEqual(browser.open(f"{parts.path}?{parts.query}").status, 403)
        self.assertEqual(len(self.stored.all()), self.children)

    def test_attack_41_a_state_that_does_not_say_whether_a_ticket_was_used(self) -> None:
        url = self.ticket()

        def broken(_: object) -> None:
            raise StateUnavailable("disk full")

        self.patch(self.state._claims, "_commit", broken)
        self.refused(self.user, url, 503)

    def test_attack_24_the_path_in_to_stays_on_the_host(self) -> None:
        for to in ELSEWHERE:
            written = quote(to, safe="")
            entering, _, _ = self.ticket().partition("&to=")
            self.assertEqual(self.user.location(self.user.get(f"{entering}&to={written}")), f"{APP}/", to)
            self.refused(self.user, f"{APP}/.perimeter/enter?ticket=x&to={written}")
            back = f"/.perimeter/hand-over?host=app.example&n={'n' * 43}&to={written}"
            self.assertTrue(self.user.location(self.user.get(SSO + back)).endswith("&to=/"), to)
            other = User(self)
            url = other.location(other.get(f"{APP}/.perimeter/login?to={written}"))
            self.assertEqual(parameters(parameters(url)["to"])["to"], "/", to)

    def test_scripts_and_frames_get_nothing(self) -> None:
        parts = urlsplit(self.ticket())
        for mode, wanted in (("cors", "empty"), ("no-cors", "image"), ("navigate", "iframe")):
            answer = self.user.on("app.example").ask(
                f"GET {parts.path}?{parts.query}", f"Sec-Fetch-Mode: {mode}", f"Sec-Fetch-Dest: {wanted}"
            )
            self.assertEqual(answer.status, 403)
        self.assertEqual(len(self.stored.all()), self.children)


class AppHostsTests(HostsCase):
    def test_names_and_wildcards(self) -> None:
        apps = AppHosts(APPS)
        for host, known in (
            ("app.example", True),
            ("x.lab.example", True),
            ("x.y.lab.example", False),
            ("*.lab.example", False),
            ("other.example", False),
            ("", False),
        ):
            self.assertEqual(apps.has(host), known, host)
        self.assertFalse(AppHosts(()).has("app.example"))

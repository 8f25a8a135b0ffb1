"""The sign-in page and its form, behind a real gate."""

from __future__ import annotations

import re
import tracemalloc
from ipaddress import ip_network
from urllib.parse import quote, unquote

import attrs

from perimeter.errors import Overloaded, Rejected, StateUnavailable, TooManyAttempts, Unavailable
from perimeter.model import BasicCredentials, GrantKind
from perimeter.plugin.authenticator import Scheme
from tests.unit.doubles.pages import NAVIGATION, OWN_FORM, Browser, PageCase, hidden, text_of
from tests.unit.doubles.sessions import ALICE, BOB

LOGIN = "/.perimeter/login"
FORM = {"username": "alice", "password": "wonderland", "to": "/x"}
PROGRAM = ("Accept: */*", "User-Agent: Wget/1.21")

#: Where a browser, or a server that decodes once more, would read another site (CVE-2020-5233, CVE-2020-4037, KNOX-3416)
ELSEWHERE = (
    "//evil.example",
    "///evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "/\t/evil.example",
    "/%09/evil.example",
    "/%5cevil.example",
    "/%2fevil.example",
    "/ /evil.example",
    "/\r\nLocation: https://evil.example",
    "https://evil.example/",
    "https:evil.example",
    "https://gw.example:443%252f@evil.example/",
    "gw.example.evil.example",
    "javascript:alert(1)",
    "data:text/html,x",
    "/../evil",
    "/x#@evil.example",
    "",
    "/" + "x" * 2000,
)


class PageTests(PageCase):
    def test_the_page_has_a_form_that_browsers_fill_in(self) -> None:
        page = self.browser.open(f"{LOGIN}?to=/x%3Fy%3D1")
        self.assertEqual(page.status, 200)
        self.assertEqual(hidden(page)["to"], "/x?y=1")
        for name, word in ((b"username", b"username"), (b"password", b"current-password")):
            (field,) = re.findall(rb'<input id="%b"[^>]*>' % name, page.body)
            self.assertIn(b'autocomplete="%b"' % word, field)
            self.assertEqual(b" autofocus" in field, name == b"username")
            self.assertIn(b'<label for="%b">' % name, page.body)
        self.assertNotIn(b"aria-describedby", page.body)
        self.assertNotIn(b'name="stay"', page.body)
        self.assertNotIn(b'name="realm"', page.body)

    def test_the_headers_of_a_page(self) -> None:
        page = self.browser.open(LOGIN)
        nonces = set(re.findall(rb'nonce="([^"]+)"', page.body))
        self.assertEqual(len(nonces), 1)
        (nonce,) = nonces
        self.assertEqual(
            page.get(b"content-security-policy"),
            b"default-src 'none'; script-src 'nonce-%b'; style-src 'nonce-%b'; img-src 'self'; connect-src 'self'; "
            b"form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
            b"trusted-types 'none'" % (nonce, nonce),
        )
        for name, value in (
            (b"cache-control", b"no-store"),
            (b"referrer-policy", b"same-origin"),
            (b"cross-origin-opener-policy", b"noopener-allow-popups"),
            (b"cross-origin-resource-policy", b"same-origin"),
            (b"x-content-type-options", b"nosniff"),
            (b"strict-transport-security", b"max-age=60"),
            (b"content-type", b"text/html; charset=utf-8"),
        ):
            self.assertEqual(page.get(name), value)
        self.assertNotIn(nonce, self.browser.open(LOGIN).body)

    def test_head(self) -> None:
        self.assertEqual(self.browser.ask(f"HEAD {LOGIN}", *NAVIGATION).status, 200)

    def test_the_cookie_before_the_sign_in_is_set_once(self) -> None:
        page = self.browser.open(LOGIN)
        cookie = page.get(b"set-cookie") or b""
        self.assertRegex(cookie, rb"^__Host-perimeter-pre=[\w-]{22}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=3600$")
        again = self.browser.open(LOGIN)
        self.assertIsNone(again.get(b"set-cookie"))
        self.assertEqual(hidden(again)["token"], hidden(page)["token"])
        self.assertNotEqual(hidden(Browser(self).open(LOGIN))["token"], hidden(page)["token"])

    def test_who_is_signed_in_goes_on(self) -> None:
        self.browser.sign_in()
        reply = self.browser.open(f"{LOGIN}?to=/x%3Fy")
        self.assertEqual((reply.status, reply.get(b"location")), (303, b"/x?y"))

    def test_who_is_to_sign_in_again_sees_who_they_are(self) -> None:
        self.browser.sign_in()
        page = self.browser.open(f"{LOGIN}?again=1")
        self.assertIn(b"You are signed in as <strong>alice</strong>. To go on, sign in again.", page.body)
        self.assertIn(b'name="username" type="text" value="alice"', page.body)
        other = self.browser.open(f"{LOGIN}?again=other")
        self.assertIn(b'name="username" type="text" value=""', other.body)
        self.assertIn(b"<strong>alice</strong>. To use another account, sign in here.", other.body)

    def test_the_message_and_the_title(self) -> None:
        self.serve(title="Forecasts <3", message="Ask <us>")
        page = self.browser.open(LOGIN).body
        self.assertIn(b"<title>Sign in \xe2\x80\x93 Forecasts &lt;3</title>", page)
        self.assertIn(b"<p>Ask &lt;us&gt;</p>", page)

    def test_stay_is_offered_if_it_is_configured(self) -> None:
        self.serve(stay=30 * 86400.0)
        self.assertIn(b"Stay signed in for 30 days", self.browser.open(LOGIN).body)

    def test_realms_are_offered_if_they_are_configured(self) -> None:
        @attrs.frozen
        class One:
            realm: str
            schemes: frozenset[str]

        basic, other = frozenset((Scheme.BASIC,)), frozenset((Scheme.BEARER,))
        self.chain.guarded = (One("staff", basic), One("none", other), One("guests", basic), One("staff", basic))  # type: ignore[assignment]
        self.serve(choose_realm=True)
        page = self.browser.open(LOGIN)
        self.assertEqual(re.findall(rb"<option>(\w+)</option>", page.body), [b"staff", b"guests"])
        refused = self.browser.send(LOGIN, {**hidden(page), **FORM, "realm": "guests"}, *OWN_FORM)
        self.assertEqual(refused.status, 303)
        self.assertEqual(self.chain.asked[0][1].realms, frozenset(("guests",)))
        self.chain.answer = Rejected()
        refused = Browser(self).sign_in(realm="guests")
        self.assertIn(b"<option selected>guests</option>", refused.body)

    def test_attack_80_no_page_over_plain_http(self) -> None:
        plain = Browser(self, tls="")
        page = plain.open(f"{LOGIN}?to=/x%3Fy")
        self.assertEqual((page.status, plain.cookies), (403, {}))
        self.assertIn(b'href="https://gw.example:9443/.perimeter/login?to=%2Fx%3Fy"', page.body)
        self.assertNotIn(b"<form", page.body)
        reply = plain.send(LOGIN, FORM, *PROGRAM)
        self.assertEqual((reply.status, plain.cookies, self.chain.asked), (403, {}, []))
        self.assertEqual(self.record.reason, "https_needed")

    def test_attack_79_many_pages_cost_no_memory(self) -> None:
        def ask(times: int) -> None:
            for number in range(times):
                Browser(self).open(f"{LOGIN}?to=/{number}")
                self.served.audit.records.clear()
                self.served.audit.written_before.clear()

        ask(300)  # what is remembered of targets (`perimeter.gate.gate.Gate`) is bounded, too
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        before, _ = tracemalloc.get_traced_memory()
        ask(600)
        after, _ = tracemalloc.get_traced_memory()
        self.assertLess(after - before, 600 * 1024)
        self.assertEqual((len(self.stored), self.store.written), (0, []))


class SignInTests(PageCase):
    def test_a_session_begins(self) -> None:
        reply = self.browser.sign_in("/x?y=1", fragment="#/deep?x=1&y=2")
        self.assertEqual(reply.status, 303)
        self.assertEqual(reply.get(b"location"), b"/.perimeter/go?to=%2Fx%3Fy%3D1#/deep?x=1&y=2")
        self.assertRegex(
            (reply.get(b"set-cookie") or b""), rb"^__Host-perimeter=[\w-]{43}; Path=/; Secure; HttpOnly; SameSite=Lax$"
        )
        (session,) = self.stored.all()
        self.assertEqual((session.owner, session.address, session.proved[0][0]), (ALICE, "192.0.2.7", "password"))
        record = self.record
        self.assertEqual((record.event, record.status, record.reason), ("login", 303, ""))
        self.assertEqual(record.principal, ALICE)
        assert record.principal is not None
        assert record.principal.grant is not None
        self.assertEqual((record.principal.grant.id, record.principal.grant.kind), (session.id, GrantKind.SESSION))
        self.assertEqual(self.logins, [("password", "success")])

    def test_the_form_of_a_program_needs_no_token(self) -> None:
        reply = self.browser.send(LOGIN, FORM, *PROGRAM)
        self.assertEqual(reply.status, 303)
        self.assertEqual(len(self.stored.all()), 1)

    def test_who_wants_to_stay(self) -> None:
        self.serve(stay=86400.0)
        self.assertIn(b"; Max-Age=86400", self.browser.sign_in(stay="1").get(b"set-cookie") or b"")
        (session,) = self.stored.all()
        self.assertEqual((session.expires - session.created, session.idle), (86400.0, 0.0))
        self.assertNotIn(b"Max-Age", Browser(self).sign_in().get(b"set-cookie") or b"")

    def test_stay_counts_only_if_it_is_offered(self) -> None:
        self.assertNotIn(b"Max-Age", self.browser.sign_in(stay="1").get(b"set-cookie") or b"")
        (session,) = self.stored.all()
        self.assertEqual(session.idle, 3600.0)

    def test_attack_25_the_session_id_changes(self) -> None:
        self.browser.sign_in()
        first = self.browser.cookies["__Host-perimeter"]
        self.chain.answer = BOB
        self.browser.sign_in()
        self.assertNotEqual(self.browser.cookies["__Host-perimeter"], first)
        self.assertEqual([one.owner for one in self.stored.all()], [BOB])
        self.assertIsNone(self.book.current(first.encode()))

    def test_the_name_and_the_password_are_not_trimmed(self) -> None:
        self.browser.sign_in(username="José", password=" päss ")
        self.assertEqual(self.chain.asked[0][0], BasicCredentials("José", " päss "))
        self.assertEqual(self.chain.asked[0][1].address, "192.0.2.7")

    def test_a_fragment_that_is_too_long_is_left_out(self) -> None:
        self.assertIn(b"#xxx", self.browser.sign_in(fragment="#" + "x" * 2000).get(b"location") or b"")
        self.assertNotIn(b"#", self.browser.sign_in(fragment="#" + "x" * 2001).get(b"location") or b"")
        self.assertNotIn(b"#", self.browser.sign_in(fragment="x").get(b"location") or b"")
        self.assertNotIn(b"#", self.browser.sign_in(fragment="#").get(b"location") or b"")

    def test_two_tabs(self) -> None:
        one, other = self.browser.open(f"{LOGIN}?to=/one"), self.browser.open(f"{LOGIN}?to=/other")
        form = {"username": "alice", "password": "wonderland"}
        for page, to in ((one, b"%2Fone"), (other, b"%2Fother")):
            reply = self.browser.send(LOGIN, {**hidden(page), **form})
            self.assertEqual((reply.status, reply.get(b"location")), (303, b"/.perimeter/go?to=" + to))

    def test_an_old_form_in_a_browser_that_is_signed_in_by_now_goes_on(self) -> None:
        old = self.browser.open(f"{LOGIN}?to=/old")
        del self.browser.cookies["__Host-perimeter-pre"]
        self.browser.sign_in()
        asked = len(self.chain.asked)
        reply = self.browser.send(LOGIN, {**hidden(old), "username": "alice", "password": "x"})
        self.assertEqual((reply.status, reply.get(b"location")), (303, b"/.perimeter/go?to=%2Fold"))
        self.assertEqual(len(self.chain.asked), asked)

    def test_an_old_form_in_a_browser_that_is_not_signed_in(self) -> None:
        old = self.browser.open(f"{LOGIN}?to=/old")
        self.browser.cookies.clear()
        reply = self.browser.send(LOGIN, {**hidden(old), **FORM, "to": "/old"})
        self.assertEqual((reply.status, self.chain.asked, self.record.reason), (403, [], "cross_site"))
        self.assertIn("open for too long", text_of(reply))
        again = self.browser.send(LOGIN, {**hidden(reply), "username": "alice", "password": "wonderland"})
        self.assertEqual(again.get(b"location"), b"/.perimeter/go?to=%2Fold")

    def test_each_refusal_has_a_sentence_of_its_own(self) -> None:
        for answer, status, words, outcome, wait in (
            (Rejected(), 403, "The user name or the password is wrong.", "wrong", None),
            (TooManyAttempts(retry_after=8), 429, "Wait 8 seconds, then try again.", "throttled", b"8"),
            (Unavailable("ldap://x"), 503, "the directory of users does not answer.", "unavailable", b"5"),
            (StateUnavailable(), 503, "your session cannot be saved. Try again in a minute.", "unavailable", b"5"),
            (Overloaded(), 503, "Too many people are signing in", "overloaded", b"5"),
        ):
            self.chain.answer = answer
            page = self.browser.sign_in("/x", fragment="#/deep")
            self.assertEqual((page.status, page.get(b"retry-after"), self.logins[-1]), (status, wait, ("password", outcome)))
            self.assertIn(words, text_of(page))
            self.assertEqual((self.record.reason, self.record.event), (answer.reason, "login"))
            self.assertEqual((self.record.attempted_user, self.record.principal), ("alice", None))
            self.assertEqual((hidden(page)["to"], hidden(page)["fragment"]), ("/x", "#/deep"))
            self.assertIn(b'value="alice"', page.body)
            self.assertNotIn(b"wonderland", page.body)
            self.assertNotIn(b"ldap://x", page.body)
            for name in (b"username", b"password"):
                (field,) = re.findall(rb'<input id="%b"[^>]*>' % name, page.body)
                self.assertIn(b'aria-describedby="error"', field)
                self.assertEqual(b" autofocus" in field, name == b"password")
            self.assertNotIn("__Host-perimeter", self.browser.cookies)

    def test_a_session_that_cannot_be_written(self) -> None:
        self.store.fails = True
        page = self.browser.sign_in()
        self.assertEqual((page.status, self.record.attempted_user), (503, "alice"))
        self.assertNotIn("__Host-perimeter", self.browser.cookies)

    def test_attack_78_a_name_that_no_user_can_have_looks_like_a_wrong_password(self) -> None:
        self.chain.answer = Rejected()
        wrong = self.browser.sign_in()
        for name, password in (("al\x00ice", "x"), ("alice:x", "y"), ("alice", "\x07")):
            page = self.browser.sign_in(username=name, password=password)
            self.assertEqual((page.status, text_of(page)), (403, text_of(wrong)))
        self.assertEqual(len(self.chain.asked), 1)

    def test_attack_26_markup_in_the_name(self) -> None:
        self.chain.answer = Rejected()
        page = self.browser.sign_in('/"><svg/onload=alert(1)>', username='"><svg onload=alert(1)>', realm='"><svg>')
        self.assertNotIn(b"<svg", page.body)
        self.assertIn(b"&lt;svg onload", page.body)

    def test_attack_42_no_password_in_a_record(self) -> None:
        self.chain.answer = Rejected("no authenticator knows this user")
        self.browser.sign_in()
        for name in type(self.record).__slots__:
            self.assertNotIn("wonderland", repr(getattr(self.record, name)))

    def test_a_malformed_form(self) -> None:
        kind = "Content-Type: application/x-www-form-urlencoded"
        for body in (b"username=%zz", b"username=%ff", b"&".join([b"a=b"] * 101)):
            self.assertEqual(self.browser.ask(f"POST {LOGIN}", kind, *PROGRAM, body=body).status, 400)
        self.assertEqual(self.chain.asked, [])

    def test_methods(self) -> None:
        self.assertEqual(self.browser.ask(f"PUT {LOGIN}", *PROGRAM).status, 405)

    def test_a_user_agent_may_hold_any_bytes(self) -> None:
        for agent, kept in ((b"caf\xe9/1", "caf\ufffd/1"), ("caf\u00e9/1".encode(), "caf\u00e9/1"), (b"x" * 900, "x" * 200)):
            browser = Browser(self)
            page = browser.open(LOGIN)
            sent = browser.send(LOGIN, {**hidden(page), **FORM}, *OWN_FORM, "User-Agent: " + agent.decode("latin-1"))
            self.assertEqual(sent.status, 303)
            self.assertEqual(self.stored.all()[-1].agent, kept)
            self.clock.advance(1)

    def test_a_session_of_a_realm_that_is_excluded_leads_to_the_page_and_not_back(self) -> None:
        """Otherwise the browser of a user behind a proxy that sets X-Auth-Realm would be redirected without end."""
        self.browser.sign_in()
        sent = self.browser.open("/.perimeter/account", *NAVIGATION, "X-Auth-Realm: other")
        self.assertEqual(sent.get(b"location"), b"/.perimeter/login?to=/.perimeter/account&again=other")
        self.assertEqual(self.browser.open(sent.get(b"location").decode(), *NAVIGATION, "X-Auth-Realm: other").status, 200)
        self.assertEqual(self.browser.open("/.perimeter/account").status, 200)


class RelayedTests(PageCase):
    trusted_proxies = (ip_network("192.0.2.0/24"),)

    def test_a_trusted_proxy_says_that_the_client_used_https(self) -> None:
        browser = Browser(self, tls="")
        page = browser.open(LOGIN, *NAVIGATION, "X-Forwarded-Proto: https")
        self.assertEqual(page.status, 200)
        reply = browser.send(LOGIN, {**hidden(page), **FORM}, *OWN_FORM, "X-Forwarded-Proto: https", "X-Forwarded-For: 10.0.0.1")
        self.assertEqual(reply.status, 303)
        self.assertEqual(self.stored.all()[0].address, "10.0.0.1")

    def test_attack_80_a_trusted_proxy_says_that_the_client_used_plain_http(self) -> None:
        page = self.browser.open(LOGIN, *NAVIGATION, "X-Forwarded-Proto: http")
        self.assertEqual((page.status, self.browser.cookies), (403, {}))

    def test_attack_80_another_peer_says_so(self) -> None:
        browser = Browser(self, tls="", peer="203.0.113.1")
        self.assertEqual(browser.open(LOGIN, *NAVIGATION, "X-Forwarded-Proto: https").status, 403)


class AttackTests(PageCase):
    def test_attack_24_another_site_as_the_path_to_return_to(self) -> None:
        for to in ELSEWHERE:
            page = self.browser.open(f"{LOGIN}?again=1&to={quote(to, safe='')}")
            self.assertEqual(hidden(page)["to"], "/", to)
            reply = self.browser.send(LOGIN, {**hidden(page), **FORM, "to": to})
            self.assertEqual(reply.get(b"location"), b"/.perimeter/go?to=%2F", to)
            self.assertEqual(self.browser.open(f"{LOGIN}?to={quote(to, safe='')}").get(b"location"), b"/", to)
            self.browser.cookies.pop("__Host-perimeter")

    def test_attack_24_encoded_twice(self) -> None:
        """What is encoded twice is a path on this host once it is decoded, or nothing."""
        self.browser.sign_in()
        for to in ELSEWHERE[:-2]:
            reply = self.browser.open(f"{LOGIN}?to={quote(quote(to, safe=''), safe='')}")
            self.assertEqual(reply.get(b"location"), b"/", to)

    def test_attack_24_other_ways_to_name_it(self) -> None:
        self.browser.sign_in()
        for query in ("to=/x&to=//evil.example", "to", "to=%zz", "To=//evil.example", "to=%ff"):
            self.assertEqual(self.browser.open(f"{LOGIN}?{query}").get(b"location"), b"/", query)

    def test_attack_24_the_host_header_names_no_other_site(self) -> None:
        plain = Browser(self, tls="")
        page = plain.ask(f"GET {LOGIN}", *NAVIGATION)
        self.assertNotIn(b"evil", page.body)
        for location in (self.browser.sign_in().get(b"location") or b"",):
            self.assertTrue(unquote(location.decode()).startswith("/.perimeter/go"))

    def test_attack_27_a_form_of_another_site(self) -> None:
        page = self.browser.open(LOGIN)
        form = {**hidden(page), **FORM}
        navigation = ("Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document", "Accept: text/html")
        for lines in (
            ("Sec-Fetch-Site: cross-site",),
            ("Sec-Fetch-Site: same-site",),
            ("Origin: https://evil.example",),
            ("Origin: null",),
            ("Origin: null", "Sec-Fetch-Site: same-origin"),
            ("Origin: http://gw.example",),
            ("Origin: https://sister.gw.example",),
            ("Origin: https://gw.example", "Origin: https://evil.example"),
            ("Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: cross-site"),
        ):
            reply = self.browser.send(LOGIN, form, *navigation, *lines)
            self.assertEqual((reply.status, self.record.reason), (403, "cross_site"), lines)
        self.assertEqual((self.chain.asked, self.stored.all()), ([], []))

    def test_attack_27_a_form_without_its_token(self) -> None:
        page = self.browser.open(LOGIN)
        token = hidden(page)["token"]
        other = hidden(Browser(self).open(LOGIN))["token"]
        for wrong in ("", "x", token[:-1], token + "=", other, "é"):
            self.assertEqual(self.browser.send(LOGIN, {**FORM, "token": wrong}).status, 403, wrong)
        self.assertEqual(self.chain.asked, [])
        self.assertEqual(self.browser.send(LOGIN, {**FORM, "token": token}).status, 303)

    def test_attack_27_what_a_browser_may_send_needs_a_token(self) -> None:
        for line in (
            "Origin: https://gw.example",
            "Referer: https://gw.example/",
            "Sec-Fetch-Site: none",
            "Sec-Fetch-User: ?1",
            "Cookie: a=b",
            "Accept: text/html",
            "Accept: */*, TEXT/HTML;q=0.1",
        ):
            lines = (line,) if line.startswith("Accept") else (line, "Accept: */*")
            self.assertEqual(Browser(self).send(LOGIN, FORM, *lines).status, 403, line)
        self.assertEqual(self.chain.asked, [])

    def test_attack_27_a_body_that_other_sites_can_send_without_asking(self) -> None:
        page = self.browser.open(LOGIN)
        body = f"token={hidden(page)['token']}&username=alice&password=wonderland".encode()
        for kind in ("text/plain", "multipart/form-data; boundary=x", "application/json"):
            reply = self.browser.ask(f"POST {LOGIN}", f"Content-Type: {kind}", *OWN_FORM, body=body)
            self.assertEqual(reply.status, 403, kind)
        self.assertEqual(self.chain.asked, [])

    def test_attack_76_a_script_or_a_frame_gets_no_page(self) -> None:
        for lines in (
            ("Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty"),
            ("Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: image"),
            ("Sec-Fetch-Mode: same-origin", "Sec-Fetch-Dest: empty"),
            ("Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe"),
            ("Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: empty"),
            ("Sec-Fetch-Mode: websocket",),
            ("Sec-Fetch-Mode: navigate", "Sec-Fetch-Mode: cors"),
        ):
            for target in (LOGIN, "/.perimeter/logout", "/.perimeter/go?to=/", "/.perimeter/signed-out"):
                reply = self.browser.open(target, "Sec-Fetch-Site: same-origin", *lines)
                self.assertEqual((reply.status, self.record.reason), (403, "cross_site"), lines)
                self.assertNotIn(b"token", reply.body)

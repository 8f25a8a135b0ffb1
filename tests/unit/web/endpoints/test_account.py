"""The account page and its forms, behind a real gate."""

from __future__ import annotations

import json
import re
from html import unescape
from typing import Any
from urllib.parse import urlencode

import attrs

from perimeter.config.site.login import LoginSettings
from perimeter.config.site.rule import Rule, RuleKind
from perimeter.gate.access import Access, Asks
from perimeter.gate.policy import Policy
from perimeter.gate.routes import Route
from perimeter.model import Principal, Restriction
from perimeter.run.build.pages import PageParts
from perimeter.tokens.api_token import ApiToken
from perimeter.tokens.book import MOST_NAMED, TokenBook
from perimeter.tokens.stored import TOKENS
from perimeter.web.endpoints.endpoint import Endpoint
from tests.unit.doubles.http_rig import Response
from tests.unit.doubles.pages import NAVIGATION, OWN_FORM, Browser, PageCase, PageConfig, hidden, text_of
from tests.unit.doubles.sessions import ALICE, BOB, NAMESAKE, START
from tests.unit.doubles.tokens_site import CHECK

ACCOUNT = "/.perimeter/account"
NEW = f"{ACCOUNT}/tokens/new"
TOKENS_PATH = f"{ACCOUNT}/tokens"
OTHERS = f"{ACCOUNT}/sessions/others"
MARKUP = "<script>alert(1)</script>\"'&"
TOKEN = re.compile(rb"perimeter_2_[\w-]{43}")


class NoAccessTokens:
    """Stands in for `perimeter.tokens.revoking.Revoker`, which the account page does not use."""


def route(name: str, asks: Asks = Asks.REQUIRED, *allow: Rule) -> Route:
    return Route(name, b"/" + name.encode(), None, None, access=Access(asks), policy=Policy(allow or None))  # type: ignore[arg-type]


class AccountCase(PageCase):
    longest = 0.0
    with_tokens = True

    def endpoints(self, login: LoginSettings) -> list[Endpoint]:
        routes = (
            route("ecflow"),
            route("two words"),
            route("admins", Asks.REQUIRED, Rule(RuleKind.ROLE, "admin")),
            route("others", Asks.REQUIRED, Rule(RuleKind.USER, "somebody")),
            route("open", Asks.NONE),
        )
        self.tokens = self.state.view(TOKENS)
        self.token_book = TokenBook(self.tokens, NoAccessTokens(), self.clock, self.longest, CHECK)  # type: ignore[arg-type]
        book = self.token_book if self.with_tokens else None
        config = PageConfig(login, self.trusted_proxies)
        parts = PageParts(config, self.look, self.book, self.chain, tokens=book, routes=routes)  # type: ignore[arg-type]
        return parts.endpoints()

    def setUp(self) -> None:
        super().setUp()
        self.browser.sign_in()

    def make(self, name: str = "nightly", owner: Principal = ALICE, restriction: Restriction | None = None) -> ApiToken:
        kept: ApiToken = self.done(self.token_book.make(owner, name, None, restriction))[1]
        return kept

    def post(self, browser: Browser, **more: Any) -> Response:
        """Open the form for a new token, and send it."""
        return self.send_form(browser.open(NEW), browser, **more)

    def send_form(self, page: Response, browser: Browser, *lines: str, **more: Any) -> Response:
        fields = {**hidden(page), "name": "nightly", **more}
        body = urlencode(fields, doseq=True).encode()
        kind = "Content-Type: application/x-www-form-urlencoded"
        return browser.ask(f"POST {TOKENS_PATH}", kind, *(lines or OWN_FORM), body=body)

    def token_of(self, action: str, page: Response) -> str:
        """The token in the form with this action."""
        found = re.search(rb'action="%b"[^>]*><input type="hidden" name="token" value="([^"]*)"' % action.encode(), page.body)
        assert found is not None, action
        return found[1].decode()

    def names(self) -> list[str]:
        return [token.name for token in self.tokens.all()]


class PageTests(AccountCase):
    def test_who_the_user_is(self) -> None:
        page = self.browser.open(ACCOUNT)
        self.assertEqual(page.status, 200)
        rows = dict(re.findall(r"<tr><th scope=\"row\">(.*?)</th><td>(.*?)</td></tr>", page.body.decode()))
        self.assertEqual(
            rows,
            {
                "Name": "alice",
                "Realm": "local",
                "Roles": "admin, dev",
                "mail": "é@x",
                "Vouched for by": "users",
                "Signed in with": "password, 2027-01-15 08:00 UTC",
            },
        )
        self.assertEqual(page.get(b"cache-control"), b"no-store")

    def test_what_a_provider_has_checked(self) -> None:
        cookie, _ = self.begin(ALICE, methods=("provider:corp", "factor:corp", "totp"))
        self.browser.cookies["__Host-perimeter"] = cookie.decode()
        shown = "corp, 2027-01-15 08:00 UTC; second factor at corp, 2027-01-15 08:00 UTC; code of an authenticator app, 2027"
        self.assertIn(shown.encode(), self.browser.open(ACCOUNT).body)

    def test_a_user_without_roles(self) -> None:
        self.chain.answer = attrs.evolve(BOB, roles=())
        browser = Browser(self)
        browser.sign_in()
        self.assertIn(b'<th scope="row">Roles</th><td>none</td>', browser.open(ACCOUNT).body)

    def test_sessions(self) -> None:
        agent = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
        _, other = self.begin(agent=agent, address="203.0.113.9")
        self.begin(BOB, address="198.51.100.1")
        page = self.browser.open(ACCOUNT).body.decode()
        self.assertEqual(page.count("this one"), 1)
        self.assertIn("Firefox 140 on Linux", page)
        self.assertIn("203.0.113.9", page)
        self.assertNotIn("198.51.100.1", page)
        self.assertEqual(re.findall(r"/sessions/(\w+)/end", page), [other.id])

    def test_this_session_comes_first_and_then_the_latest(self) -> None:
        self.clock.advance(1)
        self.begin(address="203.0.113.1")
        self.clock.advance(1)
        self.begin(address="203.0.113.2")
        page = self.browser.open(ACCOUNT).body
        addresses = re.findall(rb'data-label="Address" class="address">([^<]*)<', page)
        self.assertEqual(addresses, [b"192.0.2.7", b"203.0.113.2", b"203.0.113.1"])

    def test_times_of_a_session(self) -> None:
        self.clock.advance(120)
        self.browser.open(ACCOUNT)
        page = self.browser.open(ACCOUNT).body
        self.assertIn(b'<td data-label="Since"><time datetime="2027-01-15T08:00:00Z">2027-01-15 08:00</time>', page)
        self.assertIn(b'<td data-label="Last seen"><time datetime="2027-01-15T08:02:00Z">2027-01-15 08:02</time>', page)

    def test_tokens(self) -> None:
        restricted = self.make("b", restriction=Restriction(frozenset(("x", "a")), frozenset(("GET",))))
        self.make("of bob", BOB)
        self.done(self.token_book.passing(ALICE))
        page = self.browser.open(ACCOUNT).body
        self.assertIn(b"routes a, x; methods GET", page)
        self.assertIn(restricted.id.encode(), page)
        self.assertIn(b"There is 1 more", page)
        self.assertNotIn(b"of bob", page)
        self.assertEqual(page.count(b"/account/tokens/new"), 1)

    def test_the_most_tokens_of_a_user(self) -> None:
        for number in range(MOST_NAMED - 1):
            self.make(str(number))
        form = self.browser.open(NEW)
        self.assertIn(b"/account/tokens/new", self.browser.open(ACCOUNT).body)
        self.make("last")
        page = self.browser.open(ACCOUNT)
        self.assertNotIn(b"/account/tokens/new", page.body)
        self.assertEqual(text_of(page), "You have 200 API tokens, and cannot have more. End those that you do not need.")
        refused = self.send_form(form, self.browser)
        self.assertEqual(refused.status, 400)
        self.assertIn("maximum number", text_of(refused))
        self.assertEqual(len(self.names()), MOST_NAMED)

    def test_a_browser_without_a_session_signs_in_first(self) -> None:
        for target in (ACCOUNT, NEW, OTHERS):
            reply = Browser(self).open(target)
            self.assertEqual(reply.status, 302)
            self.assertIn(b"/.perimeter/login?to=", reply.get(b"location") or b"")

    def test_passwords_and_tokens_are_refused(self) -> None:
        for credentials in ("Basic YWxpY2U6d29uZGVybGFuZA==", "Bearer perimeter_" + "x" * 43):
            for line in (f"GET {ACCOUNT}", f"GET {NEW}", f"POST {TOKENS_PATH}", f"POST {OTHERS}/end"):
                reply = Browser(self).ask(line, f"Authorization: {credentials}", "Accept: */*")
                self.assertEqual(reply.status, 401, line)
        self.assertEqual((len(self.chain.asked), self.names()), (1, []))

    def test_other_paths_and_methods(self) -> None:
        for target in ("sessions/x", "sessions/others/x", "tokens/x", "tokens/new/x", "x"):
            self.assertEqual(self.browser.open(f"{ACCOUNT}/{target}").status, 404, target)
        for target in ("sessions", "sessions/x", "sessions/x/y", "tokens/x", "tokens/x/end/y"):
            self.assertEqual(self.browser.send(f"{ACCOUNT}/{target}", {}).status, 404, target)
        self.assertEqual(self.browser.send(ACCOUNT, {}).status, 405)
        for target in ("sessions", "tokens"):
            reply = self.browser.open(f"{ACCOUNT}/{target}")
            self.assertEqual((reply.status, reply.get(b"location")), (303, ACCOUNT.encode()))


class WithoutTokenTests(AccountCase):
    with_tokens = False

    def test_there_is_nothing_about_tokens(self) -> None:
        self.assertNotIn(b"API token", self.browser.open(ACCOUNT).body)
        self.assertEqual(self.browser.open(NEW).status, 404)


class SessionEndTests(AccountCase):
    def test_one_session_ends(self) -> None:
        _, other = self.begin()
        action = f"{ACCOUNT}/sessions/{other.id}/end"
        reply = self.browser.send(action, {"token": self.token_of(action, self.browser.open(ACCOUNT))})
        self.assertEqual((reply.status, reply.get(b"location")), (303, f"{ACCOUNT}?done=session".encode()))
        self.assertEqual((self.record.event, self.record.status), ("session_end", 303))
        self.assertIsNone(self.stored.with_id(other.id))
        self.assertEqual(len(self.stored.all()), 1)
        self.assertIn(b"The session has ended.", self.browser.open(f"{ACCOUNT}?done=session").body)

    def test_the_own_session_ends(self) -> None:
        _, other = self.begin()
        action = f"{ACCOUNT}/sessions/{other.id}/end"
        token = self.token_of(action, self.browser.open(ACCOUNT))
        (own,) = (one.id for one in self.stored.all() if one.id != other.id)
        reply = self.browser.send(f"{ACCOUNT}/sessions/{own}/end", {"token": token})
        self.assertEqual((reply.status, reply.get(b"location")), (303, b"/.perimeter/signed-out"))
        self.assertNotIn("__Host-perimeter", self.browser.cookies)
        self.assertEqual([one.id for one in self.stored.all()], [other.id])

    def test_all_others_end(self) -> None:
        self.begin()
        self.begin()
        _, bobs = self.begin(BOB)
        page = self.browser.open(OTHERS)
        self.assertIn(b"2 other browsers", page.body)
        reply = self.browser.send(f"{OTHERS}/end", hidden(page))
        self.assertEqual((reply.status, reply.get(b"location")), (303, f"{ACCOUNT}?done=sessions".encode()))
        self.assertEqual(len(self.stored.all()), 2)
        self.assertEqual(self.record.event, "session_end")
        self.assertIsNotNone(self.stored.with_id(bobs.id))
        self.assertIn(b"There are no others.", self.browser.open(OTHERS).body)

    def test_to_end_all_others_needs_a_fresh_sign_in(self) -> None:
        self.begin()
        page = self.browser.open(OTHERS)
        self.clock.advance(self.login.fresh)
        to = b"/.perimeter/login?again=1&to=%2F.perimeter%2Faccount%2Fsessions%2Fothers"
        self.assertEqual(self.browser.open(OTHERS).get(b"location"), to)
        reply = self.browser.send(f"{OTHERS}/end", hidden(page))
        self.assertEqual((reply.status, reply.get(b"location")), (303, to))
        self.assertEqual(len(self.stored.all()), 2)


class TokenTests(AccountCase):
    def test_a_token_is_made_and_shown_once(self) -> None:
        page = self.post(
            self.browser,
            name=" nightly build ",
            expires_in="86400",
            routes=["ecflow", "two words"],
            methods=["GET", "propfind, HEAD"],
            networks="192.0.2.0/24\r\n2001:db8::1",
        )
        self.assertEqual((page.status, self.record.event), (200, "token_create"))
        self.assertEqual(page.get(b"cache-control"), b"no-store")
        texts = set(TOKEN.findall(page.body))
        self.assertEqual(len(texts), 1)
        (kept,) = self.tokens.all()
        self.assertEqual((kept.name, kept.owner, kept.expires), ("nightly build", ALICE, START + 86400))
        assert kept.restriction is not None
        self.assertEqual(kept.restriction.routes, {"ecflow", "two words"})
        self.assertEqual(kept.restriction.methods, {"GET", "PROPFIND", "HEAD"})
        self.assertEqual([str(one) for one in kept.restriction.networks], ["192.0.2.0/24", "2001:db8::1/128"])
        self.assertFalse(TOKEN.search(self.browser.open(ACCOUNT).body))

    def test_the_ways_to_use_it(self) -> None:
        page = self.post(self.browser)
        text = TOKEN.findall(page.body)[0].decode()
        shown = [unescape(one) for one in re.findall(r"<pre [^>]*>(.*?)</pre>", page.body.decode(), re.DOTALL)]
        header = f"Authorization: Bearer {text}"
        self.assertEqual(shown[:3], [text, f"curl -H '{header}' https://gw.example/whoami", header])
        self.assertEqual(
            json.loads(shown[3]),
            {
                "version": 1,
                "tokens": [
                    {
                        "server": r"https://gw\.example:443",
                        "type": "bearer",
                        "api": {"url": "https://gw.example:443", "key": text, "email": "alice"},
                    }
                ],
            },
        )

    def test_without_restriction(self) -> None:
        self.post(self.browser)
        (kept,) = self.tokens.all()
        self.assertIsNone(kept.restriction)
        self.assertEqual(kept.expires, START + 30 * 86400)

    def test_only_routes_that_may_admit_the_user_are_offered(self) -> None:
        found = re.findall(r'name="routes" value="([^"]*)"', self.browser.open(NEW).body.decode())
        self.assertEqual(found, ["ecflow", "two words", "admins"])

    def test_what_is_wrong_stays_in_the_form(self) -> None:
        for wrong, sentence in (
            ({"name": " "}, "Up to 100 characters are needed, no control characters."),
            ({"name": "x" * 101}, "Up to 100 characters are needed, no control characters."),
            ({"name": "a\u2028b"}, "Up to 100 characters are needed, no control characters."),
            ({"expires_in": "soon"}, "A number of seconds is needed, or 0 for a token that does not expire."),
            ({"expires_in": "-1"}, "A number of seconds is needed, or 0 for a token that does not expire."),
            ({"routes": ["ecflow", "nowhere"]}, "There is no route of this name."),
            ({"routes": ["ecflow", "others"]}, "There is no route of this name."),
            ({"routes": "open"}, "There is no route of this name."),
            ({"methods": "G<T"}, "Names of HTTP methods are needed."),
            ({"methods": ","}, "A list of 1 to 100 strings is needed; leave it out for any."),
            ({"networks": "192.0.2.1/24"}, "Addresses or networks such as 192.0.2.0/24 are needed."),
        ):
            page = self.post(self.browser, **wrong)
            self.assertEqual((page.status, self.record.reason), (400, "invalid_request"), wrong)
            self.assertEqual(text_of(page), sentence)
        self.assertIn(b">192.0.2.1/24</textarea>", page.body)
        self.assertIn(b'value="nightly"', page.body)
        self.assertEqual(self.names(), [])
        self.assertEqual(self.send_form(page, self.browser).status, 200)

    def test_a_reload_makes_no_second_token(self) -> None:
        form = self.browser.open(NEW)
        self.assertEqual(self.send_form(form, self.browser).status, 200)
        again = self.send_form(form, self.browser)
        self.assertEqual(again.status, 409)
        self.assertFalse(TOKEN.search(again.body))
        self.assertEqual(self.names(), ["nightly"])

    def test_a_reload_after_a_restart_makes_no_second_token(self) -> None:
        form = self.browser.open(NEW)
        self.send_form(form, self.browser)
        self.serve()
        self.assertEqual(self.send_form(form, self.browser).status, 409)

    def test_a_reload_after_the_token_has_ended_makes_no_second_token(self) -> None:
        form = self.browser.open(NEW)
        self.send_form(form, self.browser)
        (kept,) = self.tokens.all()
        self.done(self.tokens.remove(kept))
        self.assertEqual(self.send_form(form, self.browser).status, 409)
        self.assertEqual(self.names(), [])

    def test_a_form_that_failed_can_be_sent_again(self) -> None:
        form = self.browser.open(NEW)
        self.store.fails = True
        self.assertEqual(self.send_form(form, self.browser).status, 503)
        self.store.fails = False
        self.clock.advance(60)
        self.assertEqual(self.send_form(form, self.browser).status, 200)

    def test_two_forms_make_two_tokens(self) -> None:
        first, second = self.browser.open(NEW), self.browser.open(NEW)
        self.send_form(first, self.browser, name="a")
        self.send_form(second, self.browser, name="b")
        self.assertEqual(sorted(self.names()), ["a", "b"])

    def test_to_make_a_token_needs_a_fresh_sign_in(self) -> None:
        form = self.browser.open(NEW)
        self.clock.advance(self.login.fresh)
        self.assertEqual(self.browser.open(NEW).status, 303)
        reply = self.send_form(form, self.browser, routes=["two words"], networks="192.0.2.0/24")
        self.assertEqual((reply.status, self.names()), (303, []))
        location = (reply.get(b"location") or b"").decode()
        self.assertTrue(location.startswith("/.perimeter/login?again=1&to=%2F.perimeter%2Faccount%2Ftokens%2Fnew%3F"), location)
        page = self.browser.open(location)
        self.assertIn(b"sign in again", page.body)
        gone = self.browser.send("/.perimeter/login", {**hidden(page), "username": "alice", "password": "wonderland"})
        to = self.browser.open((gone.get(b"location") or b"").decode())
        back = re.findall(r'<a class="button"[^>]* href="([^"]*)"', to.body.decode())[0]
        form = self.browser.open(unescape(back))
        self.assertIn(b'value="two words" checked', form.body)
        self.assertIn(b">192.0.2.0/24</textarea>", form.body)
        self.assertEqual(self.send_form(form, self.browser).status, 200)

    def test_what_is_too_long_does_not_come_back(self) -> None:
        form = self.browser.open(NEW)
        self.clock.advance(self.login.fresh)
        reply = self.send_form(form, self.browser, networks="192.0.2.0/24 " * 200)
        self.assertEqual(reply.get(b"location"), b"/.perimeter/login?again=1&to=%2F.perimeter%2Faccount%2Ftokens%2Fnew")

    def test_a_token_ends(self) -> None:
        kept = self.make()
        action = f"{TOKENS_PATH}/{kept.id}/end"
        reply = self.browser.send(action, {"token": self.token_of(action, self.browser.open(ACCOUNT))})
        self.assertEqual((reply.status, reply.get(b"location")), (303, f"{ACCOUNT}?done=token".encode()))
        self.assertEqual((self.record.event, self.names()), ("token_end", []))


class LimitedLifetimeTests(AccountCase):
    longest = 10 * 86400.0

    def test_only_lifetimes_that_are_allowed_are_offered(self) -> None:
        page = self.browser.open(NEW).body.decode()
        self.assertEqual(re.findall(r'<option value="(\d+)"', page), ["86400", "604800", "864000"])
        self.assertIn('<option value="864000" selected>10 days', page)
        refused = self.post(self.browser, expires_in="0")
        self.assertIn("An API token may live up to 864000 seconds", text_of(refused))
        self.assertEqual(self.names(), [])


class AttackTests(AccountCase):
    def forms(self) -> list[tuple[str, dict[str, str]]]:
        """Each form of the account, with what it would do."""
        _, other = self.begin()
        kept = self.make("kept")
        page = self.browser.open(ACCOUNT)
        end_session, end_token = f"{ACCOUNT}/sessions/{other.id}/end", f"{TOKENS_PATH}/{kept.id}/end"
        return [
            (end_session, {"token": self.token_of(end_session, page)}),
            (end_token, {"token": self.token_of(end_token, page)}),
            (f"{OTHERS}/end", hidden(self.browser.open(OTHERS))),
            (TOKENS_PATH, {**hidden(self.browser.open(NEW)), "name": "bad"}),
        ]

    def state_of(self) -> tuple[int, list[str]]:
        return len(self.stored.all()), self.names()

    def test_attack_27_a_form_without_the_token_of_its_page(self) -> None:
        forms = self.forms()
        foreign = Browser(self)
        foreign.sign_in()
        foreign_token = hidden(foreign.open(NEW))["token"]
        before = self.state_of()
        tokens = [fields["token"] for _, fields in forms]
        for action, fields in forms:
            others = [token for token in tokens if token != fields["token"]]
            for wrong in ("", "x", foreign_token, fields["token"][:-1], "é", *others):
                reply = self.browser.send(action, {**fields, "token": wrong})
                self.assertEqual((reply.status, self.record.reason), (403, "cross_site"), (action, wrong))
        self.assertEqual(self.state_of(), before)

    def test_attack_27_a_form_of_another_site(self) -> None:
        forms = self.forms()
        before = self.state_of()
        navigation = ("Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document", "Accept: text/html")
        for action, fields in forms:
            for lines in (
                ("Origin: null",),
                ("Origin: null", "Sec-Fetch-Site: same-origin"),
                ("Origin: https://sister.gw.example", "Sec-Fetch-Site: same-site"),
                ("Origin: https://sister.gw.example",),
                ("Sec-Fetch-Site: same-site",),
                ("Sec-Fetch-Site: cross-site",),
                ("Origin: http://gw.example",),
            ):
                reply = self.browser.send(action, fields, *navigation, *lines)
                self.assertEqual((reply.status, self.record.reason), (403, "cross_site"), (action, lines))
        self.assertEqual(self.state_of(), before)

    def test_attack_27_a_body_that_other_sites_can_send_without_asking(self) -> None:
        forms = self.forms()
        before = self.state_of()
        for action, fields in forms:
            for kind in ("text/plain", "multipart/form-data; boundary=x", "application/json"):
                reply = self.browser.ask(f"POST {action}", f"Content-Type: {kind}", *OWN_FORM, body=urlencode(fields).encode())
                self.assertEqual((reply.status, self.record.reason), (403, "cross_site"), (action, kind))
        self.assertEqual(self.state_of(), before)

    def test_attack_26_markup_in_what_users_and_clients_choose(self) -> None:
        evil = attrs.evolve(ALICE, username=MARKUP, roles=(MARKUP,), attributes={MARKUP: MARKUP})
        self.chain.answer = evil
        browser = Browser(self)
        page = browser.open("/.perimeter/login")
        form = {**hidden(page), "username": "alice", "password": "x"}
        browser.send("/.perimeter/login", form, *OWN_FORM, f"User-Agent: {MARKUP}")
        self.begin(evil, agent="x" + MARKUP, address="192.0.2.9")
        self.make(MARKUP, evil, Restriction(frozenset((MARKUP,))))
        shown = self.post(browser, name=MARKUP)
        wrong = self.post(browser, name=MARKUP, networks=MARKUP, methods=MARKUP)
        query = urlencode({"name": MARKUP, "networks": MARKUP, "methods": MARKUP, "routes": MARKUP, "expires_in": MARKUP})
        pages = [
            browser.open(ACCOUNT),
            browser.open(f"{ACCOUNT}?done={MARKUP[:8]}"),
            browser.open(f"{NEW}?{query}"),
            shown,
            wrong,
        ]
        for at, reply in enumerate(pages):
            self.assertNotIn(b"<script>alert", reply.body, at)
            self.assertNotIn(b"\"'&", reply.body, at)
            self.assertIn(b"script-src 'nonce-", reply.get(b"content-security-policy") or b"", at)
        self.assertEqual([reply.status for reply in pages], [200, 200, 200, 200, 400])
        self.assertIn(b"&lt;script&gt;alert(1)", pages[0].body)

    def test_attack_37_sessions_and_tokens_of_another_user(self) -> None:
        tokens = [self.make("of bob", BOB), self.make("of another realm", NAMESAKE)]
        sessions = [self.begin(BOB)[1], self.begin(NAMESAKE)[1]]
        self.forms()
        page = self.browser.open(ACCOUNT)
        session_token = re.findall(rb'/sessions/\w+/end"><input type="hidden" name="token" value="([^"]*)"', page.body)[
            0
        ].decode()
        token_token = re.findall(rb'/tokens/\w+/end"[^>]*><input type="hidden" name="token" value="([^"]*)"', page.body)[
            0
        ].decode()
        before = self.state_of()
        for session in (*(one.id for one in sessions), "0" * 16):
            self.assertNotIn(session.encode(), page.body)
            reply = self.browser.send(f"{ACCOUNT}/sessions/{session}/end", {"token": session_token})
            self.assertEqual((reply.status, self.record.reason), (404, "no_such_session"))
        for token in (*(one.id for one in tokens), "0" * 16):
            self.assertNotIn(token.encode(), page.body)
            reply = self.browser.send(f"{TOKENS_PATH}/{token}/end", {"token": token_token})
            self.assertEqual((reply.status, self.record.reason), (404, "no_such_token"))
        self.assertEqual(self.state_of(), before)

    def test_attack_76_a_script_or_a_frame_of_a_service_on_the_same_host(self) -> None:
        forms = self.forms()
        before = self.state_of()
        for lines in (
            ("Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty"),
            ("Sec-Fetch-Mode: same-origin", "Sec-Fetch-Dest: empty"),
            ("Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: script"),
            ("Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe"),
            ("Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: object"),
        ):
            for target in (ACCOUNT, NEW, OTHERS):
                reply = self.browser.open(target, "Sec-Fetch-Site: same-origin", *lines)
                self.assertEqual((reply.status, self.record.reason), (403, "cross_site"), (target, lines))
                self.assertNotIn(b"token", reply.body)
            for action, fields in forms:
                own = ("Sec-Fetch-Site: same-origin", "Origin: https://gw.example", *lines)
                self.assertEqual(self.browser.send(action, fields, *own).status, 403, (action, lines))
        self.assertEqual(self.state_of(), before)
        page = self.browser.open(ACCOUNT, *NAVIGATION)
        self.assertIn(b"frame-ancestors 'none'", page.get(b"content-security-policy") or b"")
        self.assertEqual(page.get(b"cross-origin-opener-policy"), b"noopener-allow-popups")

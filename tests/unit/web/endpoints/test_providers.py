"""Sign-ins at providers, behind a real gate."""

from __future__ import annotations

from urllib.parse import parse_qs, urlencode, urlsplit

import attrs
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred

from perimeter.auth.chain.chain import AuthenticatorChain
from perimeter.auth.chain.vouching import ProviderUsers, vouched
from perimeter.config.site.login import LoginSettings
from perimeter.errors import (
    NotAllowedHere,
    ProviderDenied,
    ProviderMisconfigured,
    ProviderUnavailable,
    Rejected,
    Unavailable,
)
from perimeter.model import AuthenticationRequest, Principal
from perimeter.providers.flows import FLOWS, LIFETIME
from perimeter.providers.pins import PINS
from perimeter.run.build.pages import PageParts
from perimeter.state.once import ONCE
from perimeter.tokens.owners import encode_owner
from perimeter.web.endpoints.endpoint import Endpoint
from perimeter.web.endpoints.providers.parts import Provider, ProviderParts
from tests.unit.doubles.http_rig import Response
from tests.unit.doubles.pages import NAVIGATION, Browser, PageCase, PageConfig, hidden
from tests.unit.doubles.provider import CAROL, FakeProvider, signed_in

START_AT = "/.perimeter/start/corp"
CALLBACK = "/.perimeter/callback/corp"
FROM_ELSEWHERE = ("Sec-Fetch-Site: cross-site", *NAVIGATION[1:])
PROGRAM = ("Accept: text/html",)


class ProviderCase(PageCase):
    """A site with the providers ``corp`` and ``other``."""

    host = "https://gw.example"

    def setUp(self) -> None:
        self.corp, self.other = FakeProvider(), FakeProvider("other", "other", "Other login")
        super().setUp()

    def endpoints(self, login: LoginSettings) -> list[Endpoint]:
        self.users = AuthenticatorChain([ProviderUsers(self.corp), ProviderUsers(self.other)], 5.0, 0.0, self.clock)
        self.pins = self.state.view(PINS)
        parts = ProviderParts(
            [Provider(one, f"{self.host}/.perimeter/callback/{one.name}") for one in (self.corp, self.other)],
            self.vouched,
            self.state.view(FLOWS),
            self.pins,
            self.state.view(ONCE),
            self.clock,
        )
        config = PageConfig(login, self.trusted_proxies)
        return PageParts(config, self.look, self.book, self.chain, self, providers=parts).endpoints()  # type: ignore[arg-type]

    async def vouched(self, provider: str, principal: Principal, request: AuthenticationRequest) -> Principal:
        return await vouched(self.users, provider, principal, request)

    def begin(self, to: str = "/x", browser: Browser | None = None, more: str = "", path: str = START_AT) -> str:  # type: ignore[override]
        """Begin a sign-in. Returns its state."""
        response = (browser or self.browser).open(f"{path}?{urlencode({'to': to})}{more}")
        self.assertEqual(response.status, 302, response.body)
        return parse_qs(urlsplit(str(response.get(b"location"), "ascii")).query)["state"][0]

    def come_back(self, state: str, browser: Browser | None = None, path: str = CALLBACK, **more: str) -> Response:
        """The browser comes back from the provider."""
        target = f"{path}?{urlencode({'code': 'c0de', 'state': state, **more})}"
        return (browser or self.browser).open(target, *PROGRAM)

    def sign_in(self, to: str = "/x", browser: Browser | None = None) -> Response:
        return self.come_back(self.begin(to, browser), browser)

    def assert_refused(self, response: Response, status: int, reason: str, sentence: bytes) -> None:
        """No session, a page with ``sentence``, and the reason in the audit log."""
        self.assertEqual((response.status, self.record.reason), (status, reason))
        self.assertIn(sentence, response.body)
        self.assertEqual(response.body.count(b'class="button'), 1)
        self.assertEqual(len(self.stored), 0)
        self.assertNotIn("__Host-perimeter", self.browser.cookies)


class AugmentedTests(ProviderCase):
    async def vouched(self, provider: str, principal: Principal, request: AuthenticationRequest) -> Principal:
        return attrs.evolve(principal, roles=(*principal.roles, "added"))

    def test_the_session_keeps_what_the_provider_has_said_as_well(self) -> None:
        self.sign_in()
        (session,) = self.stored.all()
        assert session.vouched is not None
        self.assertEqual((session.owner.roles, session.vouched.said), (("dev", "added"), encode_owner(CAROL)))


class SignInTests(ProviderCase):
    def test_a_sign_in(self) -> None:
        response = self.sign_in("/deep?x=1&y=2")
        self.assertEqual((response.status, response.get(b"location")), (303, b"/.perimeter/go?to=%2Fdeep%3Fx%3D1%26y%3D2"))
        (session,) = self.stored.all()
        self.assertEqual(session.owner, CAROL)
        self.assertEqual(session.proved, (("provider:corp", self.clock.seconds()),))
        assert session.vouched is not None
        said = encode_owner(CAROL)  # without what augmenters add
        self.assertEqual(attrs.astuple(session.vouched), ("corp", "https://sso.example", "sub-carol", "", said))
        self.assertEqual(self.record.event, "provider_login")
        assert self.record.principal is not None
        assert self.record.principal.grant is not None
        self.assertEqual((self.record.principal, self.record.principal.grant.id), (CAROL, session.id))
        self.assertEqual(self.logins, [("provider:corp", "success")])
        ((parameters, flow),) = self.corp.completed
        self.assertEqual(parameters, {"code": "c0de", "state": flow.state})
        self.assertEqual(flow, self.corp.begun[0])
        self.assertEqual((flow.provider, flow.redirect_uri), ("corp", "https://gw.example/.perimeter/callback/corp"))
        self.assertEqual({len(flow.state), len(flow.nonce), len(flow.verifier)}, {43})
        self.assertEqual(len({flow.state, flow.nonce, flow.verifier}), 3)
        self.assertEqual((flow.started, flow.again, flow.login_hint), (self.clock.seconds(), False, ""))

    def test_a_browser_that_comes_from_elsewhere_gets_a_page_of_this_site(self) -> None:
        state = self.begin("/x")
        for _ in range(2):  # the second time the flow was used already
            response = self.browser.open(f"{CALLBACK}?code=c0de&state={state}", *FROM_ELSEWHERE)
            self.assertEqual((response.status, response.get(b"location")), (200, None))
            self.assertIn(b'href="/.perimeter/go?to=%2Fx">Continue</a>', response.body)
            self.assertNotIn(b"sessionStorage", response.body)

    def test_a_second_try_of_the_same_flow_leads_on_and_makes_no_session(self) -> None:
        state = self.begin("/x")
        self.come_back(state)
        self.assertEqual(self.come_back(state).get(b"location"), b"/.perimeter/go?to=%2Fx")
        self.assertEqual((len(self.stored), len(self.corp.completed)), (1, 1))

    def test_tabs_at_the_same_time(self) -> None:
        states = [self.begin(f"/{number}") for number in range(5)]
        for number, state in reversed(list(enumerate(states))):
            self.assertEqual(self.come_back(state).get(b"location"), b"/.perimeter/go?to=%%2F%d" % number)

    def test_the_oldest_of_five_flows_is_replaced(self) -> None:
        states = []
        for number in range(6):
            states.append(self.begin(f"/{number}"))
            self.clock.advance(1)
        self.assertEqual(len(self.state.view(FLOWS)), 5)
        self.assertEqual(self.come_back(states[1]).status, 303)
        self.assertEqual(len([name for name in self.browser.cookies if "flow" in name]), 5)

    def test_a_signed_in_browser_goes_on_unless_it_is_to_sign_in_again(self) -> None:
        self.sign_in()
        response = self.browser.open(f"{START_AT}?to=/y")
        self.assertEqual((response.status, response.get(b"location")), (303, b"/y"))
        state = self.begin("/y", more="&again=1")
        self.assertEqual((self.corp.begun[-1].again, self.corp.begun[-1].login_hint), (True, "carol"))
        self.come_back(state)
        self.assertEqual(len(self.stored), 1)
        self.assertTrue(self.corp.completed[-1][1].again)
        for again in ("other", "2"):
            self.begin("/y", more=f"&again={again}")
            self.assertEqual((self.corp.begun[-1].again, self.corp.begun[-1].login_hint), (True, ""))

    def test_the_lifetime_of_a_provider_bounds_the_session(self) -> None:
        self.corp.answer = signed_in(lifetime=60.0)
        self.sign_in()
        (session,) = self.stored.all()
        self.assertEqual(session.expires, self.clock.seconds() + 60)

    def test_a_sign_in_is_as_old_as_that_at_the_provider(self) -> None:
        now = self.clock.seconds()
        for at, proved in ((now - 3600, now - 3600), (now + 60, now), (0.0, now)):
            self.corp.answer = signed_in(at=at)
            self.come_back(self.begin(more="&again=1"))
            (session,) = self.stored.all()
            self.assertEqual(session.proved, (("provider:corp", proved),))

    def test_what_the_provider_gave_is_sealed(self) -> None:
        self.corp.answer = signed_in(secret=b"refresh token", sid="s-1")
        self.sign_in()
        (session,) = self.stored.all()
        self.assertNotIn(b"refresh token", session.sealed)
        self.assertTrue(session.sealed)
        assert session.vouched is not None
        self.assertEqual(session.vouched.sid, "s-1")

    def test_a_start_on_another_host_goes_to_the_host_of_the_callback(self) -> None:
        self.host = "https://login.example:8443"
        self.serve()
        response = self.browser.open(f"{START_AT}?to=/x")
        location = b"https://login.example:8443/.perimeter/start/corp?to=%2Fx&moved=1"
        self.assertEqual((response.status, response.get(b"location")), (303, location))
        self.assert_refused(
            self.browser.open(f"{START_AT}?to=/x&moved=1"),
            502,
            "provider_misconfigured",
            b"Company login does not accept this site",
        )

    def test_plain_http(self) -> None:
        response = Browser(self, tls="").open(f"{START_AT}?to=/x")
        self.assertEqual((response.status, response.get(b"location")), (303, b"/.perimeter/login?to=%2Fx"))
        self.assertEqual(self.corp.begun, [])

    def test_a_flow_that_the_gateway_has_lost_begins_anew_once(self) -> None:
        state = self.begin()
        for flow in list(self.state.view(FLOWS)._index.by_digest.values()):
            self.state.view(FLOWS).forget(flow.created + LIFETIME)
        response = self.come_back(state)
        self.assertEqual((response.status, response.get(b"location")), (303, b"/.perimeter/start/corp?to=%2F"))
        self.assert_refused(self.come_back(state), 403, "flow_expired", b"begun in another browser or")


class RefusalTests(ProviderCase):
    def test_each_refusal_has_its_page(self) -> None:
        rejected = NotAllowedHere("not in the group")
        rejected.attempted_user = "carol <b>"
        for refusal, status, reason, sentence, outcome in (
            (ProviderDenied("access_denied"), 403, "provider_denied", b"Company login has not signed you in.", "denied"),
            (ProviderUnavailable("refused"), 503, "provider_unavailable", b"Company login does not answer", "unavailable"),
            (
                ProviderMisconfigured("invalid_client"),
                502,
                "provider_misconfigured",
                b"does not accept this site",
                "misconfigured",
            ),
            (rejected, 403, "not_allowed_here", b"as carol &lt;b&gt;. This account may not use", "refused"),
            (NotAllowedHere("no group"), 403, "not_allowed_here", b"at Company login. This account may not use", "refused"),
            (Rejected("wrong nonce"), 403, "wrong_credentials", b"is not valid, so you are not signed in", "wrong"),
            (Unavailable("ldap"), 503, "authentication_unavailable", b"cannot be found out", "unavailable"),
            (ValueError("the code c0de"), 503, "provider_unavailable", b"Company login does not answer", "unavailable"),
        ):
            self.corp.answer = refusal
            response = self.sign_in()
            self.assert_refused(response, status, reason, sentence)
            self.assertEqual(self.logins.pop(), ("provider:corp", outcome))
            self.assertNotIn(str(refusal).encode(), response.body)
        (failure,) = self.flushLoggedErrors(ValueError) or (None,)
        self.assertIsNone(failure)

    def test_a_provider_that_never_answers(self) -> None:
        provider = Provider(self.corp, f"{self.host}{CALLBACK}")
        answer: Deferred[str] = Deferred()
        asking = ensureDeferred(provider.ask(self.clock, lambda: answer))
        self.clock.advance(29.9)
        self.assertNoResult(asking)
        self.clock.advance(0.1)
        self.assertEqual(str(self.failureResultOf(asking, ProviderUnavailable).value), "provider corp took longer than 30 s")

    def test_a_client_that_leaves(self) -> None:
        provider = Provider(self.corp, f"{self.host}{CALLBACK}")
        answer: Deferred[str] = Deferred()
        asking = ensureDeferred(provider.ask(self.clock, lambda: answer))
        asking.cancel()
        self.failureResultOf(asking, CancelledError)
        self.assertTrue(answer.called)

    def test_a_provider_of_another_realm_or_without_identity(self) -> None:
        for answer in (
            signed_in(attrs.evolve(CAROL, realm="other")),
            signed_in(subject=""),
            attrs.evolve(signed_in(), issuer=""),
        ):
            self.corp.answer = answer
            response = self.sign_in()
            self.assertEqual((response.status, len(self.stored)), (500, 0))

    def test_a_provider_that_is_down_at_the_start(self) -> None:
        self.corp.url = ProviderUnavailable("refused", retry_after=7)  # type: ignore[assignment]
        response = self.browser.open(f"{START_AT}?to=/x")
        self.assert_refused(response, 503, "provider_unavailable", b"does not answer")
        self.assertEqual(response.get(b"retry-after"), b"7")
        self.assertIn(b'href="/.perimeter/start/corp?to=%2Fx"', response.body)
        self.assertEqual(len(self.state.view(FLOWS)), 0)

    def test_a_provider_with_a_sign_in_page_that_is_no_page(self) -> None:
        for url in ("javascript:alert(1)", "https://sso.example/\r\nX: y", "//sso.example"):
            self.corp.url = url
            self.assert_refused(self.browser.open(START_AT), 502, "provider_misconfigured", b"does not accept this site")

    def test_a_disk_that_is_full(self) -> None:
        self.store.fails = True
        self.assert_refused(self.browser.open(START_AT), 503, "authentication_unavailable", b"Try again")

    def test_queries_that_are_none(self) -> None:
        state = self.begin()
        for query in (
            "",
            "?",
            "%zz",
            "state=%ff",
            "state=%00",
            f"state={state}&state={state}",
            f"state={state}&state=",
            f"{state}",
            f"State={state}",
            f"state={state}%20",
            "&".join(f"x{number}=" for number in range(101)),
            "x=" + "y" * 6000,
        ):
            response = self.browser.open(f"{CALLBACK}?{query}", *PROGRAM)
            self.assertIn(response.status, (400, 403), query[:80])
            self.assertIn(b"<h1>You are not signed in</h1>", response.body, query[:80])
            self.assertEqual(response.get(b"cache-control"), b"no-store")
        self.assertEqual((len(self.stored), self.corp.completed), (0, []))
        self.assertEqual(self.come_back(state).status, 303, "the flow was not touched")

    def test_other_methods_and_scripts(self) -> None:
        for path in (START_AT, CALLBACK):
            self.assertEqual(self.browser.ask(f"POST {path}", *PROGRAM).status, 405)
            for mode in ("cors", "no-cors"):
                response = self.browser.open(path, "Sec-Fetch-Site: same-origin", f"Sec-Fetch-Mode: {mode}", "Accept: */*")
                self.assertEqual((response.status, self.record.reason), (403, "cross_site"))
        self.assertEqual(self.browser.open("/.perimeter/start/nobody", *PROGRAM).status, 404)
        self.assertEqual(self.corp.begun, [])


class LoginPageTests(ProviderCase):
    def test_buttons(self) -> None:
        page = self.browser.open("/.perimeter/login?to=/x?y=1")
        self.assertIn(b'href="/.perimeter/start/corp?to=%2Fx%3Fy%3D1">Sign in with Company login</a>', page.body)
        self.assertIn(b'href="/.perimeter/start/other?to=%2Fx%3Fy%3D1">Sign in with Other login</a>', page.body)

    def test_buttons_for_who_is_signed_in(self) -> None:
        link = b'href="/.perimeter/start/corp?to=%%2Fx%b"'
        self.sign_in()
        for again, wanted in (("1", b"&amp;again=1"), ("other", b"&amp;again=other")):
            page = self.browser.open(f"/.perimeter/login?to=/x&again={again}")
            self.assertIn(link % wanted, page.body)
        self.browser.cookies.clear()
        self.assertIn(link % b"", self.browser.open("/.perimeter/login?to=/x&again=1").body)

    def test_automatic(self) -> None:
        self.serve(automatic="other")
        link = b"/.perimeter/start/other?to=%2Fx"
        self.assertIn(b'href="%b"' % link, self.browser.open("/.perimeter/login?to=/x").body)
        response = self.browser.open("/.perimeter/login?to=/x", "Accept: text/html")
        self.assertEqual((response.status, response.get(b"location")), (303, link))

    def test_automatic_not_after_a_sign_out(self) -> None:
        self.serve(automatic="corp")
        self.sign_in()
        form = hidden(self.browser.open("/.perimeter/logout"))
        self.browser.send("/.perimeter/logout", form)
        self.assertNotIn("__Host-perimeter", self.browser.cookies)
        self.assertIn(b"Sign in with Other login", self.browser.open("/.perimeter/login?to=/x").body)
        self.serve()
        self.browser.cookies.clear()
        self.sign_in()
        self.browser.send("/.perimeter/logout", hidden(self.browser.open("/.perimeter/logout")))
        self.assertNotIn("__Host-perimeter-manual", self.browser.cookies)

    def test_automatic_never_loops(self) -> None:
        self.serve(automatic="corp")
        self.corp.answer = ProviderDenied("access_denied")
        self.assertIn(b"Sign in with Company login", self.browser.open("/.perimeter/login?to=/x&again=other").body)
        self.assertEqual(self.sign_in().status, 403)
        self.assertIn(b"Sign in with Company login", self.browser.open("/.perimeter/login?to=/x").body)
        self.corp.answer = signed_in()
        self.sign_in()
        self.assertNotIn("__Host-perimeter-manual", self.browser.cookies)


class AttackTests(ProviderCase):
    def test_attack_o1_login_csrf(self) -> None:
        attacker = Browser(self, peer="198.51.100.9")
        stolen = self.begin(browser=attacker)
        own = self.begin()
        for state in (stolen, "", "x" * 43, own[:-1], own + "x", "\u00e9"):
            response = self.come_back(state)
            self.assert_refused(response, 403, "flow_expired", b"begun in another browser or")
            self.assertEqual(self.corp.completed, [])
        twice = self.browser.open(f"{CALLBACK}?code=a&code=b&state={own}", *PROGRAM)
        self.assert_refused(twice, 403, "wrong_credentials", b"is not valid")
        self.clock.advance(LIFETIME - 0.1)
        cookies = dict(self.browser.cookies)
        self.clock.advance(0.1)
        del self.browser.cookies["__Host-perimeter-manual"]
        self.assertEqual(self.come_back(own).status, 303)  # to a new beginning
        self.assertEqual((len(self.stored), self.corp.completed), (0, []))
        self.browser.cookies = cookies
        del self.browser.cookies["__Host-perimeter-flow-0"]
        self.assert_refused(self.come_back(own), 403, "flow_expired", b"begun in another browser or")

    def test_attack_o1_a_flow_is_used_once(self) -> None:
        self.corp.answer = ProviderDenied("access_denied")
        state = self.begin()
        self.assertEqual(self.come_back(state).status, 403)
        self.corp.answer = signed_in()
        self.assert_refused(self.come_back(state), 403, "flow_expired", b"begun in another browser or")
        self.assertEqual(len(self.corp.completed), 1)

    def test_attack_o2_mix_up(self) -> None:
        state = self.begin()
        response = self.come_back(state, path="/.perimeter/callback/other")
        self.assert_refused(response, 403, "wrong_credentials", b"What Other login has sent back is not valid")
        self.assertEqual((self.corp.completed, self.other.completed), ([], []))

    def test_attack_o4_name_takeover(self) -> None:
        self.sign_in()
        (session,) = self.stored.all()
        self.done(self.stored.end(session))
        for name in ("carol", "CAROL", "\uff43arol"):
            self.corp.answer = signed_in(attrs.evolve(CAROL, username=name), "sub-mallory")
            browser = Browser(self)
            response = self.sign_in(browser=browser)
            self.assertEqual((response.status, self.record.reason, len(self.stored)), (403, "name_conflict", 0))
            self.assertIn(f"The user name {name} belongs to another account".encode(), response.body)
        self.corp.answer = attrs.evolve(signed_in(), issuer="https://next-door.example")
        self.assertEqual((self.sign_in(browser=Browser(self)).status, len(self.stored)), (403, 0))
        self.done(self.pins.release("corp", "Carol"))
        self.clock.advance(30.0)
        self.corp.answer = signed_in(subject="sub-mallory")
        self.assertEqual(self.sign_in().status, 303)

    def test_attack_o19_markup_and_lines_in_a_name(self) -> None:
        for name, status in (("<script>alert(1)</script>", 303), ("carol\r\nSet-Cookie: x=y", 503), ("\x00", 503)):
            refusal = NotAllowedHere("no")
            refusal.attempted_user = name
            for answer in (refusal, signed_in(attrs.evolve(CAROL, username=name), name)):
                self.corp.answer = answer
                browser = Browser(self)
                response = self.sign_in(browser=browser)
                self.assertNotIn(b"<script>alert", response.body)
                self.assertNotIn("x", browser.cookies)
            self.assertEqual(response.status, status)

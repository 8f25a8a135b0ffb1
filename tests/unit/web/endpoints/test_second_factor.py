"""The page that asks for a second factor: of a sign-in that waits, of a session, and for a first factor."""

from __future__ import annotations

import attrs

from perimeter.factors.totp import encoded
from perimeter.model import Principal
from perimeter.plugin.redirect import SignedIn
from perimeter.web.endpoints.arrival import Arrival, destination, packed, unpacked
from tests.unit.doubles.authenticator import Authenticator
from tests.unit.doubles.http_rig import Response
from tests.unit.doubles.pages import OWN_FORM, Browser, hidden, text_of
from tests.unit.doubles.passkeys import PasskeyCase, answered
from tests.unit.doubles.sessions import ALICE, START

PAGE = "/.perimeter/factor"
PENDING = "__Host-perimeter-pending"
SESSION = "__Host-perimeter"


class SecondFactorCase(PasskeyCase):
    """A site with the page. alice is in the middle of a sign-in after `signed_in_half`."""

    asks_second = True

    def half(self, to: str = "/app/?x=1", **more: str) -> Response:
        """alice has entered her password."""
        return self.browser.sign_in(to, **more)

    def confirm(self, code: str, browser: Browser | None = None, **more: str) -> Response:
        """She enters a code on the page."""
        browser = browser or self.browser
        return browser.send(PAGE, {**hidden(browser.open(PAGE)), "code": code, **more})

    def location(self, response: Response) -> str:
        return (response.get(b"location") or b"").decode()

    @property
    def who(self) -> tuple[str, str | None]:
        """User and session of the latest audit record."""
        user = self.record.principal
        assert user is not None
        return user.username, None if user.grant is None else user.grant.id

    def signed_in(self, browser: Browser | None = None) -> bool:
        return SESSION in (browser or self.browser).cookies


class SignInTests(SecondFactorCase):
    def setUp(self) -> None:
        super().setUp()
        self.with_totp()

    def test_a_password_is_half_a_sign_in(self) -> None:
        response = self.half()
        self.assertEqual((response.status, self.location(response)), (303, PAGE))
        self.assertEqual(self.browser.cookies.keys(), {"__Host-perimeter-pre", PENDING})
        (cookie,) = [value for name, value in response.fields if name == b"set-cookie" and PENDING.encode() in value]
        self.assertTrue(cookie.endswith(b"; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=300"), cookie)
        self.assertEqual(self.stored.all(), [])
        self.assertEqual(self.logins, [("password", "second_factor")])
        self.assertEqual((self.record.event, *self.who), ("login", "alice", None))

    def test_a_code_completes_it(self) -> None:
        self.half()
        response = self.confirm(self.code())
        self.assertEqual((response.status, self.location(response)), (303, "/.perimeter/go?to=%2Fapp%2F%3Fx%3D1"))
        self.assertEqual(self.browser.cookies.keys(), {"__Host-perimeter-pre", SESSION})
        (session,) = self.stored.all()
        self.assertEqual(session.proved, (("password", START + 60), ("totp", START + 60)))
        self.assertEqual(session.second, START + 60)
        self.assertEqual(self.logins[1:], [("password", "success")])
        self.assertEqual(self.second_factors, [("totp", "success")])
        self.assertEqual((self.record.event, *self.who), ("login_factor", "alice", session.id))

    def test_the_fragment_and_staying_signed_in(self) -> None:
        self.serve(stay=30 * 86400.0)
        response = self.half(fragment="#top", stay="1")
        self.assertTrue(self.location(response).endswith("factor#top"))
        response = self.confirm(self.code(), fragment="#top")
        self.assertTrue(self.location(response).endswith("%3D1#top"))
        self.assertEqual(self.stored.all()[0].idle, 0.0)

    def test_a_wrong_code(self) -> None:
        self.half()
        response = self.confirm("000000")
        self.assertEqual(response.status, 403)
        self.assertIn("The code is wrong", text_of(response))
        self.assertFalse(self.signed_in())
        self.assertEqual((self.record.reason, *self.who), ("wrong_factor", "alice", None))
        self.assertEqual(self.second_factors, [("totp", "wrong")])
        self.confirm(self.code())
        self.assertTrue(self.signed_in())

    def test_a_recovery_code(self) -> None:
        codes = self.done(self.factor_book.make_recovery_codes("local", "alice"))
        self.half()
        self.assertIn(b"or a recovery code", self.browser.open(PAGE).body)
        self.confirm(codes[0])
        self.assertTrue(self.signed_in())
        self.assertEqual(self.stored.all()[0].proved[1][0], "recovery")
        self.assertEqual(self.record.event, "recovery_used")

    def test_a_passkey(self) -> None:
        self.done(self.factor_book.remove("local", "alice", self.factor_book.factors_of("local", "alice")[0].id))
        device, self.demanded = Authenticator(), True
        self.half()
        self.assertEqual(self.browser.send(PAGE, answered(self.browser.open(PAGE), device, PAGE)).status, 200)
        self.browser.cookies.clear()
        self.half()
        page = self.browser.open(PAGE)
        self.assertIn(b"One of your recovery codes", page.body)
        wrong = self.browser.send(PAGE, answered(page, Authenticator(), PAGE))
        self.assertEqual((wrong.status, text_of(wrong)), (403, "The passkey was not accepted. Try again, or use another one."))
        self.assertEqual(self.second_factors[-1], ("webauthn", "wrong"))
        self.browser.send(PAGE, answered(wrong, device, PAGE))
        self.assertTrue(self.signed_in())
        self.assertEqual(self.stored.all()[-1].proved[1][0], "webauthn")

    def test_what_is_wrong_with_a_form(self) -> None:
        self.half()
        for more in ({"token": ""}, {"token": "x" * 43}):
            response = self.confirm(self.code(), **more)
            self.assertEqual((response.status, self.record.reason), (403, "cross_site"))
        page = hidden(self.browser.open(PAGE))
        foreign = self.browser.send(PAGE, {**page, "code": self.code()}, "Origin: https://evil.example")
        self.assertEqual(foreign.status, 403)
        self.assertFalse(self.signed_in())

    def test_a_browser_without_a_sign_in_goes_to_the_sign_in_page(self) -> None:
        for response in (self.browser.open(f"{PAGE}?to=/x"), self.browser.send(PAGE, {"to": "/x", "code": "1"})):
            self.assertEqual((response.status, self.location(response)), (303, "/.perimeter/login?to=%2Fx"))
        self.assertEqual(self.location(self.browser.open(f"{PAGE}?to=//evil.example")), "/.perimeter/login?to=%2F")

    def test_a_factor_that_another_process_has_registered_a_moment_ago(self) -> None:
        (factor,) = self.factor_book.factors_of("local", "alice")
        self.done(self.factor_book.remove("local", "alice", factor.id))
        self.clock.advance(1)
        self.store.others_write(factor)
        self.half()
        self.assertFalse(self.signed_in())

    def test_a_sign_in_that_was_given_up(self) -> None:
        """Another user signs in instead, and is not asked for the factor of the first one."""
        self.half()
        self.chain.answer = Principal("bob", "local", ("dev",), "users")
        self.browser.sign_in()
        self.assertEqual(self.browser.cookies.keys(), {"__Host-perimeter-pre", SESSION})
        self.assertIn(b"<strong>bob</strong>", self.browser.open(f"{PAGE}?to=/x").body)

    def test_wrong_input(self) -> None:
        """Whatever a form holds: a refusal, and no session."""
        self.half()
        page = hidden(self.browser.open(PAGE))
        for fields in ({}, {"code": ""}, {"code": "\0"}, {"code": "K" * 16}, {"code": "1" * 10_000}):
            self.assertEqual(self.browser.send(PAGE, {**page, **fields}).status, 403, fields)
        self.serve()
        self.half()
        kind = "Content-Type: application/x-www-form-urlencoded"
        for body in (b"code=%FF", b"%", b"code=1&" * 5000, b"\xff"):
            response = self.browser.ask(f"POST {PAGE}", kind, *OWN_FORM, body=body)
            self.assertIn(response.status, (400, 403, 413), body[:20])
        response = self.browser.ask(f"POST {PAGE}", "Content-Type: application/json", *OWN_FORM, body=b"{}")
        self.assertIn(response.status, (400, 403, 415))
        self.assertEqual(self.browser.ask(f"PUT {PAGE}", *OWN_FORM).status, 405)
        self.assertEqual(self.stored.all(), [])

    def test_attack_76_a_script_or_a_frame_gets_nothing(self) -> None:
        self.half()
        for mode, wanted in (("cors", "empty"), ("navigate", "iframe"), ("no-cors", "image")):
            lines = ("Sec-Fetch-Site: same-origin", f"Sec-Fetch-Mode: {mode}", f"Sec-Fetch-Dest: {wanted}", "Accept: text/html")
            response = self.browser.open(PAGE, *lines)
            self.assertEqual((response.status, self.record.reason), (403, "cross_site"), mode)
            self.assertNotIn(b'name="token"', response.body)

    def test_over_plain_http_the_cookie_does_not_count(self) -> None:
        self.half()
        plain = Browser(self, tls="")
        plain.cookies = dict(self.browser.cookies)
        self.assertEqual(self.location(plain.open(PAGE)), "/.perimeter/login?to=%2F")

    def test_it_is_too_late(self) -> None:
        self.half()
        page = hidden(self.browser.open(PAGE))
        self.clock.advance(300)
        response = self.browser.send(PAGE, {**page, "code": self.code()})
        self.assertTrue(self.location(response).startswith("/.perimeter/login?to="))
        self.assertFalse(self.signed_in())

    def test_a_state_that_cannot_be_written(self) -> None:
        self.half()
        page = hidden(self.browser.open(PAGE))
        self.store.fails = True
        response = self.browser.send(PAGE, {**page, "code": self.code()})
        self.assertEqual(response.status, 503)
        self.assertIn("cannot be checked at the moment", text_of(response))
        self.assertFalse(self.signed_in())

    def test_a_user_without_a_factor_is_not_asked(self) -> None:
        self.chain.answer = Principal("bob", "local", ("dev",), "users")
        self.browser.sign_in()
        self.assertTrue(self.signed_in())


class GuessingTests(SecondFactorCase):
    def setUp(self) -> None:
        super().setUp()
        self.with_totp()

    def test_attack_b3_five_wrong_codes_end_the_sign_in(self) -> None:
        self.half()
        page = hidden(self.browser.open(PAGE))
        for _ in range(5):
            self.assertEqual(self.browser.send(PAGE, {**page, "code": "000000"}).status, 403)
        response = self.browser.send(PAGE, {**page, "code": self.code()})
        self.assertEqual(response.status, 429)
        self.assertIn(b"Your sign-in has ended", response.body)
        self.assertTrue(self.location(self.browser.open(PAGE)).startswith("/.perimeter/login"))
        self.assertFalse(self.signed_in())

    def test_attack_b3_a_new_password_does_not_renew_the_guesses(self) -> None:
        statuses = []
        for _ in range(3):
            self.half()
            page = hidden(self.browser.open(PAGE))
            statuses += [self.browser.send(PAGE, {**page, "code": "000000"}).status for _ in range(5)]
        self.assertEqual(statuses, [403] * 10 + [429] * 5)
        response = self.browser.send(PAGE, {**page, "code": self.code()})
        self.assertEqual((response.status, response.get(b"retry-after")), (429, b"1"))
        self.assertIn("too many wrong codes", text_of(response))
        self.clock.advance(2)
        self.confirm(self.code())
        self.assertTrue(self.signed_in())

    def test_attack_b3_a_code_is_good_for_one_of_two_browsers(self) -> None:
        other = Browser(self)
        self.half()
        other.sign_in()
        self.confirm(self.code())
        response = self.confirm(self.code(), other)
        self.assertEqual((response.status, self.signed_in(), self.signed_in(other)), (403, True, False))

    def test_attack_b3_a_sign_in_is_completed_once(self) -> None:
        codes = self.done(self.factor_book.make_recovery_codes("local", "alice"))
        self.half()
        page, cookies = hidden(self.browser.open(PAGE)), dict(self.browser.cookies)
        self.browser.send(PAGE, {**page, "code": self.code()})
        twin = Browser(self)
        twin.cookies = cookies
        response = twin.send(PAGE, {**page, "code": codes[0]})
        self.assertTrue(self.location(response).startswith("/.perimeter/login"))
        self.assertEqual(len(self.stored.all()), 1)

    def test_attack_b3_guesses_in_a_session_end_it(self) -> None:
        self.chain.answer = ALICE
        self.half()
        self.confirm(self.code())
        page = hidden(self.browser.open(f"{PAGE}?to=/x"))
        for _ in range(5):
            self.browser.send(PAGE, {**page, "code": "000000"})
        response = self.browser.send(PAGE, {**page, "code": "000000"})
        self.assertEqual((response.status, self.stored.all()), (429, []))


class StepUpTests(SecondFactorCase):
    def setUp(self) -> None:
        super().setUp()
        self.half()
        self.with_totp()

    def test_a_session_gets_one_more_proof_and_a_new_id(self) -> None:
        (before,) = self.stored.all()
        cookie = self.browser.cookies[SESSION]
        page = self.browser.open(f"{PAGE}?to=/app/")
        self.assertNotIn(b"Sign in as another user", page.body)
        response = self.browser.send(PAGE, {**hidden(page), "code": self.code()})
        self.assertEqual(self.location(response), "/.perimeter/go?to=%2Fapp%2F")
        (after,) = self.stored.all()
        self.assertNotEqual((after.id, self.browser.cookies[SESSION]), (before.id, cookie))
        self.assertEqual(after.proved, (("password", START), ("totp", START + 60)))
        self.assertEqual((after.expires, after.owner), (before.expires, before.owner))
        self.assertIsNone(self.book.current(cookie.encode()))

    def test_once_more(self) -> None:
        page = self.browser.open(PAGE)
        self.browser.send(PAGE, {**hidden(page), "code": self.code()})
        self.clock.advance(60)
        self.browser.send(PAGE, {**hidden(self.browser.open(f"{PAGE}?again=1")), "code": self.code()})
        self.assertEqual(self.stored.all()[0].proved, (("password", START), ("totp", START + 120)))

    def test_a_token_of_another_session(self) -> None:
        page = hidden(self.browser.open(PAGE))
        self.browser.send(PAGE, {**page, "code": self.code()})
        self.clock.advance(60)
        self.assertEqual(self.browser.send(PAGE, {**page, "code": self.code()}).status, 403)


class FirstFactorTests(SecondFactorCase):
    demanded = True

    def app(self, page: Response) -> str:
        """The code of an app that has scanned the picture."""
        cookie = self.browser.cookies.get(PENDING, self.browser.cookies.get(SESSION, ""))
        secret = self.factor_book.proposed_secrets(cookie.encode())[0]
        self.assertIn(encoded(secret).encode(), page.body)
        return self.code(secret=secret)

    def test_right_after_the_password(self) -> None:
        self.half("/app/")
        page = self.browser.open(PAGE)
        self.assertIn(b"<svg", page.body)
        response = self.browser.send(PAGE, {**hidden(page), "code": self.app(page)})
        self.assertEqual(response.status, 200)
        self.assertEqual(response.body.count(b"-") >= 30, True)
        self.assertIn(b'href="/.perimeter/go?to=%2Fapp%2F"', response.body)
        self.assertTrue(self.signed_in())
        self.assertEqual(self.factor_names(ALICE), ["Authenticator app"])
        self.assertEqual(self.factor_book.recovery_left("local", "alice"), 10)
        self.assertEqual((self.record.event, self.who[0]), ("factor_add", "alice"))
        self.assertNotEqual(self.stored.all()[0].second, 0.0)

    def test_a_code_of_another_app(self) -> None:
        self.half()
        response = self.confirm("000000")
        self.assertEqual((response.status, self.factor_names(ALICE), self.signed_in()), (403, [], False))

    def test_a_session_that_is_not_fresh_registers_nothing(self) -> None:
        self.demanded = False
        self.half()
        self.clock.advance(901)
        response = self.browser.open(f"{PAGE}?to=/x")
        self.assertTrue(self.location(response).startswith("/.perimeter/login?again=1&to="), self.location(response))
        (session,) = self.stored.all()
        self.assertEqual(session.second, 0.0)

    def test_a_fresh_session_registers_one(self) -> None:
        self.demanded = False
        self.half()
        page = self.browser.open(f"{PAGE}?to=/x")
        sent = {**hidden(page), "code": self.app(page)}
        self.assertEqual(self.browser.send(PAGE, sent).status, 200)
        self.assertNotEqual(self.stored.all()[0].second, 0.0)
        self.assertEqual(len(self.stored.all()), 1)

    def test_a_form_that_has_become_stale_registers_nothing(self) -> None:
        self.demanded = False
        self.half()
        page = self.browser.open(f"{PAGE}?to=/x")
        self.clock.advance(901)
        response = self.browser.send(PAGE, {**hidden(page), "code": self.app(page)})
        self.assertEqual((response.status, self.location(response)), (303, f"{PAGE}?to=%2Fx"))
        self.assertEqual(self.factor_names(ALICE), [])


class OperatorsCodeTests(SecondFactorCase):
    demanded = True
    by_code = True

    def setUp(self) -> None:
        super().setUp()
        self.half()
        self.page = self.browser.open(PAGE)
        self.secret = self.factor_book.proposed_secrets(self.browser.cookies[PENDING].encode())[0]

    def test_no_first_factor_without_the_code_of_the_operator(self) -> None:
        self.assertIn(b'name="operators_code"', self.page.body)
        self.operators_code(username="bob")
        for code in ({}, {"operators_code": "abcd-efgh-2345-6722"}):
            sent = {**hidden(self.page), "code": self.code(secret=self.secret), **code}
            self.assertEqual(self.browser.send(PAGE, sent).status, 403)
        self.assertEqual((self.factor_names(ALICE), self.signed_in()), ([], False))

    def test_the_code_is_good_once_and_not_used_up_by_a_typing_error(self) -> None:
        code = self.operators_code()
        self.assertEqual(self.browser.send(PAGE, {**hidden(self.page), "code": "1", "operators_code": code}).status, 403)
        sent = {**hidden(self.page), "code": self.code(secret=self.secret), "operators_code": code}
        self.assertEqual(self.browser.send(PAGE, sent).status, 200)
        self.assertTrue(self.signed_in())
        self.fails(Exception, self.factor_book.use_enroll_code("local", "alice", code))

    def test_a_code_that_was_used_meanwhile_registers_nothing(self) -> None:
        code = self.operators_code()
        self.done(self.factor_book.use_enroll_code("local", "alice", code))
        sent = {**hidden(self.page), "code": self.code(secret=self.secret), "operators_code": code}
        self.assertEqual(self.browser.send(PAGE, sent).status, 403)
        self.assertEqual((self.factor_names(ALICE), self.signed_in()), ([], False))


class OtherMethodTests(SecondFactorCase):
    apps = False
    demanded = True

    def test_a_code_where_only_passkeys_are_allowed(self) -> None:
        self.half()
        page = self.browser.open(PAGE)
        self.assertNotIn(b'name="code"', page.body)
        secret = self.factor_book.proposed_secrets(self.browser.cookies[PENDING].encode())[0]
        self.browser.send(PAGE, {**hidden(page), "code": self.code(secret=secret)})
        self.assertEqual((self.factor_names(ALICE), self.signed_in()), ([], False))


class ArrivalTests(SecondFactorCase):
    provider = SignedIn(ALICE, "https://sso.example", "s1", "sid", 2, START - 100, b"secret\xff", START + 900, 3600.0)

    def test_what_waits_is_as_it_was(self) -> None:
        proved = (("provider:corp", START),)
        for signed_in in (None, self.provider):
            for until in (ALICE.until, START + 50):
                owner = attrs.evolve(ALICE, until=until)
                said = attrs.evolve(owner, roles=("of the provider",))  # before augmenters
                found = None if signed_in is None else attrs.evolve(signed_in, principal=said)
                arrival = Arrival(owner, ("provider:corp",), "/x?y", "#f", True, "corp", found)
                again = unpacked(packed(arrival), ALICE, proved, "totp")
                wanted = attrs.evolve(arrival, methods=("totp",), fragment="", earlier=proved)
                self.assertEqual((again, again.principal.until), (wanted, until))
                self.assertEqual(destination(packed(arrival)), "/x?y")

    def test_the_second_factor_of_a_provider(self) -> None:
        arrival = Arrival(ALICE, ("provider:corp",), "/", provider="corp", signed_in=self.provider)
        self.assertIs(arrival.has_second, False)
        found = arrival.with_factor_of_provider()
        self.assertEqual((found.earlier, found.methods), ((("factor:corp", START - 100),), ("provider:corp",)))
        self.assertEqual((found.has_second, found.method), (True, "provider:corp"))
        now = attrs.evolve(arrival, signed_in=attrs.evolve(self.provider, at=0.0)).with_factor_of_provider()
        self.assertEqual((now.earlier, now.methods), ((), ("provider:corp", "factor:corp")))
        one = attrs.evolve(arrival, signed_in=attrs.evolve(self.provider, factors=1))
        self.assertIs(one.with_factor_of_provider(), one)
        self.assertIs(found.with_factor_of_provider(), found)

    def test_methods_with_a_second_factor(self) -> None:
        for methods, has in ((("password",), False), (("webauthn",), True), (("password", "totp"), True), (("recovery",), True)):
            self.assertIs(Arrival(ALICE, methods, "/").has_second, has)
        self.assertEqual(Arrival(ALICE, ("totp",), "/", earlier=(("password", 1.0),)).method, "password")

"""The sign-in with a passkey and nothing else, behind a real gate."""

from __future__ import annotations

import attrs

from perimeter.errors import InvalidToken, Unavailable
from perimeter.factors.challenges import Bound
from perimeter.factors.webauthn import creation_options, registered
from perimeter.model import AuthenticationRequest, Principal
from tests.unit.doubles.authenticator import PRESENT, Authenticator
from tests.unit.doubles.http_rig import Response
from tests.unit.doubles.pages import NAVIGATION, OWN_FORM, Browser, hidden, text_of
from tests.unit.doubles.passkeys import PARTY, PasskeyCase, answered, options_of
from tests.unit.doubles.sessions import ALICE, BOB

LOGIN = "/.perimeter/login"
ACTION = "/.perimeter/login/passkey"


class PasskeySignInCase(PasskeyCase):
    def setUp(self) -> None:
        super().setUp()
        self.device = Authenticator()
        self.enroll(self.device, ALICE)
        self.asked: list[Principal] = []
        self.found: Principal | Exception | None = None
        self.chain.recall = self.recall  # type: ignore[method-assign]

    def enroll(self, device: Authenticator, owner: Principal) -> None:
        """``device`` has a passkey of ``owner``."""
        number = self.passkeys._number(owner, self.challenges.issue(Bound(b"", "", "")))
        made, count = registered(PARTY, device.create(creation_options(PARTY, "x", number, (), b"c" * 32)), b"c" * 32, number)
        kept = attrs.evolve(made, vouched=owner.authenticator)
        self.done(
            self.factor_book.add(
                owner.realm,
                owner.username,
                "webauthn",
                "key",
                kept.encode(),
                handle=made.handle,
                count=count,  # type: ignore[arg-type]
            )
        )

    def recall(self, owner: Principal, request: AuthenticationRequest) -> Principal:
        """The authenticator looks the user up."""
        self.asked.append(owner)
        if isinstance(self.found, Exception):
            raise self.found
        return ALICE if self.found is None else self.found

    def sign_in(self, to: str = "/", device: Authenticator | None = None, **more: str) -> Response:
        page = self.browser.open(f"{LOGIN}?to={to}")
        return self.browser.send(ACTION, answered(page, device or self.device, ACTION, **more))

    def refused(self, response: Response, reason: str = "wrong_factor", status: int = 403) -> None:
        """No session has begun."""
        self.assertEqual((response.status, self.record.reason), (status, reason))
        self.assertNotIn("__Host-perimeter", self.browser.cookies)
        self.assertTrue(text_of(response))


class SignInTests(PasskeySignInCase):
    def test_a_session_begins(self) -> None:
        done = self.sign_in("/page", fragment="#x")
        self.assertEqual((done.status, done.get(b"location")), (303, b"/.perimeter/go?to=%2Fpage#x"), text_of(done))
        session = self.book.current(self.browser.cookies["__Host-perimeter"].encode())
        assert session is not None
        self.assertEqual((session.owner.username, [method for method, _ in session.proved]), ("alice", ["webauthn"]))
        self.assertEqual(self.logins, [("webauthn", "success")])
        self.assertEqual((self.record.event, self.record.reason), ("login", ""))
        self.assertEqual(self.asked, [Principal("alice", "local", authenticator="users")])

    def test_to_stay_signed_in(self) -> None:
        self.serve(stay=86400.0)
        self.assertIn(b"; Max-Age=86400", self.sign_in(stay="1").get(b"set-cookie") or b"")
        self.browser = Browser(self)
        self.assertNotIn(b"Max-Age", self.sign_in(stay="").get(b"set-cookie") or b"")

    def test_the_counter_is_kept(self) -> None:
        self.device.count = 5
        self.assertEqual(self.sign_in().status, 303)
        factor = self.factor_book.factors_of("local", "alice")[0]
        self.assertEqual(factor.count, 5)
        self.assertGreater(factor.used, 0)

    def test_attack_b4_a_copy_of_the_passkey(self) -> None:
        self.device.count = 5
        self.sign_in()
        self.browser = Browser(self)
        self.refused(self.sign_in())

    def test_attack_b4_the_user_was_not_verified(self) -> None:
        self.device.flags = PRESENT
        self.refused(self.sign_in())

    def test_attack_b4_an_answer_that_was_used(self) -> None:
        page = self.browser.open(LOGIN)
        fields = answered(page, self.device, ACTION)
        self.assertEqual(self.browser.send(ACTION, fields).status, 303)
        del self.browser.cookies["__Host-perimeter"]
        self.refused(self.browser.send(ACTION, fields))

    def test_attack_b4_an_answer_for_another_browser(self) -> None:
        other = Browser(self)
        fields = answered(other.open(LOGIN), self.device, ACTION)
        own = hidden(self.browser.open(LOGIN))
        self.refused(self.browser.send(ACTION, {**fields, "token": own["token"]}))

    def test_attack_b4_an_old_page(self) -> None:
        page = self.browser.open(LOGIN)
        self.clock.advance(301)
        refused = self.browser.send(ACTION, answered(page, self.device, ACTION))
        self.refused(refused)
        self.assertEqual(text_of(refused), "This page was open for too long, so your passkey was not checked. Try again.")
        self.assertEqual(self.browser.send(ACTION, answered(refused, self.device, ACTION)).status, 303)

    def test_attack_b4_a_passkey_that_is_not_registered(self) -> None:
        device = Authenticator()
        device.handle = b"x" * 32
        self.refused(self.sign_in(device=device))

    def test_attack_b4_the_passkey_names_another_user(self) -> None:
        other = Authenticator()
        self.enroll(other, BOB)
        other.handle = self.device.handle
        self.refused(self.sign_in(device=other))

    def test_a_user_who_is_gone(self) -> None:
        self.found = InvalidToken("no such user")
        self.refused(self.sign_in())

    def test_an_authenticator_that_cannot_look_users_up(self) -> None:
        self.chain.recall = lambda owner, request: owner  # type: ignore[method-assign]
        self.refused(self.sign_in())

    def test_the_directory_is_down(self) -> None:
        self.found = Unavailable("down")
        refused = self.sign_in()
        self.refused(refused, "authentication_unavailable", 503)
        self.assertEqual(text_of(refused), "Your passkey cannot be checked at the moment. Try again in a few minutes.")

    def test_the_state_cannot_be_written(self) -> None:
        page = self.browser.open(LOGIN)
        self.store.fails = True
        self.refused(self.browser.send(ACTION, answered(page, self.device, ACTION)), "authentication_unavailable", 503)

    def test_attack_27_a_form_of_another_page(self) -> None:
        page = self.browser.open(LOGIN)
        fields = answered(page, self.device, ACTION)
        self.refused(self.browser.send(ACTION, {**fields, "token": "x"}), "cross_site")
        foreign = [line.replace("https://gw.example", "https://evil.example") for line in OWN_FORM]
        self.assertEqual(self.browser.send(ACTION, fields, *foreign).status, 403)
        program = Browser(self)  # has no cookie, and is not exempt as one with a password is
        self.assertEqual(program.send(ACTION, {**fields, "token": ""}, "Accept: */*").status, 403)
        self.assertEqual(self.logins, [("webauthn", "cross_site")] * 2)

    def test_attack_80_plain_http(self) -> None:
        page = self.browser.open(LOGIN)
        plain = Browser(self, tls="")
        plain.cookies = self.browser.cookies
        refused = plain.send(ACTION, answered(page, self.device, ACTION), *OWN_FORM[:-1], "Origin: http://gw.example")
        self.assertEqual((refused.status, self.record.reason), (403, "https_needed"))

    def test_another_tab_has_signed_in(self) -> None:
        page = self.browser.open(LOGIN)
        fields = answered(page, self.device, ACTION)
        self.sign_in()
        del self.browser.cookies["__Host-perimeter-pre"]
        self.assertEqual(self.browser.send(ACTION, fields).status, 303)

    def test_a_reload_of_the_answer(self) -> None:
        self.assertEqual(self.browser.open(ACTION).get(b"location"), LOGIN.encode())


class PageTests(PasskeySignInCase):
    def test_the_page_asks_for_any_passkey(self) -> None:
        options = options_of(self.browser.open(LOGIN))
        self.assertIn('"allowCredentials": []', options)
        self.assertIn('"userVerification": "required"', options)

    def test_at_another_host_there_is_no_button(self) -> None:
        page = self.browser.ask(f"GET {LOGIN}", *NAVIGATION, "Host: other.example")
        self.assertNotIn(b"data-options", page.body)

    def test_where_passkeys_are_a_second_factor_only(self) -> None:
        self.serve(passkeys=False)
        self.assertNotIn(b"data-options", self.browser.open(LOGIN).body)
        self.assertEqual(self.browser.send(ACTION, {}).status, 404)

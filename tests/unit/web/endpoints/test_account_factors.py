"""The pages of second factors behind a real gate: to add, rename and remove them, and to make recovery codes."""

from __future__ import annotations

import base64
import re

from perimeter.factors.factor import FactorKind
from perimeter.web.html.forms import form_token
from tests.unit.doubles.authenticator import Authenticator
from tests.unit.doubles.http_rig import Response
from tests.unit.doubles.pages import NAVIGATION, Browser, hidden, text_of
from tests.unit.doubles.passkeys import PasskeyCase, answered, form_at
from tests.unit.doubles.sessions import ALICE, BOB

ACCOUNT = "/.perimeter/account"
FACTORS = f"{ACCOUNT}/factors"
PASSKEY, APP, RECOVERY = f"{FACTORS}/passkey", f"{FACTORS}/app", f"{FACTORS}/recovery"


def location(response: Response) -> str:
    return (response.get(b"location") or b"").decode()


class AccountFactorCase(PasskeyCase):
    def setUp(self) -> None:
        super().setUp()
        self.browser.sign_in()
        self.device = Authenticator()

    def add_passkey(self, name: str = "my phone", browser: Browser | None = None) -> Response:
        browser = browser or self.browser
        page = browser.open(PASSKEY)
        self.assertEqual(page.status, 200)
        return browser.send(PASSKEY, answered(page, self.device, PASSKEY, name=name))

    def prove(self, method: str = "webauthn") -> None:
        """The browser is signed in anew, with a second factor."""
        cookie, _ = self.begin(ALICE, methods=("password", method))
        self.browser.cookies["__Host-perimeter"] = cookie.decode()

    def id_of(self, at: int = 0) -> str:
        return self.factor_book.factors_of("local", "alice")[at].id


class AddTests(AccountFactorCase):
    def test_a_passkey(self) -> None:
        added = self.add_passkey("  my\tphone  ")
        self.assertEqual(added.status, 200, text_of(added))
        self.assertEqual(self.factor_names(ALICE), ["my phone"])
        codes = re.findall(rb"^[a-z2-7]{4}(?:-[a-z2-7]{4}){3}$", added.body.replace(b'">', b'">\n').replace(b"<", b"\n<"), re.M)
        self.assertEqual(len(codes), 10)
        self.assertEqual(self.factor_book.recovery_left("local", "alice"), 10)
        self.assertEqual(self.record.event, "factor_add")
        kept = self.factor_book.factors_of("local", "alice")[0]
        self.assertEqual((kept.kind, kept.count), (FactorKind.WEBAUTHN, 0))

    def test_a_second_one_gives_no_new_recovery_codes(self) -> None:
        self.add_passkey()
        self.prove()
        self.device = Authenticator()
        added = self.add_passkey("")
        self.assertEqual(location(added), f"{ACCOUNT}?done=factor")
        self.assertEqual(self.factor_names(ALICE), ["my phone", "Passkey"])
        self.assertIn(b"The second factor was added.", self.browser.open(location(added)).body)

    def test_a_first_factor_after_others_gives_new_recovery_codes(self) -> None:
        self.add_passkey()
        before = self.factors.recovery_of("local", "alice")
        self.done(self.factor_book.remove("local", "alice", self.id_of()))
        self.assertEqual(self.factors.recovery_of("local", "alice"), before)
        self.assertEqual(self.add_passkey().status, 200)
        self.assertNotEqual(self.factors.recovery_of("local", "alice"), before)

    def test_attack_b4_the_form_of_a_passkey_is_good_once(self) -> None:
        page = self.browser.open(PASSKEY)
        fields = answered(page, self.device, PASSKEY)
        self.browser.send(PASSKEY, fields)
        self.prove()
        again = self.browser.send(PASSKEY, fields)
        self.assertEqual(again.status, 403)  # also the token of the form is of another session

    def test_attack_b4_the_answer_to_another_session(self) -> None:
        other = Browser(self)
        other.sign_in()
        page, own = other.open(PASSKEY), self.browser.open(PASSKEY)
        fields = {**answered(page, self.device, PASSKEY), "token": form_at(own, PASSKEY)["token"]}
        refused = self.browser.send(PASSKEY, fields)
        self.assertEqual((refused.status, self.record.reason), (403, "wrong_factor"))
        self.assertIn("not added", text_of(refused))
        self.assertEqual(self.factor_names(ALICE), [])

    def test_attack_b4_a_passkey_is_registered_once(self) -> None:
        self.add_passkey()
        self.prove()
        self.assertEqual(self.add_passkey().status, 403)
        self.assertEqual(self.factor_names(ALICE), ["my phone"])

    def test_a_passkey_of_another_host(self) -> None:
        page = self.browser.ask(
            f"GET {PASSKEY}", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document", "X-Forwarded-Host: other.example"
        )
        self.assertIn(b"data-options", page.body)  # a header of a client that is no trusted proxy

    def test_an_authenticator_app(self) -> None:
        page = self.browser.open(APP)
        found = re.search(rb'<code class="any">([A-Z2-7]+)</code>', page.body)
        assert found is not None
        secret = base64.b32decode(found[1])
        self.assertEqual(len(secret), 20)
        self.assertIn(b"<svg", page.body)
        wrong = self.browser.send(APP, {**hidden(page), "code": "000000", "name": "my app"})
        self.assertEqual((wrong.status, self.record.reason), (403, "wrong_factor"))
        self.assertIn(found[1], wrong.body)  # the user has scanned it already
        self.assertIn(b"my app", wrong.body)
        added = self.browser.send(APP, {**hidden(wrong), "code": self.code(0, secret), "name": "my app"})
        self.assertEqual(added.status, 200)
        self.assertEqual(self.factor_names(ALICE), ["my app"])

    def test_two_apps_have_two_secrets(self) -> None:
        secrets = {re.search(rb'<code class="any">([A-Z2-7]+)', self.browser.open(APP).body)[1] for _ in range(2)}  # type: ignore[index]
        self.assertEqual(len(secrets), 2)


class FreshTests(AccountFactorCase):
    def test_a_first_factor_needs_a_fresh_password(self) -> None:
        page = self.browser.open(PASSKEY)
        self.clock.advance(901)
        for asked in (self.browser.open(PASSKEY), self.browser.send(PASSKEY, answered(page, self.device, PASSKEY))):
            self.assertEqual(asked.status, 303)
            self.assertEqual(location(asked), "/.perimeter/login?again=1&to=%2F.perimeter%2Faccount%2Ffactors%2Fpasskey")
        self.assertEqual(self.factor_names(ALICE), [])

    def test_attack_168_a_password_does_not_change_factors(self) -> None:
        self.add_passkey()
        id = self.id_of()
        for path in (PASSKEY, APP, RECOVERY, f"{FACTORS}/{id}"):
            asked = self.browser.open(path)
            self.assertEqual(asked.status, 303, path)
            self.assertTrue(location(asked).startswith("/.perimeter/factor?again=1&to=%2F.perimeter%2Faccount"), path)
        token = self._token()
        for action, fields in ((f"{id}/remove", {}), (f"{id}/name", {"name": "x"})):
            refused = self.browser.send(f"{FACTORS}/{action}", {"token": token, **fields})
            self.assertTrue(location(refused).startswith("/.perimeter/factor?again=1"), action)
        self.assertEqual(self.factor_names(ALICE), ["my phone"])

    def _token(self) -> str:
        """The token of a form on the page of a factor, which this session has not been shown."""
        cookie = self.browser.cookies["__Host-perimeter"].encode()
        session = self.book.current(cookie)
        assert session is not None
        return form_token(cookie, session.id, "factor_change")

    def test_each_factor_is_a_proof(self) -> None:
        self.add_passkey()
        for method in ("totp", "recovery", "webauthn"):
            self.prove(method)
            self.assertEqual(self.browser.open(RECOVERY).status, 200, method)
        self.clock.advance(901)
        page = self.browser.open(RECOVERY)
        self.assertEqual(page.status, 303, page.body.decode())

    def test_without_a_session(self) -> None:
        for path in (PASSKEY, APP, RECOVERY, FACTORS):
            self.assertEqual(Browser(self).open(path).status, 302, path)


class ChangeTests(AccountFactorCase):
    def setUp(self) -> None:
        super().setUp()
        self.add_passkey()
        self.prove()
        self.factor_id = self.id_of()

    def change(self, action: str, **fields: str) -> Response:
        page = self.browser.open(f"{FACTORS}/{self.factor_id}")
        self.assertEqual(page.status, 200)
        return self.browser.send(f"{FACTORS}/{self.factor_id}/{action}", {**hidden(page), **fields})

    def test_attack_170_another_name(self) -> None:
        self.assertEqual(location(self.change("name", name="<b>my key</b>")), f"{ACCOUNT}?done=factor_name")
        self.assertEqual(self.factor_names(ALICE), ["<b>my key</b>"])
        self.assertEqual(self.record.event, "factor_change")
        self.assertIn(b"&lt;b&gt;my key&lt;/b&gt;", self.browser.open(ACCOUNT).body)
        self.change("name", name="a\x1b[31m\u202eb\x00")
        self.assertEqual(self.factor_names(ALICE), ["a[31mb"])
        self.change("name", name="\u200b \n")
        self.assertEqual(self.factor_names(ALICE), ["Passkey"])
        self.change("name", name="x" * 200)
        self.assertEqual(self.factor_names(ALICE), ["x" * 100])

    def test_it_is_removed(self) -> None:
        self.assertEqual(location(self.change("remove")), f"{ACCOUNT}?done=factor_end")
        self.assertEqual(self.record.event, "factor_remove")
        self.assertEqual(self.factor_names(ALICE), [])
        self.assertEqual(self.browser.open(f"{FACTORS}/{self.factor_id}").status, 404)

    def test_the_last_one_that_a_role_demands_stays(self) -> None:
        self.demanded = True
        refused = self.change("remove")
        self.assertEqual((refused.status, self.record.reason), (409, "factor_demanded"))
        self.assertEqual(self.factor_names(ALICE), ["my phone"])
        self.device = Authenticator()
        self.add_passkey("another")
        self.assertEqual(self.change("remove").status, 303)
        self.assertEqual(self.factor_names(ALICE), ["another"])

    def test_attack_b4_the_factor_of_another_user(self) -> None:
        theirs = self.with_totp(BOB)
        page = self.browser.open(f"{FACTORS}/{self.factor_id}")
        for action in ("remove", "name"):
            refused = self.browser.send(f"{FACTORS}/{theirs.id}/{action}", hidden(page))
            self.assertEqual((refused.status, self.record.reason), (404, "no_such_factor"))
        self.assertEqual(self.browser.open(f"{FACTORS}/{theirs.id}").status, 404)
        self.assertEqual(self.factor_names(BOB), ["phone"])

    def test_attack_27_a_form_without_its_token(self) -> None:
        for path in (f"{self.factor_id}/remove", f"{self.factor_id}/name", "recovery", "passkey", "app"):
            self.assertEqual(self.browser.send(f"{FACTORS}/{path}", {"token": "x"}).status, 403, path)
        self.assertEqual(self.factor_names(ALICE), ["my phone"])

    def test_recovery_codes(self) -> None:
        before = self.factors.recovery_of("local", "alice")
        page = self.browser.open(RECOVERY)
        self.assertIn(b"The 10 codes", page.body)
        made = self.browser.send(RECOVERY, hidden(page))
        self.assertEqual((made.status, self.record.event), (200, "recovery_make"))
        after = self.factors.recovery_of("local", "alice")
        assert before is not None
        assert after is not None
        self.assertTrue(set(before.digests).isdisjoint(after.digests))
        again = self.browser.send(RECOVERY, hidden(page))  # the page is reloaded
        self.assertEqual(location(again), RECOVERY)
        self.assertEqual(self.factors.recovery_of("local", "alice"), after)

    def test_paths_that_lead_nowhere(self) -> None:
        self.assertEqual(location(self.browser.open(FACTORS)), ACCOUNT)
        for path in (f"{FACTORS}/{self.factor_id}/x", f"{FACTORS}/x", f"{FACTORS}/{self.factor_id}/name/y"):
            self.assertEqual(self.browser.open(path).status, 404, path)
        self.assertEqual(self.browser.send(f"{FACTORS}/{self.factor_id}/x", {}).status, 404)

    def test_the_account_shows_them(self) -> None:
        text = self.browser.open(ACCOUNT).body.decode()
        self.assertIn("You have 10 recovery codes", text)
        self.assertIn("not yet", text)
        self.assertNotIn("demands", text)
        self.demanded = True
        self.assertIn("Your role demands one.", self.browser.open(ACCOUNT).body.decode())


class HeadTests(AccountFactorCase):
    def test_the_forms_without_their_text(self) -> None:
        for path in (PASSKEY, APP):
            answer = self.browser.ask(f"HEAD {path}", *NAVIGATION)
            self.assertEqual((answer.status, answer.body), (200, b""), path)


class WithoutFactorTests(AccountFactorCase):
    def test_no_recovery_codes(self) -> None:
        self.assertEqual(location(self.browser.open(RECOVERY)), ACCOUNT)
        self.assertIn("You have none.", self.browser.open(ACCOUNT).body.decode())


class ByCodeTests(AccountFactorCase):
    by_code = True

    def test_a_first_factor_needs_the_code_of_the_operator(self) -> None:
        for path in (PASSKEY, APP):
            self.assertEqual(location(self.browser.open(path)), "/.perimeter/factor?to=%2F.perimeter%2Faccount")

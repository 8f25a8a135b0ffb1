"""The pages of the gateway while it is not known which sessions other machines have ended: 503, and nothing is forgotten."""

from __future__ import annotations

from perimeter.state.freshness import Freshness
from tests.unit.doubles.http_rig import Response
from tests.unit.doubles.pages import Browser, PageCase, hidden, text_of

LOGIN = "/.perimeter/login"
LOGOUT = "/.perimeter/logout"
ACCOUNT = "/.perimeter/account"


class StaleTests(PageCase):
    def setUp(self) -> None:
        super().setUp()
        self.heard = self.state.freshness = Freshness("redis", 60.0, clock=self.clock.seconds)
        self.hear()
        self.browser.sign_in()
        (self.session,) = self.stored.all()
        self.cookies = dict(self.browser.cookies)

    def hear(self) -> None:
        self.heard.compared(0.0)
        self.heard.heard()
        self.done(self.state.follow())
        self.state.grow_old()

    def silence(self) -> None:
        self.clock.advance(61.0)
        self.state.grow_old()

    def check_unavailable(self, reply: Response) -> None:
        """503, the client is to come back, and keeps its cookies."""
        self.assertEqual((reply.status, reply.get(b"retry-after"), self.record.reason), (503, b"5", "state_unavailable"))
        self.assertIsNone(reply.get(b"clear-site-data"))
        self.assertEqual(self.browser.cookies, self.cookies)

    def test_attack_188_no_page_takes_a_session_for_ended(self) -> None:
        self.assertEqual(self.browser.open(ACCOUNT).status, 200)
        self.silence()
        for page in (ACCOUNT, LOGIN, f"{LOGIN}?again=1", "/.perimeter/go?to=%2F"):
            self.check_unavailable(self.browser.open(page))
        self.hear()
        self.assertEqual(self.browser.open(ACCOUNT).status, 200)
        self.assertEqual(self.stored.all(), [self.session])

    def test_attack_188_a_sign_in_asks_no_directory_and_counts_as_no_wrong_password(self) -> None:
        other = Browser(self)
        asked, form = len(self.chain.asked), hidden(self.browser.open(f"{LOGIN}?again=1"))
        self.silence()
        self.assertEqual(other.open(LOGIN).status, 200)
        for send in (other.sign_in, lambda: self.browser.send(LOGIN, {**form, "username": "alice", "password": "wonderland"})):
            page = send()
            self.assertEqual((page.status, page.get(b"retry-after"), self.record.reason), (503, b"5", "state_unavailable"))
            self.assertIn("your session cannot be saved. Try again in a minute.", text_of(page))
            self.assertEqual((len(self.chain.asked), self.logins[-1]), (asked, ("password", "unavailable")))
        self.assertEqual(self.browser.cookies, self.cookies)
        self.hear()
        self.assertEqual(other.sign_in().status, 303)

    def test_a_sign_out_is_in_force_here_and_is_answered_when_all_machines_know(self) -> None:
        form = hidden(self.browser.open(LOGOUT))
        self.silence()
        self.store.fails = True
        self.check_unavailable(self.browser.send(LOGOUT, form))
        self.assertEqual(self.stored.all(), [])
        self.check_unavailable(self.browser.send(LOGOUT, form))
        self.store.fails = False
        self.hear()
        reply = self.browser.send(LOGOUT, form)
        self.assertEqual((reply.status, reply.get(b"location")), (303, b"/.perimeter/signed-out"))
        self.assertNotIn("__Host-perimeter", self.browser.cookies)

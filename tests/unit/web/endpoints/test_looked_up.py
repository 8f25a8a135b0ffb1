"""The pages while no session and no API token is in memory at the beginning of a request: they do what they do otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from perimeter.errors import StateUnavailable
from perimeter.run.build.state_kinds import STATE_KINDS
from perimeter.sessions.stored import StoredSessions
from perimeter.state.page import Page
from perimeter.state.sqlite import SqliteStore
from perimeter.state.store import IStateStore
from perimeter.tokens.stored import StoredTokens
from tests.unit.doubles.pages import Browser, PageCase
from tests.unit.doubles.sessions import START
from tests.unit.web.endpoints import test_account, test_hand_over, test_login, test_logout

_EVERY: Final = Page(START, 1000, passing=True)


class Forgetful(PageCase):
    """A state over SQLite that forgets all records before each request."""

    sqlite: SqliteStore

    def setUp(self) -> None:
        ask, sessions, tokens = Browser.ask, StoredSessions.all, StoredTokens.all

        def asked(browser: Browser, *given: Any, **more: Any) -> Any:
            self.state.replace(self.state.load())
            self.assertEqual(sessions(self.stored), [])
            return ask(browser, *given, **more)

        def every(view: Any) -> Any:
            self.done(view.page(_EVERY))
            return (sessions if isinstance(view, StoredSessions) else tokens)(view)

        self.patch(Browser, "ask", asked)
        for kind in (StoredSessions, StoredTokens):
            self.patch(kind, "all", every)
        super().setUp()

    def use(self, store: IStateStore) -> None:
        directory = Path(self.mktemp())
        directory.mkdir()
        self.sqlite = SqliteStore(directory, STATE_KINDS, self.clock.seconds, whole_up_to=-1)
        self.addCleanup(self.sqlite.close)
        super().use(self.sqlite)


class LogoutTests(Forgetful, test_logout.LogoutTests):
    def test_a_session_that_cannot_be_looked_up_keeps_its_cookie(self) -> None:
        page = self.browser.open("/.perimeter/logout")
        self.assertEqual(page.status, 200)
        self.sqlite.close()
        self.stored.replace(self.stored.index(()))
        self.stored._index.complete = False
        self.patch(self.state, "load", lambda: ({}, 0))
        reply = self.browser.send("/.perimeter/logout", test_logout.hidden(page))
        self.assertEqual((reply.status, reply.get(b"set-cookie")), (503, None))


class AccountTests(Forgetful, test_account.PageTests):
    pass


class SessionEndTests(Forgetful, test_account.SessionEndTests):
    pass


class SignInTests(Forgetful, test_login.SignInTests):
    def test_a_session_that_cannot_be_written(self) -> None:
        def full(changes: object) -> int:
            raise StateUnavailable("disk full")

        self.patch(self.sqlite, "write", full)
        self.assertEqual(self.browser.sign_in().status, 503)
        self.assertNotIn("__Host-perimeter", self.browser.cookies)


class HandOverTests(Forgetful, test_hand_over.WayTests):
    def test_use_on_another_host_keeps_the_session_of_the_login_host(self) -> None:
        user = self.signed_in()
        _, child = self.stored.all()
        self.clock.advance(3000)
        use = self.stored.grant(child).use
        assert use is not None
        use.at = self.clock.seconds()
        self.clock.advance(3000)
        user.open(test_hand_over.login_url("wiki.example", "/w"))
        self.assertEqual(user.at, f"{test_hand_over.WIKI}/w")

"""Answers the browser's own dialog for a password, which opens where a response has a challenge for one."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page


class PasswordDialog:
    """The dialog of a page. ``typed`` is what its user types into it; None cancels it."""

    def __init__(self, page: Page, typed: tuple[str, str] | None = None) -> None:
        self.typed = typed
        self.challenges: list[dict[str, Any]] = []
        """What the dialog was opened for: one challenge for each time."""
        self._session = page.context.new_cdp_session(page)
        self._session.on("Fetch.authRequired", self._answer)
        # with the dialogs, every request is paused
        self._session.on("Fetch.requestPaused", self._go_on)
        self._session.send("Fetch.enable", {"handleAuthRequests": True})

    def _go_on(self, paused: dict[str, Any]) -> None:
        self._session.send("Fetch.continueRequest", {"requestId": paused["requestId"]})

    def _answer(self, asked: dict[str, Any]) -> None:
        self.challenges.append(asked["authChallenge"])
        answer = {"response": "CancelAuth"}
        if self.typed is not None:
            answer = {"response": "ProvideCredentials", "username": self.typed[0], "password": self.typed[1]}
        self._session.send("Fetch.continueWithAuth", {"requestId": asked["requestId"], "authChallengeResponse": answer})

"""An authenticator that Chromium has for a page instead of a device (WebDriver, extension capability for Web Authentication)."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page


class VirtualAuthenticator:
    """Answers for the user of ``page``. With ``verifies`` false it asks for no PIN."""

    def __init__(self, page: Page, *, verifies: bool = True) -> None:
        self._tools = page.context.new_cdp_session(page)
        self._tools.send("WebAuthn.enable")
        options = {
            "protocol": "ctap2",
            "transport": "internal",
            "hasResidentKey": True,
            "hasUserVerification": verifies,
            "isUserVerified": verifies,
            "automaticPresenceSimulation": True,
        }
        self.id = self._tools.send("WebAuthn.addVirtualAuthenticator", {"options": options})["authenticatorId"]

    @property
    def credentials(self) -> list[dict[str, Any]]:
        """The passkeys that it has, with their private keys."""
        found: list[dict[str, Any]] = self._tools.send("WebAuthn.getCredentials", {"authenticatorId": self.id})["credentials"]
        return found

    def verify(self, succeeds: bool) -> None:
        """From now on the user is verified, or is not: a wrong PIN, another finger."""
        self._tools.send("WebAuthn.setUserVerified", {"authenticatorId": self.id, "isUserVerified": succeeds})

    def add(self, credential: dict[str, Any]) -> None:
        """It has a passkey that another one had."""
        self._tools.send("WebAuthn.addCredential", {"authenticatorId": self.id, "credential": credential})

"""The sign-out at an OpenID provider, in a browser: from the form here over the page there and back."""

from __future__ import annotations

from typing import ClassVar
from urllib.parse import urlsplit

from tests.integration.axe import barriers
from tests.integration.browser import HOST, OWN, BrowserCase, secure, views
from tests.integration.harness import LOGIN_ROUTES, USERS, site
from tests.integration.oidcpeer import SECRET, shared_provider

PROVIDER = f"""\
[provider corp]
type = oidc
issuer = <corp>
client_id = gateway
client_secret = {SECRET}
title = Company login
refresh = 1s
redirect_uri = https://{HOST}:@https@/.perimeter/callback/corp
"""


class SignOutTests(BrowserCase):
    FILES: ClassVar = USERS

    @property
    def CONFIG(self) -> str:  # type: ignore[override]
        return secure(site(LOGIN_ROUTES, extra=PROVIDER)).replace("<corp>", shared_provider().url)

    def test_here_and_at_the_provider_with_and_without_script(self) -> None:
        corp = shared_provider()
        returns = [f"{self.origin}{OWN}signed-out"]
        corp.client(f"{self.origin}{OWN}callback/corp", post_logout_redirect_uris=returns)
        corp.account("sub-carol", preferred_username="carol")
        for script in (True, False):
            page = self.page(javascript=script, hosts=(urlsplit(corp.url).netloc,))
            page.goto(f"{OWN}start/corp?to=/x")
            page.fill("input[name=account]", "sub-carol")
            page.fill("input[name=password]", "any")
            page.get_by_role("button", name="Sign in at the provider").click()
            page.wait_for_url(f"{self.origin}/x")
            page.goto(f"{OWN}logout")
            self.assertTrue(page.get_by_role("checkbox", name="Sign out of Company login, too").is_checked())
            if script:
                for view in views(page):
                    self.assertEqual(barriers(page), [], view)
            stays = f"{corp.url}/session/end?**"
            if script:  # the page that leads on, if the browser stays on it
                page.route(stays, lambda route: route.fulfill(status=204))
            page.get_by_role("button", name="Sign out", exact=True).click()
            if script:
                page.get_by_role("heading", name="You are signed out here").wait_for()
                self.assertEqual(barriers(page), [])
                page.unroute(stays)
                page.get_by_role("link", name="Continue to Company login").click()
            page.get_by_role("button", name="Sign out at the provider").click()
            page.wait_for_url(f"{returns[0]}**")
            page.get_by_role("heading", name="You are signed out").wait_for()
            page.goto("/x")
            self.assertEqual(urlsplit(page.url).path, f"{OWN}login")
            page.goto(f"{OWN}start/corp?to=/x")
            page.get_by_role("button", name="Sign in at the provider").wait_for()

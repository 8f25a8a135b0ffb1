"""A certified OpenID provider that has checked two factors, and one that has not: what the gateway asks for besides."""

from __future__ import annotations

from urllib.parse import urlsplit

from tests.integration.oidcpeer import Browser
from tests.integration.test_provider_sessions import OWN, ProviderSessionCase
from tests.integration.visitor import Visitor

MORE = """\
second_factor_acr = mfa

[second_factor]
methods = totp
roles = staff

[route vault]
path = /vault
upstream = service
browser_login = yes
factors = 2
"""


class ProviderFactorTests(ProviderSessionCase):
    def test_what_the_provider_says_of_factors(self) -> None:
        self.begin(MORE)
        self.peer.account("account-7", preferred_username="alice", groups=["staff"], amr=["pwd", "mfa"])
        visitor = self.sign_in()
        self.assertIsNotNone(visitor.cookie)
        self.assertEqual((visitor.get("/page").status_code, visitor.get("/vault").status_code), (200, 200))
        self.assertIn("second factor at corp", visitor.navigate(f"{OWN}account").text)
        self.peer.account("account-7", preferred_username="alice", groups=["staff"], amr=["pwd"])
        weak = self.half()
        self.assertIsNone(weak.cookie)
        self.assertIn("Register a second factor", weak.navigate(f"{OWN}factor").text)
        self.assertEqual(weak.get("/page").status_code, 401)

    def half(self) -> Visitor:
        """alice, whom the provider sends back after one factor."""
        visitor = Visitor(f"https://127.0.0.1:{self.served['https']}", self.served.directory / "state" / "selfsigned.crt")
        self.addCleanup(visitor.close)
        url = visitor.navigate(f"{OWN}start/corp?to=/page").headers["Location"]
        there = Browser()
        back = urlsplit(there.submit(there.get(url), "account-7"))
        arrived = visitor.navigate(f"{back.path}?{back.query}")
        self.assertEqual((arrived.status_code, arrived.headers.get("Location")), (303, f"{OWN}factor"), arrived.text)
        return visitor

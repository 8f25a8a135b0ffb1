"""What `[provider]` and `[login]` need of each other."""

from __future__ import annotations

import attrs

from perimeter.auth.registry import provider_factories
from perimeter.config.site.config import SiteConfig
from perimeter.config.site.load import load_site
from perimeter.config.site.provider_pages import callback_uri
from perimeter.plugin.kinds import PluginKinds
from tests.unit.doubles.site import INSTALLED, SITE, SiteCase

KINDS = PluginKinds(INSTALLED.authenticators, INSTALLED.augmenters, provider_factories())
PROVIDER = "[provider corp]\ntype = oidc\nissuer = https://sso.example.com\nclient_id = gateway\n"
AT = "redirect_uri = https://gw.example.com/.perimeter/callback/corp\n"
PAGES = "[route pages]\npath = /pages\nstatic = html\nbrowser_login = yes\n"


class ProviderPagesTests(SiteCase):
    def load(self, text: str) -> SiteConfig:
        self.site.write_text(text)
        return load_site(self.site, environ={}, kinds=KINDS)

    def problem(self, text: str) -> str:
        (found,) = self.problems(text)
        return found.partition(": ")[2]

    def test_the_url_of_the_callback(self) -> None:
        config = self.load(f"{SITE}{PROVIDER}{AT}{PAGES}")
        (provider,) = config.providers
        self.assertEqual(callback_uri(config, provider), "https://gw.example.com/.perimeter/callback/corp")
        unset = attrs.evolve(provider, redirect_uri="")
        self.assertEqual(callback_uri(config, unset), "")
        config = attrs.evolve(config, login=attrs.evolve(config.login, host="login.example.com", path="/own"))
        for port, shown in ((443, ""), (9443, ":9443")):
            (listener, *_) = config.listeners
            config = attrs.evolve(config, listeners=(attrs.evolve(listener, port=port, tls=True),))
            self.assertEqual(callback_uri(config, unset), f"https://login.example.com{shown}/own/callback/corp")
        config = attrs.evolve(config, listeners=())
        self.assertEqual(callback_uri(config, unset), "https://login.example.com/own/callback/corp")

    def test_a_host_is_needed_where_people_sign_in(self) -> None:
        fault = "[provider corp] redirect_uri: is needed where people sign in: https://HOST/.perimeter/callback/corp"
        self.assertIn(fault, self.problem(f"{SITE}{PROVIDER}{PAGES}"))
        self.assertEqual(len(self.load(SITE + PROVIDER).providers), 1)

    def test_the_url_has_to_be_that_of_the_callback(self) -> None:
        for url, fault in (
            ("http://gw.example.com/.perimeter/callback/corp", "expected https"),
            ("https://gw.example.com/callback/corp", "did you mean https://gw.example.com/.perimeter/callback/corp?"),
            ("https://gw.example.com/.perimeter/callback/other", "is not the path of this provider's callback"),
            ("https://gw.example.com", "is not the path of this provider's callback"),
        ):
            self.assertIn(fault, self.problem(f"{SITE}{PROVIDER}redirect_uri = {url}\n{PAGES}"))
        text = f"{SITE}{PROVIDER}{AT.replace('.perimeter', 'own')}{PAGES}[login]\npath = /own\n"
        self.assertEqual(self.load(text).providers[0].redirect_uri, "https://gw.example.com/own/callback/corp")

    def test_the_url_is_on_the_host_of_the_pages(self) -> None:
        text = f"{SITE}{PROVIDER}{AT}{PAGES}host = app.example.com\n[login]\nhost = "
        self.assertEqual(len(self.load(f"{text}GW.example.com\n").providers), 1)
        self.assertIn("is not on the host of the sign-in page", "; ".join(self.problems(f"{text}login.example.com\n")))

    def test_automatic(self) -> None:
        text = f"{SITE}{PROVIDER}{AT}{PAGES}[login]\nautomatic = "
        self.assertEqual(self.load(f"{text}corp\n").login.automatic, "corp")
        self.assertIn("[login] automatic: there is no [provider crop], did you mean corp?", self.problem(f"{text}crop\n"))

    def test_a_provider_without_pages(self) -> None:
        fault = "people cannot sign in at provider corp: no route has browser_login = yes"
        self.assertIn(fault, self.load(SITE + PROVIDER).warnings)
        self.assertNotIn(fault, self.load(f"{SITE}{PROVIDER}{AT}{PAGES}").warnings)

    def test_names_that_are_forgotten(self) -> None:
        fault = "after each start, a user name belongs to the first account of a provider that signs in with it"
        memory = f"{SITE}{PROVIDER}{AT}{PAGES}[perimeter]\nstate = memory\n"
        self.assertIn(fault, "; ".join(self.load(memory).warnings))
        self.assertNotIn(fault, "; ".join(self.load(f"{SITE}{PROVIDER}{AT}{PAGES}").warnings))

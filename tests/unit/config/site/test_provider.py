"""``[provider]`` sections: names, realms, and what follows for the rest of the site."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

import perimeter
from perimeter.auth.registry import provider_factories
from perimeter.config.site.config import SiteConfig
from perimeter.config.site.load import load_site
from perimeter.config.site.provider import Logout
from perimeter.plugin.kinds import PluginKinds
from tests.unit.doubles.site import INSTALLED, SITE, SiteCase

KINDS = PluginKinds(INSTALLED.authenticators, INSTALLED.augmenters, provider_factories())
PROVIDER = (
    "[provider corp]\ntype = oidc\nissuer = https://sso.example.com\nclient_id = gateway\n"
    "redirect_uri = https://gw.example.com/.perimeter/callback/corp\n"
)
PAGES = "[route pages]\npath = /pages\nstatic = html\nbrowser_login = yes\n"


class ProviderTests(SiteCase):
    def load(self, text: str) -> SiteConfig:
        self.site.write_text(f"{text}{PAGES}")
        return load_site(self.site, environ={}, kinds=KINDS)

    def problem(self, text: str) -> str:
        (found,) = self.problems(text)
        return found.partition(": ")[2]

    def only(self, text: str) -> Any:
        (found,) = self.load(text).providers
        return found

    def test_the_least(self) -> None:
        found = self.only(f"{SITE}{PROVIDER}")
        self.assertEqual((found.name, found.kind, found.realm, found.refresh_grace), ("corp", "oidc", "corp", 3600.0))
        self.assertIs(found.logout, Logout.PROVIDER)
        self.assertEqual(found.settings.issuer, "https://sso.example.com")
        self.assertEqual(self.load(SITE).providers, ())

    def test_all(self) -> None:
        found = self.only(f"{SITE}{PROVIDER}realm = staff\nrefresh_grace = 0\nlogout = local\n")
        self.assertEqual((found.realm, found.refresh_grace), ("staff", 0.0))
        self.assertIs(found.logout, Logout.LOCAL)

    def test_roles_that_last_as_long_as_the_session_are_pointed_out(self) -> None:
        def warned(more: str) -> list[str]:
            return [one for one in self.load(f"{SITE}{PROVIDER}{more}").warnings if "refresh" in one]

        (said,) = warned("refresh = 0\n")
        self.assertIn("[provider corp]: with refresh = 0, a role that the provider takes away", said)
        for more in ("", "refresh = 1h\n", "refresh = 0\nlifetime = 1h\n"):
            self.assertEqual(warned(more), [], more)

    def test_kinds(self) -> None:
        self.assertIn(
            "expected oauth2 or oidc, not 'oidcc', did you mean oidc?", self.problem(SITE + PROVIDER.replace("oidc", "oidcc"))
        )

    def test_names(self) -> None:
        for name in ("password", "token", "TOTP", "webauthn", "recovery"):
            text = PROVIDER.replace("corp", name)
            self.assertIn("the audit log uses this word for another way in", self.problem(SITE + text))
        # The name is a segment of paths.
        for name in ("_x", "-x", ".", "..", "a" * 65):
            self.assertIn("expected [provider NAME]", self.problem(SITE + PROVIDER.replace("corp", name)))
        self.assertEqual(self.only(SITE + PROVIDER.replace("corp", "a" * 64)).name, "a" * 64)
        self.assertEqual(self.only(SITE + PROVIDER.replace("corp", "9-a.b_c")).name, "9-a.b_c")

    def test_attack_o4_users_of_a_provider_are_nobody_elses(self) -> None:
        self.assertIn("there is an [authenticator local]", self.problem(SITE + PROVIDER.replace("corp", "local")))
        same = self.problem(f"{SITE}{PROVIDER}realm = local\n")
        self.assertIn("[provider corp] realm: expected a realm of its own: that of [authenticator local]", same)

    def test_rules_and_augmenters_may_name_the_realm(self) -> None:
        rest = f"{PROVIDER}[augmenter more]\ntype = match\nrealm = corp\nusername = alice\nadd_roles = admin\n"
        config = self.load(self.with_option("route app", "allow", "realm:corp, role:corp/admin") + rest)
        self.assertEqual(config.realms, ("local", "corp"))
        self.assertIn("no authenticator has the realm corp", "\n".join(self.problems(SITE + rest.replace(PROVIDER, ""))))

    def test_a_site_may_have_providers_alone(self) -> None:
        without = SITE.replace("[authenticator local]\ntype = file\npath = users\n", "")
        self.assertNotEqual(without, SITE)
        self.assertEqual(self.load(without + PROVIDER).authenticators, ())


class DocumentTests(SiteCase):
    def test_a_provider_that_is_of_no_use(self) -> None:
        def warned(text: str) -> list[str]:
            self.site.write_text(SITE + text)
            found = load_site(self.site, environ={}, kinds=KINDS).warnings
            return [one for one in found if "people cannot sign in" in one]

        said = ["people cannot sign in at provider corp: no route has browser_login = yes"]
        tokens = PROVIDER.replace("corp", "api") + "bearer = yes\naudience = api\n"
        for text, warnings in ((PROVIDER, said), (tokens, []), (tokens + PROVIDER, said), (tokens + PROVIDER + PAGES, [])):
            self.assertEqual(warned(text), warnings, text)

    def test_the_examples_of_the_page_are_valid(self) -> None:
        page = (Path(perimeter.__file__).parent.parent / "docs" / "how-to" / "provider-users.md").read_text(encoding="utf-8")
        examples = re.findall(r"```ini\n(.*?)```", page, re.DOTALL)
        self.assertEqual(len(examples), 6)
        key = ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (self.directory / "gateway.pem").write_bytes(pem)
        for name in ("corp", "entra", "google"):
            (self.directory / f"{name}.secret").write_text("secret")
        for example in examples:
            self.site.write_text(f"{SITE}{example}{PAGES}")
            self.assertTrue(load_site(self.site, environ={}, kinds=KINDS).providers)

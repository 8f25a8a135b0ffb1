"""Another issuer with the name of the gateway's own tokens."""

from __future__ import annotations

from perimeter.auth.registry import installed_kinds
from perimeter.config.site.config import SiteConfig
from perimeter.config.site.load import load_site
from tests.unit.doubles.site import SITE as OTHER
from tests.unit.doubles.site import SiteCase

SITE = OTHER.replace("type = file", "type = realmfile")
JWT = "[authenticator partner]\ntype = jwt\ncert_uri = https://partner/jwks\naudience = gateway\nissuer = {}\n"
PROVIDER = "[provider sso]\ntype = oidc\nclient_id = gateway\nissuer = {}\n"
TOKEN = "[token]\nissuer = https://gw.example.com\n"


class OwnIssuerTests(SiteCase):
    def load(self, text: str) -> SiteConfig:
        self.site.write_text(text)
        return load_site(self.site, environ=self.environ, kinds=installed_kinds())

    def test_attack_o15_another_issuer_has_another_name(self) -> None:
        own = "https://gw.example.com"
        for section in (JWT.format(own), JWT.format(f"https://a.example, {own}"), PROVIDER.format(own)):
            (found,) = self.problems(SITE + section + TOKEN)
            header = section.partition("\n")[0]
            self.assertIn(f"{header} issuer: is also issuer of [token], {own}: tokens of another issuer", found)
        for section in (JWT.format(own + "/"), PROVIDER.format(own + "/"), JWT.format("*")):
            self.load(SITE + section + TOKEN)
        (found,) = self.problems(SITE + JWT.format("perimeter"))
        self.assertIn("is also issuer of [token], perimeter", found)

    def test_an_issuer_of_certificates_is_another_thing(self) -> None:
        for issuer in ("", "issuer = CN=perimeter\n"):
            text = f"[authenticator client]\ntype = certificate\nrealm = machines\n{issuer}"
            self.load(SITE + text)

    def test_an_issuer_that_is_faulty_is_reported_once(self) -> None:
        self.assertEqual(len(self.problems(SITE + JWT.format("*, perimeter"))), 1)

"""Passkeys across sections: the domain that they are for, and the hosts whose pages use them."""

from __future__ import annotations

from perimeter.config.site.factor_checks import passkey_hosts
from perimeter.run.build.factors import relying_party
from tests.unit.doubles.site import SITE, SiteCase

ROUTE = "[route people]\npath = /people\nupstream = app\nbrowser_login = yes\n"
MORE = "[route more]\npath = /more\nupstream = app\nbrowser_login = yes\n"
PASSKEYS = "[second_factor]\nmethods = webauthn\n"


class PasskeyTests(SiteCase):
    def hosts(self, text: str) -> tuple[str, ...]:
        return passkey_hosts(self.load(SITE + text))

    def problem(self, text: str) -> str:
        (found,) = self.problems(SITE + text)
        return found

    def test_the_host_of_the_sign_in_page(self) -> None:
        route = f"{ROUTE}host = app.example.com\n"
        login = "[login]\nhost = login.example.com\n"
        self.assertEqual(self.hosts(route + login + PASSKEYS), ("login.example.com",))
        self.assertEqual(self.hosts(f"{route}{login}{PASSKEYS}rp_id = example.com\n"), ("login.example.com",))
        self.assertEqual(self.hosts(f"{route}{login}{PASSKEYS}rp_id = login.example.com\n"), ("login.example.com",))
        for other in ("ogin.example.com", "app.example.com", "x.login.example.com"):
            found = self.problem(f"{route}{login}{PASSKEYS}rp_id = {other}\n")
            self.assertIn("rp_id: must be login.example.com, the host in [login], or a domain that it belongs to", found)

    def test_the_hosts_of_routes(self) -> None:
        routes = f"{ROUTE}host = app.example.com, *.example.com, app.example.net\n{MORE}host = example.com, notexample.com\n"
        self.assertEqual(self.hosts(f"{routes}{PASSKEYS}rp_id = example.com\n"), ("app.example.com", "example.com"))
        self.assertEqual(self.hosts(f"{ROUTE}{PASSKEYS}rp_id = example.com\n"), ("example.com",))
        self.assertEqual(self.hosts(f"{ROUTE}host = app.example.com\n{PASSKEYS}"), ("app.example.com",))

    def test_without_one_domain(self) -> None:
        for routes in (
            ROUTE,
            f"{ROUTE}host = app.example.com\n{MORE}host = app.example.net\n",
            f"{ROUTE}host = app.example.com\n{MORE}",
        ):
            self.assertIn(
                "methods: passkeys belong to one domain: set rp_id, or host in [login]", self.problem(routes + PASSKEYS)
            )

    def test_an_address_is_no_domain(self) -> None:
        for text in (f"{ROUTE}{PASSKEYS}rp_id = 192.0.2.7\n", f"{ROUTE}{PASSKEYS}rp_id = [2001:db8::1]\n"):
            self.assertIn("rp_id: passkeys are for a domain, and not for an IP address", self.problem(text))

    def test_to_sign_in_with_them(self) -> None:
        login = "[login]\npasskeys = yes\n"
        totp = "[second_factor]\nmethods = totp\n"
        for text in (ROUTE + login, ROUTE + login + totp):
            self.assertIn("[login] passkeys: needs webauthn in methods of [second_factor]", self.problem(text))
        self.assertIs(self.load(f"{SITE}{ROUTE}{login}{PASSKEYS}rp_id = example.com\n").login.passkeys, True)

    def test_the_relying_party(self) -> None:
        config = self.load(f"{SITE}{ROUTE}host = app.example.com\n{PASSKEYS}rp_id = example.com\n[login]\ntitle = Weather\n")
        party = relying_party(config)
        self.assertEqual((party.id, party.name), ("example.com", "Weather"))
        self.assertEqual(party.origins, ("https://app.example.com:9443", "https://app.example.com"))
        config = self.load(f"{SITE}{ROUTE}host = app.example.com\n{PASSKEYS}")
        self.assertEqual((relying_party(config).id, relying_party(config).name), ("app.example.com", config.perimeter.realm))

"""``[second_factor]``, ``factors`` and ``factor_age`` of a route, and what of that contradicts itself."""

from __future__ import annotations

from types import SimpleNamespace

import attrs

from perimeter.config.site import second_factor
from perimeter.config.site.second_factor import Enroll, Method
from tests.unit.doubles.site import SITE, SiteCase

PAGES = SITE + "[route people]\npath = /people\nupstream = app\nbrowser_login = yes\n"
METHODS = "[second_factor]\nmethods = totp\n"


class SecondFactorTests(SiteCase):
    def test_defaults(self) -> None:
        config = self.load(SITE)
        found = config.second_factor
        self.assertEqual((found.methods, found.roles, found.enroll, found.issuer, found.rp_id), ((), (), Enroll.SELF, "", ""))
        self.assertEqual((config.routes[0].factors, config.routes[0].factor_age), (1, None))
        self.assertIs(config.checks_second_factors, False)

    def test_all_of_it(self) -> None:
        more = "roles = admin, ops\nenroll = code\nissuer = Weather\nrp_id = example.com\n"
        both = METHODS.replace("totp", "totp, webauthn")
        config = self.load(f"{PAGES}factors = 2\nfactor_age = 12h\n{both}{more}")
        found = config.second_factor
        self.assertEqual((found.methods, found.roles), ((Method.TOTP, Method.WEBAUTHN), ("admin", "ops")))
        self.assertEqual((found.enroll, found.issuer, found.rp_id), (Enroll.CODE, "Weather", "example.com"))
        self.assertEqual((config.routes[1].factors, config.routes[1].factor_age), (2, 43200.0))
        self.assertIs(config.checks_second_factors, True)
        self.assertEqual([one for one in config.warnings if "factor" in one], [])

    def test_without_methods_nothing_else(self) -> None:
        found = self.problems(f"{PAGES}[second_factor]\nroles = admin\nenroll = self\n")
        self.assertEqual([one.partition("[second_factor] ")[2] for one in found], [
            "roles: has no effect without methods", "enroll: has no effect without methods"
        ])  # fmt: skip

    def test_without_a_page_to_sign_in_on(self) -> None:
        (found,) = self.problems(SITE + METHODS)
        self.assertIn("[second_factor] methods: has no effect: no route has browser_login = yes", found)

    def test_the_extra_is_not_installed(self) -> None:
        self.patch(second_factor, "find_spec", lambda name: None if name == "segno" else object())
        (found,) = self.problems(PAGES + METHODS)
        self.assertIn("methods: the library segno is not installed: pip install 'perimeter-gateway[mfa]'", found)
        self.load(f"{PAGES}[second_factor]\nmethods = webauthn\nrp_id = x.example\n")

    def test_options_of_another_method(self) -> None:
        (found,) = self.problems(f"{PAGES}[second_factor]\nmethods = totp\nrp_id = example.com\n")
        self.assertIn("rp_id: is only allowed with webauthn in methods", found)
        (found,) = self.problems(f"{PAGES}[second_factor]\nmethods = webauthn\nrp_id = x.example\nissuer = x\n")
        self.assertIn("issuer: is only allowed with totp in methods", found)

    def test_a_route_for_which_no_user_could_have_one(self) -> None:
        (found,) = self.problems(f"{PAGES}factors = 2\n")
        self.assertIn("[route people] factors: no user could have a second factor: set methods in [second_factor]", found)
        self.load(f"{PAGES}factors = 1\n")

    def test_a_provider_that_checks_two_factors(self) -> None:
        config = self.load(PAGES)
        for values, checks in (((), False), (("mfa",), True)):
            provider = SimpleNamespace(settings=SimpleNamespace(second_factor_acr=values))
            self.assertIs(attrs.evolve(config, providers=(provider,)).checks_second_factors, checks)

    def test_a_route_that_admits_clients_without_credentials(self) -> None:
        for auth, words in (("optional", "is not allowed with auth = optional"), ("none", "has no effect with auth = none")):
            other = "[route open]\npath = /open\nupstream = app\nfactors = 2\n" + f"auth = {auth}\n"
            (found,) = self.problems(PAGES + METHODS + other)
            self.assertIn(f"[route open] factors: {words}", found)

    def test_an_age_of_nothing(self) -> None:
        (found,) = self.problems(f"{PAGES}factor_age = 1h\n{METHODS}")
        self.assertIn("factor_age: is only allowed with factors = 2", found)

    def test_what_an_operator_should_know(self) -> None:
        memory = f"{PAGES}[perimeter]\nstate = memory\n"
        (found,) = [one for one in self.load(memory + METHODS).warnings if "second_factor" in one]
        self.assertIn("a restart forgets all second factors", found)
        warned = self.load(f"{memory}{METHODS}enroll = code\n").warnings
        self.assertEqual([one for one in warned if "second_factor" in one], [])
        other = "[route plain]\npath = /plain\nupstream = app\nfactors = 2\n"
        (found,) = [one for one in self.load(PAGES + METHODS + other).warnings if "factors" in one]
        self.assertIn("[route plain] factors = 2 without browser_login: only API tokens", found)

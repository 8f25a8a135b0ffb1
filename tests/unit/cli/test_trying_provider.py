"""The address that a browser arrives at after a sign-in at a provider, as a user pastes it."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from perimeter.cli.trying_provider import MOST_PARAMETERS, NotTheAnswer, parameters_of

URI = "https://gw.example/.perimeter/callback/corp"


class AddressTests(TestCase):
    def refused(self, pasted: str) -> str:
        return str(self.assertRaises(NotTheAnswer, parameters_of, pasted, URI, "secret"))

    def test_the_parameters(self) -> None:
        found = parameters_of(f" {URI}?code=a%2Bb&state=secret&iss=https://sso&error_description=\n", URI, "secret")
        self.assertEqual(found, {"code": "a+b", "state": "secret", "iss": "https://sso", "error_description": ""})

    def test_another_address(self) -> None:
        for pasted in (
            "",
            "code",
            f"{URI}/x?state=secret",
            "https://evil.example/.perimeter/callback/corp?state=secret",
            URI[1:],
        ):
            self.assertEqual(self.refused(pasted), f"the address does not begin with {URI}")

    def test_attack_o1_another_sign_in(self) -> None:
        for query in ("", "?code=a", "?state=", "?state=secre", "?state=secrets", "?state=%C3%A9"):
            self.assertIn("belongs to another sign-in", self.refused(URI + query))

    def test_a_parameter_twice_and_too_many(self) -> None:
        self.assertIn("came twice", self.refused(f"{URI}?state=secret&state=secret"))
        many = "&".join(f"p{number}=" for number in range(MOST_PARAMETERS - 1))
        self.assertEqual(len(parameters_of(f"{URI}?state=secret&{many}", URI, "secret")), MOST_PARAMETERS)
        self.assertIn("too many parameters", self.refused(f"{URI}?state=secret&{many}&x="))

    def test_nothing_of_the_address_is_quoted(self) -> None:
        for query in ("?code=hush&state=x", "?code=hush&code=hush", "?code=hush"):
            self.assertNotIn("hush", self.refused(URI + query))

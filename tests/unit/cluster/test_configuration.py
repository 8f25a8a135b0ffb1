from __future__ import annotations

from twisted.trial.unittest import TestCase

from perimeter.cluster.configuration import configuration_hash
from perimeter.config.language.document import SectionInForce
from perimeter.config.language.section import Setting
from tests.unit.doctor.examined import SITE, ExaminedCase


def section(header: str, *options: tuple[str, str, int]) -> SectionInForce:
    return SectionInForce(header, 1, tuple(Setting(*one) for one in options))


class ConfigurationHashTests(TestCase):
    def test_it_has_the_length_that_is_announced(self) -> None:
        self.assertRegex(configuration_hash(()), "^[0-9a-f]{12}$")

    def test_names_and_values_count(self) -> None:
        first = configuration_hash([section("route app", ("path", "/", 3))])
        self.assertNotEqual(first, configuration_hash([section("route app", ("path", "/a", 3))]))
        self.assertNotEqual(first, configuration_hash([section("route app", ("host", "/", 3))]))
        self.assertNotEqual(first, configuration_hash([section("route other", ("path", "/", 3))]))

    def test_the_order_of_sections_counts(self) -> None:
        one, other = section("route a", ("path", "/", 2)), section("route b", ("path", "/", 4))
        self.assertNotEqual(configuration_hash([one, other]), configuration_hash([other, one]))

    def test_lines_and_defaults_do_not_count(self) -> None:
        first = configuration_hash([section("route app", ("path", "/", 3))])
        self.assertEqual(first, configuration_hash([section("route app", ("path", "/", 9), ("auth", "required", 0))]))
        self.assertEqual(first, configuration_hash([section("login", ("path", "/x", 0)), section("route app", ("path", "/", 3))]))

    def test_options_of_one_machine_do_not_count(self) -> None:
        first = configuration_hash([section("perimeter", ("realm", "a", 2)), section("listener https", ("port", "443", 5))])
        second = configuration_hash(
            [
                section("perimeter", ("node", "b", 2), ("state_dir", "/b", 3), ("realm", "a", 4), ("workers", "2", 5)),
                section("listener https", ("interface", "10.0.0.2", 7), ("port", "443", 8)),
            ]
        )
        self.assertEqual(first, second)
        # the same words elsewhere are about all machines
        self.assertNotEqual(
            configuration_hash([section("route x", ("interface", "a", 2))]),
            configuration_hash([section("route x", ("interface", "b", 2))]),
        )


class FileTests(ExaminedCase):
    def hash(self, text: str) -> str:
        return configuration_hash(self.subject(text).config.sections)

    def test_the_layout_of_the_file_does_not_count(self) -> None:
        other = "; a comment\n\n" + SITE.replace("state_dir = state", "state_dir   =  elsewhere")
        self.assertEqual(self.hash(SITE), self.hash(other))

    def test_an_option_counts(self) -> None:
        self.assertNotEqual(self.hash(SITE), self.hash(SITE + "strict = no\n"))

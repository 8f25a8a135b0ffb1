"""Options are declared once, as fields of a settings class; any section can be read into such a class."""

from __future__ import annotations

from enum import StrEnum
from ipaddress import ip_network
from pathlib import Path

import attrs

from perimeter.config.language.datatypes import SECRET, TEXT, BadValue, duration, file_path, integer, list_of, one_of, optional
from perimeter.config.language.net_types import NETWORK, Network
from perimeter.config.language.option import name_of, option, options_of
from perimeter.config.language.section import Section
from perimeter.config.language.settings import Settings, read
from tests.unit.config.language.test_section import SectionCase


class Flavour(StrEnum):
    PLAIN = "plain"
    FANCY = "fancy"


def _no_two(values: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(values)) != len(values):
        raise BadValue("the same name is given twice")
    return tuple(value for value in values if value != "none")


@attrs.frozen
class Service(Settings):
    name: str
    port: int = option(integer(1, 65535, "port"), "TCP port")
    flavour: Flavour = option(one_of(Flavour), "kind of service", default="plain")
    timeout: float = option(duration(), "longest wait", default="5s")
    password: str = option(SECRET, "password", default="")
    user: str = option(TEXT, "user", name="user_name", default="")
    networks: tuple[Network, ...] = option(list_of(NETWORK), "networks", default="")
    roots: tuple[str, ...] = option(list_of(TEXT, whole=_no_two), "roots", default="a, b")
    certificate: Path | None = option(optional(file_path()), "PEM file", default="")
    extra: int = 7
    file: str = ""
    line: int = 0

    def check(self, section: Section) -> None:
        if self.password and not self.user:
            section.problem("password", "needs user_name")


class ReadTests(SectionCase):
    def test_defaults_and_the_place_of_the_section(self) -> None:
        found = read(self.section("port = 80\n"), Service)
        self.assertEqual(found, Service("x", 80, roots=("a", "b"), file="site.ini", line=1))
        self.assertEqual((found.timeout, found.flavour, found.certificate, found.extra), (5.0, Flavour.PLAIN, None, 7))
        self.assertEqual(self.told(), [])

    def test_every_option(self) -> None:
        section = self.section(
            "port = 80\nflavour = fancy\ntimeout = 1m\npassword = pw\nuser_name = u\n"
            "networks = 10.0.0.0/8\nroots = x, none\ncertificate = c.pem\n"
        )
        found = read(section, Service, extra=8)
        self.assertIs(found.flavour, Flavour.FANCY)
        self.assertEqual((found.timeout, found.password, found.user), (60.0, "pw", "u"))
        self.assertEqual((found.networks, found.roots), ((ip_network("10.0.0.0/8"),), ("x",)))
        self.assertEqual((found.certificate, found.extra), (self.base / "c.pem", 8))
        section.finish()
        self.assertEqual(self.told(), [])

    def test_all_faults_are_reported_at_once(self) -> None:
        section = self.section("flavour = fanci\ntimeout = soon\npassword = pw\nroots = x, x\nusr_name = u\n")
        read(section, Service)
        section.finish()
        self.assertEqual(
            sorted(self.told()),
            [
                "1: [authenticator x] port: is required (port)",
                "2: [authenticator x] flavour: expected plain or fancy, not 'fanci', did you mean fancy?",
                "3: [authenticator x] timeout: expected a duration such as 500ms, 30s, 10m, 24h or 7d, not 'soon'",
                "4: [authenticator x] password: needs user_name",
                "5: [authenticator x] roots: the same name is given twice",
                "6: [authenticator x] usr_name: unknown option, did you mean user_name?",
            ],
        )

    def test_a_fault_is_reported_once_however_often_the_option_is_read(self) -> None:
        section = self.section("port = 80\ntimeout = soon\n")
        read(section, Service)
        read(section, Service)
        self.assertEqual(len(self.told()), 1)

    def test_a_secret_is_not_in_the_repr(self) -> None:
        self.assertNotIn("hunter2", repr(Service("x", 80, password="hunter2")))

    def test_a_word_that_does_not_exist_is_no_value(self) -> None:
        self.assertRaises(ValueError, Service, "x", 80, flavour="fanci")

    def test_options_and_their_names(self) -> None:
        expected = ["port", "flavour", "timeout", "password", "user_name", "networks", "roots", "certificate"]
        self.assertEqual([one.name for one in options_of(Service)], expected)
        self.assertEqual([one.name for one in options_of(Service) if one.required], ["port"])
        fields = attrs.fields(Service)
        self.assertEqual([name_of(fields.user), name_of(fields.roots), name_of("any")], ["user_name", "roots", "any"])
        self.assertRaises(TypeError, name_of, fields.extra)

    def test_a_default_that_is_no_value_is_found_when_the_class_is_made(self) -> None:
        self.assertRaises(BadValue, option, duration(), "", default="soon")

"""A provider is built by the factory of its kind, and what the factory has made is verified."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from perimeter.auth.building import build_provider
from perimeter.config.site.provider import ProviderSettings
from perimeter.errors import StartupError
from perimeter.offload import Offload
from perimeter.plugin.services import AuthServices
from tests.unit.doubles.provider import FakeProvider

SETTINGS = ProviderSettings("corp", kind="fake", realm="staff", file="site.ini")


class Factory:
    """Makes ``made``, or raises it."""

    kind = "fake"
    options = ()

    def __init__(self, made: Any) -> None:
        self._made = made
        self.asked: tuple[object, ...] = ()

    def parse(self, section: object) -> None:
        pass

    def build(self, *asked: object) -> Any:
        self.asked = asked
        if isinstance(self._made, Exception):
            raise self._made
        return self._made


class BuildProviderTests(TestCase):
    def setUp(self) -> None:
        clock: Any = Clock()
        self.services = AuthServices(clock, Offload(clock))

    def build(self, made: Any) -> Any:
        self.factory: Any = Factory(made)
        return build_provider(SETTINGS, self.factory, self.services)

    def test_a_provider(self) -> None:
        made = FakeProvider()
        self.assertIs(self.build(made), made)
        self.assertEqual(self.factory.asked, ("corp", "staff", None, self.services))

    def test_faults(self) -> None:
        for made, message in (
            (StartupError("no CA"), "no CA"),
            (ValueError("a secret"), r"site\.ini: \[provider corp\] type = fake cannot be built: ValueError"),
            (object(), r"site\.ini: \[provider corp\] type = fake cannot be used: .*IRedirectAuthenticator"),
        ):
            error = self.assertRaises(StartupError, self.build, made)
            self.assertRegex(str(error), message)
            self.assertNotIn("a secret", str(error))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

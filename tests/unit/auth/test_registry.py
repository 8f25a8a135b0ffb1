"""Which kinds of authenticator are installed."""

from __future__ import annotations

from typing import Any

from twisted.plugin import IPlugin
from twisted.trial import unittest
from zope.interface import implementer

from perimeter.auth.kinds.realm_file import RealmFileFactory
from perimeter.auth.registry import augmenter_factories, authenticator_factories, login_module_factories
from perimeter.errors import StartupError
from perimeter.plugin.authenticator import IAuthenticatorFactory


@implementer(IPlugin, IAuthenticatorFactory)
class NoBuild:
    kind = "half"
    options = ()

    def parse(self, section: Any) -> Any:
        return section


@implementer(IPlugin, IAuthenticatorFactory)
class WrongSignature(NoBuild):
    def build(self, name: str) -> Any:
        return name


class Unclaimed(RealmFileFactory):
    kind = ""


class NoOptions(RealmFileFactory):
    options = ("path",)  # type: ignore[assignment]


class RegistryTests(unittest.TestCase):
    def test_the_built_in_kind_is_found_as_a_plug_in(self) -> None:
        self.assertIsInstance(authenticator_factories()["realmfile"], RealmFileFactory)

    def test_augmenters_and_login_modules_are_found_likewise(self) -> None:
        self.assertEqual({"match", "plain", "ldap"} - set(augmenter_factories()), set())
        self.assertEqual({"command", "ldap", "pam", "realmfile"} - set(login_module_factories()), set())
        for make, interface in ((augmenter_factories, "IAugmenterFactory"), (login_module_factories, "ILoginModuleFactory")):
            with self.assertRaises(StartupError) as caught:
                make([RealmFileFactory()])
            self.assertIn(interface, str(caught.exception))

    def test_two_of_one_kind_stop_the_start(self) -> None:
        with self.assertRaises(StartupError) as caught:
            authenticator_factories([RealmFileFactory(), RealmFileFactory()])
        self.assertIn("'realmfile'", str(caught.exception))

    def test_attack_41_a_faulty_plug_in_stops_the_start_with_one_line(self) -> None:
        for plugin in (NoBuild(), WrongSignature(), Unclaimed(), NoOptions(), object()):
            with self.assertRaises(StartupError, msg=plugin) as caught:
                authenticator_factories([plugin])
            self.assertIn(type(plugin).__qualname__, str(caught.exception))
            self.assertEqual(len(str(caught.exception).splitlines()), 1)

"""Which kinds of authenticator are installed."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from twisted.plugin import IPlugin
from twisted.trial import unittest
from zope.interface import implementer

from perimeter.auth.kinds.realm_file import RealmFileFactory
from perimeter.auth.registry import augmenter_factories, authenticator_factories, login_module_factories
from perimeter.errors import StartupError
from perimeter.plugin.authenticator import IAuthenticatorFactory
from perimeter.plugin.named import NamedFactory


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


def named(kind: str, maker: str) -> NamedFactory:
    return NamedFactory(IAuthenticatorFactory, kind, maker)


REALM_FILE = "perimeter.auth.kinds.realm_file.RealmFileFactory"


class NamedTests(unittest.TestCase):
    """Factories that are imported when a site uses their kind."""

    def test_each_is_of_the_kind_that_it_is_named_by(self) -> None:
        kinds = (authenticator_factories(), augmenter_factories(), login_module_factories())
        for factories in kinds:
            for kind, factory in factories.items():
                self.assertEqual(factory.kind, kind)
        self.assertEqual([len(factories) for factories in kinds], [13, 3, 4])
        self.assertEqual([len(list(factories)) for factories in kinds], [13, 3, 4])

    def test_the_factory_is_always_the_same(self) -> None:
        self.assertIs(authenticator_factories()["plain"], authenticator_factories()["plain"])

    def test_only_what_is_used_is_imported(self) -> None:
        program = (
            "import sys; from perimeter.auth.registry import installed_kinds, login_module_factories\n"
            "kinds, modules = installed_kinds(), login_module_factories()\n"
            "def own(): return sorted(one for one in sys.modules if one.startswith('perimeter.auth.kinds.'))\n"
            "'realmfile' in kinds.authenticators, 'ldap' in kinds.augmenters, len(modules), list(kinds.authenticators)\n"
            "print(own()); kinds.authenticators['trusted-header']; print(own())"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
        self.assertEqual(done.stdout.splitlines(), ["[]", "['perimeter.auth.kinds.trusted_header']"])

    def test_no_factory_of_an_unknown_kind(self) -> None:
        factories = authenticator_factories([named("realmfile", REALM_FILE)])
        self.assertIsNone(factories.get("other"))
        self.assertNotIn("other", factories)
        self.assertIn("realmfile", factories)
        self.assertIsInstance(factories["realmfile"], RealmFileFactory)

    def test_two_of_one_kind_stop_the_start_without_an_import(self) -> None:
        for others in ([named("realmfile", "no.such.module")], [RealmFileFactory()]):
            with self.assertRaises(StartupError) as caught:
                authenticator_factories([named("realmfile", "not.imported"), *others])
            self.assertIn("'realmfile': not.imported and ", str(caught.exception))

    def test_a_faulty_one_is_reported_when_it_is_used(self) -> None:
        here = f"{__name__}."
        for kind, maker, words in (
            ("x", "no_such_module.Factory", "ObjectNotFound"),
            ("x", REALM_FILE + "x", "AttributeError"),
            ("half", f"{here}NoBuild", ".build(name, "),
            ("", f"{here}Unclaimed", "its kind is not a text"),
            ("other", REALM_FILE, "it is of the kind 'realmfile', not 'other'"),
        ):
            factories = authenticator_factories([named(kind, maker)])
            for _ in range(2):
                with self.assertRaises(StartupError, msg=maker) as caught:
                    factories[kind]
                self.assertIn(words, str(caught.exception))
                self.assertIn("cannot be used", str(caught.exception))
                self.assertEqual(len(str(caught.exception).splitlines()), 1)

"""Which questions one authenticator is asked, and under which name its wrong passwords are counted."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from perimeter.auth.chain.asking import GuardedAuthenticator
from perimeter.model import (
    AuthenticationRequest,
    BasicCredentials,
    BearerCredentials,
    ConnectionCredentials,
    Credentials,
    Recollection,
)
from perimeter.plugin.authenticator import Scheme
from tests.unit.auth.chain.test_chain import Fake, Scheming
from tests.unit.doubles.auth import REQUEST


def wants(schemes: tuple[str, ...], credentials: Credentials, request: AuthenticationRequest = REQUEST) -> bool:
    return GuardedAuthenticator(Scheming(schemes, None), 5, Clock()).wants(credentials, request)


class WantsTests(TestCase):
    def test_each_credential_is_for_its_own_scheme(self) -> None:
        certified: Any = attrs.evolve(REQUEST, certificate=object())
        for wanted, credentials, request in (
            ({"basic"}, BasicCredentials("a", "b"), REQUEST),
            ({"bearer"}, BearerCredentials("x"), REQUEST),
            ({"header"}, ConnectionCredentials(), REQUEST),
            ({"header", "certificate"}, ConnectionCredentials(), certified),
        ):
            for scheme in ("basic", "bearer", "header", "certificate", "recall"):
                self.assertIs(wants((scheme,), credentials, request), scheme in wanted, (scheme, credentials))

    def test_one_may_want_every_kind_of_credential(self) -> None:
        for credentials in (BasicCredentials("a", "b"), BearerCredentials("x"), ConnectionCredentials()):
            self.assertIs(wants(tuple(Scheme), credentials), True)

    def test_a_request_without_a_certificate(self) -> None:
        self.assertIs(wants(("certificate",), ConnectionCredentials()), False)

    def test_only_one_authenticator_is_asked_about_an_owner(self) -> None:
        self.assertIs(wants(("basic", "recall", "header"), Recollection("alice")), False)

    def test_attack_49_the_realms_that_a_client_names_do_not_matter(self) -> None:
        for realms in ({"r"}, {"s"}):
            request = attrs.evolve(REQUEST, realms=frozenset(realms))
            self.assertIs(wants(("basic",), BasicCredentials("a", "b"), request), True)


class NameTests(TestCase):
    def test_attack_23_a_long_name_is_counted_by_its_hash(self) -> None:
        guarded = GuardedAuthenticator(Fake(None), 5, Clock())
        self.assertEqual(guarded.canonical_name("x" * 256), "x" * 256)
        hashed = {guarded.canonical_name(letter * 257) for letter in "xy"}
        self.assertEqual({len(name) for name in hashed}, {32})

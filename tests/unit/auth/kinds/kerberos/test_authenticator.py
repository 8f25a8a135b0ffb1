"""``type = kerberos``: its options, and the users of tickets."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from perimeter.auth.kinds.kerberos.authenticator import KerberosAuthenticator, KerberosFactory
from perimeter.auth.kinds.kerberos.settings import KerberosSettings
from perimeter.auth.registry import authenticator_factories
from perimeter.config.language.references import References
from perimeter.config.language.scanner import scan
from perimeter.config.language.section import Section
from perimeter.errors import Problem, Rejected, StartupError, Unavailable
from perimeter.model import (
    AuthenticationRequest,
    BasicCredentials,
    Credentials,
    NegotiateCredentials,
    Principal,
    Recollection,
)
from perimeter.plugin.authenticator import IAuthenticator, IAuthenticatorFactory, IProbe
from perimeter.plugin.services import AuthServices
from tests.unit.doubles.auth import ImmediateThreads, ThreadClock, offload_with
from tests.unit.doubles.gssapi import Accepted, Gssapi, GSSError


class KerberosCase(TestCase):
    def setUp(self) -> None:
        self.clock = ThreadClock()
        self.clock.advance(1_800_000_000)
        self.gssapi = Gssapi(joe=Accepted(lifetime=90), JOE=Accepted(b"JOE@EXAMPLE.ORG"), bad=GSSError("Request is a replay"))
        self.patch(sys, "modules", {**sys.modules, "gssapi": self.gssapi, "gssapi.raw": self.gssapi})
        self.keytab = Path(self.mktemp())
        self.keytab.write_bytes(b"")

    def read(self, **options: str) -> tuple[KerberosSettings, list[str]]:
        given = {"keytab": str(self.keytab.resolve()), "kerberos_realm": "EXAMPLE.ORG", **options}
        body = "".join(f"{name} = {value}\n" for name, value in given.items() if value)
        found: list[Problem] = []
        (scanned,), _ = scan(f"[authenticator sso]\n{body}")
        section = Section(scanned, "site.ini", Path("/"), References({}, Path("/")), found)
        settings = KerberosFactory().parse(section)
        section.finish()
        return settings, [str(problem).partition("[authenticator sso] ")[2] for problem in found]

    def build(self, **options: str) -> KerberosAuthenticator:
        settings, problems = self.read(**options)
        self.assertEqual(problems, [])
        services = AuthServices(self.clock, offload_with(ImmediateThreads(), self.clock))
        return KerberosFactory().build("sso", "people", settings, services)


class UserTests(KerberosCase):
    def ask(self, credentials: Credentials, steps: list[str] | None = None, **options: str) -> Deferred[Principal | None]:
        request = AuthenticationRequest("192.0.2.1", explain=(steps if steps is not None else []).append)
        return Deferred.fromCoroutine(self.build(**options).authenticate(credentials, request))

    def user(self, token: bytes, **options: str) -> Principal:
        found = self.successResultOf(self.ask(NegotiateCredentials(token), **options))
        assert found is not None
        return found

    def test_a_ticket(self) -> None:
        steps: list[str] = []
        found = self.successResultOf(self.ask(NegotiateCredentials(b"joe"), steps, roles="guest, staff"))
        assert found is not None
        self.assertEqual(found, Principal("joe", "people", ("guest", "staff"), "sso"))
        self.assertEqual(found.until, 1_800_000_090)
        self.assertEqual(steps, ["the ticket is that of 'joe@EXAMPLE.ORG', for 90 s"])

    def test_attack_30_letters(self) -> None:
        self.assertEqual(self.user(b"JOE").username, "joe")
        self.assertEqual(self.user(b"JOE", letter_case="exact").username, "JOE")

    def test_attack_144_a_ticket_of_another_realm(self) -> None:
        self.failureResultOf(self.ask(NegotiateCredentials(b"joe"), kerberos_realm="OTHER.ORG"), Rejected)

    def test_a_wrong_ticket(self) -> None:
        self.failureResultOf(self.ask(NegotiateCredentials(b"bad")), Rejected)

    def test_other_credentials(self) -> None:
        self.assertIsNone(self.successResultOf(self.ask(BasicCredentials("joe", "pw"))))

    def test_the_owner_of_an_api_token(self) -> None:
        found = self.successResultOf(self.ask(Recollection("joe"), roles="guest"))
        self.assertEqual(found, Principal("joe", "people", ("guest",), "sso"))

    def test_a_probe_reads_the_keytab(self) -> None:
        built = self.build()
        self.successResultOf(Deferred.fromCoroutine(built.probe()))
        self.gssapi.keytab_fault = "gone"
        self.failureResultOf(Deferred.fromCoroutine(built.probe()), Unavailable)

    def test_the_token_shows_nowhere(self) -> None:
        self.assertEqual(repr(NegotiateCredentials(b"xyzzy")), "NegotiateCredentials()")


class FactoryTests(KerberosCase):
    def test_interfaces(self) -> None:
        factory: Any = authenticator_factories()["kerberos"]
        self.assertTrue(verifyObject(IAuthenticatorFactory, factory))
        self.assertIsInstance(factory, KerberosFactory)
        built = self.build()
        self.assertTrue(verifyObject(IAuthenticator, built))
        self.assertTrue(verifyObject(IProbe, built))

    def test_a_keytab_without_the_key(self) -> None:
        self.gssapi.keytab_fault = "No key table entry found for HTTP/x@EXAMPLE.ORG"
        with self.assertRaises(StartupError) as caught:
            self.build(service="HTTP/x")
        self.assertIn("keytab cannot be used: No key table entry found", str(caught.exception))

    def test_the_service_has_a_realm(self) -> None:
        for service, expected in (
            ("", ""),
            ("HTTP/gw.example.org", "HTTP/gw.example.org@EXAMPLE.ORG"),
            ("HTTP/gw.example.org@OTHER.ORG", "HTTP/gw.example.org@OTHER.ORG"),
        ):
            self.assertEqual(self.read(service=service)[0].principal, expected)

    def test_faults(self) -> None:
        for options, told in (
            ({"keytab": ""}, "keytab: is required"),
            ({"keytab": "/nowhere.keytab"}, "keytab: there is no file /nowhere.keytab"),
            ({"kerberos_realm": ""}, "kerberos_realm: is required"),
            ({"kerberos_realm": "joe@EXAMPLE.ORG"}, "kerberos_realm: expected the name of a Kerberos realm, such as EXAMPLE.ORG"),
            ({"service": "HTTP"}, "service: expected a service such as HTTP/gateway.example.org"),
            ({"service": "HTTP/"}, "service: expected a service"),
            ({"service": "HTTP/a b"}, "service: expected a service"),
            ({"letter_case": "upper"}, "letter_case: expected lower or exact"),
        ):
            _, problems = self.read(**options)
            self.assertEqual(len(problems), 1, problems)
            self.assertTrue(problems[0].startswith(told), problems)

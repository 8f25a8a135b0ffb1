"""Users known by their connection: client certificates and the headers of trusted peers."""

from __future__ import annotations

from functools import partial
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock
from twisted.trial import unittest
from zope.interface.verify import verifyObject

from perimeter.auth.certificate_names import CertificateName, names_in
from perimeter.auth.kinds.certificate import (
    CertificateAuthenticator,
    CertificateFactory,
    CertificateSettings,
    RolesFrom,
)
from perimeter.auth.kinds.trusted_header import TrustedHeaderAuthenticator, TrustedHeaderFactory, TrustedHeaderSettings
from perimeter.auth.text import local_part
from perimeter.config.language.references import References
from perimeter.config.language.scanner import scan
from perimeter.config.language.section import Section
from perimeter.errors import Problem, Rejected
from perimeter.http.grammar import parse_block
from perimeter.model import AuthenticationRequest, BasicCredentials, ConnectionCredentials
from perimeter.plugin.authenticator import IAuthenticator, IAuthenticatorFactory, IReadsFields, ISchemes
from perimeter.plugin.services import AuthServices
from tests.unit.doubles.auth import ImmediateThreads, ThreadClock, offload_with
from tests.unit.doubles.client_certificates import certificate
from tests.unit.doubles.properties import reached, reaches

UPN = x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3")


def upn(value: bytes) -> x509.OtherName:
    return x509.OtherName(UPN, value)


def parsed(factory: Any, text: str) -> tuple[Any, list[str]]:
    problems: list[Problem] = []
    (scanned,), _ = scan(f"[authenticator a]\n{text}")
    section = Section(scanned, "site.ini", Path(), References({}, Path()), problems)
    settings = factory.parse(section)
    section.finish()
    return settings, [str(problem) for problem in problems]


class CertificateTests(unittest.TestCase):
    def test_attack_51_one_that_has_expired_since_the_connection_was_made(self) -> None:
        cert = certificate((NameOID.COMMON_NAME, "alice"))
        until = cert.not_valid_after_utc.timestamp()
        for now, expired in ((until - 1, False), (until, True)):
            authenticator = CertificateAuthenticator(
                "a", "staff", CertificateSettings(CertificateName.SUBJECT_CN), partial(float, now)
            )
            asked = ensureDeferred(
                authenticator.authenticate(ConnectionCredentials(), AuthenticationRequest("192.0.2.1", certificate=cert))
            )
            if expired:
                self.failureResultOf(asked, Rejected)
            else:
                self.assertEqual(self.successResultOf(asked).until, until)

    def ask(self, cert: x509.Certificate | None, settings: CertificateSettings | None = None) -> Deferred[Any]:
        authenticator = CertificateAuthenticator("a", "staff", settings or CertificateSettings(CertificateName.SUBJECT_CN))
        verifyObject(IAuthenticator, authenticator)
        verifyObject(ISchemes, authenticator)
        return ensureDeferred(
            authenticator.authenticate(ConnectionCredentials(), AuthenticationRequest("192.0.2.1", certificate=cert))
        )

    def test_each_kind_of_name(self) -> None:
        cert = certificate(
            (NameOID.ORGANIZATION_NAME, "Example"),
            (NameOID.ORGANIZATIONAL_UNIT_NAME, "ops"),
            (NameOID.COMMON_NAME, "Alice"),
            sans=[
                x509.RFC822Name("alice@example.com"),
                x509.DNSName("alice.example.com"),
                x509.UniformResourceIdentifier("spiffe://example/alice"),
                upn(b"\x0c\x0dalice@EXAMPLE"),
            ],
        )
        for source, name in (
            ("subject-cn", "Alice"),
            ("subject-dn", "CN=Alice,OU=ops,O=Example"),
            ("san-email", "alice@example.com"),
            ("san-dns", "alice.example.com"),
            ("san-uri", "spiffe://example/alice"),
            ("san-upn", "alice@EXAMPLE"),
        ):
            found = self.successResultOf(self.ask(cert, CertificateSettings(CertificateName(source))))
            self.assertEqual((found.username, found.realm, found.roles), (name, "staff", ()), source)
        for source in ("san-email", "san-upn"):
            domain = "EXAMPLE.com" if source == "san-email" else "example"
            self.assertEqual(
                self.successResultOf(self.ask(cert, CertificateSettings(CertificateName(source), domain))).username, "alice"
            )
        settings = CertificateSettings(CertificateName.SUBJECT_CN, roles=("user",), roles_from=RolesFrom.UNITS)
        self.assertEqual(self.successResultOf(self.ask(cert, settings)).roles, ("user", "ops"))

    def test_attack_15_units_that_are_no_roles(self) -> None:
        units = [(NameOID.ORGANIZATIONAL_UNIT_NAME, unit) for unit in ("ops", "a\nb", "dev")]
        settings = CertificateSettings(CertificateName.SUBJECT_CN, roles_from=RolesFrom.UNITS)
        found = self.successResultOf(self.ask(certificate((NameOID.COMMON_NAME, "alice"), *units), settings))
        self.assertEqual(found.roles, ("ops", "dev"))

    def test_the_longest_user_principal_name(self) -> None:
        settings = CertificateSettings(CertificateName.SAN_UPN)
        for length in (1, 127):
            cert = certificate(sans=[upn(bytes((0x0C, length)) + b"a" * length)])
            self.assertEqual(self.successResultOf(self.ask(cert, settings)).username, "a" * length)

    def test_nothing_to_go_by(self) -> None:
        self.assertIsNone(self.successResultOf(self.ask(None)))
        cert = certificate((NameOID.ORGANIZATION_NAME, "Example"))
        for source in ("subject-cn", "san-email", "san-upn"):
            self.assertEqual(names_in(cert, CertificateName(source)), [])
            self.assertIsNone(self.successResultOf(self.ask(cert, CertificateSettings(CertificateName(source)))))
        self.assertIsNone(self.successResultOf(self.ask(certificate(), CertificateSettings(CertificateName.SUBJECT_DN))))

    def test_other_issuers_are_for_others(self) -> None:
        issuer = x509.Name.from_rfc4514_string("CN=Users CA")
        settings = CertificateSettings(CertificateName.SUBJECT_CN, issuer=issuer)
        alice = (NameOID.COMMON_NAME, "alice")
        self.assertIsNotNone(self.successResultOf(self.ask(certificate(alice), settings)))
        self.assertIsNone(self.successResultOf(self.ask(certificate(alice, issuer="CN=Other CA"), settings)))

    def test_two_names_are_one_too_many(self) -> None:
        cert = certificate((NameOID.COMMON_NAME, "alice"), (NameOID.COMMON_NAME, "admin"))
        self.failureResultOf(self.ask(cert), Rejected)
        cert = certificate(sans=[x509.RFC822Name("a@example.com"), x509.RFC822Name("b@example.com")])
        self.failureResultOf(self.ask(cert, CertificateSettings(CertificateName.SAN_EMAIL)), Rejected)

    def test_attack_42_names_that_no_user_can_have(self) -> None:
        for name in ("a\nb", "\x1b[2J", "a\x85"):
            self.failureResultOf(self.ask(certificate((NameOID.COMMON_NAME, name))), Rejected)
        for der in (b"\x16\x03abc", b"\x0c\x02\xff\xfe", b"\x0c\x00", b"\x0c\x81\x80" + b"a" * 128):
            self.failureResultOf(self.ask(certificate(sans=[upn(der)]), CertificateSettings(CertificateName.SAN_UPN)), Rejected)

    def test_attack_40_only_the_domain_itself(self) -> None:
        for email in ("a@evil.com@company.com", "a@evil.com", "a@company.com.evil.com", "a@sub.company.com", "@company.com"):
            cert = certificate(sans=[upn(bytes((0x0C, len(email))) + email.encode())])
            self.failureResultOf(self.ask(cert, CertificateSettings(CertificateName.SAN_UPN, "company.com")), Rejected)

    def test_passwords_are_none_of_its_business(self) -> None:
        asked = CertificateAuthenticator("a", "r", CertificateSettings(CertificateName.SUBJECT_CN)).authenticate(
            BasicCredentials("a", "b"), AuthenticationRequest("", certificate=certificate((NameOID.COMMON_NAME, "a")))
        )
        self.assertIsNone(self.successResultOf(ensureDeferred(asked)))

    def test_settings(self) -> None:
        verifyObject(IAuthenticatorFactory, CertificateFactory())
        settings, problems = parsed(
            CertificateFactory(), "username = san-email\ndomain = example.com\nissuer = CN=X,O=Y\nroles = a, b"
        )
        self.assertEqual((problems, settings.source, settings.roles), ([], "san-email", ("a", "b")))
        services = AuthServices(Clock(), offload_with(ImmediateThreads(), ThreadClock()))
        built = CertificateFactory().build("cards", "staff", settings, services)
        self.assertEqual((built.name, built.realm), ("cards", "staff"))
        for text, problem in (
            ("username = cn", "username: expected subject-cn"),
            ("domain = example.com", "is only allowed with username = san-email"),
            ("issuer = me", "expected a distinguished name"),
            ("roles_from = groups", "roles_from: expected"),
        ):
            _, problems = parsed(CertificateFactory(), text)
            self.assertEqual([problem in one for one in problems], [True], (text, problems))


class TrustedHeaderTests(unittest.TestCase):
    def ask(self, *lines: str, peer: str = "10.0.0.1", address: str = "192.0.2.1", domain: str = "") -> Deferred[Any]:
        networks = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
        authenticator = TrustedHeaderAuthenticator(
            "front", "corp", TrustedHeaderSettings(networks=networks, roles_header="X-Remote-Roles", domain=domain)
        )
        verifyObject(IAuthenticator, authenticator)
        verifyObject(IReadsFields, authenticator)
        self.assertEqual(authenticator.fields, (b"x-remote-user", b"x-remote-roles"))
        headers = parse_block("".join(f"{line}\r\n" for line in ("Host: gw", *lines)).encode("utf-8"), 20)
        request = AuthenticationRequest(address, frozenset(), peer, headers)
        return ensureDeferred(authenticator.authenticate(ConnectionCredentials(), request))

    def test_a_trusted_peer_is_believed(self) -> None:
        found = self.successResultOf(self.ask("X-Remote-User: José", "X-Remote-Roles: a, b,,a"))
        self.assertEqual((found.username, found.realm, found.roles, found.authenticator), ("José", "corp", ("a", "b"), "front"))
        self.assertEqual(self.successResultOf(self.ask("X-Remote-User: a", peer="fd00::1")).roles, ())

    def test_attack_8_other_peers_are_not_trusted(self) -> None:
        for peer in ("192.0.2.1", "11.0.0.1", "fe80::1", ""):
            self.assertIsNone(self.successResultOf(self.ask("X-Remote-User: admin", peer=peer, address="10.0.0.1")), peer)

    def test_nothing_said(self) -> None:
        self.assertIsNone(self.successResultOf(self.ask()))
        self.assertIsNone(self.successResultOf(self.ask("X-Remote-User: ")))

    def test_attack_12_said_twice_or_in_other_spellings(self) -> None:
        self.failureResultOf(self.ask("X-Remote-User: a", "X-Remote-User: b"), Rejected)
        self.failureResultOf(self.ask("X-Remote-User: a", "X-Remote-Roles: b", "X-Remote-Roles: admin"), Rejected)
        self.assertIsNone(self.successResultOf(self.ask("X_Remote_User: admin")))

    def test_attack_42_names_that_no_user_can_have(self) -> None:
        for name in ("a\tb", "a\u2028b", "a\x85b"):
            self.failureResultOf(self.ask(f"X-Remote-User: {name}"), Rejected)
            self.failureResultOf(self.ask("X-Remote-User: alice", f"X-Remote-Roles: {name}"), Rejected)

    def test_attack_40_only_the_domain_itself(self) -> None:
        self.assertEqual(self.successResultOf(self.ask("X-Remote-User: a@company.com", domain="company.com")).username, "a")
        for name in ("a@evil.com@company.com", "a@company.com@evil.com", "a@evil.com", "a", "@company.com", "a@xcompany.com"):
            self.failureResultOf(self.ask(f"X-Remote-User: {name}", domain="company.com"), Rejected)

    @reaches(1)
    @given(st.text(alphabet="ab@.", max_size=12) | st.text(alphabet="ab@.", max_size=5).map(lambda name: f"{name}@a.b"))
    def test_attack_40_a_local_part_has_no_domain_in_it(self, name: str) -> None:
        local = local_part(name, "a.b")
        if local is not None:
            reached(self)
            self.assertEqual(f"{local}@a.b", name)
            self.assertNotIn("@", local)

    def test_settings(self) -> None:
        verifyObject(IAuthenticatorFactory, TrustedHeaderFactory())
        settings, problems = parsed(TrustedHeaderFactory(), "networks = 10.0.0.1, fd00::/8\nroles_header = X-Roles")
        self.assertEqual((problems, settings.header, settings.roles_header), ([], "X-Remote-User", "X-Roles"))
        services = AuthServices(Clock(), offload_with(ImmediateThreads(), ThreadClock()))
        built = TrustedHeaderFactory().build("front", "corp", settings, services)
        self.assertEqual((built.name, built.realm, built.fields), ("front", "corp", (b"x-remote-user", b"x-roles")))
        for text, problem in (
            ("", "networks: is required"),
            ("networks = 0.0.0.0/0", "would trust every peer"),
            ("networks = 10.0.0.1\nheader = X-Auth-Realm", "X-Auth-Realm narrows"),
            ("networks = 10.0.0.1\nroles_header = x-remote-user", "the same as header"),
            ("networks = 10.0.0.1\nheader = Authorization", "header: "),
        ):
            _, problems = parsed(TrustedHeaderFactory(), text)
            self.assertEqual([problem in one for one in problems], [True], (text, problems))

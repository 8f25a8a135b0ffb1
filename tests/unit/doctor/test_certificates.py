"""Chains of listeners, CAs and servers."""

from __future__ import annotations

import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from perimeter.doctor import certificates
from perimeter.doctor.subject import Server
from perimeter.net.contexts import ServerIdentity
from tests.integration.netkit import identity, pem, rsa_identity
from tests.unit.doctor.examined import SITE, ExaminedCase

TLS = SITE.replace("127.0.0.1\n", "127.0.0.1\ntls = yes\ncertificate = gw.crt\nprivate_key = gw.key\n", 1)
TLS = TLS.replace("[route app]\n", "[route app]\nhost = gw.example\n")


def key_pem(one: ServerIdentity) -> bytes:
    key: Any = one.key
    return bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def issued(key: Any, *, where: bool = True, algorithm: Any = None) -> ServerIdentity:
    """A certificate of a CA that nobody knows; ``where`` it says where the certificate of the CA is."""
    authority = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "gw.example")]))
        .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Unknown CA 7")]))
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=90))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("gw.example")]), critical=False)
    )
    if where:
        access = x509.AccessDescription(
            x509.AuthorityInformationAccessOID.CA_ISSUERS, x509.UniformResourceIdentifier("http://ca.example/ca.crt")
        )
        builder = builder.add_extension(x509.AuthorityInformationAccess([access]), critical=False)
    return ServerIdentity((builder.sign(authority, algorithm or hashes.SHA256()),), key, "test")


class ListenerTests(ExaminedCase):
    def seen(self, made: ServerIdentity, text: str = TLS) -> list[tuple[str, str, str]]:
        self.file("gw.crt", pem(*made.chain))
        self.file("gw.key", key_pem(made))
        subject = self.subject(text)
        return self.said(list(certificates.of_listener(subject, subject.config.listeners[0])))

    def test_a_good_one(self) -> None:
        self.assertEqual(self.seen(identity("gw.example")), [])
        self.assertEqual(self.seen(identity("*.example")), [])

    def test_days_left(self) -> None:
        for days, text in ((1.5, "in 1 day"), (13.9, "in 13 days")):
            self.file("gw.crt", b"")
            self.assertEqual(self.seen(identity("gw.example", days=days)), [("certificate-expires", "soon", "[listener http]")])
            subject = self.subject(TLS)
            (finding,) = certificates.of_listener(subject, subject.config.listeners[0])
            self.assertTrue(finding.message.endswith(text), finding.message)
        self.assertEqual(self.seen(identity("gw.example", days=14.5)), [])

    def test_the_certificate_that_services_see(self) -> None:
        self.seen(identity("gw.example"))
        text = TLS.replace("http://127.0.0.1:8888", "https://127.0.0.1:8888\nclient_certificate = own.pem")
        for days, grades in ((100, []), (10, [("certificate-expires", "soon", "[upstream app]")])):
            own = identity("gateway", days=days)
            self.file("own.pem", pem(*own.chain) + key_pem(own))
            subject = self.subject(text)
            self.assertEqual(self.said(list(certificates.of_upstream(subject.config.upstreams[0]))), grades)
            self.assertEqual([one for one in certificates.of_authorities(subject) if "own.pem" in one.message], [])
        self.file("own.pem", b"x")
        self.assertEqual(list(certificates.of_upstream(subject.config.upstreams[0])), [])

    def test_several_certificates(self) -> None:
        second, third = identity("gw.example"), identity("other.example", days=10)
        for number, one in (("2", second), ("3", third)):
            self.file(f"gw{number}.crt", pem(*one.chain))
            self.file(f"gw{number}.key", key_pem(one))
        two = TLS.replace("= gw.crt", "= gw.crt\n gw2.crt").replace("= gw.key", "= gw.key\n gw2.key")
        self.assertEqual(self.seen(identity("gw.example"), two), [("certificate-unused", "soon", "[listener http]")])
        self.assertEqual(self.seen(rsa_identity("gw.example"), two), [])
        self.assertEqual(self.seen(identity("other.example"), two), [])
        expiring = two.replace("gw2", "gw3")
        self.assertEqual(self.seen(identity("gw.example"), expiring), [("certificate-expires", "soon", "[listener http]")])

    def test_hosts_of_routes(self) -> None:
        self.assertEqual(self.seen(identity("other.example")), [("certificate-name", "soon", "[listener http]")])
        self.assertEqual(self.seen(identity("other.example"), TLS.replace("host = gw.example\n", "")), [])
        self.assertEqual(self.seen(identity("a.gw.example"), TLS.replace("gw.example", "*.gw.example")), [])

    def test_the_host_of_the_pages(self) -> None:
        pages = TLS + "[login]\nhost = sso.example\n"
        self.assertEqual(self.seen(identity("gw.example", "sso.example"), pages), [])
        self.assertEqual(self.seen(identity("*.example"), pages), [])
        self.assertEqual(self.seen(identity("gw.example"), pages), [("certificate-name", "soon", "[listener http]")])

    def test_a_chain_that_lacks_its_issuer(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        self.assertEqual(self.seen(issued(key)), [("certificate-incomplete", "fails", "[listener http]")])
        self.assertEqual(self.seen(issued(key, where=False)), [])  # as private CAs issue them: clients have the CA's
        authority = identity("CA", ca=True, common="CA")
        self.assertEqual(self.seen(identity("gw.example", issuer=authority)), [])

    def test_the_chain_is_what_belongs_to_the_certificate(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        made, other = issued(key), identity("Other", ca=True, common="Other")
        mixed = ServerIdentity((*made.chain, *other.chain), made.key, "test")
        self.assertEqual(self.said(list(certificates._incomplete("x", mixed))), [("certificate-incomplete", "fails", "x")])
        authority = identity("CA", ca=True, common="CA")
        (leaf, root) = identity("gw.example", issuer=authority).chain
        self.assertIs(certificates._top((leaf, *other.chain, root)), root)
        self.assertIs(certificates._top((root,)), root)

    def test_weak_keys(self) -> None:
        weak = rsa.generate_private_key(65537, 1024)
        self.file("gw.crt", b"")
        self.assertEqual(
            self.said(list(certificates._weak("[listener http]", issued(weak, where=False)))),
            [("certificate-weak", "fails", "[listener http]")],
        )
        self.assertEqual(list(certificates._weak("x", issued(rsa.generate_private_key(65537, 2048)))), [])


class OtherCertificateTests(ExaminedCase):
    def test_authorities(self) -> None:
        text = SITE.replace("http://127.0.0.1:8888", "https://127.0.0.1:8888\nca_certificate = ca.crt")
        for days, expected in ((100.0, []), (5.0, [("ca-expires", "soon", "ca.crt")])):
            self.file("ca.crt", pem(*identity("CA", ca=True, days=days).chain))
            self.assertEqual(self.said(list(certificates.of_authorities(self.subject(text)))), expected)
        gone = identity("CA", ca=True, days=1.0, start=datetime.now(UTC) - timedelta(days=9))
        self.file("ca.crt", pem(*gone.chain))
        self.assertEqual(self.said(list(certificates.of_authorities(self.subject(text)))), [("ca-expires", "fails", "ca.crt")])

    def test_a_server(self) -> None:
        for days, expected in ((5.0, [("server-certificate-expires", "soon", "[upstream app]")]), (99.0, [])):
            made = identity("localhost", days=days)
            chain, key = self.file("s.crt", pem(*made.chain)), self.file("s.key", key_pem(made))
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(chain, key)
            with socket.create_server(("127.0.0.1", 0)) as listening:
                port = listening.getsockname()[1]

                def serve(context: ssl.SSLContext = context, listening: Any = listening) -> None:
                    peer, _ = listening.accept()
                    with context.wrap_socket(peer, server_side=True) as secured:
                        secured.recv(1)

                thread = threading.Thread(target=serve)
                thread.start()
                found = list(certificates.of_server(Server("[upstream app]", "localhost", port, tls=True)))
                thread.join()
            self.assertEqual(self.said(found), expected)
        self.assertEqual(list(certificates.of_server(Server("[upstream app]", "127.0.0.1", port, tls=True))), [])

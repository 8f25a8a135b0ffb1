"""PEM files, PKCS#12 and JKS keystores: their content, and the one-line message if they cannot be used."""

from __future__ import annotations

import os
import stat
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)
from twisted.logger import globalLogPublisher
from twisted.trial import unittest

from perimeter.config.site.listener import ListenerSettings
from perimeter.errors import StartupError
from perimeter.net.certificates import load_identities
from perimeter.net.contexts import ServerContexts, ServerIdentity, by_name
from tests.integration.netkit import certificate, identity, pem, rsa_identity
from tests.unit.doubles.der import NULL, keystore_without_null, without_null
from tests.unit.doubles.java_keystore import key_entry, keystore, protect

ROOT = identity("Root", ca=True, common="Root")
INTERMEDIATE = identity("Intermediate", issuer=ROOT, ca=True, common="Intermediate")
LEAF = identity("gw.example.com", "*.example.com", issuer=INTERMEDIATE)
OTHER = identity("other.example.com")
NOW = datetime.now(UTC)
HMAC_WITH_NULL = bytes.fromhex("06082a864886f70d02090500")
SHA256_WITH_NULL = bytes.fromhex("06096086480165030402010500")


def key_pem(key: Any, password: bytes | None = None) -> bytes:
    protection = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection)


class KeystoreTestCase(unittest.TestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir(parents=True)
        self.warnings: list[str] = []
        globalLogPublisher.addObserver(self._observe)
        self.addCleanup(globalLogPublisher.removeObserver, self._observe)

    def _observe(self, event: Any) -> None:
        if event["log_level"].name == "warn":
            self.warnings.append(event["log_format"].format_map(event))

    def file(self, name: str, data: bytes) -> Path:
        path = self.directory / name
        path.write_bytes(data)
        return path

    def load(self, **options: Any) -> ServerIdentity:
        for name in ("certificate", "private_key"):
            options[name] = (options[name],) if name in options else ()
        (loaded,) = load_identities(ListenerSettings("https", 0, tls=True, **options), self.directory)
        # everything that can be loaded can be served
        ServerContexts([loaded])
        return loaded

    def refused(self, **options: Any) -> str:
        with self.assertRaises(StartupError) as caught:
            self.load(**options)
        text = str(caught.exception)
        self.assertNotIn("\n", text)
        self.assertNotIn("storepass", text)
        return text.replace(str(self.directory) + "/", "")


class PEMTests(KeystoreTestCase):
    def test_chain_and_key(self) -> None:
        for key in (ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048), LEAF.key):
            own = certificate(key, ("gw.example.com",), issuer=INTERMEDIATE)
            loaded = self.load(
                certificate=self.file("gw.crt", pem(own, INTERMEDIATE.chain[0])), private_key=self.file("gw.key", key_pem(key))
            )
            self.assertEqual(loaded.chain, (own, INTERMEDIATE.chain[0]))
        self.assertEqual(self.warnings, [])

    def test_chain_is_put_in_order(self) -> None:
        stray = OTHER.chain[0]
        path = self.file("gw.crt", pem(LEAF.chain[0], ROOT.chain[0], stray, INTERMEDIATE.chain[0]))
        loaded = self.load(certificate=path, private_key=self.file("gw.key", key_pem(LEAF.key)))
        self.assertEqual(loaded.chain, LEAF.chain)

    def test_key_in_the_same_file(self) -> None:
        loaded = self.load(certificate=self.file("gw.pem", key_pem(LEAF.key) + pem(*LEAF.chain)))
        self.assertEqual(loaded.names, ("gw.example.com", "*.example.com"))

    def test_encrypted_key(self) -> None:
        chain = self.file("gw.crt", pem(*LEAF.chain))
        key = self.file("gw.key", key_pem(LEAF.key, b"storepass"))
        self.load(certificate=chain, private_key=key, private_key_password="storepass")
        self.assertEqual(
            self.refused(certificate=chain, private_key=key),
            "gw.key: the private key is encrypted, and no password is configured",
        )
        self.assertEqual(
            self.refused(certificate=chain, private_key=key, private_key_password="storepass2"),
            "gw.key: the password of the private key is wrong",
        )

    def test_password_for_a_key_that_needs_none(self) -> None:
        key = self.file("gw.key", key_pem(LEAF.key))
        self.load(certificate=self.file("gw.crt", pem(*LEAF.chain)), private_key=key, private_key_password="storepass")

    def test_key_that_does_not_match(self) -> None:
        chain = self.file("gw.crt", pem(*LEAF.chain))
        self.assertEqual(
            self.refused(certificate=chain, private_key=self.file("other.key", key_pem(OTHER.key))),
            f"other.key: this private key does not belong to the certificate in {chain}".replace(str(self.directory) + "/", ""),
        )
        self.assertIn(
            "does not belong to the first certificate",
            self.refused(certificate=self.file("x", key_pem(OTHER.key) + pem(*LEAF.chain))),
        )

    def test_unreadable_files(self) -> None:
        chain = self.file("gw.crt", pem(*LEAF.chain))
        self.assertEqual(
            self.refused(certificate=chain, private_key=self.directory / "no.key"),
            "no.key: cannot read the private key: no such file or directory",
        )
        self.assertEqual(
            self.refused(certificate=self.directory / "no.crt"), "no.crt: cannot read the certificate: no such file or directory"
        )
        self.assertEqual(self.refused(certificate=self.file("a", b"")), "a: the file contains no certificate in PEM format")
        self.assertEqual(self.refused(certificate=chain), "gw.crt: the file contains no private key in PEM format")
        garbage = self.file("b", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
        self.assertEqual(
            self.refused(certificate=chain, private_key=garbage), "b: the file contains no private key in PEM format"
        )
        self.assertIn("certificate is not", self.refused(private_key=garbage))
        huge = self.directory / "huge"
        with huge.open("wb") as file:
            file.truncate(1 << 40)
        self.assertEqual(self.refused(certificate=huge), "huge: this file is too large to be a certificate")

    def test_expired_certificate_is_served_with_a_warning(self) -> None:
        for days, words in ((1, "expired on"), (35, "expires on")):
            self.warnings.clear()
            own = certificate(LEAF.key, ("gw.example.com",), start=NOW - timedelta(days=30), days=days)
            self.load(certificate=self.file("gw.pem", key_pem(LEAF.key) + pem(own)))
            self.assertEqual(len(self.warnings), 1)
            self.assertIn(words, self.warnings[0])
        self.warnings.clear()
        own = certificate(LEAF.key, ("gw.example.com",), start=NOW + timedelta(days=3), days=100)
        self.load(certificate=self.file("gw.pem", key_pem(LEAF.key) + pem(own)))
        self.assertIn("is not valid before", self.warnings[0])

    def test_ed25519(self) -> None:
        key = ed25519.Ed25519PrivateKey.generate()
        subject = x509.Name([])
        own = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(NOW)
            .not_valid_after(NOW + timedelta(days=100))
            .sign(key, None)
        )
        self.load(certificate=self.file("gw.pem", key_pem(key) + pem(own)))


class PKCS12Tests(KeystoreTestCase):
    def store(self, password: bytes | None = b"storepass", others: Any = (INTERMEDIATE.chain[0], ROOT.chain[0])) -> Path:
        protection = BestAvailableEncryption(password) if password else NoEncryption()
        return self.file("gw.p12", pkcs12.serialize_key_and_certificates(b"gw", LEAF.key, LEAF.chain[0], others, protection))

    def test_with_its_password(self) -> None:
        self.assertEqual(self.load(keystore=self.store(), keystore_password="storepass").chain, LEAF.chain)

    def test_without_password(self) -> None:
        self.assertEqual(self.load(keystore=self.store(None)).chain, LEAF.chain)

    def test_wrong_password(self) -> None:
        store = self.store()
        self.assertEqual(self.refused(keystore=store, keystore_password="no"), "gw.p12: the password of the keystore is wrong")
        self.assertEqual(self.refused(keystore=store), "gw.p12: the keystore needs a password")

    def test_not_a_keystore(self) -> None:
        for data in (b"", b"-----BEGIN", os.urandom(2000)):
            text = self.refused(keystore=self.file("x.p12", data), keystore_password="storepass")
            self.assertEqual(text, "x.p12: this is neither a PKCS#12 nor a JKS keystore")

    def test_no_key_inside(self) -> None:
        data = pkcs12.serialize_key_and_certificates(None, None, LEAF.chain[0], None, NoEncryption())
        self.assertEqual(
            self.refused(keystore=self.file("x.p12", data)), "x.p12: the keystore contains no private key with its certificate"
        )

    def test_algorithms_without_parameters(self) -> None:
        for key in (rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP256R1())):
            own = certificate(key, ("localhost",))
            protection = (
                PrivateFormat.PKCS12.encryption_builder()
                .key_cert_algorithm(pkcs12.PBES.PBESv2SHA256AndAES256CBC)
                .hmac_hash(SHA256())
                .build(b"storepass")
            )
            data = pkcs12.serialize_key_and_certificates(b"gw", key, own, None, protection)
            rewritten = keystore_without_null(data, "storepass")
            for algorithm, count in ((SHA256_WITH_NULL, 1), (HMAC_WITH_NULL, 2)):
                self.assertEqual((data.count(algorithm), rewritten.count(algorithm)), (count, 0))
            for content in (data, rewritten):
                path = self.file("gw.p12", content)
                self.assertEqual(self.load(keystore=path, keystore_password="storepass").chain, (own,))
                self.assertIn("password", self.refused(keystore=path, keystore_password="no"))

    def test_of_the_openssl_command(self) -> None:
        pair = self.file("gw.pem", key_pem(LEAF.key) + pem(*LEAF.chain))
        path = self.directory / "openssl.p12"
        subprocess.run(
            ["openssl", "pkcs12", "-export", "-in", str(pair), "-out", str(path), "-passout", "pass:storepass"],
            check=True,
            capture_output=True,
        )
        self.assertEqual(self.load(keystore=path, keystore_password="storepass").chain, LEAF.chain)


class JKSTests(KeystoreTestCase):
    def store(self, *aliases: str, key_password: str = "storepass", chain: Any = LEAF.chain) -> Path:
        der = LEAF.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        certificates = [one.public_bytes(Encoding.DER) for one in chain]
        entries = [key_entry(alias, protect(der, key_password), certificates) for alias in aliases]
        return self.file("gw.jks", keystore(entries, "storepass"))

    def test_with_its_password(self) -> None:
        self.assertEqual(self.load(keystore=self.store("gw"), keystore_password="storepass").chain, LEAF.chain)

    def test_wrong_password(self) -> None:
        store = self.store("gw")
        self.assertEqual(self.refused(keystore=store, keystore_password="no"), "gw.jks: the password of the keystore is wrong")
        self.assertEqual(self.refused(keystore=store), "gw.jks: the keystore needs a password")

    def test_key_with_a_password_of_its_own(self) -> None:
        store = self.store("gw", key_password="another")
        self.assertEqual(
            self.refused(keystore=store, keystore_password="storepass"),
            "gw.jks: the password of the key gw differs from that of the keystore",
        )

    def test_number_of_keys(self) -> None:
        self.assertEqual(
            self.refused(keystore=self.store(), keystore_password="storepass"), "gw.jks: the keystore contains no private key"
        )
        self.assertEqual(
            self.refused(keystore=self.store("a", "b"), keystore_password="storepass"),
            "gw.jks: the keystore contains 2 private keys, but exactly one is expected",
        )

    def test_key_that_does_not_match(self) -> None:
        store = self.store("gw", chain=OTHER.chain)
        self.assertIn("does not belong", self.refused(keystore=store, keystore_password="storepass"))

    def test_damaged(self) -> None:
        path = self.store("gw")
        path.write_bytes(path.read_bytes()[:300])
        self.assertEqual(
            self.refused(keystore=path, keystore_password="storepass"), "gw.jks: the keystore is damaged or of an unknown kind"
        )

    def test_jceks(self) -> None:
        path = self.file("gw.jks", b"\xce\xce\xce\xce" + bytes(100))
        self.assertIn("JCEKS keystores are not supported", self.refused(keystore=path, keystore_password="storepass"))

    def test_keys_of_both_spellings(self) -> None:
        for key in (rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP256R1())):
            chain = [certificate(key, ("localhost",)).public_bytes(Encoding.DER)]
            der = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
            for pkcs8 in (der, without_null(der)):
                for parameters in (NULL, b""):
                    entry = key_entry("gw", protect(pkcs8, "storepass", parameters), chain)
                    path = self.file("gw.jks", keystore([entry], "storepass"))
                    self.assertEqual(self.load(keystore=path, keystore_password="storepass").names, ("localhost",))


class SelfMadeTests(KeystoreTestCase):
    def mode(self, name: str) -> int:
        return stat.S_IMODE((self.directory / name).stat().st_mode)

    def test_made_once_and_kept(self) -> None:
        self.addCleanup(os.umask, os.umask(0))
        first = self.load()
        self.assertEqual(self.mode("selfsigned.key"), 0o600)
        self.assertEqual(self.mode("selfsigned.crt"), 0o644)
        self.assertEqual(sorted(os.listdir(self.directory)), ["selfsigned.crt", "selfsigned.key"])
        self.assertEqual(self.load().chain, first.chain)
        self.assertEqual(self.warnings, [])  # the check of the configuration has warned already

    def test_what_it_says(self) -> None:
        own = self.load().chain[0]
        names = own.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        self.assertIn("localhost", names.get_values_for_type(x509.DNSName))
        self.assertEqual([str(address) for address in names.get_values_for_type(x509.IPAddress)], ["127.0.0.1", "::1"])
        self.assertEqual(own.not_valid_after_utc - own.not_valid_before_utc, timedelta(days=825))
        key = own.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        self.assertEqual(key.curve.name, "secp256r1")

    def test_renewed_before_it_ends(self) -> None:
        settings = ListenerSettings("https", 0, tls=True)
        first = load_identities(settings, self.directory)[0].chain
        self.assertEqual(load_identities(settings, self.directory, lambda: NOW + timedelta(days=790))[0].chain, first)
        self.assertNotEqual(load_identities(settings, self.directory, lambda: NOW + timedelta(days=800))[0].chain, first)

    def test_made_anew_where_it_is_damaged(self) -> None:
        first = self.load().chain
        (self.directory / "selfsigned.key").write_bytes(key_pem(OTHER.key))
        second = self.load().chain
        self.assertNotEqual(second, first)
        (self.directory / "selfsigned.crt").unlink()
        self.assertNotEqual(self.load().chain, second)

    def test_directory_that_cannot_be_written(self) -> None:
        self.directory = self.directory / "missing"
        self.assertIn("cannot store a self-signed certificate: no such file or directory", self.refused())


class SelectionTests(unittest.TestCase):
    def test_names(self) -> None:
        contexts = ServerContexts([LEAF, OTHER])
        leaf, other = contexts.default, contexts.select("other.example.com")
        self.assertIsNot(leaf, other)
        for name, expected in (
            ("gw.example.com", leaf),
            ("OTHER.example.com", other),
            ("other.example.com.", other),
            ("anything.example.com", leaf),
            ("", leaf),
            ("unknown.org", leaf),
        ):
            self.assertIs(contexts.select(name), expected, name)
        reverse = ServerContexts([OTHER, LEAF])
        self.assertIs(reverse.select("two.labels.example.com"), reverse.default)
        self.assertIs(reverse.select("example.com"), reverse.default)
        self.assertIsNot(reverse.select("a.example.com"), reverse.default)

    def test_a_key_that_does_not_belong_to_the_certificate(self) -> None:
        with self.assertRaisesRegex(StartupError, "gw.crt: OpenSSL does not accept this certificate and key"):
            ServerContexts([OTHER, ServerIdentity(LEAF.chain, OTHER.key, "gw.crt")])
        with self.assertRaisesRegex(StartupError, "a TLS listener needs a certificate"):
            ServerContexts([])

    def test_certificates_of_one_name_with_different_kinds_of_keys(self) -> None:
        ecdsa, rsa_only = identity("a.example.com", "b.example.com"), rsa_identity("a.example.com", "*.example.com")
        second, nameless = identity("a.example.com", "c.example.org"), identity()
        found = by_name([ecdsa, rsa_only, second, nameless])
        self.assertEqual(
            found,
            {
                "a.example.com": (rsa_only, ecdsa),
                "b.example.com": (rsa_only, ecdsa),
                "*.example.com": (rsa_only,),
                "c.example.org": (second,),
                "": (nameless,),
            },
        )
        contexts = ServerContexts([ecdsa, rsa_only, second, nameless])
        self.assertEqual(contexts.identities, (ecdsa, rsa_only, second, nameless))
        self.assertIs(contexts.default, contexts.select("a.example.com"))
        self.assertIs(contexts.default, contexts.select("b.example.com"))
        self.assertIs(contexts.default, contexts.select(""))
        self.assertIs(contexts.default, contexts.select("unknown.org"))
        self.assertIsNot(contexts.default, contexts.select("x.example.com"))
        self.assertIsNot(contexts.default, contexts.select("c.example.org"))

    def test_a_first_certificate_without_names_is_for_unknown_names(self) -> None:
        contexts = ServerContexts([identity(), OTHER])
        self.assertIs(contexts.select(""), contexts.default)
        self.assertIs(contexts.select("unknown.org"), contexts.default)
        self.assertIsNot(contexts.select("other.example.com"), contexts.default)

    def test_unknown_names_may_be_refused(self) -> None:
        contexts = ServerContexts([LEAF, identity("*.example.net")], refuse_unknown=True)
        self.assertIs(contexts.select("gw.example.com"), contexts.default)
        self.assertIsNotNone(contexts.select("a.example.net"))
        for name in ("", "unknown.org", "example.net", "a.b.example.net"):
            self.assertIsNone(contexts.select(name))

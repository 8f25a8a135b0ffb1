"""What an operator reads of the faults of a CA, and what the library makes of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import requests
from acme import challenges, errors, messages
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from twisted.trial import unittest

from perimeter.acme.directory import Directory, _TlsAlpn, _words, certificate_id
from perimeter.acme.fault import AcmeFault
from perimeter.config.site.acme import AcmeSettings

TOKEN = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"


class WordsTests(unittest.TestCase):
    def test_problem_of_the_ca(self) -> None:
        for error, words in (
            (messages.Error(typ="urn:ietf:params:acme:error:rateLimited", detail="too many"), "too many"),
            (
                messages.Error(typ="urn:ietf:params:acme:error:dns"),
                "There was a problem with a DNS query during identifier validation",
            ),
            (messages.Error(typ="about:other"), "about:other"),
            (errors.IssuanceError(messages.Error(typ="x", detail="no")), "no"),
            (errors.TimeoutError(), "the CA did not answer in time"),
            (KeyError("newOrder"), "the CA gave an unexpected answer (KeyError)"),
        ):
            self.assertEqual(_words(error), words)

    def test_connection(self) -> None:
        unverified = (
            "(Caused by SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed')))"
        )
        for error, words in (
            (
                requests.exceptions.SSLError(unverified),
                "the certificate of the directory cannot be verified: see ca_certificate in [acme]",
            ),
            (requests.exceptions.SSLError("EOF occurred in violation of protocol"), "no connection to the directory is possible"),
            (requests.ConnectionError("refused"), "no connection to the directory is possible"),
            (requests.ReadTimeout(), "the CA did not answer in time"),
            (
                requests.exceptions.ContentDecodingError("the answer of the CA has more than 7 bytes"),
                "the answer of the CA has more than 7 bytes",
            ),
        ):
            self.assertEqual(_words(error), words)

    def test_name_that_could_not_be_verified(self) -> None:
        problem = messages.Error(typ="urn:ietf:params:acme:error:connection", detail="refused")
        challenge = messages.ChallengeBody(chall=challenges.HTTP01(token=b"x" * 32), uri="https://ca.example/c", error=problem)
        identifier = messages.Identifier(typ=messages.IDENTIFIER_FQDN, value="gw.example.com")
        body = messages.Authorization(identifier=identifier, challenges=[challenge])
        failed = errors.ValidationError([messages.AuthorizationResource(body=body, uri="https://ca.example/a")])
        self.assertEqual(_words(failed), "the CA could not verify gw.example.com: refused")


class LibraryTests(unittest.TestCase):
    def test_challenge_that_the_library_has_no_more(self) -> None:
        found: Any = challenges.Challenge.from_json({"type": "tls-alpn-01", "token": TOKEN})
        self.assertIsInstance(found, _TlsAlpn)
        self.assertEqual(found.encode("token"), TOKEN)

    def test_directory_without_an_answer(self) -> None:
        settings = AcmeSettings(directory="https://127.0.0.1:1/dir")
        with self.assertRaises(AcmeFault) as caught:
            Directory(settings, ec.generate_private_key(ec.SECP256R1()), 5.0)
        self.assertEqual(str(caught.exception), "no connection to the directory is possible")

    def test_id_of_a_certificate(self) -> None:
        """The example of RFC 9773, section 4.1."""
        authority = bytes.fromhex("69885B6B87464041E1B37B847BA0AE2CDE01C8D4")
        self.assertEqual(certificate_id(self.certificate(0x87654321, authority)), "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE")
        self.assertEqual(certificate_id(self.certificate(7, None)), "")

    def certificate(self, serial: int, authority: bytes | None) -> x509.Certificate:
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(x509.Name([]))
            .public_key(key.public_key())
            .serial_number(serial)
            .not_valid_before(now)
            .not_valid_after(now + timedelta(days=1))
        )
        if authority is not None:
            builder = builder.add_extension(x509.AuthorityKeyIdentifier(authority, None, None), critical=False)
        return builder.sign(key, hashes.SHA256())

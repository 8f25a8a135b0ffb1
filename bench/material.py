"""The certificate, the user and the token that all peers of a run share.

Every peer terminates TLS with the same key (ECDSA P-256) and gets requests with the same credentials.
"""

from __future__ import annotations

import base64
import datetime
import ipaddress
from pathlib import Path

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

USER, PASSWORD, REALM, ROLES = "someuser", "somesecret", "local", ("operator", "reader")
"""The same as in the example configuration of Auth-o-tron."""

CIPHERSUITES = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
"""The cipher order of the gateway. The tuned peers get the same; otherwise bulk figures would compare ciphers."""


@attrs.frozen
class Certificate:
    """PEM files. ``bundle`` contains certificate and key, for HAProxy."""

    chain: Path
    key: Path
    bundle: Path


def make_certificate(directory: Path) -> Certificate:
    """A self-signed certificate for the loopback interface."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    alternatives = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=7))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .sign(key, hashes.SHA256())
    )
    chain_pem = certificate.public_bytes(serialization.Encoding.PEM)
    key_pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    made = Certificate(directory / "gateway.crt", directory / "gateway.key", directory / "gateway.pem")
    made.chain.write_bytes(chain_pem)
    made.key.write_bytes(key_pem)
    made.bundle.write_bytes(chain_pem + key_pem)
    return made


def basic(user: str = USER, password: str = PASSWORD) -> str:
    """The Authorization value for a user name and password."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

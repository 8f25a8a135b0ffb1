"""The challenges of orders under way: what the gateway shows a CA to prove that a name leads to it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from perimeter.config.site.acme import ChallengeKind
from perimeter.net.contexts import ServerIdentity

PATH: Final = b"/.well-known/acme-challenge/"
"""Where a CA looks for an http-01 challenge (RFC 8555, section 8.3)."""

_IDENTIFIER: Final = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")
"""The extension acmeIdentifier (RFC 8737, section 3)."""

_LIFETIME: Final = timedelta(days=1)


@attrs.frozen
class Proof:
    """One challenge: ``authorization`` is the key authorization of ``token`` (RFC 8555, section 8.1), for the host ``name``."""

    kind: str
    name: str
    token: str
    authorization: str


class Pending:
    """The proofs that a process shows now. ``bodies`` are those of http-01 by the target of the request, ``identities`` those of
    tls-alpn-01 by the name. Both objects stay the same.
    """

    def __init__(self) -> None:
        self.bodies: dict[bytes, bytes] = {}
        self.identities: dict[str, ServerIdentity] = {}

    def replace(self, proofs: Iterable[Proof]) -> None:
        """Show ``proofs`` from now on, and no others. Makes a key and a certificate for each one of tls-alpn-01 (0.2 ms)."""
        self.bodies.clear()
        self.identities.clear()
        for proof in proofs:
            if proof.kind == ChallengeKind.HTTP_01:
                self.bodies[PATH + proof.token.encode("ascii")] = proof.authorization.encode("ascii")
            else:
                self.identities[proof.name] = challenge_identity(proof.name, proof.authorization)


def challenge_identity(name: str, authorization: str) -> ServerIdentity:
    """The self-signed certificate that proves ``authorization`` for ``name`` (RFC 8737, section 3), with a new key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([])
    now = datetime.now(UTC)
    digest = hashlib.sha256(authorization.encode("ascii")).digest()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _LIFETIME)
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=True)
        # an OCTET STRING (tag 4) of 32 bytes
        .add_extension(x509.UnrecognizedExtension(_IDENTIFIER, b"\x04\x20" + digest), critical=True)
        .sign(key, hashes.SHA256())
    )
    return ServerIdentity((certificate,), key, f"the challenge for {name}")

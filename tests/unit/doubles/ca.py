"""A CA in memory, as `perimeter.acme.renewal` sees one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from perimeter.acme.fault import AcmeFault
from perimeter.acme.pending import Proof


class CertificateAuthority:
    """Issues what is ordered, for ``life``. ``fault`` refuses each order, ``spoil`` changes the request of an order."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.life = timedelta(days=90)
        self.fault = self.unreachable = ""
        self.pause = 0.0
        self.suggested = 0.0
        self.wait = 21600.0
        self.orders: list[tuple[tuple[str, ...], str]] = []
        self.questions = 0
        self.keys: set[int] = set()
        self.spoil: Callable[[Any], Any] = lambda issued: issued
        self._key = ec.generate_private_key(ec.SECP256R1())

    def seconds(self) -> float:
        """The time of this CA, and of its clients."""
        return self.now.timestamp()

    def connect(self, settings: Any, key: ec.EllipticCurvePrivateKey, seconds: float) -> Any:
        """Itself, as the directory for the account ``key``."""
        if self.unreachable:
            raise AcmeFault(self.unreachable)
        self.keys.add(key.public_key().public_numbers().x)
        return self

    def sign_in(self) -> None:
        """Every account exists."""

    def order(self, request: x509.CertificateSigningRequest, names: Sequence[str], replaces: str, show: Any) -> bytes:
        """A certificate for the request."""
        self.orders.append((tuple(names), replaces))
        show([Proof("http-01", name, "token", "token.thumb") for name in names])
        show(())
        if self.fault:
            raise AcmeFault(self.fault)
        return bytes(self.spoil(self.issue(request.public_key(), names)))

    def issue(self, key: Any, names: Sequence[str], start: datetime | None = None) -> bytes:
        """A certificate in PEM."""
        start = start or self.now
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "CA")])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + self.life)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(one) for one in names]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return certificate.public_bytes(Encoding.PEM)

    def suggestion(self, certificate: x509.Certificate) -> tuple[float, float]:
        """When to renew, and in how many seconds to ask again."""
        self.questions += 1
        return self.suggested, self.wait

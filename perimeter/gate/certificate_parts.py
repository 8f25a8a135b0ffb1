"""What the term ``certificate:`` of a rule compares. Pure."""

from __future__ import annotations

from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from perimeter.auth.certificate_names import CertificateName, names_in
from perimeter.config.site.rule import CertificatePart
from perimeter.recent import Memo

_MOST_REMEMBERED: Final = 1000
_NAMES: Final = {
    CertificatePart.CN: CertificateName.SUBJECT_CN,
    CertificatePart.DNS: CertificateName.SAN_DNS,
    CertificatePart.EMAIL: CertificateName.SAN_EMAIL,
    CertificatePart.URI: CertificateName.SAN_URI,
}

#: Reading the extensions of a certificate takes 20 µs, and a connection has the same one for all its requests.
_remembered: Memo[tuple[x509.Certificate, CertificatePart], frozenset[str]] = Memo(_MOST_REMEMBERED)


def values_of(certificate: x509.Certificate, part: CertificatePart, now: float) -> frozenset[str] | None:
    """The values of ``part``; None if the certificate has expired at ``now`` (epoch seconds) or cannot be read.

    OpenSSL has verified the chain when the connection was made, which may be long ago.
    """
    if now >= certificate.not_valid_after_utc.timestamp():
        return None
    key = certificate, part
    found = _remembered.get(key)
    if found is None:
        try:
            found = _remembered.keep(key, _read(certificate, part))
        except ValueError:
            return None
    return found


def _read(certificate: x509.Certificate, part: CertificatePart) -> frozenset[str]:
    if part is CertificatePart.SHA256:
        return frozenset((certificate.fingerprint(hashes.SHA256()).hex(),))
    if part is CertificatePart.SUBJECT:
        return frozenset((certificate.subject.rfc4514_string(),))
    if part is CertificatePart.ISSUER:
        return frozenset((certificate.issuer.rfc4514_string(),))
    names = names_in(certificate, _NAMES[part])
    return frozenset(name.lower() for name in names) if part is CertificatePart.DNS else frozenset(names)

"""The names in client certificates. Pure."""

from __future__ import annotations

from enum import StrEnum

from cryptography import x509
from cryptography.x509.oid import NameOID, ObjectIdentifier


class CertificateName(StrEnum):
    """The names in a certificate that may be the user's."""

    SUBJECT_CN = "subject-cn"
    SUBJECT_DN = "subject-dn"
    SAN_EMAIL = "san-email"
    SAN_DNS = "san-dns"
    SAN_URI = "san-uri"
    SAN_UPN = "san-upn"


_UPN = ObjectIdentifier("1.3.6.1.4.1.311.20.2.3")
_UTF8_STRING = 0x0C


def names_in(certificate: x509.Certificate, source: CertificateName) -> list[str]:
    """The names of one kind in a certificate. Raises ValueError if the certificate cannot be read."""
    if source is CertificateName.SUBJECT_DN:
        return [certificate.subject.rfc4514_string()] if list(certificate.subject) else []
    if source is CertificateName.SUBJECT_CN:
        return [str(one.value) for one in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    try:
        san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    if source is CertificateName.SAN_UPN:
        return [_utf8_string(one.value) for one in san if isinstance(one, x509.OtherName) and one.type_id == _UPN]
    if source is CertificateName.SAN_EMAIL:
        return san.get_values_for_type(x509.RFC822Name)
    if source is CertificateName.SAN_DNS:
        return san.get_values_for_type(x509.DNSName)
    return san.get_values_for_type(x509.UniformResourceIdentifier)


def _utf8_string(der: bytes) -> str:
    """A DER UTF8String (X.690, section 8.21). Longer ones than a name can be are refused."""
    if len(der) < 2 or der[0] != _UTF8_STRING or der[1] != len(der) - 2 or der[1] > 127:
        raise ValueError("a user principal name that is not a UTF8String")
    return der[2:].decode("utf-8")

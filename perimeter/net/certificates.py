"""Loads the certificate of a listener from PEM files or a keystore, or makes one if the configuration names none.

`perimeter.net.keystores` reads the files, and `perimeter.net.contexts` makes a TLS context from the result.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from twisted.logger import Logger

from perimeter.config.site.acme import certificate_file
from perimeter.config.site.listener import ListenerSettings
from perimeter.descriptors import system_reason
from perimeter.errors import StartupError
from perimeter.net.contexts import ServerIdentity
from perimeter.net.keystores import load_chain, load_key, load_keystore

log = Logger()

LIFETIME = timedelta(days=825)
"""Validity of a self-signed certificate: the longest that Apple's clients accept."""

RENEW_BEFORE = timedelta(days=30)
"""A self-signed certificate that expires within this time is replaced at the start."""

SOON = timedelta(days=14)
"""A warning is logged for a configured certificate that expires within this time (see `date_findings`)."""


def load_identities(
    settings: ListenerSettings, state_dir: Path, now: Callable[[], datetime] | None = None
) -> tuple[ServerIdentity, ...]:
    """Return the certificates and keys that the listener serves, at least one. ``state_dir`` must exist.

    With ``acme_names``, that is the certificate that the gateway has got, and a self-signed one before it has got one.

    Logs a warning if a certificate is expired, expires soon or is not valid yet. Raises `StartupError` with one line if one of
    them cannot be used.
    """
    moment = now() if now is not None else datetime.now(UTC)
    if settings.keystore is not None:
        key, chain = load_keystore(settings.keystore, settings.keystore_password)
        return (_checked(key, chain, str(settings.keystore), str(settings.keystore), moment),)
    if settings.certificate:
        pairs = zip(settings.certificate, settings.private_key or settings.certificate, strict=True)
        return tuple(_load_pair(file, key_file, settings.private_key_password, moment) for file, key_file in pairs)
    if settings.private_key:
        raise StartupError(f"listener {settings.name}: private_key is set, and certificate is not")
    if settings.acme_names:
        got = got_identity(certificate_file(state_dir, settings.acme_names), moment)
        if got is not None:
            return (got,)
        return (self_signed_identity(state_dir, moment, settings.name, "there is no certificate from the CA yet"),)
    return (self_signed_identity(state_dir, moment, settings.name),)


def got_identity(path: Path, now: datetime) -> ServerIdentity | None:
    """The certificate from a CA in ``path``, with its key. None if there is none, or none that can be used, which is logged."""
    if not path.exists():
        return None
    try:
        return _checked(load_key(path, None), load_chain(path), str(path), str(path), now)
    except StartupError as problem:
        log.error("the certificate from the CA cannot be used, and is ordered again: {problem}", problem=str(problem))
        return None


def load_client_identity(certificate: Path, key: Path | None) -> ServerIdentity:
    """The certificate and key that the gateway shows to services, both in ``certificate`` if ``key`` is None.

    Logs a warning about its dates. Raises `StartupError` with one line that names the file.
    """
    return _load_pair(certificate, key, None, datetime.now(UTC))


def _load_pair(certificate: Path, key: Path | None, password: str | None, moment: datetime) -> ServerIdentity:
    key_file = key or certificate
    chain = load_chain(certificate)
    return _checked(load_key(key_file, password), chain, str(certificate), str(key_file), moment)


def _checked(
    key: PrivateKeyTypes, chain: tuple[x509.Certificate, ...], certificate_file: str, key_file: str, now: datetime
) -> ServerIdentity:
    if chain[0].public_key() != key.public_key():
        if certificate_file == key_file:
            raise StartupError(f"{certificate_file}: the private key does not belong to the first certificate")
        raise StartupError(f"{key_file}: this private key does not belong to the certificate in {certificate_file}")
    for finding in date_findings(chain, now):
        log.warn("{source}: {finding}", source=certificate_file, finding=finding.text)
    return ServerIdentity(chain, key, certificate_file)


@attrs.frozen
class DateFinding:
    """What is wrong with the dates of a certificate. ``unusable``: clients refuse it now. ``left`` is the time until it ends."""

    text: str
    unusable: bool
    left: timedelta


def date_findings(chain: Iterable[x509.Certificate], now: datetime) -> list[DateFinding]:
    """The certificates of ``chain`` that have expired, expire within `SOON`, or are not valid yet.

    For a certificate with a short life, soon is the last quarter of it: a CA that issues for six days has renewals after four.
    """
    found = []
    for certificate in chain:
        start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        subject = f"the certificate of {certificate.subject.rfc4514_string()}"
        if end <= now:
            found.append(DateFinding(f"{subject} expired on {end:%Y-%m-%d}", True, end - now))
        elif start > now:
            found.append(DateFinding(f"{subject} is not valid before {start:%Y-%m-%d}", True, end - now))
        elif end <= now + min(SOON, (end - start) / 4):
            found.append(DateFinding(f"{subject} expires on {end:%Y-%m-%d}", False, end - now))
    return found


def self_signed_identity(
    state_dir: Path, now: datetime, listener: str = "", why: str = "no certificate is configured"
) -> ServerIdentity:
    """Return the self-signed certificate in ``state_dir``. It is made if it is missing, damaged or about to expire.

    ``why`` it is served is logged.
    """
    certificate_file = state_dir / "selfsigned.crt"
    key_file = state_dir / "selfsigned.key"
    try:
        identity = _checked(load_key(key_file, None), load_chain(certificate_file), str(certificate_file), str(key_file), now)
        fresh = identity.chain[0].not_valid_after_utc > now + RENEW_BEFORE
    except StartupError:
        fresh = False
    if not fresh:
        identity = _make(certificate_file, key_file, now)
    log.info(
        "listener {listener}: {why}; serving the self-signed {source}, which clients do not trust",
        listener=listener,
        why=why,
        source=str(certificate_file),
    )
    return identity


def _make(certificate_file: Path, key_file: Path, now: datetime) -> ServerIdentity:
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _self_signed(key, now)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        # The certificate is written last: a crash between the two leaves a pair that does not match, which is made again.
        replace_file(key_file, pem, 0o600)
        replace_file(certificate_file, certificate.public_bytes(Encoding.PEM), 0o644)
    except OSError as problem:
        reason = system_reason(problem)
        raise StartupError(
            f"{certificate_file.parent}: cannot store a self-signed certificate: {reason[:1].lower()}{reason[1:]}"
        ) from problem
    return ServerIdentity((certificate,), key, str(certificate_file))


def _self_signed(key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    host = socket.gethostname()
    names: list[x509.GeneralName] = [x509.DNSName("localhost")]
    if host and host != "localhost" and host.isascii():
        names.append(x509.DNSName(host))
    names += [x509.IPAddress(ip_address("127.0.0.1")), x509.IPAddress(ip_address("::1"))]
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Perimeter, self-signed")])
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        # It is its own issuer, so that a client can use it as a CA file.
        key_cert_sign=True,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + LIFETIME - timedelta(minutes=5))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(identifier, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .sign(key, hashes.SHA256())
    )


def replace_file(path: Path, data: bytes, mode: int) -> None:
    """Write ``path`` completely or not at all. The file never has wider permissions than ``mode``. Blocks; raises OSError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise

"""PKCS#12 and JKS keystores, and the PEM files that serve the same end: a private key and its certificate chain out of a file.

Whether the two belong together, and for how long, is judged in `perimeter.net.certificates`. Everything here raises
`StartupError` with one line that names the file; no message holds a password.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_der_private_key, load_pem_private_key, pkcs12

from perimeter.errors import StartupError
from perimeter.net import jks

JCEKS_MAGIC = b"\xce\xce\xce\xce"

MOST_OCTETS = 4 * 1024 * 1024
"""A key, chain or keystore is never larger; a mistyped path to something huge must not fill the memory."""

Entry = tuple[PrivateKeyTypes, tuple[x509.Certificate, ...]]


def load_keystore(path: Path, password: str | None) -> Entry:
    """The key and the chain (its own certificate first) of a PKCS#12 or JKS keystore; which of the two is told by its content."""
    data = read_file(path, "keystore")
    if data.startswith(jks.MAGIC):
        return _load_jks(path, data, password)
    if data.startswith(JCEKS_MAGIC):
        raise StartupError(
            f"{path}: JCEKS keystores are not read; keytool -importkeystore -deststoretype pkcs12 makes one that is"
        )
    return _load_pkcs12(path, data, password)


def _load_pkcs12(path: Path, data: bytes, password: str | None) -> Entry:
    try:
        key, certificate, others = pkcs12.load_key_and_certificates(data, password.encode() if password else None)
    except UnsupportedAlgorithm as problem:
        raise StartupError(f"{path}: the keystore is encrypted in a way that is not supported any more") from problem
    except ValueError as problem:
        if "password" in str(problem).lower():
            raise StartupError(f"{path}: {_password_fault(password)}") from problem
        raise StartupError(f"{path}: this is neither a PKCS#12 nor a JKS keystore") from problem
    if key is None or certificate is None:
        raise StartupError(f"{path}: the keystore holds no private key with its certificate")
    return key, order_chain((certificate, *others))


def _load_jks(path: Path, data: bytes, password: str | None) -> Entry:
    try:
        entries = jks.read_entries(data, password or "")
    except jks.WrongPassword as problem:
        raise StartupError(f"{path}: {_password_fault(password)}") from problem
    except jks.DamagedKeystore as problem:
        raise StartupError(f"{path}: the keystore is damaged or of an unknown kind") from problem
    if len(entries) != 1:
        held = "no private key" if not entries else f"{len(entries)} private keys, and one is expected"
        raise StartupError(f"{path}: the keystore holds {held}")
    entry = entries[0]
    try:
        key = load_der_private_key(entry.decrypt(password or ""), None)
        chain = tuple(x509.load_der_x509_certificate(der) for der in entry.chain)
    except jks.WrongPassword as problem:
        raise StartupError(f"{path}: the key {entry.alias} has a password other than the keystore's") from problem
    except (jks.DamagedKeystore, ValueError, UnsupportedAlgorithm) as problem:
        raise StartupError(f"{path}: the key {entry.alias} cannot be used") from problem
    if not chain:
        raise StartupError(f"{path}: the key {entry.alias} has no certificate")
    return key, order_chain(chain)


def load_key(path: Path, password: str | None) -> PrivateKeyTypes:
    """The private key of a PEM file."""
    data = read_file(path, "private key")
    # A password for a key that is not encrypted does no harm; cryptography would refuse it.
    secret = password.encode() if password and b"ENCRYPTED" in data else None
    try:
        return load_pem_private_key(data, secret)
    except TypeError as problem:
        raise StartupError(f"{path}: the private key is encrypted, and no password is given") from problem
    except UnsupportedAlgorithm as problem:
        raise StartupError(f"{path}: a private key of this kind is not supported") from problem
    except ValueError as problem:
        if secret is not None:
            raise StartupError(f"{path}: the password of the private key is wrong") from problem
        raise StartupError(f"{path}: there is no private key in PEM form") from problem


def load_chain(path: Path) -> tuple[x509.Certificate, ...]:
    """The certificates of a PEM file, the server's own first."""
    try:
        return order_chain(x509.load_pem_x509_certificates(read_file(path, "certificate")))
    except ValueError as problem:
        raise StartupError(f"{path}: there is no certificate in PEM form") from problem


def order_chain(certificates: Sequence[x509.Certificate]) -> tuple[x509.Certificate, ...]:
    """``certificates`` from the first one upward, each issued by the next (RFC 8446, section 4.4.2).

    What does not belong to that line is left out.
    """
    chain = [certificates[0]]
    rest = list(certificates[1:])
    while chain[-1].issuer != chain[-1].subject:
        issuer = next((candidate for candidate in rest if candidate.subject == chain[-1].issuer), None)
        if issuer is None:
            break
        rest.remove(issuer)
        chain.append(issuer)
    return tuple(chain)


def read_file(path: Path, what: str) -> bytes:
    """The content of ``path``, or a `StartupError` that says why not."""
    try:
        with path.open("rb") as file:
            data = file.read(MOST_OCTETS + 1)
    except OSError as problem:
        reason = problem.strerror or str(problem)
        raise StartupError(f"{path}: cannot read the {what}: {reason[:1].lower()}{reason[1:]}") from problem
    if len(data) > MOST_OCTETS:
        raise StartupError(f"{path}: this is too large to be a {what}")
    return data


def _password_fault(password: str | None) -> str:
    return "the password of the keystore is wrong" if password else "the keystore needs a password"

"""Reads a private key and its certificate chain from a PKCS#12 or JKS keystore, or from PEM files.

`perimeter.net.certificates` checks that the two match, and their dates. Every function here raises `StartupError` with one line
that names the file. No message contains a password.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_der_private_key, load_pem_private_key, pkcs12

from perimeter.descriptors import system_reason
from perimeter.errors import StartupError
from perimeter.net import jks

JCEKS_MAGIC = b"\xce\xce\xce\xce"

MAX_FILE_SIZE = 4 * 1024 * 1024
"""Maximum size of a file in bytes, so that a wrong path to a huge file does not fill the memory."""

KeyAndChain = tuple[PrivateKeyTypes, tuple[x509.Certificate, ...]]


def load_keystore(path: Path, password: str | None) -> KeyAndChain:
    """The key and the chain (the key's certificate first) of a PKCS#12 or JKS keystore. The content shows which it is."""
    data = read_file(path, "keystore")
    if data.startswith(jks.MAGIC):
        return _load_jks(path, data, password)
    if data.startswith(JCEKS_MAGIC):
        raise StartupError(
            f"{path}: JCEKS keystores are not supported; convert it with keytool -importkeystore -deststoretype pkcs12"
        )
    return _load_pkcs12(path, data, password)


def _load_pkcs12(path: Path, data: bytes, password: str | None) -> KeyAndChain:
    try:
        key, certificate, others = pkcs12.load_key_and_certificates(data, password.encode() if password else None)
    except UnsupportedAlgorithm as problem:
        raise StartupError(f"{path}: the encryption of this keystore is not supported any more") from problem
    except ValueError as problem:
        if "password" in str(problem).lower():
            raise StartupError(f"{path}: {_password_fault(password)}") from problem
        raise StartupError(f"{path}: this is neither a PKCS#12 nor a JKS keystore") from problem
    if key is None or certificate is None:
        raise StartupError(f"{path}: the keystore contains no private key with its certificate")
    return key, order_chain((certificate, *others))


def _load_jks(path: Path, data: bytes, password: str | None) -> KeyAndChain:
    try:
        entries = jks.read_entries(data, password or "")
    except jks.WrongPassword as problem:
        raise StartupError(f"{path}: {_password_fault(password)}") from problem
    except jks.DamagedKeystore as problem:
        raise StartupError(f"{path}: the keystore is damaged or of an unknown kind") from problem
    if len(entries) != 1:
        found = "no private key" if not entries else f"{len(entries)} private keys, but exactly one is expected"
        raise StartupError(f"{path}: the keystore contains {found}")
    entry = entries[0]
    try:
        key = load_der_private_key(entry.decrypt(password or ""), None)
        chain = tuple(x509.load_der_x509_certificate(der) for der in entry.chain)
    except jks.WrongPassword as problem:
        raise StartupError(f"{path}: the password of the key {entry.alias} differs from that of the keystore") from problem
    except (jks.DamagedKeystore, ValueError, UnsupportedAlgorithm) as problem:
        raise StartupError(f"{path}: the key {entry.alias} cannot be used") from problem
    if not chain:
        raise StartupError(f"{path}: the key {entry.alias} has no certificate")
    return key, order_chain(chain)


def load_key(path: Path, password: str | None) -> PrivateKeyTypes:
    """The private key of a PEM file."""
    data = read_file(path, "private key")
    # cryptography refuses a password for a key that is not encrypted; the gateway ignores the password.
    secret = password.encode() if password and b"ENCRYPTED" in data else None
    try:
        return load_pem_private_key(data, secret)
    except TypeError as problem:
        raise StartupError(f"{path}: the private key is encrypted, and no password is configured") from problem
    except UnsupportedAlgorithm as problem:
        raise StartupError(f"{path}: a private key of this kind is not supported") from problem
    except ValueError as problem:
        if secret is not None:
            raise StartupError(f"{path}: the password of the private key is wrong") from problem
        raise StartupError(f"{path}: the file contains no private key in PEM format") from problem


def load_chain(path: Path) -> tuple[x509.Certificate, ...]:
    """The certificates of a PEM file, the server's own certificate first."""
    try:
        return order_chain(x509.load_pem_x509_certificates(read_file(path, "certificate")))
    except ValueError as problem:
        raise StartupError(f"{path}: the file contains no certificate in PEM format") from problem


def order_chain(certificates: Sequence[x509.Certificate]) -> tuple[x509.Certificate, ...]:
    """Order ``certificates`` from the first one upward, each issued by the next (RFC 8446, section 4.4.2).

    Certificates outside that chain are left out.
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
    """Return the content of ``path``. Raises `StartupError` if it cannot be read or is too large."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_SIZE + 1)
    except OSError as problem:
        reason = system_reason(problem)
        raise StartupError(f"{path}: cannot read the {what}: {reason[:1].lower()}{reason[1:]}") from problem
    if len(data) > MAX_FILE_SIZE:
        raise StartupError(f"{path}: this file is too large to be a {what}")
    return data


def _password_fault(password: str | None) -> str:
    return "the password of the keystore is wrong" if password else "the keystore needs a password"

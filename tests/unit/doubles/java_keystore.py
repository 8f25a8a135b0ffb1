"""Writes JKS keystores for tests of the code that reads them. Other tests read keystores made by keytool."""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Sequence
from itertools import chain as joined

from tests.unit.doubles.der import NULL, element


def protect(pkcs8: bytes, password: str, parameters: bytes = NULL) -> bytes:
    """A key as a keystore stores it. The ``parameters`` of its AlgorithmIdentifier are NULL, or empty as in newer OpenJDK."""
    secret, salt = password.encode("utf-16-be"), os.urandom(20)
    stream, block = b"", salt
    while len(stream) < len(pkcs8):
        block = hashlib.sha1(secret + block).digest()
        stream += block
    masked = bytes(one ^ other for one, other in zip(pkcs8, stream, strict=False))
    sealed = salt + masked + hashlib.sha1(secret + pkcs8).digest()
    algorithm = element(0x30, bytes.fromhex("060a2b060104012a02110101") + parameters)
    return element(0x30, algorithm + element(0x04, sealed))


def key_entry(alias: str, protected: bytes, chain: Sequence[bytes]) -> bytes:
    """A private key entry; ``chain`` is in DER."""
    certificates = joined.from_iterable((_text("X.509"), _block(der)) for der in chain)
    return b"".join((_number(1), _text(alias), bytes(8), _block(protected), _number(len(chain)), *certificates))


def trusted_entry(alias: str, certificate: bytes) -> bytes:
    """A trusted certificate."""
    return b"".join((_number(2), _text(alias), bytes(8), _text("X.509"), _block(certificate)))


def keystore(entries: Sequence[bytes], password: str) -> bytes:
    """The file's content."""
    data = b"\xfe\xed\xfe\xed" + _number(2) + _number(len(entries)) + b"".join(entries)
    return data + hashlib.sha1(password.encode("utf-16-be") + b"Mighty Aphrodite" + data).digest()


def _number(number: int) -> bytes:
    return struct.pack(">I", number)


def _block(data: bytes) -> bytes:
    return _number(len(data)) + data


def _text(text: str) -> bytes:
    return struct.pack(">H", len(text.encode())) + text.encode()

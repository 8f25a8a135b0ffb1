"""Java keystores (JKS): reads the key entries of a file, and decrypts the keys.

The format and both uses of the password are those of OpenJDK's ``sun.security.provider.JavaKeyStore`` and ``KeyProtector``:
SHA-1 without a work factor, so an attacker who has the file can guess its password fast. The format is implemented here because
the library for it (pyjks, released in 2020) needs a C compiler for ciphers that JKS does not have. `perimeter.net.keystores`
chooses the entry and writes the messages.
"""

from __future__ import annotations

import hashlib
import struct
from hmac import compare_digest

import attrs

from perimeter.errors import PerimeterError

MAGIC = b"\xfe\xed\xfe\xed"

_DIGEST = 20
_SALT = 20
_PRIVATE_KEY, _TRUSTED_CERTIFICATE = 1, 2
_VERSIONS = (1, 2)
# OpenJDK hashes this text with the keystore, so that the digest differs from every other digest of the password
_WHITENER = b"Mighty Aphrodite"
# Sun's key protection, 1.3.6.1.4.1.42.2.17.1.1: the only one in this format
_PROTECTION = bytes.fromhex("060a2b060104012a02110101")
# What follows the OID in an AlgorithmIdentifier without parameters: NULL in older releases of OpenJDK, nothing in newer ones
_NO_PARAMETERS = (b"\x05\x00", b"")


class DamagedKeystore(PerimeterError):
    """The file is not a whole JKS keystore."""


class WrongPassword(PerimeterError):
    """The password of the keystore, or of the key, is wrong."""


@attrs.frozen
class PrivateKeyEntry:
    """An encrypted private key and its certificate chain in DER, the certificate of the key first."""

    alias: str
    protected: bytes = attrs.field(repr=False)
    chain: tuple[bytes, ...] = attrs.field(repr=False)

    def decrypt(self, password: str) -> bytes:
        """Return the key as PKCS#8 in DER. Raises `WrongPassword`; `DamagedKeystore` if another algorithm protects the key."""
        algorithm, wrapped = _sequence(self.protected)
        protection, parameters = _sequence(algorithm)
        if protection != _PROTECTION or parameters not in _NO_PARAMETERS or wrapped[:1] != b"\x04":
            raise DamagedKeystore("the key is protected in an unknown way")
        sealed, rest = _value(wrapped)
        if rest or len(sealed) < _SALT + _DIGEST:
            raise DamagedKeystore("the key is cut short")
        secret = _utf16(password)
        block, masked, check = sealed[:_SALT], sealed[_SALT:-_DIGEST], sealed[-_DIGEST:]
        stream = bytearray()
        while len(stream) < len(masked):
            block = hashlib.sha1(secret + block, usedforsecurity=False).digest()
            stream += block
        key = bytes(one ^ other for one, other in zip(masked, stream, strict=False))
        if not compare_digest(hashlib.sha1(secret + key, usedforsecurity=False).digest(), check):
            raise WrongPassword(self.alias)
        return key


def read_entries(data: bytes, password: str) -> list[PrivateKeyEntry]:
    """The private keys of a keystore, in the order of the file. Raises `DamagedKeystore` or `WrongPassword`."""
    reader = _Reader(data)
    if reader.take(len(MAGIC)) != MAGIC or (version := reader.number()) not in _VERSIONS:
        raise DamagedKeystore("not a JKS keystore")
    entries: list[PrivateKeyEntry] = []
    for _ in range(reader.number()):
        tag, alias = reader.number(), reader.text()
        reader.take(8)  # the creation time
        if tag == _PRIVATE_KEY:
            protected = reader.block()
            entries.append(PrivateKeyEntry(alias, protected, tuple(reader.certificate(version) for _ in range(reader.number()))))
        elif tag == _TRUSTED_CERTIFICATE:
            reader.certificate(version)
        else:
            raise DamagedKeystore("an entry of an unknown kind")
    signed = data[: reader.position]
    found = reader.take(_DIGEST)
    if reader.position != len(data):
        raise DamagedKeystore("something follows the keystore")
    if not compare_digest(hashlib.sha1(_utf16(password) + _WHITENER + signed, usedforsecurity=False).digest(), found):
        raise WrongPassword("the keystore")
    return entries


class _Reader:
    """Reads a keystore from its start. Checks each length before it uses it."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.position = 0

    def take(self, size: int) -> bytes:
        """The next ``size`` bytes."""
        taken = self._data[self.position : self.position + size]
        if len(taken) != size:
            raise DamagedKeystore("the keystore is cut short")
        self.position += size
        return taken

    def number(self) -> int:
        """An unsigned integer of four bytes."""
        return int.from_bytes(self.take(4))

    def block(self) -> bytes:
        """A number of bytes, preceded by that number."""
        return self.take(self.number())

    def text(self) -> str:
        """A string that ``DataOutput.writeUTF`` wrote, used in messages only."""
        (size,) = struct.unpack(">H", self.take(2))
        text = self.take(size).decode("utf-8", "replace")
        return text if text.isprintable() else ascii(text)

    def certificate(self, version: int) -> bytes:
        """A certificate in DER. Version 2 of the format names its kind, which is always X.509."""
        if version > 1:
            self.text()
        return self.block()


def _utf16(password: str) -> bytes:
    return password.encode("utf-16-be", "surrogatepass")


def _sequence(der: bytes) -> tuple[bytes, bytes]:
    """The first element of a DER sequence, with tag and length, and the rest of the sequence."""
    if der[:1] != b"\x30":
        raise DamagedKeystore("the key is not in DER")
    content, _ = _value(der)
    _, rest = _value(content)
    return content[: len(content) - len(rest)], rest


def _value(der: bytes) -> tuple[bytes, bytes]:
    """The value of a DER element, and the bytes after the element."""
    start = 2
    size = der[1] if len(der) > 1 else 0
    if size & 0x80:
        start += size & 0x7F
        size = int.from_bytes(der[2:start])
    if len(der) < start + size:
        raise DamagedKeystore("the key is cut short")
    return der[start : start + size], der[start + size :]

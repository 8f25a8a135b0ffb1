"""Rewrites DER: the AlgorithmIdentifiers of a key or keystore without their NULL, as newer releases of OpenJDK write them."""

from __future__ import annotations

from hashlib import sha256
from hmac import digest

NULL = b"\x05\x00"
_SEQUENCE, _OBJECT_IDENTIFIER, _OCTETS = 0x30, 0x06, 0x04


def element(tag: int, content: bytes) -> bytes:
    """A DER element."""
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes((tag, 0x80 | len(length))) + length + content


def elements(content: bytes) -> list[tuple[int, bytes]]:
    """The elements of ``content``, each as a pair of tag and content."""
    found = []
    while content:
        start, size = 2, content[1]
        if size & 0x80:
            start += size & 0x7F
            size = int.from_bytes(content[2:start])
        found.append((content[0], content[start : start + size]))
        content = content[start + size :]
    return found


def without_null(der: bytes) -> bytes:
    """``der`` with "SEQUENCE { OID, NULL }" replaced by "SEQUENCE { OID }" everywhere, except inside strings."""
    written = b""
    for tag, content in elements(der):
        if tag & 0x20:
            inner = elements(content)
            algorithm = tag == _SEQUENCE and len(inner) == 2 and inner[0][0] == _OBJECT_IDENTIFIER and inner[1] == (0x05, b"")
            content = element(*inner[0]) if algorithm else without_null(content)
        written += element(tag, content)
    return written


def keystore_without_null(der: bytes, password: str) -> bytes:
    """A PKCS#12 keystore (RFC 7292, section 4) with each AlgorithmIdentifier outside of its ciphertext rewritten.

    Its MAC must be SHA-256, and is computed again.
    """
    ((_, store),) = elements(without_null(der))
    version, (_, safe), (_, mac) = elements(store)
    (kind, (_, wrapped)) = elements(safe)
    ((_, content),) = elements(wrapped)
    parts = b""
    for _, part in elements(elements(content)[0][1]):
        contents = elements(part)
        if contents[1][1][0] == _OCTETS:  # pkcs7-data: bags that are not encrypted together
            ((_, bags),) = elements(contents[1][1])
            contents[1] = (contents[1][0], element(_OCTETS, without_null(bags)))
        else:  # pkcs7-encryptedData
            contents[1] = (contents[1][0], without_null(contents[1][1]))
        parts += element(_SEQUENCE, b"".join(element(*one) for one in contents))
    content = element(_SEQUENCE, parts)
    (_, sealed), (_, salt), (_, rounds) = elements(mac)
    key = _mac_key(password, salt, int.from_bytes(rounds))
    sealed = element(_SEQUENCE, element(*elements(sealed)[0]) + element(_OCTETS, digest(key, content, "sha256")))
    return element(
        _SEQUENCE,
        element(*version)
        + element(_SEQUENCE, element(*kind) + element(0xA0, element(_OCTETS, content)))
        + element(_SEQUENCE, sealed + element(_OCTETS, salt) + element(0x02, rounds)),
    )


def _mac_key(password: str, salt: bytes, rounds: int) -> bytes:
    """RFC 7292, appendix B.2, for SHA-256, whose key is one block of the algorithm."""
    secret = password.encode("utf-16-be") + b"\0\0"
    key = bytes([3]) * 64 + _repeated(salt) + _repeated(secret)
    for _ in range(rounds):
        key = sha256(key).digest()
    return key


def _repeated(text: bytes) -> bytes:
    size = -(-len(text) // 64) * 64
    return (text * (size // len(text) + 1))[:size]

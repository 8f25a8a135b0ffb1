"""Secrets of a session that only its browser's cookie opens (AES-256-GCM, NIST SP 800-38D). Pure.

The key is made of the cookie's value by HKDF-SHA256 (RFC 5869). The state keeps a hash of that value and not the value itself, so
a copy of the state opens nothing.
"""

from __future__ import annotations

import secrets
from typing import Final

_NONCE: Final = 12
_PURPOSE: Final = b"perimeter session secret 1"


class Unsealable(ValueError):
    """The cookie is another one, or the sealed bytes were changed."""


def seal(cookie: bytes, secret: bytes) -> bytes:
    """``secret`` sealed under the value of a cookie."""
    return seal_under(key_of(cookie), secret)


def unseal(cookie: bytes, sealed: bytes) -> bytes:
    """The secret that `seal` made ``sealed`` of. Raises `Unsealable`."""
    return unseal_under(key_of(cookie), sealed)


def seal_under(key: bytes, secret: bytes) -> bytes:
    """``secret`` sealed under a key that `key_of` has made."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = secrets.token_bytes(_NONCE)
    return nonce + AESGCM(key).encrypt(nonce, secret, None)


def unseal_under(key: bytes, sealed: bytes) -> bytes:
    """The secret that `seal_under` made ``sealed`` of. Raises `Unsealable`."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    try:
        return AESGCM(key).decrypt(sealed[:_NONCE], sealed[_NONCE:], None)
    except (InvalidTag, ValueError):
        raise Unsealable("not sealed under this cookie") from None


def key_of(cookie: bytes) -> bytes:
    """The key of 32 bytes that secrets under a cookie's value are sealed with.

    A session on another host keeps it, sealed under its own cookie, for the secret of its parent.
    """
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(SHA256(), 32, None, _PURPOSE).derive(cookie)

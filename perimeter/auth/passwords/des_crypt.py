"""Traditional DES crypt(3), for the ``CRYPT:`` passwords of old realm files.

The standard library's ``crypt`` left in Python 3.13. Its copy on PyPI (crypt_r) comes as source only and wants a compiler and
libcrypt's headers at installation; passlib is of 2020. So this calls the C library's own ``crypt_r``, which is where both
of the former end up, through ctypes: maintained by the distribution, reentrant, and without the GIL while it computes.
Where the library is missing or was built without DES, a realm file that needs it is refused when it is loaded.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache

# libxcrypt under both of its names, then the symbols of the process itself (musl has crypt_r in its libc).
_LIBRARIES = ("libcrypt.so.1", "libcrypt.so.2", None)

# struct crypt_data is 131,232 bytes in glibc, 32,768 in libxcrypt, 256 in musl. All of them take zeros for "initialised".
_SCRATCH = 136 * 1024


@cache
def _crypt_r() -> Callable[[bytes, bytes], bytes | None] | None:
    """``crypt_r`` as (key, salt) -> hash, or None if this machine has none with DES."""
    for name in _LIBRARIES:
        try:
            function = ctypes.CDLL(name).crypt_r
        except (OSError, AttributeError):
            continue
        function.restype = ctypes.c_char_p
        function.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p)

        def crypt(key: bytes, salt: bytes, function: Callable[..., bytes | None] = function) -> bytes | None:
            return function(key, salt, ctypes.create_string_buffer(_SCRATCH))

        if crypt(b"admin", b"ad") == b"adpexzg3FUZAk":
            return crypt
    return None


def available() -> bool:
    """Whether `des_crypt` works on this machine."""
    return _crypt_r() is not None


def des_crypt(key: bytes, salt: bytes) -> bytes:
    """The 13 characters that ``key`` (its first eight bytes count, seven bits of each) gives with ``salt`` (two characters).

    Raises RuntimeError where it is not `available`, ValueError for a NUL in the key.
    """
    crypt = _crypt_r()
    if crypt is None:
        raise RuntimeError("this system's libcrypt has no DES crypt")
    if b"\0" in key:
        raise ValueError("NUL in a password")
    result = crypt(key, salt)
    if result is None or len(result) != 13 or result[:2] != salt:
        raise RuntimeError("crypt_r failed")
    return result

"""The C library's crypt(3): DES, ``$1$``, ``$5$``, ``$6$`` and yescrypt (``$y$``), as they are in passwd and shadow files.

The standard library's ``crypt`` left in Python 3.13. Its copy on PyPI (crypt_r) comes as source only and wants a compiler and
libcrypt's headers at installation. libpass, the maintained fork of passlib, computes in Python: two threads with ``$6$`` hashes
of 656,000 rounds delay each wake-up of the reactor by 10 ms at the median and 38 ms at the 99th percentile (measured; here: 0.1
and 2 ms), because they hold the GIL. So this calls the C library's own ``crypt_r`` through ctypes: maintained by the
distribution, reentrant, and without the GIL. Where it is missing, or was built without a scheme, a realm file that needs the
scheme is refused when it is loaded.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache

# libxcrypt under both of its names, then the symbols of the process itself (musl has crypt_r in its libc).
_LIBRARIES = ("libcrypt.so.1", "libcrypt.so.2", None)

# struct crypt_data is 131,232 bytes in glibc, 32,768 in libxcrypt, 256 in musl. All of them take zeros for "initialised".
_SCRATCH = 136 * 1024

DES = ""
"""The prefix of DES crypt's hashes, which have none."""

LONGEST_KEY = 511
"""Bytes of the longest password that libxcrypt takes."""

# prefix of a scheme -> hash of b"admin"
_SAMPLES = {
    DES: b"adpexzg3FUZAk",
    "$1$": b"$1$abcdefgh$l/LAqC8oJERu7Cmx6trtY/",
    "$5$": b"$5$rounds=1000$abcdefgh$U4dALHiE1LXMxY5ZpGUfgVnoxC3Y5jRx.egoM/qSTS5",
    "$6$": b"$6$rounds=1000$abcdefgh$C9ePO7xfkdNkmX30TMprFC87F.ZzQcgxBJMpfNuNGhmsUk1PcnwZJ4vKFo6AoKBm/95qIf/K38842MOQlVokz0",
    "$y$": b"$y$j75$abcdefgh$mpO7dY8JzI5OIwjdP.och7DsjLRfi.i7/GYgEFsAM70",
}

PREFIXES = tuple(_SAMPLES)
"""The prefixes of the schemes that `crypt` may have."""

_Crypt = Callable[[bytes, bytes], "bytes | None"]


@cache
def _crypt_r(prefix: str) -> _Crypt | None:
    """``crypt_r`` as (key, setting) -> hash, or None if this machine has none with the scheme of ``prefix``."""
    sample = _SAMPLES[prefix]
    for name in _LIBRARIES:
        try:
            function = ctypes.CDLL(name).crypt_r
        except (OSError, AttributeError):
            continue
        function.restype = ctypes.c_char_p
        function.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p)

        def crypt_r(key: bytes, setting: bytes, function: Callable[..., bytes | None] = function) -> bytes | None:
            return function(key, setting, ctypes.create_string_buffer(_SCRATCH))

        if crypt_r(b"admin", sample) == sample:
            return crypt_r
    return None


def available(prefix: str) -> bool:
    """Whether `crypt` has the scheme of ``prefix``, one of `PREFIXES`, on this machine."""
    return _crypt_r(prefix) is not None


def crypt(key: bytes, stored: bytes, prefix: str) -> bytes:
    """The hash of ``key`` with the salt and the parameters of the hash ``stored``, whose scheme has ``prefix``.

    Raises RuntimeError where the scheme is not `available` or cannot be computed now, ValueError for a NUL in the key or a key
    over `LONGEST_KEY`.
    """
    function = _crypt_r(prefix)
    if function is None:
        raise RuntimeError("this system's libcrypt does not have the scheme")
    if b"\0" in key or len(key) > LONGEST_KEY:
        raise ValueError("a password that crypt(3) does not take")
    result = function(key, stored)
    if result is None or len(result) != len(stored) or result[:1] == b"*":
        raise RuntimeError("crypt_r failed")
    return result

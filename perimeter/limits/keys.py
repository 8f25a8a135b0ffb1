"""The key of a client in memory that worker processes share: two numbers, made with a secret of this gateway."""

from __future__ import annotations

from hashlib import blake2b
from typing import NamedTuple


class Key(NamedTuple):
    """``at`` chooses the place in a table (64 bits). ``mark`` identifies the client there (64 bits, not 0)."""

    at: int
    mark: int


def key_of(text: str, secret: bytes) -> Key:
    """The key of ``text``. Without ``secret`` (16 to 64 bytes), clients cannot choose texts with the same place."""
    digest = blake2b(text.encode("utf-8", "surrogatepass"), key=secret, digest_size=16).digest()
    return Key(int.from_bytes(digest[:8]), int.from_bytes(digest[8:]) or 1)

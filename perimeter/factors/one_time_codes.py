"""Codes that people type once: recovery codes, and the operator's code for a first factor. Pure.

A code has 80 random bits, so its SHA-256 is kept: there is nothing to guess that a slow hash would protect.
"""

from __future__ import annotations

import base64
import re
import secrets
from hashlib import sha256
from typing import Final

RECOVERY_CODES: Final = 10
"""Recovery codes that a user gets."""

_BYTES: Final = 10
_GROUP: Final = 4
_FORM: Final = re.compile(r"[a-z2-7]{16}")
_SEPARATORS: Final = re.compile(r"[\s-]")


def new_code() -> str:
    """A new code: ``xxxx-xxxx-xxxx-xxxx`` in base32 (RFC 4648, section 6), lower case."""
    text = base64.b32encode(secrets.token_bytes(_BYTES)).decode("ascii").lower()
    return "-".join(text[at : at + _GROUP] for at in range(0, len(text), _GROUP))


def digest_of(text: str) -> bytes | None:
    """The SHA-256 of a code as a user has typed it, in any case, with or without separators; None if it has another form."""
    code = _SEPARATORS.sub("", text).lower()
    return sha256(code.encode("ascii")).digest() if _FORM.fullmatch(code) else None

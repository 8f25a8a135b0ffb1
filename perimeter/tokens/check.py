"""The check inside an API token, and in the cookie of a session: the gateway recognizes a forged one without a look-up.

The text of a token is `FORM_2`, 37 random characters (222 bits) and 6 characters of a MAC of what stands before them (36 bits of
HMAC-SHA-256, under a key of the site). Of 2**36 forged tokens one passes, and is looked up then: the check saves look-ups, and
proves nothing. A token from before the check is `TOKEN_PREFIX` and 43 characters, so that the length tells the two apart. The
value of a cookie is 43 characters with and without a check. Sessions do not last long: for a while, some of them have none.
"""

from __future__ import annotations

import base64
import hmac
import re
import secrets
from collections.abc import Sequence
from enum import Enum
from hashlib import sha256
from typing import Final

from perimeter.errors import InvalidToken, UncheckedToken, UnknownToken
from perimeter.model import TOKEN_PREFIX
from perimeter.secrets_key import SecretsKey

FORM_2: Final = f"{TOKEN_PREFIX}2_"
"""The beginning of a token with a check."""

LENGTH: Final = 43
"""Characters of a text without its beginning."""

_MAC: Final = 6
_FORM: Final = re.compile(rf"{TOKEN_PREFIX}(2_)?[A-Za-z0-9_-]{{{LENGTH}}}")


class Check:
    """Makes random texts that have a MAC at their end. ``keys`` are those of the MAC: the first makes it, each recognizes it."""

    __slots__ = ("_keys",)

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = keys

    def make(self, front: str = "") -> str:
        """``front`` and `LENGTH` characters of base64url, of which the last ones are the MAC of all others."""
        text = front + secrets.token_urlsafe(LENGTH)[: LENGTH - _MAC]
        return text + _mac(self._keys[0], text.encode("ascii")).decode("ascii")

    def good(self, text: bytes) -> bool:
        """Whether `make` can have made ``text``. Takes 2 µs."""
        front, mac = text[:-_MAC], text[-_MAC:]
        return any(hmac.compare_digest(_mac(key, front), mac) for key in self._keys)


def cookie_check(key: SecretsKey) -> Check:
    """The check inside the cookies of sessions."""
    return Check(key.derive_all(b"session cookie check"))


class Judgement(Enum):
    """What the text of a token says about it: it may exist, it may and is from before the check, or it cannot exist."""

    GOOD = "good"
    OLD = "old"
    FORGED = "forged"


class TokenCheck:
    """Makes the texts of tokens under the first key of ``key``, and recognizes those under each of them."""

    def __init__(self, key: SecretsKey) -> None:
        self._check = Check(key.derive_all(b"API token check"))

    def make(self) -> str:
        """The text of a new token."""
        return self._check.make(FORM_2)

    def judge(self, text: str) -> Judgement:
        """Whether a token with this text can exist. Takes 3 µs."""
        found = _FORM.fullmatch(text)
        if found is None:
            return Judgement.FORGED
        if found[1] is None:
            return Judgement.OLD
        return Judgement.GOOD if self._check.good(text.encode("ascii")) else Judgement.FORGED


def unknown(text: str, digest: bytes, check: TokenCheck | None) -> InvalidToken:
    """The refusal of an API token that this process does not have: its class says whether it makes sense to look for it.

    `UnknownToken`: another process may have it. `UncheckedToken`: the same, but clients can make any number of such texts.
    `InvalidToken`: a token with this text was never issued. ``digest`` is the SHA-256 of ``text``. Without
    ``check`` it always makes sense.
    """
    judgement = Judgement.GOOD if check is None else check.judge(text)
    if judgement is Judgement.FORGED:
        return InvalidToken("not an API token of this gateway: it has another form, or its check is wrong")
    kind = UnknownToken if judgement is Judgement.GOOD else UncheckedToken
    return kind("no such API token, or it was revoked", digest=digest)


def _mac(key: bytes, text: bytes) -> bytes:
    """`_MAC` characters of base64url."""
    return base64.urlsafe_b64encode(hmac.digest(key, text, sha256)[:_MAC])[:_MAC]

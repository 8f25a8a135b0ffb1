"""The check inside an API token: the gateway recognizes a forged token without a look-up.

The text of a token is `FORM_2`, 37 random characters (222 bits) and 6 characters of a MAC of what stands before them (36 bits of
HMAC-SHA-256, under a key of the site). Of 2**36 forged tokens one passes, and is looked up then: the check saves look-ups, and
proves nothing. A token from before the check is `TOKEN_PREFIX` and 43 characters, so that the length tells the two apart.
"""

from __future__ import annotations

import base64
import hmac
import re
import secrets
from enum import Enum
from hashlib import sha256
from typing import Final

from perimeter.errors import InvalidToken, UncheckedToken, UnknownToken
from perimeter.model import TOKEN_PREFIX
from perimeter.secrets_key import SecretsKey

FORM_2: Final = f"{TOKEN_PREFIX}2_"
"""The beginning of a token with a check."""

_MAC: Final = 6
_BODY: Final = 37
_FORM: Final = re.compile(rf"{TOKEN_PREFIX}(2_)?[A-Za-z0-9_-]{{43}}")


class Judgement(Enum):
    """What the text of a token says about it: it may exist, it may and is from before the check, or it cannot exist."""

    GOOD = "good"
    OLD = "old"
    FORGED = "forged"


class TokenCheck:
    """Makes the texts of tokens under the first key of ``key``, and recognizes those under each of them."""

    def __init__(self, key: SecretsKey) -> None:
        self._keys = key.derive_all(b"API token check")

    def make(self) -> str:
        """The text of a new token."""
        front = FORM_2 + secrets.token_urlsafe(_BODY)[:_BODY]
        return front + _mac(self._keys[0], front)

    def judge(self, text: str) -> Judgement:
        """Whether a token with this text can exist. Takes 3 µs."""
        found = _FORM.fullmatch(text)
        if found is None:
            return Judgement.FORGED
        if found[1] is None:
            return Judgement.OLD
        front, mac = text[:-_MAC], text[-_MAC:]
        good = any(hmac.compare_digest(_mac(key, front), mac) for key in self._keys)
        return Judgement.GOOD if good else Judgement.FORGED


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


def _mac(key: bytes, front: str) -> str:
    """`_MAC` characters of base64url."""
    return base64.urlsafe_b64encode(hmac.digest(key, front.encode("ascii"), sha256)[:_MAC])[:_MAC].decode("ascii")

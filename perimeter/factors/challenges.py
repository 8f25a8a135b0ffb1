"""Challenges of passkeys: each for one browser, one purpose and five minutes, and good once. Nothing is stored for one.

A challenge (W3C Web Authentication, section 13.4.3) is a MAC under a key of the gateway. It covers the cookie that the page was
made for, so another browser's answer does not fit, and a number, an end and the name of the key, which stand in the page and come
back with the answer.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from typing import Final

import attrs

from perimeter.errors import WrongFactor
from perimeter.factors.webauthn import LIFETIME
from perimeter.secrets_key import SecretsKey
from perimeter.state.once import Claims
from perimeter.tokens.format import EpochClock

_TEXT: Final = re.compile(r"[A-Za-z0-9_-]{22}\.([0-9]{1,12})\.([0-9a-f]{8})")
_LABEL: Final = b"perimeter webauthn challenge 1"


class ChallengeExpired(WrongFactor):
    """The page was open for too long: the user can try again at once."""


@attrs.frozen
class Bound:
    """What a challenge is bound to: the value of a browser's cookie, the id of its session or pending sign-in ("" without one),
    and the purpose of the page."""

    cookie: bytes = attrs.field(repr=False)
    session: str
    purpose: str


@attrs.frozen
class Challenge:
    """32 bytes, and the text in the page that they can be made of again. It is good until ``until`` (epoch seconds).

    ``key`` is the place of its key in `perimeter.secrets_key.SecretsKey.derive_all`.
    """

    value: bytes
    text: str
    until: int
    key: int


class Challenges:
    """Makes challenges under ``key``, which all processes have, and lets each of them be used once, by ``claims``."""

    def __init__(self, key: SecretsKey, claims: Claims, clock: EpochClock) -> None:
        self._keys = key.derive_all(b"challenge")
        self._names = [hashlib.sha256(one).hexdigest()[:8] for one in self._keys]
        self._claims = claims
        self._clock = clock

    def issue(self, bound: Bound) -> Challenge:
        """A new challenge."""
        until = int(self._clock.seconds()) + LIFETIME
        text = f"{secrets.token_urlsafe(16)}.{until}.{self._names[0]}"
        return Challenge(self._value(text, bound, 0), text, until, 0)

    def recall(self, text: str, bound: Bound) -> Challenge:
        """The challenge that the page with ``text`` had. Raises `ChallengeExpired` if it is too old, or its key is gone.

        A text that was never issued leads to a challenge, too, which no passkey has signed.
        """
        found = _TEXT.fullmatch(text)
        until = 0 if found is None else int(found[1])
        now = self._clock.seconds()
        if found is None or not now < until <= now + LIFETIME or found[2] not in self._names:
            raise ChallengeExpired("the page was open for too long")
        key = self._names.index(found[2])
        return Challenge(self._value(text, bound, key), text, until, key)

    async def use(self, challenge: Challenge) -> None:
        """Use a challenge, whose answer was found good: so only good answers are written to the state.

        Raises `WrongFactor` if it was used before, and `Unavailable` if that cannot be established.
        """
        if not await self._claims.claim(b"challenge\0" + challenge.value, float(challenge.until)):
            raise WrongFactor("the challenge was used before")

    def _value(self, text: str, bound: Bound, key: int) -> bytes:
        parts = (_LABEL, bound.cookie, bound.session.encode("utf-8"), bound.purpose.encode("utf-8"), text.encode("ascii"))
        return hmac.digest(self._keys[key], b"\0".join(parts), hashlib.sha256)

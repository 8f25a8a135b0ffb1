"""Challenges of passkeys: each for one browser, one purpose and five minutes, and good once. Nothing is stored for one.

A challenge (W3C Web Authentication, section 13.4.3) is a MAC under a key of the gateway. It covers the cookie that the page was
made for, so another browser's answer does not fit, and a number and an end that stand in the page and come back with the answer.
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
from perimeter.state.once import Claims
from perimeter.tokens.format import EpochClock

_TEXT: Final = re.compile(r"[A-Za-z0-9_-]{22}\.([0-9]{1,12})")
_LABEL: Final = b"perimeter webauthn challenge 1"


@attrs.frozen
class Bound:
    """What a challenge is bound to: the value of a browser's cookie, the id of its session or pending sign-in ("" without one),
    and the purpose of the page."""

    cookie: bytes = attrs.field(repr=False)
    session: str
    purpose: str


@attrs.frozen
class Challenge:
    """32 bytes, and the text in the page that they can be made of again."""

    value: bytes
    text: str


class Challenges:
    """Makes challenges under ``key``, which all workers have, and takes each of them once, by ``claims``."""

    def __init__(self, key: bytes, claims: Claims, clock: EpochClock) -> None:
        self._key = key
        self._claims = claims
        self._clock = clock

    def issue(self, bound: Bound) -> Challenge:
        """A new challenge."""
        text = f"{secrets.token_urlsafe(16)}.{int(self._clock.seconds()) + LIFETIME}"
        return Challenge(self._value(text, bound), text)

    async def redeem(self, text: str, bound: Bound) -> bytes:
        """The challenge that the page with ``text`` had. It is used by that, whatever the answer to it is.

        Raises `WrongFactor` if it is too old or was used, and `Unavailable` if that cannot be established. An answer to a
        challenge that was never issued fits no value that this returns.
        """
        found = _TEXT.fullmatch(text)
        until = 0 if found is None else int(found[1])
        if not self._clock.seconds() < until <= self._clock.seconds() + LIFETIME:
            raise WrongFactor("the page was open for too long")
        value = self._value(text, bound)
        if not await self._claims.claim(b"webauthn\0" + value, float(until)):
            raise WrongFactor("the challenge was used before")
        return value

    def _value(self, text: str, bound: Bound) -> bytes:
        parts = (_LABEL, bound.cookie, bound.session.encode("utf-8"), bound.purpose.encode("utf-8"), text.encode("ascii"))
        return hmac.digest(self._key, b"\0".join(parts), hashlib.sha256)

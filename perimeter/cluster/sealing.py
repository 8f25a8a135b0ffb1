"""The MAC of each value that the gateway keeps in Redis: whoever can write there, but has no cluster secret, can make none.

The MAC covers the name of the key and all bytes of the value, so a value cannot be moved to another key. It does not prevent that
an earlier value is put back under its own key.
"""

from __future__ import annotations

import hmac
from hashlib import sha256
from typing import Final

from twisted.logger import Logger

from perimeter.errors import StateUnavailable

_log = Logger()

LENGTH: Final = 16
"""Bytes of the MAC, with which each value begins."""

PURPOSE: Final = b"values in Redis"
"""What the keys are derived for (`perimeter.secrets_key.SecretsKey.derive_all`)."""


class Sealing:
    """Adds and checks MACs. The first of ``keys`` makes them, and each of them is accepted."""

    __slots__ = ("_keys",)

    def __init__(self, first: bytes, *others: bytes) -> None:
        self._keys = (first, *others)

    def use(self, first: bytes, *others: bytes) -> None:
        """Use these keys from now on."""
        self._keys = (first, *others)

    def seal(self, name: str, data: bytes) -> bytes:
        """``data`` with its MAC, for the key ``name`` of Redis."""
        return _mac(self._keys[0], name, data) + data

    def open(self, name: str, value: bytes) -> bytes:
        """The data in ``value``, which is under the key ``name``. Raises `StateUnavailable` if it is not what `seal` has made."""
        mac, data = value[:LENGTH], value[LENGTH:]
        if any(hmac.compare_digest(mac, _mac(key, name, data)) for key in self._keys):
            return data
        raise unreadable("a value was changed, or is sealed with another cluster secret")


def unreadable(why: str) -> StateUnavailable:
    """The error for a value in Redis that cannot be used, which is logged."""
    _log.error("a value in Redis is not used: {why}", why=why)
    return StateUnavailable(f"a value in Redis is not used: {why}")


def _mac(key: bytes, name: str, data: bytes) -> bytes:
    spelled = name.encode("utf-8", "surrogatepass")
    return hmac.digest(key, b"%d:%b%b" % (len(spelled), spelled, data), sha256)[:LENGTH]

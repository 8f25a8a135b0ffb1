"""A rate of a route: requests, or bytes of request bodies, in a time."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import Final

from perimeter.errors import RateExceeded
from perimeter.limits.buckets import Buckets
from perimeter.limits.keys import Key, key_of
from perimeter.recent import Memo

_SECOND: Final = 1_000_000_000
_REMEMBERED: Final = 4096


class RateLimit:
    """``amount`` in ``seconds`` for each client, up to ``burst`` at once. ``name`` (``5/s per user``) is for the operator.

    ``place`` identifies the limit, so that its buckets outlive a reload. ``word`` names it in RateLimit-Policy. ``count`` is
    called for each request that is refused.
    """

    def __init__(
        self,
        buckets: Buckets,
        secret: bytes,
        *,
        place: str,
        name: str,
        word: str,
        amount: int,
        seconds: int,
        burst: int,
        count: Callable[[], None],
    ) -> None:
        self.name = name
        self._buckets = buckets
        self._secret = secret
        self._place = place
        self._amount = amount
        self._period = seconds * _SECOND
        #: nanoseconds until one more request, and until an empty bucket is full
        self._cost = self._period // amount
        self._whole = self._cost * burst
        self._spent = self._period * burst // amount
        window = ceil(self._whole / _SECOND)
        self._lines = f'RateLimit-Policy: "{word}";q={burst};w={window}\r\nRateLimit: "{word}";r=0;t='.encode("ascii")
        self._count = count
        self._keys: Memo[str, Key] = Memo(_REMEMBERED)

    def take(self, client: str) -> None:
        """Count a request of ``client``. Raises `RateExceeded` if there were too many."""
        missing = self._buckets.take(self._key(client), self._cost, self._whole)
        if missing:
            self._count()
            seconds = ceil(missing / _SECOND)
            raise RateExceeded(f"over rate = {self.name}", retry_after=seconds, lines=b"%b%d\r\n" % (self._lines, seconds))

    def spend(self, client: str, amount: int) -> float:
        """Count ``amount`` bytes of ``client``. Returns the seconds for which no more should come."""
        return self._buckets.spend(self._key(client), self._period * amount // self._amount, self._spent) / _SECOND

    def _key(self, client: str) -> Key:
        key = self._keys.get(client)
        return self._keys.keep(client, key_of(f"{self._place} {client}", self._secret)) if key is None else key

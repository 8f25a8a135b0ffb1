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
    """``amount`` in ``seconds`` for each client, up to ``burst`` at once. ``name`` (``5/s per user``) is printable ASCII.

    ``place`` identifies the limit, so that its buckets outlive a reload. ``count`` is called for each request that is refused.
    """

    def __init__(
        self,
        buckets: Buckets,
        secret: bytes,
        *,
        place: str,
        name: str,
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
        #: RateLimit-Policy and RateLimit; with how many more requests are allowed, and the seconds until there are more
        self._lines = f'RateLimit-Policy: "{name}";q={burst};w={window}\r\nRateLimit: "{name}";r=%d;t=%d\r\n'.encode("ascii")
        self._count = count
        self._keys: Memo[str, Key] = Memo(_REMEMBERED)

    def take(self, client: str) -> bytes:
        """Count a request of ``client``. Raises `RateExceeded` if there were too many. Returns header lines for the response."""
        used = self._buckets.take(self._key(client), self._cost, self._whole)
        left = self._whole - used
        if left < 0:
            self._count()
            seconds = ceil(-left / _SECOND)
            raise RateExceeded(f"over rate = {self.name}", retry_after=seconds, lines=self._lines % (0, seconds))
        return self._lines % (left // self._cost, ceil(used / _SECOND))

    def spend(self, client: str, amount: int) -> float:
        """Count ``amount`` bytes of ``client``. Returns the seconds for which no more should come."""
        return self._buckets.spend(self._key(client), self._period * amount // self._amount, self._spent) / _SECOND

    def _key(self, client: str) -> Key:
        key = self._keys.get(client)
        return self._keys.keep(client, key_of(f"{self._place} {client}", self._secret)) if key is None else key

"""Limits how often clients make the gateway look for API tokens that have no check (`perimeter.tokens.check`).

Any text of the right form could be such a token, so each forged one costs a question to the store. Where the store is one that
several machines share, clients without a token could keep it busy (attack 180). Tokens in memory are not concerned.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from perimeter.errors import Overloaded, UncheckedToken, UnknownToken
from perimeter.limits.keys import key_of
from perimeter.limits.memory import LimitMemory
from perimeter.model import network_of

MOST_A_SECOND: Final = 50
"""Look-ups for tokens without a check, for each address, or each /64 of IPv6. So many are possible at once."""

_SECOND: Final = 1_000_000_000


class LookUps:
    """Counts in ``memory``, which all workers share. ``needed`` says whether an unknown token has to be looked up at all."""

    def __init__(self, memory: LimitMemory, needed: Callable[[], bool]) -> None:
        self._memory = memory
        self._needed = needed

    def admit(self, error: UnknownToken, address: str) -> None:
        """Raise `Overloaded` if the token of ``error`` must not be looked up now, because of its client at ``address``.

        It is 503, not 401: the token may be good. The operator ("") has no limit.
        """
        if not isinstance(error, UncheckedToken) or not address or not self._needed():
            return
        key = key_of(f"look-ups of tokens {network_of(address)}", self._memory.secret)
        if self._memory.buckets.take(key, _SECOND // MOST_A_SECOND, _SECOND) > _SECOND:
            raise Overloaded(f"over {MOST_A_SECOND} look-ups a second of API tokens without a check", retry_after=1)

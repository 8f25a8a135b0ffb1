"""Limits how often clients make the gateway look for API tokens and sessions that have no check (`perimeter.tokens.check`).

Any text of the right form could be such a token or cookie, so each forged one costs a question to the store. Where the store is
one that several machines share, clients without credentials could keep it busy (attacks 180 and 181). What is in memory, or has a
check, is not concerned.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from perimeter.errors import Overloaded
from perimeter.limits.keys import key_of
from perimeter.limits.memory import LimitMemory
from perimeter.model import network_of
from perimeter.tokens.check import Check

MOST_A_SECOND: Final = 50
"""Look-ups without a check, for each address, or each /64 of IPv6. So many are possible at once."""

_SECOND: Final = 1_000_000_000


class LookUps:
    """Counts in ``memory``, which all workers share. ``complete`` says whether all is in memory, so that nothing is looked up.

    ``what`` is looked up (``API tokens``): each kind has its own limit.
    """

    def __init__(self, memory: LimitMemory, complete: Callable[[], bool], what: str) -> None:
        self._memory = memory
        self._complete = complete
        self._what = what

    def admit(self, address: str) -> None:
        """Count a look-up without a check for a client at ``address``. Raises `Overloaded` if there are too many.

        It is 503, not 401: what was not looked up may be good. The operator ("") has no limit.
        """
        if not address or self._complete():
            return
        key = key_of(f"look-ups of {self._what} {network_of(address)}", self._memory.secret)
        if self._memory.buckets.take(key, _SECOND // MOST_A_SECOND, _SECOND) > _SECOND:
            raise Overloaded(f"over {MOST_A_SECOND} look-ups a second of {self._what} without a check", retry_after=1)


class CookieLookUps:
    """The look-ups of cookies of sessions: ``check`` is that of their values."""

    def __init__(self, check: Check, look_ups: LookUps) -> None:
        self._check = check
        self._look_ups = look_ups

    def admit(self, cookie: bytes, address: str) -> None:
        """As `LookUps.admit`, for the value ``cookie``. One with a good check has no limit."""
        if not self._check.good(cookie):
            self._look_ups.admit(address)

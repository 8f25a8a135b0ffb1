"""How many connections of clients there may be, in total and from one address."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from perimeter.descriptors import clients_share

UNNAMED: Final = ""
"""Stands for the address of a client that is not known yet."""


class ConnectionLimits:
    """Limits the number of connections, in total and from one canonical address (attack 22). One object for all listeners.

    ``make_room`` closes some of the connections that send nothing, of one address or of all (None), the oldest first. It returns
    how many: a client that is silent must not take the place of one that is not (attack 58).
    """

    def __init__(
        self, total: int = 20000, per_address: int = 1000, make_room: Callable[[str | None], int] = lambda address: 0
    ) -> None:
        self.total = total
        self.per_address = per_address
        self.make_room = make_room
        self._open = 0
        self._by_address: dict[str, int] = {}

    def change(self, total: int, per_address: int) -> None:
        """Apply other limits from now on; half of the descriptors at most. Present connections stay."""
        self.total = clients_share(total)
        self.per_address = per_address

    @property
    def open(self) -> int:
        """The number of open connections."""
        return self._open

    def admit(self, address: str) -> bool:
        """Count a connection from ``address`` (canonical, or `UNNAMED`, for which there is only the total).

        Returns False, without counting it, if a limit is reached and no connection could make room for it.
        """
        by_address = self._by_address
        if by_address.get(address, 0) >= self.per_address and address != UNNAMED and not self.make_room(address):
            return False
        # One that made room is not enough if there were more than the limit: other processes or a reload may have lowered it.
        if self._open >= self.total and not (self.make_room(None) and self._open < self.total):
            return False
        self._open += 1
        by_address[address] = by_address.get(address, 0) + 1
        return True

    def release(self, address: str) -> None:
        """A connection from ``address`` has ended."""
        self._open -= 1
        left = self._by_address[address] - 1
        if left:
            self._by_address[address] = left
        else:
            del self._by_address[address]

"""How many requests of an upstream one client may have at a time, with ``fair = yes``. Pure.

A request begins if its client has fewer requests than places are free. So a client alone gets half of the places, two get a third
each, and as long as there are fewer clients than places, one is free for a client that has no request yet. The number of clients
need not be known (dynamic thresholds of Choudhury and Hahne, as switches divide their buffers).
"""

from __future__ import annotations


class FairShares:
    """The requests that each client has with the servers of an upstream."""

    def __init__(self) -> None:
        self._held: dict[str, int] = {}

    def may_begin(self, client: str, free: int) -> bool:
        """Whether one more request of ``client`` may begin while ``free`` places are free."""
        return self._held.get(client, 0) < free

    def begin(self, client: str) -> None:
        """A request of ``client`` begins."""
        self._held[client] = self._held.get(client, 0) + 1

    def end(self, client: str) -> None:
        """A request of ``client`` has ended."""
        left = self._held[client] - 1
        if left:
            self._held[client] = left
        else:
            del self._held[client]

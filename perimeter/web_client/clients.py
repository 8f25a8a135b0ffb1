"""The pooled HTTP clients of a gateway. They are made on demand, since most gateways need none."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perimeter.web_client.pooled import PooledClient


class WebClients:
    """One `PooledClient` for each file of trusted CAs, shared by all authenticators.

    ``reactor`` is Any because no interface of Twisted combines timers, TCP and the name resolver.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._clients: dict[Path | None, PooledClient] = {}

    def trusting(self, ca_certificate: Path | None) -> PooledClient:
        """Return the client that trusts the CAs in this file (None: those of the system). Raises `StartupError`."""
        from perimeter.web_client.pooled import PooledClient

        if ca_certificate not in self._clients:
            self._clients[ca_certificate] = PooledClient(self._reactor, ca_certificate)
        return self._clients[ca_certificate]

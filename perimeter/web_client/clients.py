"""The pooled HTTP clients of a gateway, made when the first authenticator needs one: most gateways need none."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perimeter.web_client.pooled import PooledClient


class WebClients:
    """One `PooledClient` for each set of trusted CAs, shared by all authenticators."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._clients: dict[Path | None, PooledClient] = {}

    def trusting(self, ca_certificate: Path | None) -> PooledClient:
        """The client that trusts the CAs in this file (None: the CAs of the system). Raises `StartupError`."""
        from perimeter.web_client.pooled import PooledClient

        if ca_certificate not in self._clients:
            self._clients[ca_certificate] = PooledClient(self._reactor, ca_certificate)
        return self._clients[ca_certificate]

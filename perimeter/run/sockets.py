"""Where listening sockets come from: the seam between the part that owns them and the part that accepts connections."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Protocol

from perimeter.config.site.listener import ListenerSettings
from perimeter.net.binding import bind
from perimeter.workers.plan import Address


class Sockets(Protocol):
    """Provides the sockets to listen on."""

    def socket_for(self, settings: ListenerSettings) -> socket.socket:
        """A non-blocking socket that listens at the address of ``settings``; the caller closes it. Raises `StartupError`."""


class BoundSockets:
    """`Sockets` of a single process: those that systemd has ``activated``, each once, and new ones."""

    def __init__(self, activated: Mapping[Address, socket.socket] | None = None) -> None:
        self._activated = dict(activated or {})

    def socket_for(self, settings: ListenerSettings) -> socket.socket:
        """See `Sockets`."""
        address = Address(settings.name, settings.interface, settings.port)
        return self._activated.pop(address, None) or bind(settings.name, settings.interface, settings.port)

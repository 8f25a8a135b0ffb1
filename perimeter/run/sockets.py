"""Where listening sockets come from: the seam between the part that owns them and the part that accepts connections."""

from __future__ import annotations

import socket
from typing import Protocol

from perimeter.config.site.listener import ListenerSettings
from perimeter.net.binding import bind


class Sockets(Protocol):
    """Provides the sockets to listen on."""

    def socket_for(self, settings: ListenerSettings) -> socket.socket:
        """A non-blocking socket that listens at the address of ``settings``; the caller closes it. Raises `StartupError`."""


class BoundSockets:
    """`Sockets` of a single process: binds a new one each time."""

    def socket_for(self, settings: ListenerSettings) -> socket.socket:
        """See `Sockets`."""
        return bind(settings.name, settings.interface, settings.port)

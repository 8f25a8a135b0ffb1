"""Where listening sockets come from: the seam between the part that owns them and the part that accepts connections."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from typing import Protocol

from perimeter.config.site.listener import ListenerSettings
from perimeter.net.binding import Owner, bind
from perimeter.workers.plan import Address


class Sockets(Protocol):
    """Provides the sockets to listen on."""

    def socket_for(self, settings: ListenerSettings, present: Iterable[socket.socket]) -> socket.socket:
        """A non-blocking socket that listens at the address of ``settings``; the caller closes it. Raises `StartupError`.

        ``present`` are the sockets of the listeners in use.
        """


class BoundSockets:
    """`Sockets` of a single process: those that systemd has ``activated``, each once, and new ones, which belong to ``owner``."""

    def __init__(self, activated: Mapping[Address, socket.socket] | None = None, owner: Owner | None = None) -> None:
        self._activated = dict(activated or {})
        self._owner = owner

    def socket_for(self, settings: ListenerSettings, present: Iterable[socket.socket]) -> socket.socket:
        """See `Sockets`."""
        address = settings.address
        return self._activated.pop(address, None) or bind(address, self._owner, present)

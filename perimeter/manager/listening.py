"""The listening sockets of the manager, which all workers inherit."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping

from perimeter.errors import StartupError
from perimeter.net.binding import Owner, bind
from perimeter.workers.plan import Address

Sockets = Mapping[Address, socket.socket]
"""The listening sockets by the addresses of the listeners. During a reload, two listeners may have the same address."""


def open_sockets(addresses: Iterable[Address], present: Sockets, owner: Owner | None = None) -> Sockets:
    """The sockets for ``addresses``: those of ``present`` where they fit, otherwise new ones, which belong to ``owner``.

    Raises `StartupError`; then no socket has been opened.
    """
    found: dict[Address, socket.socket] = {}
    try:
        for address in addresses:
            found[address] = _fitting(address, present) or bind(address, owner, present.values())
    except StartupError:
        close_sockets(found, present)
        raise
    return found


def close_sockets(sockets: Sockets, keep: Sockets) -> None:
    """Close all of ``sockets`` that are not in ``keep``."""
    for one in sockets.values():
        if one not in keep.values():
            one.close()


def _fitting(address: Address, present: Sockets) -> socket.socket | None:
    if address in present:
        return present[address]
    if address.place is None:  # any free port: the one that another listener got is taken
        return None
    return next((one for other, one in present.items() if other.place == address.place), None)

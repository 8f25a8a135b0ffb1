"""A worker process that accepts connections, for tests.

Its command is ``python -m tests.integration.accepting_worker PAGE SOCKET NUMBER LIMIT``.

PAGE and SOCKET are inherited descriptors, NUMBER is the slot, LIMIT is the largest number of connections of all workers. Each
connection gets one byte, the number, and stays open until the client closes it. The process ends when its standard input does.
"""

from __future__ import annotations

import os
import socket
import sys
from types import SimpleNamespace
from typing import Any, cast

from twisted.internet import protocol

from perimeter.config.site.listener import ListenerSettings
from perimeter.net.deadlines import Deadlines
from perimeter.net.listeners import listen
from perimeter.net.reactor import install
from perimeter.net.share import SharedLimits, SharedPort
from perimeter.workers.page import SharedPage, SlotState
from perimeter.workers.place import Place


class _Numbered(protocol.Protocol):
    """Sends the number of the worker."""

    number = b""

    def connectionMade(self) -> None:
        cast(Any, self.transport).write(self.number)


def main(page: str, listening: str, number: str, total: str) -> None:
    """Serve until the standard input ends."""
    install()
    from twisted.internet import reactor as installed
    from twisted.internet.stdio import StandardIO

    reactor: Any = installed
    channel: Any = SimpleNamespace(tell=lambda name, /, **told: None)  # there is no manager
    place = Place(int(number), SharedPage(int(page), []), channel, {})
    limits = SharedLimits(place, reactor)
    limits.change(int(total), per_address=100_000)
    _Numbered.number = number.encode()
    factory = protocol.Factory.forProtocol(_Numbered)
    factory.noisy = False
    listen(
        reactor,
        ListenerSettings("shared", 0, "127.0.0.1"),
        factory,
        None,
        limits,
        Deadlines(reactor),
        listening=socket.socket(fileno=int(listening)),
        port_type=SharedPort,
    ).startListening()  # type: ignore[no-untyped-call]

    class Parent(protocol.Protocol):
        def connectionLost(self, reason: object = None) -> None:
            os._exit(0)

    StandardIO(Parent())
    place.slot.pid = os.getpid()
    place.slot.state = SlotState.SERVING
    reactor.run()


if __name__ == "__main__":
    main(*sys.argv[1:])

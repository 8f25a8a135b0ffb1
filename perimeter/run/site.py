"""What the connections of a listener have in common, and the factory that makes them."""

from __future__ import annotations

from collections.abc import Callable

import attrs
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory

from perimeter.audit.sink import IAuditSink
from perimeter.config.site.limits import LimitSettings
from perimeter.http.answers import Answers
from perimeter.http.exchange import Exchange
from perimeter.http.h1.connection import Channel
from perimeter.net.deadlines import Deadlines
from perimeter.net.turns import Turns
from perimeter.run.build.assembly import Assembly


@attrs.define(eq=False)
class Site:
    """What the connections of one listener share (`perimeter.http.h1.connection.ChannelSite`). A reload replaces its parts."""

    limits: LimitSettings
    deadlines: Deadlines
    turns: Turns
    clock: Callable[[], float]
    dispatch: Callable[[Exchange], None]
    answers: Answers
    audit: IAuditSink
    channels: set[Channel] = attrs.field(factory=set)

    def put_in_force(self, assembly: Assembly, listener: str) -> None:
        """Serve from now on what ``assembly`` has for ``listener``. Requests in flight finish as they began."""
        self.limits = assembly.config.limits
        self.dispatch = assembly.gates[listener].dispatch
        self.answers = assembly.answers
        self.audit = assembly.default_sink

    def shut_down(self) -> None:
        """Serve no further request on any of the connections."""
        for channel in list(self.channels):
            channel.shut_down()


class ChannelFactory(Factory):
    """Makes the channels of one listener."""

    noisy = False

    def __init__(self, site: Site, listener: str) -> None:
        self.site = site
        self.listener = listener
        self.port = 0

    def buildProtocol(self, addr: IAddress | None) -> Channel:
        """A channel for a new connection."""
        return Channel(self.site, self.listener, self.port)

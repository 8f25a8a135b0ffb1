"""What the connections of a listener have in common, and the factory that makes them."""

from __future__ import annotations

from collections.abc import Callable

import attrs
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory

from perimeter.audit.sink import IAuditSink
from perimeter.config.site.limits import LimitSettings
from perimeter.http.answers import Answers
from perimeter.http.connections import Connections
from perimeter.http.exchange import Exchange
from perimeter.http.h1.connection import Http1Connection
from perimeter.http.refusals import RefusalLog
from perimeter.net.contexts import CHALLENGE_ALPN
from perimeter.net.deadlines import Deadlines
from perimeter.net.turns import Turns
from perimeter.run.build.assembly import Assembly

#: a client that offers no protocol speaks HTTP/1
_HTTP_1 = (b"http/1.1", b"http/1.0", b"")


@attrs.define(eq=False)
class Site:
    """What the connections of one listener share (`perimeter.http.connections.ConnectionSite`). A reload replaces its parts."""

    limits: LimitSettings
    deadlines: Deadlines
    turns: Turns
    clock: Callable[[], float]
    next_id_line: Callable[[], bytes]
    dispatch: Callable[[Exchange], None]
    answers: Answers
    audit: IAuditSink
    refusals: RefusalLog
    connections: Connections = attrs.field(factory=Connections)

    def put_in_force(self, assembly: Assembly, listener: str) -> None:
        """Serve from now on what ``assembly`` has for ``listener``. Requests in flight finish as they began."""
        self.limits = assembly.config.limits
        self.next_id_line = assembly.next_id_line
        self.dispatch = assembly.dispatch(listener)
        self.answers = assembly.answers
        self.audit = assembly.default_sink


class ConnectionFactory(Factory):
    """Makes the protocols of one listener's connections. ``port`` is the port's number."""

    noisy = False

    def __init__(self, site: Site, listener: str) -> None:
        self.site = site
        self.listener = listener
        self.port = 0

    def buildProtocol(self, addr: IAddress | None) -> Http1Connection | None:
        """The protocol of a connection without TLS."""
        return self.build(addr, b"")

    def build(self, addr: IAddress | None, alpn: bytes) -> Http1Connection | None:
        """The protocol of a connection on which ``alpn`` was agreed upon (RFC 7301).

        None for a connection of a CA, which has seen in the handshake all that it needs: no request is read from it.
        Raises ValueError for one that is not served; `perimeter.net.contexts` selects HTTP/1 alone.
        """
        if alpn == CHALLENGE_ALPN:
            return None
        if alpn not in _HTTP_1:
            raise ValueError(f"the protocol {alpn!r} was agreed upon, and is not served")
        return Http1Connection(self.site, self.listener, self.port)

"""The client of the primary of a Redis or Valkey, which it finds by itself and finds anew."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime

from perimeter.config.site.redis_url import RedisUrl
from perimeter.net.contexts import ClientTLS
from perimeter.net.contract import Reactor
from perimeter.redis.connection import Argument
from perimeter.redis.dialling import Dialler
from perimeter.redis.link import Finder, Link
from perimeter.redis.script import Script
from perimeter.redis.sentinels import Sentinels
from perimeter.redis.single import SingleServer


class RedisClient:
    """Calls of the primary that ``url`` leads to. Each takes ``timeout`` (seconds) at most. For the reactor thread.

    ``tls`` verifies servers and Sentinels, each for its own host; it is needed if the URL says so.

    No call is repeated. After a connection was lost it is not known whether the server has carried out what was under way, so
    every call has to be such that it may be made twice.
    """

    def __init__(
        self,
        reactor: Reactor,
        url: RedisUrl,
        *,
        tls: ClientTLS | None = None,
        timeout: float = 2.0,
    ) -> None:
        self._clock = cast(IReactorTime, reactor)
        self._timeout = timeout
        dialler = Dialler(reactor, tls, timeout)
        self._finder: Finder = Sentinels(url, dialler) if url.primary else SingleServer(url, dialler)
        self._link = Link(self._clock, self._finder, timeout)
        self._readers: list[Link] = []

    def start(self) -> None:
        """Begin to connect. Returns at once; calls wait for the connection."""
        self._link.start()

    def stop(self) -> Deferred[None]:
        """Close all connections, also those of readers. Fires when that is done; never fails."""
        for link in (self._link, *self._readers):
            link.stop()
        self._finder.stop()
        return succeed(None)

    def call(self, *arguments: Argument) -> Deferred[Any]:
        """Fire with the reply to a command: strings are bytes, maps are dicts, nothing is None.

        Fails with `StateUnavailable`; if the server has answered with an error, that is an `ErrorReply`.
        """
        return self._link.call(*arguments)

    def run(self, script: Script, keys: Sequence[bytes | str], arguments: Sequence[Argument]) -> Deferred[Any]:
        """Fire with what ``script`` returns. A server that does not know it is sent its source. Fails as `call` does."""
        return self._link.run(script, keys, arguments)

    def reader(self) -> Link:
        """A connection of its own for calls that wait (``XREAD BLOCK``, ``WAIT``), one at a time. The caller stops it.

        Redis answers the calls of a connection in their order, so a call that waits would hold up all others.
        """
        link = Link(self._clock, self._finder, self._timeout, logged=False)
        self._readers = [known for known in self._readers if known.running]
        self._readers.append(link)
        link.start()
        return link

    # -- what is known of the primary

    @property
    def run_id(self) -> str:
        """See `Link.run_id`."""
        return self._link.run_id

    @property
    def primary(self) -> str:
        """See `Link.primary`."""
        return self._link.primary

    @property
    def version(self) -> str:
        """See `Link.version`."""
        return self._link.version

    @property
    def local(self) -> str:
        """See `Link.local`."""
        return self._link.local

    @property
    def problem(self) -> str:
        """Why there is no connection, in words; "" while there is one."""
        return self._link.problem

    @property
    def offset(self) -> float:
        """How far the primary's clock is ahead of that of this machine, in seconds; measured each second."""
        return self._link.offset

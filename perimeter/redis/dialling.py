"""Opens connections to servers and Sentinels, with TLS as to upstreams, and says in words why one cannot be made."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Final, cast

import attrs
from twisted.internet.defer import Deferred, inlineCallbacks

from perimeter.config.site.redis_url import RedisUrl
from perimeter.connection_faults import Options, connect_fault, handshake_fault
from perimeter.errors import StateUnavailable
from perimeter.net.connect import HandshakeFailed, connect
from perimeter.net.contexts import ClientTLS
from perimeter.net.contract import Reactor
from perimeter.redis.connection import CLOSED, RedisConnection
from perimeter.redis.greeting import greet
from perimeter.redis.link import Found

_OPTIONS: Final = Options("write redis:// in redis_url", ca="redis_ca", timeout="redis_timeout")


def at(host: str, port: int) -> str:
    """Host and port in words."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Dialler:
    """Opens connections within ``timeout`` seconds. ``tls`` is None for connections in plain text; its name is not used.

    A certificate has to be valid for the host that is connected to, also if a Sentinel has named it.
    """

    def __init__(self, reactor: Reactor, tls: ClientTLS | None, timeout: float) -> None:
        self._reactor = reactor
        self._tls = tls
        self._timeout = timeout

    @inlineCallbacks
    def dial(self, host: str, port: int, lost: Callable[[str], object]) -> Generator[Deferred[Any], Any, RedisConnection]:
        """Connect. ``lost`` as in `RedisConnection`. Fails with `StateUnavailable`."""
        tls = None if self._tls is None else self._tls.for_name(host)
        try:
            connection = yield connect(self._reactor, host, port, tls, lambda: self._protocol(lost), self._timeout)
        except Exception as problem:
            raise StateUnavailable(f"Redis: {at(host, port)}: {self._fault(problem)}") from None
        return cast(RedisConnection, connection)

    def _protocol(self, lost: Callable[[str], object]) -> RedisConnection:
        return RedisConnection(cast(Any, self._reactor), self._timeout, lost)

    def _fault(self, problem: Exception) -> str:
        options = attrs.evolve(_OPTIONS, seconds=self._timeout)
        if isinstance(problem, HandshakeFailed):
            return handshake_fault(problem.reason, problem.code, options)
        return connect_fault(problem, options)

    @inlineCallbacks
    def primary(
        self, url: RedisUrl, host: str, port: int, epoch: int, lost: Callable[[str], object]
    ) -> Generator[Deferred[Any], Any, Found]:
        """Connect to what should be the primary, and greet it. Fails with `StateUnavailable`."""
        connection = yield self.dial(host, port, lost)
        try:
            greeting = yield greet(connection, url)
        except Exception as problem:
            detail = (problem.detail if isinstance(problem, StateUnavailable) else str(problem)).removeprefix("Redis: ")
            if detail == CLOSED and self._tls is None:
                detail = "it closed the connection at once: if it speaks TLS, write rediss:// in redis_url"
            connection.drop(detail)
            raise StateUnavailable(f"Redis: {at(host, port)}: {detail}") from None
        return Found(connection, at(host, port), greeting, epoch)

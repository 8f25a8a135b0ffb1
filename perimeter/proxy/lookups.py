"""Keeps the servers of one upstream up to date with DNS: each address of a name is a server.

Before the first answer the name itself is the server, so that the system's resolver is asked at each new connection. When a
look-up fails, the last addresses stay in use.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from perimeter.net.addresses import Answer, LookUp, LookupFailed

_log = Logger()


class Housed(Protocol):
    """An object that has servers with names: `perimeter.proxy.pool.UpstreamPool`."""

    name: str

    def renew(self, host: str, addresses: Sequence[str]) -> None:
        """``host`` has these addresses from now on."""


class NameLookup:
    """Looks up one ``host`` again and again. ``count`` is called with ``answered`` or ``failed``.

    An answer is used for its TTL, at least ``floor`` and at most ``cap`` seconds. After a failure the next look-up follows in
    ``floor`` seconds.
    """

    def __init__(
        self, pool: Housed, host: str, names: LookUp, floor: float, cap: float, clock: IReactorTime, count: Callable[[str], None]
    ) -> None:
        self.host = host
        self.addresses: tuple[str, ...] = ()
        self.fault = ""
        """The fault of the last look-up, or ""."""
        self._pool = pool
        self._names = names
        self._floor = floor
        self._cap = cap
        self._clock = clock
        self._count = count
        self._refused: tuple[str, ...] = ()
        self._call: IDelayedCall | None = None
        self._asking: Deferred[None] | None = None
        self._running = False

    def start(self) -> None:
        """Look it up now, and then again and again."""
        self._running = True
        self._begin()

    def stop(self) -> None:
        """Stop the look-ups."""
        self._running = False
        if self._call is not None:
            self._call.cancel()
            self._call = None
        if self._asking is not None:
            self._asking.cancel()

    def adopt(self, addresses: tuple[str, ...]) -> None:
        """Use the addresses that were known before a reload."""
        self.addresses = addresses
        self._pool.renew(self.host, addresses)

    def _begin(self) -> None:
        self._call = None
        self._asking = Deferred.fromCoroutine(self._ask())
        self._asking.addErrback(lambda failure: failure.trap(CancelledError) and None)

    async def _ask(self) -> None:
        wait = self._floor
        try:
            found = await self._names.look_up(self.host)
        except LookupFailed as failed:
            self._failed(str(failed))
        except CancelledError:
            raise
        except Exception as error:  # the look-ups must continue
            _log.failure("upstream {name}: {host} could not be looked up", name=self._pool.name, host=self.host)
            self._failed(type(error).__name__)
        else:
            self._answered(found)
            wait = min(max(found.ttl, self._floor), self._cap)
        self._asking = None
        if self._running:
            self._call = self._clock.callLater(wait, self._begin)

    def _failed(self, fault: str) -> None:
        self._count("failed")
        if fault != self.fault:
            self.fault = fault
            kept = f"its last addresses stay in use: {', '.join(self.addresses)}"
            _log.warn(
                "upstream {name}: {host} cannot be looked up: {fault}; {kept}",
                name=self._pool.name,
                host=self.host,
                fault=fault,
                kept=kept if self.addresses else "the resolver of the system is used",
            )

    def _answered(self, found: Answer) -> None:
        self._count("answered")
        addresses = found.addresses
        if found.missing:
            kept = [one for one in self.addresses if ip_address(one).version == found.missing]
            addresses = tuple(dict.fromkeys((*addresses, *kept)))
        if found.refused != self._refused:
            self._refused = found.refused
            if found.refused:
                _log.warn(
                    "upstream {name}: addresses of {host} are not used: {refused}",
                    name=self._pool.name,
                    host=self.host,
                    refused=", ".join(found.refused),
                )
        if addresses != self.addresses or self.fault:
            self.fault = ""
            self.addresses = addresses
            _log.info(
                "upstream {name}: {host} has the addresses {addresses}",
                name=self._pool.name,
                host=self.host,
                addresses=", ".join(addresses),
            )
            self._pool.renew(self.host, addresses)

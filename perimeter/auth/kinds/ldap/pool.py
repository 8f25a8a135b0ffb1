"""The connections to one server for searches: a few, kept open, shared, and never bound as a user (attack 33)."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from perimeter.auth.kinds.ldap.connection import LdapConnection
from perimeter.auth.kinds.ldap.values import Found, Search, ServerFailure
from perimeter.errors import Overloaded

IDLE = 60.0
"""Seconds after which an idle connection is closed: firewalls drop idle connections silently."""

MAX_PENDING = 100
"""Searches at the same time on one connection: OpenLDAP's limit for an anonymous client."""

Opener = Callable[[], Coroutine[Deferred[Any], Any, LdapConnection]]


class _Slot:
    """A place for one connection, which is opened when it is needed."""

    def __init__(self, opener: Opener, clock: Any) -> None:
        self._opener = opener
        self._clock = clock
        self._waiters: list[Deferred[LdapConnection]] = []
        self._opening: Deferred[LdapConnection] | None = None
        self._timer: IDelayedCall | None = None
        self.connection: LdapConnection | None = None
        #: whether the connection is closed as soon as it is idle
        self.retired = False

    @property
    def load(self) -> int:
        """How many searches are under way on the connection, or wait for it."""
        return len(self._waiters) + (self.connection.pending if self.connection else 0)

    def get(self) -> Deferred[LdapConnection]:
        """The connection. All callers wait for the same one while it is being opened."""
        if self.connection is not None:
            if self.connection.alive:
                return succeed(self.connection)
            self.discard()
        waiter: Deferred[LdapConnection] = Deferred(self._leave)
        self._waiters.append(waiter)
        if self._opening is None:
            self._opening = opening = Deferred.fromCoroutine(self._opener())
            opening.addBoth(self._opened)
        return waiter

    def _leave(self, waiter: Deferred[LdapConnection]) -> None:
        # A caller that leaves does not stop the opening, because the next one would have to begin again.
        self._waiters.remove(waiter)
        self._drop_opening()

    def _drop_opening(self) -> None:
        if self.retired and self._opening is not None and not self._waiters:
            self._opening.cancel()

    def _opened(self, outcome: LdapConnection | Failure) -> None:
        self._opening = None
        waiters, self._waiters = self._waiters, []
        if isinstance(outcome, LdapConnection):
            self.connection = outcome
            outcome.on_change = self._changed
            for waiter in waiters:
                waiter.callback(outcome)
            if not outcome.pending:
                self._changed()
        elif waiters:
            for waiter in waiters:
                problem = outcome.value
                # Each waiter gets its own exception: one instance raised in several coroutines would gather all their tracebacks.
                waiter.errback(
                    ServerFailure(problem.detail, final=problem.final) if isinstance(problem, ServerFailure) else outcome
                )

    def _changed(self) -> None:
        """The connection has become idle, or has ended."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.connection is None:
            return
        if not self.connection.alive:
            self.connection = None
        elif self.connection.pending == 0:
            if self.retired:
                self.discard()
            else:
                self._timer = self._clock.callLater(IDLE, self._idle)

    def _idle(self) -> None:
        self._timer = None
        if self.connection is not None and self.connection.pending == 0:
            self.discard()

    def discard(self) -> None:
        """Close the connection."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.on_change = lambda: None
            connection.close()

    def retire(self) -> None:
        """Close the connection as soon as it is idle, from now on."""
        self.retired = True
        self._drop_opening()
        self._changed()


class SearchPool:
    """At most ``size`` connections. ``opener`` opens and binds one; ``clock`` is for closing idle ones."""

    def __init__(self, opener: Opener, size: int, clock: Any) -> None:
        self._slots = tuple(_Slot(opener, clock) for _ in range(size))

    async def search(self, search: Search, timeout: float) -> Found:
        """Run a search; ``timeout`` (seconds) is for each page of its result.

        Raises `ServerFailure` where the server cannot be used, `Unavailable` where it refuses, `Overloaded` where too many
        searches are under way. A connection that was kept may have been closed by the server: the search is then sent again.
        """
        slot = min(self._slots, key=lambda slot: (slot.load, slot.connection is None))
        if slot.load >= MAX_PENDING:
            raise Overloaded("too many searches of the directory are under way", retry_after=1)
        kept = slot.connection is not None
        connection = await slot.get()
        try:
            return await connection.search(search, timeout)
        except ServerFailure as problem:
            if not (problem.stale and kept):
                raise
        return await (await slot.get()).search(search, timeout)

    def close(self) -> None:
        """Close idle connections now, and the others when they become idle. Searches are still answered."""
        for slot in self._slots:
            slot.retire()

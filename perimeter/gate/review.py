"""Judges again what is open for long: a WebSocket, a stream, a long download or upload (attack 51).

Every admission has an end: that of the token or certificate, or the time when the same credential would be verified again for
the next request. A request that is answered sooner never comes here. What is still open then is judged by the gate in force, as
its request was at the beginning, and is cut if it would not be admitted now, or not as the same user with the same roles.

There is no timer for each request: one sweep a second looks at all exchanges under way, and what is due is judged in slices, so
that ten thousand of them, after a reload for example, delay other clients only for a moment.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from math import inf

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from perimeter.errors import IdentityChanged, InternalError, NoRoute, Refusal, TooManyAttempts, Unavailable
from perimeter.gate.decision import Admitted
from perimeter.gate.gate import Gate
from perimeter.gate.identify import Identifier
from perimeter.http.exchange import Exchange
from perimeter.http.roles import Admission
from perimeter.model import ClientConnection, Principal, RequestHead

_log = Logger()

YOUNG = 1.0
"""Seconds that an exchange is under way before it is looked at."""

INTERVAL = 60.0
"""Seconds until a user is verified again of whom nothing is remembered: by a certificate, or with ``remember_password = 0``."""

RETRY = 5.0
"""Seconds until the next attempt if it could not be decided. After an interval of such attempts the exchange is cut."""

#: Exchanges judged in one turn of the reactor (some 10 µs each if the user is remembered), seconds until the next turn, and how
#: many authenticators' answers are awaited at a time: logins wait in the same queues.
_SLICE = 100
_PAUSE = 0.01
_MOST_ASKED = 32
#: Seconds. Times of rules begin and end with a minute, in every time zone.
_MINUTE = 60.0


class Again:
    """The request of an exchange that is judged again, in place of the exchange, which keeps its own decision."""

    __slots__ = ("answer_lines", "connection", "decision", "ended", "head", "time")

    def __init__(self, connection: ClientConnection, head: RequestHead, time: float) -> None:
        self.time = time
        self.connection = connection
        self.head = head
        self.decision: Admission | None = None
        self.answer_lines = b""
        self.ended = False


class Reviewer:
    """Reviews ``exchanges()``: all of those that are under way. The owner calls `sweep` about once a second."""

    def __init__(self, clock: IReactorTime, exchanges: Callable[[], Iterable[Exchange]]) -> None:
        self._clock = clock
        self._exchanges = exchanges
        self._gates: Mapping[str, Gate] = {}
        self._fallback: Gate | None = None
        self._identifier: Identifier | None = None
        self._interval = INTERVAL
        #: counts calls of `everything`: a judgement that began before the last one is made once more
        self._round = 0
        self._due: deque[Exchange] = deque()
        self._asking = 0
        self._next: IDelayedCall | None = None
        #: when the first of several attempts was made that did not decide
        self._undecided: dict[Exchange, float] = {}

    def put_in_force(self, gates: Mapping[str, Gate], fallback: Gate | None, identifier: Identifier, remember: float) -> None:
        """Judge by these gates from now on, which are by the name of their listener, and judge everything once.

        ``fallback`` judges what came over a listener that is gone. ``remember`` is how long a password is not verified again
        (seconds; 0: it always is).
        """
        self._gates = {name: gate.uncounted() for name, gate in gates.items()}
        self._fallback = None if fallback is None else fallback.uncounted()
        self._identifier = identifier
        self._interval = min(remember or INTERVAL, INTERVAL)
        self.everything()

    def stop(self) -> None:
        """Judge nothing any more: the gateway stops, and what is under way has its time to finish."""
        self._identifier = None
        self._due.clear()
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def everything(self) -> None:
        """Judge all that is open soon: rules, keys or users have changed."""
        self._round += 1
        now = self._clock.seconds()
        for exchange in self._exchanges():
            exchange.review = max(now, exchange.time + YOUNG)

    def sweep(self) -> None:
        """Find what is due, and begin to judge it."""
        if self._identifier is None:
            return
        for exchange in [exchange for exchange in self._undecided if exchange.ended]:
            del self._undecided[exchange]
        now = self._clock.seconds()
        for exchange in self._exchanges():
            due = exchange.review
            if not due:
                decision = exchange.decision
                if now - exchange.time < YOUNG or not isinstance(decision, Admitted):
                    continue
                due = exchange.review = self._end(exchange, decision, exchange.time)
            if due <= now:
                exchange.review = inf
                self._due.append(exchange)
        if self._next is None:
            self._proceed()

    def _end(self, exchange: Exchange, decision: Admitted, since: float) -> float:
        """When the admission of ``exchange`` ends, by a judgement at ``since``.

        That of an anonymous client has no end, unless the route has a rule about the time, which holds to the end of a minute.
        """
        route = decision.route
        if route.brief or self._identifier is None:
            return inf
        last = (self._clock.seconds() // _MINUTE + 1) * _MINUTE if route.policy.timed else inf
        principal = decision.principal
        if principal is None:
            return last
        try:
            end = self._identifier.until(exchange.head.headers, principal)
        except Refusal:  # then it is not admitted again either
            return self._clock.seconds()
        if end <= self._clock.seconds():
            end = since + self._interval
        return min(end, last, principal.until, inf if principal.grant is None else principal.grant.expires)

    # -- judging

    def _proceed(self) -> None:
        self._next = None
        due = self._due
        for _ in range(min(_SLICE, len(due))):
            if self._asking >= _MOST_ASKED:
                return  # goes on when one of them is decided
            exchange = due.popleft()
            if not exchange.ended:
                self._judge(exchange)
        if due:
            self._later()

    def _later(self) -> None:
        if self._next is None:
            self._next = self._clock.callLater(_PAUSE, self._proceed)

    def _judge(self, exchange: Exchange) -> None:
        decision = exchange.decision
        if not isinstance(decision, Admitted) or decision.route.brief:
            exchange.review = 0.0  # its first judgement is still under way
            return
        gate = self._gates.get(exchange.connection.listener, self._fallback)
        if gate is None:
            exchange.withdraw(NoRoute("no listener serves routes any more"))
            return
        try:
            found = gate.judge(Again(exchange.connection, exchange.head, exchange.time), exchange.head)
        except Exception as error:
            self._refused(exchange, error)
            return
        if isinstance(found, Admitted):
            self._admitted(exchange, decision, found)
        else:
            self._asking += 1
            Deferred.fromCoroutine(self._ask(exchange, decision, found))

    async def _ask(self, exchange: Exchange, decision: Admitted, later: Awaitable[Admitted]) -> None:
        judging = self._round
        try:
            self._admitted(exchange, decision, await later)
        except Exception as error:
            self._refused(exchange, error)
        finally:
            self._asking -= 1
            if judging != self._round:
                exchange.review = self._clock.seconds()
            if self._due and self._identifier is not None:
                self._later()

    def _admitted(self, exchange: Exchange, before: Admitted, found: Admitted) -> None:
        self._undecided.pop(exchange, None)
        if exchange.ended:
            return
        if not _same(before.principal, found.principal):
            exchange.withdraw(IdentityChanged("the credential is another user's by now, or the user has lost a role"))
            return
        if before.route.builtin and (not found.route.builtin or found.route.name != before.route.name):
            # what is at its path now, such as an open endpoint above it, asks for other credentials and gives something else
            exchange.withdraw(NoRoute("the endpoint is not in the configuration any more"))
            return
        exchange.review = self._end(exchange, found, self._clock.seconds())

    def _refused(self, exchange: Exchange, error: Exception) -> None:
        if exchange.ended:
            return
        now = self._clock.seconds()
        if isinstance(error, Unavailable | TooManyAttempts) and now - self._undecided.setdefault(exchange, now) < self._interval:
            exchange.review = now + RETRY
            return
        self._undecided.pop(exchange, None)
        if not isinstance(error, Refusal):
            _log.failure("an open exchange could not be judged again")
            error = InternalError("an unexpected error")
        exchange.withdraw(error)


def _same(before: Principal | None, now: Principal | None) -> bool:
    """Whether the user is still the one that the service was given. True if the route does not ask for the user any more."""
    if before is None or now is None:
        return True
    return (before.realm, before.username) == (now.realm, now.username) and set(before.roles) <= set(now.roles)

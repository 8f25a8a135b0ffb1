"""The health of one server, and its effect on the choice. Pure.

Three sources report the health of a server: failed connections, answers to requests (passive), and checks (active). A failed
connection and bad answers are weak evidence, so they never remove the last server: such a server is used after the others
(`Standing.LAST`). Only checks, which the operator configures, put a server out of use (`Standing.OUT`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import IntEnum, StrEnum
from typing import Final

import attrs

REST: Final = 10.0
"""Seconds for which a server is used after the others when a connection to it has failed."""

SHARE_AT_FIRST: Final = 0.1
"""The part of its weight with which a server begins its slow start."""

MOST_EJECTIONS: Final = 10
"""Ejections in a row after which the time does not become longer."""


class ServerState(StrEnum):
    """The state of a server, for logs and metrics."""

    UP = "up"
    STARTING = "starting"
    """It became usable a short time ago, and gets less than its share (slow start)."""
    RESTING = "resting"
    """It could not be connected to."""
    EJECTED = "ejected"
    """It answered too many requests badly or not at all."""
    DOWN = "down"
    """It does not pass its checks."""


GOOD_STATES: Final = frozenset((ServerState.UP, ServerState.STARTING))
"""The states of a server that gets requests as usual."""


GRAVITY: Final[Mapping[str, int]] = {state: at for at, state in enumerate(ServerState)}
"""How bad a state is, to find the worst one of several."""


class Standing(IntEnum):
    """Whether a server gets requests."""

    IN_USE = 0
    LAST = 1
    """Gets requests only if there is no server in use."""
    OUT = 2
    """Never."""


_IN_USE, _LAST, _OUT = Standing


@attrs.frozen
class HealthRules:
    """Numbers from the configuration; times are seconds.

    ``fall`` checks that fail in a row put a server out of use, and ``rise`` checks that pass in a row put it in use again.
    ``eject_after`` bad answers in a row eject it for ``eject_time``, and longer each time in a row; None: never. A server that is
    in use again gets its whole share after ``slow_start``.
    """

    fall: int = 3
    rise: int = 2
    slow_start: float = 0.0
    eject_after: int | None = None
    eject_time: float = 30.0


class ServerHealth:
    """The health of one server. ``clock`` returns seconds. ``fault`` is its last fault."""

    __slots__ = (
        "_clock",
        "_ejected_until",
        "_ejections",
        "_missed",
        "_passed",
        "_ramp_until",
        "bad_answers",
        "down",
        "fault",
        "resting_until",
        "rules",
        "steady",
    )

    def __init__(self, rules: HealthRules, clock: Callable[[], float]) -> None:
        self.rules = rules
        self._clock = clock
        #: nothing is wrong, and it has its whole share: `state`, `standing` and `share` need no look
        self.steady = True
        self.fault = ""
        self.down = False
        #: until then (seconds) it is used last, because a connection has failed; 0 without a failure
        self.resting_until = 0.0
        #: bad answers in a row
        self.bad_answers = 0
        self._ejected_until = 0.0
        self._ejections = 0
        self._ramp_until = 0.0
        #: checks in a row
        self._missed = 0
        self._passed = 0

    # -- its effect

    def state(self) -> ServerState:
        """Its state now."""
        if self.steady:
            return ServerState.UP
        now = self._clock()
        if self.down:
            return ServerState.DOWN
        if self._ejected_until > now:
            return ServerState.EJECTED
        if self.resting_until:
            return ServerState.RESTING
        return ServerState.STARTING if self._ramp_until > now else ServerState.UP

    def standing(self) -> Standing:
        """Whether it gets requests now."""
        if self.steady:
            return _IN_USE
        if self.down:
            return _OUT
        now = self._clock()
        return _LAST if self.resting_until > now or self._ejected_until > now else _IN_USE

    def share(self) -> float:
        """The part of its weight that counts now: 1, or less during a slow start."""
        if self.steady:
            return 1.0
        left = self._ramp_until - self._clock()
        return 1.0 if left <= 0 else max(SHARE_AT_FIRST, 1.0 - left / self.rules.slow_start)

    # -- reports about it

    def unreachable(self, fault: str) -> None:
        """It could not be connected to."""
        self.fault = fault
        self.resting_until = self._clock() + REST
        self.steady = False

    def tried(self) -> None:
        """A request is about to try it. After a rest, one request at a time tries whether it can be connected to."""
        if self.resting_until:
            self.resting_until = max(self.resting_until, self._clock() + REST)

    def reached(self) -> None:
        """It was connected to."""
        if self.resting_until:
            self.resting_until = 0.0
            self._back()

    def answered(self, good: bool) -> bool:
        """It has answered a request well or badly. Returns whether it should be ejected (`eject`)."""
        if good:
            self.bad_answers = 0
            return False
        self.bad_answers += 1
        after = self.rules.eject_after
        return after is not None and self.bad_answers >= after and self._ejected_until <= self._clock()

    def eject(self, fault: str) -> None:
        """Use it only after the others; the time grows with the number of ejections in a row."""
        now, rules = self._clock(), self.rules
        if now - self._ejected_until > rules.eject_time * MOST_EJECTIONS:
            self._ejections = 0
        self._ejections = min(self._ejections + 1, MOST_EJECTIONS)
        self._ejected_until = now + rules.eject_time * self._ejections
        self._ramp_until = self._ejected_until + rules.slow_start
        self.bad_answers = 0
        self.fault = fault
        self.steady = False

    def checked(self, fault: str) -> None:
        """A check has ended; ``fault`` is its fault, "" if it passed."""
        if fault:
            self._passed = 0
            self._missed += 1
            if self._missed >= self.rules.fall:
                self.fault = fault
                self.down = True
                self.steady = False
            return
        self._missed = 0
        self._passed += 1
        if self.down and self._passed >= self.rules.rise:
            self.down = False
            self._back()

    def unchecked(self) -> None:
        """Results of its checks do not arrive any more: they count as passed."""
        self._missed = self._passed = 0
        if self.down:
            self.down = False
            self._back()

    def begin_slowly(self) -> None:
        """It is new: it begins with a slow start."""
        self._back()

    def settle(self) -> None:
        """Check whether all faults are over, so that the choice costs less. To be called periodically."""
        now = self._clock()
        self.steady = not (self.down or self.resting_until or self._ejected_until > now or self._ramp_until > now)

    def _back(self) -> None:
        self._ramp_until = max(self._ramp_until, self._clock() + self.rules.slow_start)
        self.settle()


def may_eject(servers: int, in_use: int, floor: float) -> bool:
    """Whether one more of ``in_use`` may be ejected, so that the part ``floor`` of ``servers``, and one at least, is left."""
    return in_use > 1 and in_use - 1 >= floor * servers

"""The phases of an HTTP/1.1 connection, and when it reads. Pure: decided here, done by `perimeter.http.h1.connection`."""

from __future__ import annotations

from enum import IntEnum, auto

#: Bytes that may wait in front of a busy exchange before the connection is no longer read.
MAX_WAITING = 64 * 1024


class Phase(IntEnum):
    """The phase of a connection."""

    HEAD = auto()
    """It waits for a request, or for the rest of a head."""
    BODY = auto()
    """An exchange is under way, and its request is not complete. Also after a head that is none: nothing after it can be read."""
    ANSWERING = auto()
    """The request is complete, and its response is not."""
    TUNNEL = auto()
    """Bytes pass both ways, until one side closes."""
    LINGER = auto()
    """The last response is written. What the client still sends is discarded: closing at once would reset the connection, and the
    client would lose the response (RFC 9112, section 9.6)."""
    CLOSED = auto()
    """The transport is closing, was reset, or is gone."""


class Flow(IntEnum):
    """What to do about data from the client."""

    READ = auto()
    """Read on."""
    HOLD = auto()
    """Read nothing: TCP holds the client back."""
    FEED = auto()
    """Give the exchange what has come of its body, then ask again."""


def next_flow(phase: Phase, unread: int, *, waiting: bool, writes_paused: bool, body_paused: bool) -> Flow:
    """What a connection does now.

    ``unread`` is the number of bytes that came and were not looked at. ``waiting``: they wait for a turn (`perimeter.net.turns`).
    ``writes_paused``: the client takes less than it is sent. ``body_paused``: the exchange takes no data now.
    """
    if waiting:
        return Flow.HOLD
    if phase is Phase.BODY:
        if not unread:
            return Flow.READ
        return Flow.HOLD if body_paused else Flow.FEED
    if phase is Phase.TUNNEL:
        return Flow.HOLD if body_paused else Flow.READ
    if phase is Phase.ANSWERING or (phase is Phase.HEAD and writes_paused):
        return Flow.HOLD if unread > MAX_WAITING else Flow.READ
    return Flow.READ

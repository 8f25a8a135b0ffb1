"""When a certificate is ordered. Pure: times are epoch seconds, and ``share`` is a random number from 0 to 1."""

from __future__ import annotations

from datetime import datetime
from typing import Final

RENEW_AT: Final = 2 / 3
"""The part of its life after which a certificate is renewed, if the CA suggests no time."""

SPREAD: Final = 0.02
"""The part of its life by which that moment varies, so that gateways do not all ask at the same time."""

PAUSES: Final = (60.0, 300.0, 900.0, 3600.0, 6 * 3600.0)
"""Seconds to the next try after 1, 2, 3 … failures in a row. Let's Encrypt, for example, allows five failures in an hour."""

LONGEST_PAUSE: Final = 86400.0
"""Seconds: the longest pause that a CA can ask for, and the longest time between two questions for its suggestion."""

SHORTEST_ASK: Final = 600.0
"""Seconds: the shortest time between two questions for the suggestion of a CA."""


def renewal_time(start: datetime, end: datetime, share: float) -> float:
    """When to renew a certificate that is valid from ``start`` to ``end``."""
    life = (end - start).total_seconds()
    return start.timestamp() + life * (RENEW_AT + SPREAD * share)


def earliest(ordered_at: float, start: datetime, end: datetime) -> float:
    """Before when a certificate that was ordered at ``ordered_at`` is not renewed, whatever the CA suggests.

    So a CA whose suggestions are always in the past does not get one order after the other.
    """
    return ordered_at + min(3600.0, (end - start).total_seconds() / 20)


def next_try(now: float, failures: int, asked: float, share: float) -> float:
    """When to try again after ``failures`` (1 or more) in a row. ``asked`` is the pause in seconds that the CA asks for, or 0."""
    pause = PAUSES[min(failures, len(PAUSES)) - 1]
    return now + max(pause * (1 + share / 10), min(asked, LONGEST_PAUSE))


def next_question(now: float, wanted: float) -> float:
    """When to ask the CA for its suggestion again, if it wants to be asked in ``wanted`` seconds (RFC 9773, section 4.3)."""
    return now + min(max(wanted, SHORTEST_ASK), LONGEST_PAUSE)

"""Durations and times in words, for sentences on pages. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from math import ceil
from typing import Final

_UNITS: Final = ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


def in_words(seconds: float) -> str:
    """``seconds`` in one unit, rounded up: ``1 second``, ``2 minutes``, ``30 days``. A number below 100 seconds stays seconds."""
    whole = max(1, ceil(seconds))
    size, unit = next((size, unit) for size, unit in _UNITS if whole >= size and (size != 60 or whole >= 100))
    count = ceil(whole / size)
    return f"{count} {unit}" if count == 1 else f"{count} {unit}s"


def moment(seconds: float) -> str:
    """A time in epoch seconds, to the minute: ``2026-11-27 10:52``. It is in UTC, as those in the logs are."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%d %H:%M")

"""What is known of the certificate for some names besides the certificate itself: a JSON file beside it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Final

import attrs

from perimeter.net.certificates import replace_file
from perimeter.strict_json import decode_object

MOST: Final = 64 * 1024
"""Bytes of a record that are read."""


@attrs.frozen
class Record:
    """``directory`` has issued the certificate, at the time ``ordered_at``. Times are epoch seconds.

    ``renew_at``: when it is ordered again; ``ask_at``: when the directory is asked whether that is to be sooner. ``failures``
    orders in a row have failed, the last one with ``fault`` ("": it has not ended); ``try_at`` is the next one. ``tried`` stands
    for the names and settings of that order.
    """

    directory: str = ""
    ordered_at: float = 0.0
    renew_at: float = 0.0
    ask_at: float = 0.0
    failures: int = 0
    fault: str = ""
    try_at: float = 0.0
    tried: str = ""


def record_file(certificate: Path) -> Path:
    """The record that belongs to the certificate in a file."""
    return certificate.with_suffix(".json")


def read_record(path: Path) -> Record:
    """The record in ``path``; an empty one if there is none that can be read. Blocks."""
    try:
        with path.open("rb") as file:
            members = decode_object(file.read(MOST))
        return Record(**{name: _checked(name, value) for name, value in members.items()})
    except (OSError, ValueError, TypeError):
        return Record()


def write_record(path: Path, record: Record) -> None:
    """Replace the record in ``path``. Blocks. Raises OSError."""
    replace_file(path, json.dumps(attrs.asdict(record), indent=1).encode("ascii"), 0o600)


def _checked(name: str, value: Any) -> Any:
    """A member with the type of its attribute. Raises ValueError or TypeError."""
    wanted = type(getattr(Record(), name, None))
    if wanted is float and isinstance(value, int | float) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise ValueError(name)
        return float(value)
    if type(value) is not wanted:
        raise TypeError(name)
    return value

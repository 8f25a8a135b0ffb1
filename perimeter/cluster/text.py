"""Changes as bytes of a value in Redis: JSON of the words and texts of the change log (`perimeter.state.kinds.Codec`)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from perimeter.cluster.sealing import unreadable
from perimeter.state.changes import Change
from perimeter.state.kinds import Kinds


def encode(kinds: Kinds, changes: Iterable[Change], *before: str) -> bytes:
    """``changes`` in this order, after the texts ``before``."""
    return json.dumps([*before, [kinds.encode(change) for change in changes]], separators=(",", ":")).encode("ascii")


def decode(kinds: Kinds, data: bytes, before: int = 0) -> tuple[list[str], list[Change]]:
    """The ``before`` texts and the changes of which `encode` made ``data``.

    Raises `perimeter.errors.StateUnavailable` if it cannot be read: a newer version may have written it.
    """
    try:
        value: list[Any] = json.loads(data)
        *texts, changes = value
        if len(texts) != before or not all(isinstance(text, str) for text in texts):
            raise ValueError("another form")
        return texts, [kinds.decode(word, text) for word, text in changes]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise unreadable("it has another form; perhaps a newer version of Perimeter has written it") from None

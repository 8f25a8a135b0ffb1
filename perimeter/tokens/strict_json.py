"""JSON with one reading: what other parsers might take otherwise is refused."""

from __future__ import annotations

import json
from typing import Any, NoReturn


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member is named twice")
    return members


def _no_constant(name: str) -> NoReturn:
    # Infinity and NaN are no JSON, and an expiry of NaN would never be reached
    raise ValueError("not a JSON number")


# made once: json.loads with hooks would make one for each token, and take UTF-16 for JSON too
_decoder = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)


def decode(octets: bytes) -> Any:
    """The value of UTF-8 text. Raises ValueError for text that is no JSON and for a member named twice, RecursionError for too
    deep a value."""
    return _decoder.decode(octets.decode("utf-8"))

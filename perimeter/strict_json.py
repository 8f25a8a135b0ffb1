"""JSON with one reading: text that another parser could read differently is refused.

Everything that a client or a service sends as JSON, and that decides something, is decoded here: tokens, key sets, answers of
services and login modules, and what clients post.
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member is named twice")
    return members


def _no_constant(name: str) -> NoReturn:
    # JSON has no Infinity and no NaN, and an expiry of NaN would never be reached.
    raise ValueError("not a JSON number")


# Made once: json.loads with hooks makes one for each call, and reads UTF-16 and UTF-32 too.
_decoder = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)


_surrogate = re.compile(rb"\\u[dD][89A-Fa-f]")


def decode(data: bytes) -> Any:
    """The value of UTF-8 text. Raises ValueError.

    That is for text that is not UTF-8 or not JSON (RFC 8259), for a member that is named twice, for too deep a value, and for
    half a character (a lone surrogate, section 8.2), which no file and no header can have.
    """
    try:
        value = _decoder.decode(data.decode("utf-8"))
        if _surrogate.search(data):
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except UnicodeEncodeError:
        raise ValueError("half a character (a lone surrogate)") from None
    return value


def decode_object(data: bytes) -> dict[str, Any]:
    """A JSON object. Raises ValueError, as `decode` does, and for any other value."""
    value = decode(data)
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value

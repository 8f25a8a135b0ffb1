"""Header fields that some servers take for the request's method. Pure."""

from __future__ import annotations

import re

from perimeter.model import HeaderBlock

METHOD_OVERRIDES = frozenset((b"x-http-method-override", b"x-http-method", b"x-method-override"))

_ODD = re.compile(rb"[^a-z0-9-]")


def folded(name: bytes) -> bytes:
    """``name`` (lower case) as the laxest server could read it: whatever is no letter or digit becomes a hyphen."""
    return _ODD.sub(b"-", name)


def overrides_method(headers: HeaderBlock) -> bool:
    """Whether a field may be taken for another method than the request line's, in any spelling."""
    return any(folded(name) in METHOD_OVERRIDES for name, _ in headers.fields)

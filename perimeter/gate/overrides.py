"""Headers that some servers take as the request's method. Pure."""

from __future__ import annotations

import re

from perimeter.model import HeaderBlock

METHOD_OVERRIDES = frozenset((b"x-http-method-override", b"x-http-method", b"x-method-override"))

_ODD = re.compile(rb"[^a-z0-9-]")


def folded(name: bytes) -> bytes:
    """``name`` (lower case) as a very lax server could read it: each character but letters and digits becomes a hyphen."""
    return _ODD.sub(b"-", name)


def overrides_method(headers: HeaderBlock) -> bool:
    """Whether a server could read another method from a field, in any spelling, than from the request line."""
    return any(folded(name) in METHOD_OVERRIDES for name, _ in headers.fields)

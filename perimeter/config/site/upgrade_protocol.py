"""A protocol that clients of a route may switch to (``Upgrade``: RFC 9110, section 7.8)."""

from __future__ import annotations

import re
from pathlib import Path

from perimeter.config.language.datatypes import BadValue, Datatype

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
#: Protocols that carry requests (attack 20).
_NEVER_TUNNELLED = ("h2c", "h2", "h3", "http", "tls")


def _protocol(text: str, base: Path) -> str:
    name, slash, version = text.partition("/")
    if name == "*" or not _TOKEN.fullmatch(name) or (slash and not _TOKEN.fullmatch(version)):
        raise BadValue("expected a protocol such as SPDY/3.1")
    if name.lower() in _NEVER_TUNNELLED:
        raise BadValue(f"{text} would carry requests that the gateway does not see", complete=True)
    if name.lower() == "websocket":
        raise BadValue("websocket has an option of its own: websocket = yes", complete=True)
    return text.lower()


PROTOCOL: Datatype[str] = Datatype("protocol", _protocol, "")

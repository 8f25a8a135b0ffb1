"""Lua scripts that a server carries out as one step."""

from __future__ import annotations

import hashlib

import attrs


def _digest(script: Script) -> str:
    return hashlib.sha1(script.source.encode(), usedforsecurity=False).hexdigest()


@attrs.frozen
class Script:
    """``source`` is the text of the script, ``digest`` the name under which a server remembers it (SHA-1, hexadecimal)."""

    source: str
    digest: str = attrs.field(init=False, default=attrs.Factory(_digest, takes_self=True))

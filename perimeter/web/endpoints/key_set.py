"""``/.well-known/jwks.json``: the public keys that verify the gateway's tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from perimeter.gate.access import ANYBODY
from perimeter.web.endpoints.endpoint import Endpoint, compact, reading

#: Seconds for which a verifier may keep the key set. A new key is published for longer than that before it signs.
_MAX_AGE = 300


class KeySet(Endpoint):
    """The key set (RFC 7517, section 5), made by ``jwks``."""

    def __init__(self, jwks: Callable[[], Mapping[str, Any]]) -> None:
        super().__init__("/.well-known/jwks.json", reading(ANYBODY))
        self._jwks = jwks

    def render_GET(self, request: Any) -> bytes:
        """The key set; caches may keep it for a while."""
        request.setHeader(b"Content-Type", b"application/json")
        request.setHeader(b"Cache-Control", b"public, max-age=%d" % _MAX_AGE)
        return compact(self._jwks())

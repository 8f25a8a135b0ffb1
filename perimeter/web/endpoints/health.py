"""``/status`` and ``/health``: the gateway is up."""

from __future__ import annotations

from typing import Any

from perimeter.gate.access import ANYBODY
from perimeter.web.endpoints.endpoint import Endpoint, never_store, reading


class Health(Endpoint):
    """``OK``, for load balancers. ``path`` is ``/status`` or ``/health``."""

    def __init__(self, path: str) -> None:
        super().__init__(path, reading(ANYBODY))

    def render_GET(self, request: Any) -> bytes:
        """``OK``."""
        request.setHeader(b"Content-Type", b"text/plain")
        never_store(request)
        return b"OK"

"""``/status`` and ``/health``: the gateway is up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from perimeter.gate.access import ANYBODY
from perimeter.web.endpoints.endpoint import Endpoint, never_store, reading


class Health(Endpoint):
    """``OK``, for load balancers, or ``STALE`` while tokens and sessions get 503. ``path`` is ``/status`` or ``/health``.

    Both have the status 200: the process is well, and nothing is gained if it is started again.
    """

    def __init__(self, path: str, stale: Callable[[], bool] = lambda: False) -> None:
        super().__init__(path, reading(ANYBODY))
        self._stale = stale

    def render_GET(self, request: Any) -> bytes:
        """``OK`` or ``STALE``."""
        request.setHeader(b"Content-Type", b"text/plain")
        never_store(request)
        return b"STALE" if self._stale() else b"OK"

"""``/static/NAME.HASH.EXT`` below the prefix of the pages: the files that pages load, from memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from perimeter.errors import NoRoute
from perimeter.gate.access import ANYBODY
from perimeter.web.endpoints.endpoint import Endpoint, reading
from perimeter.web.html.assets import Asset
from perimeter.web.html.headers import ASSET_FIELDS
from perimeter.web.request import exchange_of

_PATH: Final = "/static"


class StaticAssets(Endpoint):
    """All that is below ``/static``. ``assets`` are by the last part of their URL."""

    beneath = True

    def __init__(self, prefix: str, assets: Mapping[str, Asset]) -> None:
        super().__init__(prefix + _PATH, reading(ANYBODY))
        self.name = "static"
        self._start = len(self.path) + 1
        self._assets = assets

    def render_GET(self, request: Any) -> bytes:
        """The file; 404 for another name, and for an earlier content."""
        decision = exchange_of(request).decision
        assert decision is not None
        name = decision.target.partition(b"?")[0][self._start :].decode("ascii", "replace")
        asset = self._assets.get(name)
        if asset is None:
            raise NoRoute("no file of the pages has this name")
        for field, value in ASSET_FIELDS:
            request.setHeader(field, value)
        request.setHeader(b"Content-Type", asset.content_type.encode("ascii"))
        return asset.content

"""``/cleared`` below the prefix of the pages: a picture whose header makes the browser delete its data of the host.

The Back button shows pages as they were left, out of a memory of the browser. With `Clear-Site-Data` on the redirect or on the
page that follows a sign-out, Chromium forgets all pages except the one that was just left, since that is stored later. With the
header on a picture in the page that follows, it forgets that one, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from perimeter.config.site.login import Cleared
from perimeter.gate.access import ANYBODY
from perimeter.web.endpoints.endpoint import Endpoint, reading
from perimeter.web.html.headers import ASSET_FIELDS
from perimeter.web.request import exchange_of

_PICTURE: Final = b'<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>'
_CACHED: Final = b"cache-control"


class ClearedPicture(Endpoint):
    """Has the header if a page of this origin loads the picture: other sites must not be able to clear the cache."""

    def __init__(self, prefix: str, cleared: Sequence[Cleared]) -> None:
        super().__init__(prefix + "/cleared", reading(ANYBODY))
        self.name = "cleared"
        self._cleared = clear_site_data(cleared)

    def render_GET(self, request: Any) -> bytes:
        """The picture."""
        for name, value in ASSET_FIELDS:
            if name.lower() != _CACHED:
                request.setHeader(name, value)
        request.setHeader(b"Content-Type", b"image/svg+xml")
        request.setHeader(b"Cache-Control", b"no-store")
        if self._cleared and exchange_of(request).head.headers.get_all(b"sec-fetch-site") == [b"same-origin"]:
            request.setHeader(b"Clear-Site-Data", self._cleared)
        return _PICTURE


def clear_site_data(cleared: Sequence[Cleared]) -> bytes:
    """The value of Clear-Site-Data (section 3.1); empty for no header."""
    return ", ".join(f'"{word}"' for word in cleared).encode("ascii")

"""``/providers`` and ``/augmenters``: where the gateway's knowledge of users comes from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from perimeter.gate.access import Access
from perimeter.web.endpoints.endpoint import Endpoint, json_answer, reading


@attrs.frozen
class Source:
    """The public facts of an authenticator or augmenter."""

    name: str
    type: str
    realm: str


class Sources(Endpoint):
    """Lists authenticators or augmenters, by the word that the path ends with (attack 43)."""

    def __init__(self, path: str, sources: Sequence[Source], access: Access) -> None:
        super().__init__(path, reading(access))
        self._answer = {path[1:]: [attrs.asdict(source) for source in sources]}

    def render_GET(self, request: Any) -> bytes:
        """Their names, types and realms."""
        return json_answer(request, self._answer)

"""What it tells of itself and of whoever asks: ``/status``, ``/health``, ``/whoami``, ``/providers``, ``/augmenters``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from perimeter.http.answers import Challenges
from perimeter.web.endpoints.nodes import Node, Unknown, WhoAsks, asker, json_answer, never_store
from perimeter.web.request import respond


@attrs.frozen
class Source:
    """An authenticator or augmenter, as much of it as others may know."""

    name: str
    type: str
    realm: str


class Up(Node):
    """Says that the server is up, to anybody."""

    def render_GET(self, request: Any) -> bytes:
        """``OK``, for load balancers."""
        request.setHeader(b"Content-Type", b"text/plain")
        never_store(request)
        return b"OK"


class WhoAmI(Node):
    """Tells whoever asks what is known of him, in Auth-o-tron's words."""

    def __init__(self, unknown: Unknown, who: WhoAsks) -> None:
        super().__init__(unknown)
        self._who = who

    def render_GET(self, request: Any) -> int:
        """By whatever credentials are good anywhere."""
        return respond(request, self._tell(request))

    async def _tell(self, request: Any) -> bytes:
        principal = await asker(self._who, request, Challenges.BOTH)
        known = {
            "version": 1,
            "username": principal.username,
            "realm": principal.realm,
            "roles": list(principal.roles),
            "attributes": dict(principal.attributes),
            "scopes": {service: list(scopes) for service, scopes in principal.scopes.items()},
        }
        return json_answer(request, known)


class Sources(Node):
    """Lists authenticators or augmenters under ``word``; with ``who`` only to those with good credentials (attack 43)."""

    def __init__(self, unknown: Unknown, word: str, sources: Sequence[Source], who: WhoAsks | None) -> None:
        super().__init__(unknown)
        self._answer = {word: [attrs.asdict(source) for source in sources]}
        self._who = who

    def render_GET(self, request: Any) -> bytes | int:
        """Their names, types and realms."""
        if self._who is None:
            return json_answer(request, self._answer)
        return respond(request, self._tell(self._who, request))

    async def _tell(self, who: WhoAsks, request: Any) -> bytes:
        await asker(who, request, Challenges.BOTH)
        return json_answer(request, self._answer)

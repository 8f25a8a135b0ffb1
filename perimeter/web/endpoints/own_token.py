"""``DELETE /token/ID``: a user ends one of their API tokens (attack 37)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

import attrs

from perimeter.errors import NoRoute
from perimeter.gate.access import ANYBODY, UNRESTRICTED, Access
from perimeter.model import Grant
from perimeter.web.endpoints.endpoint import Endpoint, never_store, user_of
from perimeter.web.request import exchange_of, respond

if TYPE_CHECKING:  # perimeter explain asks for the access alone
    from perimeter.tokens.book import TokenBook

_PATH = "/token"


class OwnToken(Endpoint):
    """All that is below ``/token``. A restricted API token can end itself, and nothing else.

    ``otherwise`` is what other methods, and deeper paths, ask for before they get 404.
    """

    beneath = True
    demands_factors = False  # to end a token takes nothing but the token

    def __init__(self, book: TokenBook, otherwise: Access = ANYBODY) -> None:
        super().__init__(_PATH, {b"DELETE": attrs.evolve(UNRESTRICTED, own=self._is_own)})
        self.otherwise = otherwise
        self._book = book

    def _is_own(self, grant: Grant, target: bytes) -> bool:
        which = _which(target)
        return which is not None and self._book.names(which, grant)

    def render(self, request: Any) -> Any:
        """404 for everything but DELETE."""
        if request.method not in self.access:
            raise NoRoute(f"below {_PATH} there is only DELETE of a token")
        return super().render(request)

    def render_DELETE(self, request: Any) -> int:
        """End it."""
        return respond(request, self._end(request))

    async def _end(self, request: Any) -> bytes:
        decision = exchange_of(request).decision
        assert decision is not None
        which = _which(decision.target)
        if which is None:
            raise NoRoute("the path is deeper than the id of a token")
        await self._book.remove(user_of(request), which)
        request.setResponseCode(204)
        never_store(request)
        return b""


def _which(target: bytes) -> str | None:
    """The id, or the token itself, that a forwarded target names; None for a deeper path."""
    segment = target.partition(b"?")[0][len(_PATH) + 1 :]
    return None if b"/" in segment else unquote_to_bytes(segment).decode("utf-8", "replace")

"""``/token`` and ``/extendedtoken``: an access token in exchange for first-hand credentials.

No token of the gateway's own buys another one, so no token can renew itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.logger import Logger

from perimeter.errors import Unavailable
from perimeter.gate.access import FIRST_HAND
from perimeter.web.endpoints.endpoint import Endpoint, compact, never_store, reading, user_of
from perimeter.web.request import respond

if TYPE_CHECKING:  # perimeter explain asks for the access alone
    from perimeter.tokens.book import TokenBook
    from perimeter.tokens.issuer import TokenIssuer

_log = Logger()


class AccessToken(Endpoint):
    """Issues an access token that lives for ``lifetime`` seconds; with ``book`` an API token for an hour beside it."""

    def __init__(self, path: str, issuer: TokenIssuer, lifetime: float, book: TokenBook | None = None) -> None:
        super().__init__(path, reading(FIRST_HAND))
        self.name = path[1:] or "token"
        self._issuer = issuer
        self._lifetime = lifetime
        self._book = book

    def render_GET(self, request: Any) -> int:
        """The token, with the members of RFC 6749, section 5.1; the API token is ``token``, as Auth-o-tron has it."""
        return respond(request, self._issue(request))

    async def _issue(self, request: Any) -> bytes:
        principal = user_of(request)
        token = self._issuer.issue(principal, self._lifetime)
        members = {"access_token": token.access_token, "token_type": "Bearer", "expires_in": token.expires_in}
        if self._book is not None:
            try:
                members["token"] = await self._book.passing(principal)
            except Unavailable as error:  # the access token is good all the same
                _log.warn("no API token beside an access token: {detail}", detail=error.detail)
        request.setHeader(b"Content-Type", b"application/json;charset=UTF-8")
        never_store(request)
        return compact(members)

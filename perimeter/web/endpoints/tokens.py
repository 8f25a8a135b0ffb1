"""The authentication server's own resources: ``/token``, ``/extendedtoken`` and ``/.well-known/jwks.json``.

Who is asking is found out by what is passed in (`Endpoints.authenticate`: the chain of authenticators, never one of our own
tokens, so that no token can renew itself); signing and keys belong to `perimeter.tokens`; the shape of an error answer to
`perimeter.http.answers`, which is told here that a 401 asks for Basic. The tree that they stand in is
`perimeter.web.endpoints.tree`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.logger import Logger

from perimeter.errors import Unavailable
from perimeter.web.endpoints.nodes import Node, Unknown, asker, compact, never_store
from perimeter.web.request import respond

if TYPE_CHECKING:
    from perimeter.web.endpoints.tree import Endpoints

_log = Logger()

#: seconds for which a verifier may keep the key set; a new key is published longer than that before it signs
_JWKS_MAX_AGE = 300


class Token(Node):
    """Issues an access token to whoever shows good credentials; with ``opaque`` an API token for an hour beside it."""

    def __init__(self, unknown: Unknown, endpoints: Endpoints, lifetime: float, *, opaque: bool = False) -> None:
        super().__init__(unknown)
        self._endpoints = endpoints
        self._lifetime = lifetime
        self._opaque = opaque

    def render_GET(self, request: Any) -> int:
        """The token, as the fields of RFC 6749, section 5.1; and as Auth-o-tron's ``token``."""
        return respond(request, self._issue(request))

    async def _issue(self, request: Any) -> bytes:
        principal = await asker(self._endpoints.authenticate, request)
        token = self._endpoints.issuer.issue(principal, self._lifetime)
        fields = {"access_token": token.access_token, "token_type": "Bearer", "expires_in": token.expires_in}
        book = self._endpoints.book
        if self._opaque and book is not None:
            try:
                fields["token"] = await book.passing(principal)
            except Unavailable as error:  # the access token is good all the same
                _log.warn("no API token beside an access token: {detail}", detail=error.detail)
        request.setHeader(b"Content-Type", b"application/json;charset=UTF-8")
        never_store(request)
        return compact(fields)


class KeySet(Node):
    """The public keys with which anybody can verify the tokens (RFC 7517, section 5)."""

    def __init__(self, unknown: Unknown, endpoints: Endpoints) -> None:
        super().__init__(unknown)
        self._endpoints = endpoints

    def render_GET(self, request: Any) -> bytes:
        """The key set; verifiers may keep it for a while."""
        request.setHeader(b"Content-Type", b"application/json")
        request.setHeader(b"Cache-Control", b"public, max-age=%d" % _JWKS_MAX_AGE)
        return compact(self._endpoints.jwks())

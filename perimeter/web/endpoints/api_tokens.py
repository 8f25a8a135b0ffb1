"""``/tokens``: a user's API tokens, made and listed.

To create a token, users send credentials other than a token, as for an access token.
To list their tokens, users may also send a token, but
not one that is restricted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from perimeter.gate.access import FIRST_HAND, UNRESTRICTED
from perimeter.strict_json import decode
from perimeter.tokens.shown import described
from perimeter.web.endpoints.endpoint import Endpoint, invalid_request, json_answer, reading, user_of
from perimeter.web.request import respond
from perimeter.web.token_request import MEMBERS, TokenRequest, token_request

if TYPE_CHECKING:  # perimeter explain asks for the access alone
    from perimeter.tokens.book import TokenBook


class ApiTokens(Endpoint):
    """Makes and lists API tokens. ``routes`` are the names that a token can be restricted to."""

    def __init__(self, book: TokenBook, routes: frozenset[str]) -> None:
        super().__init__("/tokens", {**reading(UNRESTRICTED), b"POST": FIRST_HAND})
        self._book = book
        self._routes = routes

    def render_GET(self, request: Any) -> int:
        """The user's tokens, without the tokens themselves."""
        return respond(request, self._list(request))

    async def _list(self, request: Any) -> bytes:
        user = user_of(request)
        await self._book.gather(user)
        return json_answer(request, {"tokens": [described(token) for token in self._book.owned(user)]})

    def render_POST(self, request: Any) -> int:
        """A new one."""
        return respond(request, self._make(request))

    async def _make(self, request: Any) -> bytes:
        try:
            asked = self._wanted(request)
            text, kept = await self._book.make(user_of(request), asked.name, asked.lifetime, asked.restriction)
        except ValueError as error:
            return invalid_request(request, str(error))
        return json_answer(request, {"token": text, **described(kept)}, 201)

    def _wanted(self, request: Any) -> TokenRequest:
        """What the body asks for. Raises ValueError with what is wrong: never what the client wrote, and never let go.

        A form of another site cannot send this media type without asking first (attack 27).
        """
        if (request.getHeader(b"content-type") or b"").partition(b";")[0].strip().lower() != b"application/json":
            raise ValueError("Content-Type: application/json is needed")
        try:
            body = decode(request.content.read())
        except ValueError:
            raise ValueError("the body is not JSON, or names a member twice") from None
        if not isinstance(body, dict) or not body.keys() <= MEMBERS:
            # What is misspelt here would be a restriction that the token does not have (attack 41).
            raise ValueError(f"an object with these members is needed: {', '.join(sorted(MEMBERS))}")
        return token_request(body, self._routes)

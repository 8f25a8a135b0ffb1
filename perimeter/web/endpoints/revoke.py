"""``/revoke`` (RFC 7009): the holder of a token revokes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from perimeter.gate.access import ANYBODY
from perimeter.gate.decision import Admitted, recognise
from perimeter.web.endpoints.endpoint import Endpoint, invalid_request, json_answer
from perimeter.web.form import form
from perimeter.web.request import exchange_of, respond

if TYPE_CHECKING:  # perimeter explain asks for the access alone
    from perimeter.tokens.book import TokenBook


class Revoke(Endpoint):
    """Ends the token in the form: to know a token is enough to end it."""

    def __init__(self, book: TokenBook) -> None:
        super().__init__("/revoke", {b"POST": ANYBODY})
        self._book = book

    def render_POST(self, request: Any) -> int:
        """200, whether there was such a token or not (section 2.2)."""
        return respond(request, self._revoke(request))

    async def _revoke(self, request: Any) -> bytes:
        # Only of the body: what stands in a URL is in every log on the way, and revoking it would not make it a secret again.
        tokens = form(request).get(b"token", [])
        if len(tokens) != 1:
            return invalid_request(request, "one token is needed, as a form")
        exchange = exchange_of(request)
        assert isinstance(exchange.decision, Admitted)
        owner = await self._book.revoke(tokens[0].decode("iso-8859-1"), exchange.decision.address)
        exchange.decision = recognise(exchange.decision, owner)
        return json_answer(request, {})

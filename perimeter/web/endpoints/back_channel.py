"""``/backchannel/NAME`` below the prefix of the pages: the provider NAME says that a user has signed out there.

The message is a logout token (OpenID Connect Back-Channel Logout 1.0, section 2.5), which the provider sends without a browser.
The sessions that come from that sign-in end at once, on every worker, and with them what is open by them (attack O6).
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any, Final

from perimeter.errors import InvalidCredentialsRequest, Rejected
from perimeter.gate.access import ANYBODY
from perimeter.gate.decision import Admitted, recognise
from perimeter.plugin.redirect import LoggedOut
from perimeter.sessions.book import SessionBook
from perimeter.state.once import Claims
from perimeter.web.endpoints.endpoint import Endpoint, json_answer, never_store
from perimeter.web.endpoints.providers.parts import Provider
from perimeter.web.form import form
from perimeter.web.request import exchange_of, respond

EVENT: Final = "backchannel_logout"
"""The event in the audit log."""

LONGEST: Final = 16 * 1024
"""Bytes of a logout token that are read."""


class BackChannelLogout(Endpoint):
    """Ends sessions that came from ``provider``, an `IBackChannelLogout`. ``claims`` lets each message count once. ``reactor`` is
    the clock."""

    def __init__(self, prefix: str, provider: Provider, sessions: SessionBook, claims: Claims, reactor: Any) -> None:
        super().__init__(f"{prefix}/backchannel/{provider.name}", {b"POST": ANYBODY})
        self.name = "backchannel"
        self._provider = provider
        self._sessions = sessions
        self._claims = claims
        self._reactor = reactor

    def render_POST(self, request: Any) -> int:
        """200, whether a session has ended or not; 400 for a token that is not good, or not new (section 2.8)."""
        return respond(request, self._end(request))

    async def _end(self, request: Any) -> bytes:
        exchange = exchange_of(request)
        exchange.event = EVENT
        tokens = form(request).get(b"logout_token", [])
        if len(tokens) != 1 or len(tokens[0]) > LONGEST:
            return _refused(request, "one logout token is needed, as a form")
        authenticator: Any = self._provider.authenticator
        token = tokens[0].decode("iso-8859-1")
        try:
            message: LoggedOut = await self._provider.ask(self._reactor, lambda: authenticator.logged_out(token))
        except Rejected as error:
            return _refused(request, error.detail)
        if not await self._claims.claim(self._name_of(message), message.until):
            return _refused(request, "the logout token was used before")
        ended = await self._sessions.end_vouched(self._provider.name, message.subject, message.sid)
        if ended:
            assert isinstance(exchange.decision, Admitted)
            exchange.decision = recognise(exchange.decision, ended[0].owner)
        never_store(request)
        return b""

    def _name_of(self, message: LoggedOut) -> bytes:
        """What is claimed for a message: providers choose ids of their own, of any length."""
        return b"logout %s %s" % (
            self._provider.name.encode("utf-8"),
            sha256(message.jti.encode("utf-8", "surrogatepass")).digest(),
        )


def _refused(request: Any, detail: str) -> bytes:
    exchange_of(request).explain(InvalidCredentialsRequest(detail), 400)
    return json_answer(request, {"error": "invalid_request"}, 400)

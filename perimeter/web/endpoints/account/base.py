"""What the parts of the account page share: only a session opens them, and an id is the part of a path."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import attrs

from perimeter.gate.access import Asks, session_only
from perimeter.gate.decision import Admitted
from perimeter.gate.routes import Route
from perimeter.http.exchange import Exchange
from perimeter.model import Principal
from perimeter.sessions.session import Session
from perimeter.tokens.book import TokenBook
from perimeter.web.endpoints.account.access import ACCOUNT
from perimeter.web.endpoints.endpoint import user_of
from perimeter.web.endpoints.page import PageEndpoint, Pages
from perimeter.web.request import exchange_of

_USUAL_METHODS: Final = ("GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS", "PROPFIND")


@attrs.frozen(eq=False)
class AccountParts:
    """What the account page works on. Without ``tokens`` there are no API tokens. ``routes`` are the configured ones."""

    pages: Pages
    tokens: TokenBook | None
    routes: Sequence[Route]

    def usable(self, user: Principal, exchange: Exchange) -> list[str]:
        """The names of the routes that ask for credentials and may admit the user of ``exchange`` now. The page does not show
        other names."""
        decision = exchange.decision
        assert isinstance(decision, Admitted)
        address, connection = decision.address, None if decision.relayed else exchange.connection
        return [
            route.name
            for route in self.routes
            if route.access.asks is not Asks.NONE
            and any(route.policy.permits(user, method, address, connection) for method in _USUAL_METHODS)
        ]


class AccountEndpoint(PageEndpoint):
    """A part of the account page at ``path`` below it, for the ``methods``. It does not accept API tokens or passwords."""

    def __init__(self, path: str, methods: Sequence[bytes], parts: AccountParts) -> None:
        access = session_only(f"{parts.pages.prefix}/login")
        super().__init__(ACCOUNT + path, dict.fromkeys(methods, access), parts.pages)
        self.otherwise = access
        self.parts = parts

    @property
    def all_in_memory(self) -> bool:
        """See `PageEndpoint.all_in_memory`."""
        return super().all_in_memory and (self.parts.tokens is None or self.parts.tokens.complete)

    async def gather(self, request: Any) -> None:
        """See `PageEndpoint.gather`: all sessions and API tokens of the user."""
        await super().gather(request)
        await self.gather_owned(request)
        if self.parts.tokens is not None:
            await self.parts.tokens.gather(user_of(request))

    @property
    def front(self) -> str:
        """The path of the account page."""
        return self.pages.prefix + ACCOUNT

    def beneath_path(self, request: Any) -> list[str]:
        """The segments of the request's path below this endpoint's."""
        decision = exchange_of(request).decision
        assert decision is not None
        path = decision.target.partition(b"?")[0].decode("ascii", "replace")
        return [segment for segment in path[len(self.path) :].split("/") if segment]

    def signed_in(self, request: Any) -> Session:
        """The session of the request, which the gate has found good."""
        session = self.session_of(request)
        assert session is not None
        return session

"""The interface of all sources of credentials."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol

from perimeter.model import ClientConnection, HeaderBlock, Principal

Found = Principal | Awaitable[Principal | None] | None
"""A principal that is remembered or can be established at once; an awaitable if an authenticator has to be asked; None if the
source has no credentials for the request."""

Challenge = tuple[str, str]
"""Scheme (``basic`` or ``bearer``) and realm of a challenge that a client can answer."""


class CredentialSource(Protocol):
    """One place of a request where credentials can be: a header, the connection, a cookie.

    A source remembers what it has verified, in a memory of its own, so that a value of one source is never taken for a value of
    another. ``by_connection`` is True if the source goes by the connection and what its peer says: such a source is not asked
    about a request that came over the connection of a proxy. ``by_session`` is True if it goes by the session of a browser.
    ``by_authorization`` is True if it reads only Authorization: it is not asked about a request without one.
    """

    by_connection: bool
    by_session: bool
    by_authorization: bool

    def challenges(self) -> tuple[Challenge, ...]:
        """What a 401 asks for, so that the client sends credentials for this source."""

    def identify(self, headers: HeaderBlock, address: str, connection: ClientConnection) -> Found:
        """The user who sent the request. ``address`` is the client's, as rules and the audit log see it.

        Only a source ``by_session`` and the last one of an `Identifier` may return an awaitable that yields None. Raises, at once
        or from the awaitable, a refusal of `perimeter.errors` if credentials are wrong, malformed or cannot be verified.
        """

    def by_browser(self, headers: HeaderBlock) -> bool | None:
        """Whether a browser may have added this source's credentials by itself, whatever page sent the request.

        None if the request has no credentials for this source. Asked only about a request that was identified.
        """

    def until(self, headers: HeaderBlock) -> float:
        """When credentials that were identified will be verified again (seconds of the clock); 0 if nothing is remembered."""

    def identify_first_hand(self, headers: HeaderBlock, address: str, connection: ClientConnection) -> Found:
        """Like `identify`, but the gateway's own tokens are refused: a token buys no new token."""

    def forget(self) -> None:
        """Verify everything again: the keys have changed, or what is known of users."""

"""Tickets of Kerberos in the Authorization header: ``Negotiate`` (RFC 4559), each in one round trip."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol

from perimeter.auth.credentials import parse_negotiate, parse_realms
from perimeter.gate.sources.source import Challenge
from perimeter.model import AuthenticationRequest, ClientConnection, Credentials, HeaderBlock, Principal


class TicketVerifier(Protocol):
    """What this source needs of `perimeter.auth.chain.chain.AuthenticatorChain`."""

    def authenticate(self, credentials: Credentials, request: AuthenticationRequest) -> Awaitable[Principal]:
        """Ask the authenticators."""


class Negotiate:
    """The source that reads ``Authorization: Negotiate`` (`perimeter.gate.sources.source.CredentialSource`).

    It remembers nothing, because each request has a token of its own: one that comes twice was stolen. ``longest`` is the limit
    of an Authorization value, in bytes.
    """

    by_connection = False
    by_session = False
    by_authorization = True

    def __init__(self, chain: TicketVerifier, longest: int) -> None:
        self._chain = chain
        self._longest = longest

    def challenges(self) -> tuple[Challenge, ...]:
        """None of its own: the chain's are among those of `Authorization`."""
        return ()

    def identify(self, headers: HeaderBlock, address: str, connection: ClientConnection) -> Awaitable[Principal] | None:
        """See `CredentialSource.identify`. None without a value of the scheme Negotiate."""
        credentials = parse_negotiate(headers.authorization, self._longest)
        if credentials is None:
            return None
        realms = parse_realms(headers.get_all(b"x-auth-realm")) if headers.narrowed else frozenset()
        return self._chain.authenticate(credentials, AuthenticationRequest(address, realms, connection.address))

    identify_first_hand = identify

    def by_browser(self, headers: HeaderBlock) -> bool | None:
        """See `CredentialSource.by_browser`. A browser gets a ticket for a request of any page."""
        return True if parse_negotiate(headers.authorization, self._longest) is not None else None

    def until(self, headers: HeaderBlock) -> float:
        """0: nothing is remembered."""
        return 0.0

    def forget(self) -> None:
        """Nothing is remembered."""

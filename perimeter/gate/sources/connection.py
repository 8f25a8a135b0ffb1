"""Credentials of the connection: a verified client certificate, or a header that a trusted peer sets."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol

from perimeter.auth.credentials import parse_realms
from perimeter.gate.sources.source import Challenge
from perimeter.model import AuthenticationRequest, ClientConnection, HeaderBlock, Principal


class ConnectionVerifier(Protocol):
    """What this source needs of `perimeter.auth.chain.chain.AuthenticatorChain`."""

    takes_connections: bool

    def identify_connection(self, request: AuthenticationRequest) -> Awaitable[Principal | None]:
        """Ask the authenticators that go by the connection; None if none of them knows it."""


class Connection:
    """The source that goes by the connection (`perimeter.gate.sources.source.CredentialSource`).

    It remembers nothing: the authenticators that go by the connection answer without asking a directory.
    """

    by_connection = True
    by_session = False
    by_authorization = False

    def __init__(self, chain: ConnectionVerifier) -> None:
        self._chain = chain

    def challenges(self) -> tuple[Challenge, ...]:
        """None: no challenge makes a client send a certificate."""
        return ()

    def identify(self, headers: HeaderBlock, address: str, connection: ClientConnection) -> Awaitable[Principal | None] | None:
        """See `CredentialSource.identify`."""
        if not self._chain.takes_connections:
            return None
        realms = parse_realms(headers.get_all(b"x-auth-realm")) if headers.narrowed else frozenset()
        certificate = connection.certificate
        return self._chain.identify_connection(
            AuthenticationRequest(address, realms, connection.address, headers=headers, certificate=certificate)
        )

    identify_first_hand = identify

    def by_browser(self, headers: HeaderBlock) -> bool:
        """True: a browser shows its certificate to every request, and a proxy adds its header to them all."""
        return True

    def until(self, headers: HeaderBlock) -> float:
        """0: nothing is remembered."""
        return 0.0

    def forget(self) -> None:
        """Nothing is remembered."""

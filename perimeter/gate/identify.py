"""Who is asking: from the Authorization field of a request to a principal.

What was found before is found again without a Deferred, a signature or a hash made to be slow. Everything else is answered by the
token verifier (at once) or by the authenticators (later). Where a request has no usable Authorization, those who go by its
connection are asked; where it has one, that alone counts.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from perimeter.auth.credentials import parse_credentials, parse_realms
from perimeter.errors import ForeignToken, InvalidToken, MissingCredentials, Refusal, Unavailable
from perimeter.model import (
    AuthenticationRequest,
    BearerCredentials,
    ClientConnection,
    Credentials,
    HeaderBlock,
    Principal,
)
from perimeter.tokens.verdict import Verdict, VerdictCache

Found = Principal | Awaitable[Principal | None] | None


class Chain(Protocol):
    """What is asked of `perimeter.auth.chain.AuthenticatorChain`."""

    takes_tokens: bool
    takes_connections: bool

    def lookup_basic(self, raw: bytes, realms: frozenset[str] = ...) -> Principal | None:
        """Who was verified by this value before, if it is remembered."""

    def authenticate(
        self, credentials: Credentials, request: AuthenticationRequest, raw: bytes | None = ...
    ) -> Awaitable[Principal]:
        """Ask the authenticators."""

    def identify_connection(self, request: AuthenticationRequest) -> Awaitable[Principal | None]:
        """Ask those who go by the connection."""


class Verifier(Protocol):
    """What is asked of `perimeter.tokens.verifier.TokenVerifier`."""

    def verify(self, token: str) -> Verdict:
        """The verdict on an access token; raises `InvalidToken`, `ForeignToken` for one that is none of ours."""


class Identifier:
    """Finds the principal behind a request. ``clock`` gives seconds since the epoch."""

    def __init__(self, chain: Chain, verifier: Verifier, clock: Callable[[], float]) -> None:
        self._chain = chain
        self._verifier = verifier
        self._clock = clock
        self._verdicts = VerdictCache()

    def forget(self) -> None:
        """Verify everything anew: keys or revocations have changed."""
        self._verdicts.clear()

    def identify(self, headers: HeaderBlock, address: str, connection: ClientConnection, *, by_connection: bool = True) -> Found:
        """The principal; an awaitable of him where an authenticator must be asked; None where there are no credentials.

        ``address`` is the audited one. ``by_connection`` is False where the connection, and what its peer says, tell nothing of
        who asks. Raises (at once, or from the awaitable) one of the refusals in `perimeter.errors`.
        """
        values = headers.authorization
        if not values:
            return self._by_connection(headers, address, connection) if by_connection and self._chain.takes_connections else None
        if len(values) == 1:
            verdict = self._verdicts.get(values[0])
            if verdict is not None and verdict.expires > self._clock():
                principal = verdict.principal
                if headers.narrowed:
                    _check_realm(principal, parse_realms(headers.get_all(b"x-auth-realm")))
                return principal
        realms = parse_realms(headers.get_all(b"x-auth-realm")) if headers.narrowed else frozenset()
        if len(values) == 1:
            known = self._chain.lookup_basic(values[0], realms)
            if known is not None:
                return known
        several = parse_credentials(values)
        if not several:
            return self._by_connection(headers, address, connection) if by_connection and self._chain.takes_connections else None
        request = AuthenticationRequest(address, realms, connection.address)
        if len(several) > 1:
            return self._any(several, request, values[0], self._one)
        return self._one(several[0], request, values[0])

    def _one(self, credentials: Credentials, request: AuthenticationRequest, raw: bytes) -> Principal | Awaitable[Principal]:
        """Who holds one credential, which came in the Authorization value ``raw``."""
        if not isinstance(credentials, BearerCredentials):
            return self._chain.authenticate(credentials, request, raw)
        try:
            verdict = self._verifier.verify(credentials.token)
        except ForeignToken:
            if not self._chain.takes_tokens:
                raise
            return self._chain.authenticate(credentials, request, raw)
        _check_realm(verdict.principal, request.realms)
        self._verdicts.put(raw, verdict)
        return verdict.principal

    def _by_connection(self, headers: HeaderBlock, address: str, connection: ClientConnection) -> Awaitable[Principal | None]:
        realms = parse_realms(headers.get_all(b"x-auth-realm")) if headers.narrowed else frozenset()
        certificate = connection.certificate
        return self._chain.identify_connection(
            AuthenticationRequest(address, realms, connection.address, headers=headers, certificate=certificate)
        )

    async def _any(
        self,
        several: Sequence[Credentials],
        request: AuthenticationRequest,
        raw: bytes,
        one: Callable[[Credentials, AuthenticationRequest, bytes], Principal | Awaitable[Principal]],
    ) -> Principal:
        """Who holds one of several credentials, judged in their order.

        Raises what the first was refused with, but `Unavailable` where one of them could not be judged.
        """
        refusal: Refusal = MissingCredentials()
        for index, credentials in enumerate(several):
            try:
                found = one(credentials, request, raw)
                return found if isinstance(found, Principal) else await found
            except Refusal as error:
                if not index or (isinstance(error, Unavailable) and not isinstance(refusal, Unavailable)):
                    refusal = error
        raise refusal

    async def authenticate(self, headers: HeaderBlock, address: str, connection: ClientConnection) -> Principal:
        """Who holds the credentials, as an authenticator knows him: an access token buys no new one.

        Raises the refusals of `perimeter.errors`, `MissingCredentials` where there are none.
        """
        realms = parse_realms(headers.get_all(b"x-auth-realm"))
        several = parse_credentials(headers.authorization)
        if not several:
            found = await self._by_connection(headers, address, connection) if self._chain.takes_connections else None
            if found is None:
                raise MissingCredentials
            return found
        raw = headers.authorization[0]
        known = self._chain.lookup_basic(raw, realms)
        if known is not None:
            return known
        return await self._any(several, AuthenticationRequest(address, realms, connection.address), raw, self._vouched)

    def _vouched(self, credentials: Credentials, request: AuthenticationRequest, raw: bytes) -> Awaitable[Principal]:
        """`_one`, but for the gateway's own tokens."""
        if isinstance(credentials, BearerCredentials):
            own = InvalidToken("an access token where a password is asked for")
            if not self._chain.takes_tokens:
                raise own
            try:
                self._verifier.verify(credentials.token)
            except ForeignToken:
                return self._chain.authenticate(credentials, request, raw)
            raise own
        return self._chain.authenticate(credentials, request, raw)


def _check_realm(principal: Principal, realms: frozenset[str]) -> None:
    """A client may narrow the realms that it is known in, never widen them (attack 34)."""
    if realms and principal.realm not in realms:
        raise InvalidToken("the token is of a realm that the client excluded")

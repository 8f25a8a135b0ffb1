"""Who is asking: from the Authorization field of a request to a principal.

What was found before is found again without a Deferred, a signature or a hash made to be slow. Everything else is answered by the
token verifier (at once) or by the authenticators (later).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from perimeter.auth.credentials import parse_authorization, parse_realms
from perimeter.errors import InvalidToken, MissingCredentials
from perimeter.model import AuthenticationRequest, BearerCredentials, Credentials, HeaderBlock, Principal
from perimeter.tokens.verdict import Verdict, VerdictCache


class Chain(Protocol):
    """What is asked of `perimeter.auth.chain.AuthenticatorChain`."""

    def lookup_basic(self, raw: bytes, realms: frozenset[str] = ...) -> Principal | None:
        """Who was verified by this value before, if it is remembered."""

    def authenticate(
        self, credentials: Credentials, request: AuthenticationRequest, raw: bytes | None = ...
    ) -> Awaitable[Principal]:
        """Ask the authenticators."""


class Verifier(Protocol):
    """What is asked of `perimeter.tokens.verifier.TokenVerifier`."""

    def verify(self, token: str) -> Verdict:
        """The verdict on an access token; raises `InvalidToken`."""


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

    def identify(self, headers: HeaderBlock, address: str) -> Principal | Awaitable[Principal] | None:
        """The principal; an awaitable of him where an authenticator must be asked; None where there are no credentials.

        Raises (at once, or from the awaitable) one of the refusals in `perimeter.errors`.
        """
        values = headers.authorization
        if not values:
            return None
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
        credentials = parse_authorization(values)
        if credentials is None:
            return None
        if isinstance(credentials, BearerCredentials):
            verdict = self._verifier.verify(credentials.token)
            _check_realm(verdict.principal, realms)
            self._verdicts.put(values[0], verdict)
            return verdict.principal
        return self._chain.authenticate(credentials, AuthenticationRequest(address, realms), values[0])

    async def authenticate(self, headers: HeaderBlock, address: str) -> Principal:
        """Who holds the credentials, as an authenticator knows him: an access token buys no new one.

        Raises the refusals of `perimeter.errors`, `MissingCredentials` where there are none.
        """
        realms = parse_realms(headers.get_all(b"x-auth-realm"))
        credentials = parse_authorization(headers.authorization)
        if credentials is None:
            raise MissingCredentials
        if isinstance(credentials, BearerCredentials):
            raise InvalidToken("an access token where a password is asked for")
        raw = headers.authorization[0]
        known = self._chain.lookup_basic(raw, realms)
        if known is not None:
            return known
        return await self._chain.authenticate(credentials, AuthenticationRequest(address, realms), raw)


def _check_realm(principal: Principal, realms: frozenset[str]) -> None:
    """A client may narrow the realms that it is known in, never widen them (attack 34)."""
    if realms and principal.realm not in realms:
        raise InvalidToken("the token is of a realm that the client excluded")

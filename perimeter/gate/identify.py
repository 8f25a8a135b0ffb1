"""Who is asking: from the Authorization field of a request to a principal.

What was found before is found again without a Deferred, a signature or a hash made to be slow. Everything else is answered by the
token verifier (at once) or by the authenticators (later). Where a request has no usable Authorization, those who go by its
connection are asked; where it has one, that alone counts.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import attrs

from perimeter.auth.credentials import parse_credentials, parse_realms
from perimeter.errors import ForeignToken, InvalidToken, MissingCredentials, Refusal, Unavailable
from perimeter.model import (
    TOKEN_PREFIX,
    AuthenticationRequest,
    BearerCredentials,
    ClientConnection,
    Credentials,
    HeaderBlock,
    Principal,
)
from perimeter.tokens.api_token import ApiToken, grant_of
from perimeter.tokens.verdict import Verdict, VerdictCache

Found = Principal | Awaitable[Principal | None] | None

RECALL_INTERVAL = 60.0
"""Seconds for which the owner of an API token is not asked for again: for as long a role that was taken away goes on."""

_LONGEST_LIST = 2048
"""Octets of an Authorization value with several credentials that is remembered whole."""


class Chain(Protocol):
    """What is asked of `perimeter.auth.chain.chain.AuthenticatorChain`."""

    takes_tokens: bool
    takes_connections: bool

    def lookup_basic(self, raw: bytes, realms: frozenset[str] = ...) -> Principal | None:
        """Who was verified by this value before, if it is remembered."""

    def recall(self, owner: Principal, request: AuthenticationRequest) -> Principal | Awaitable[Principal]:
        """The owner of an API token as he is known now."""

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


class ApiTokens(Protocol):
    """What is asked of `perimeter.tokens.api_token.ApiTokenVerifier`."""

    def verify(self, token: str) -> ApiToken:
        """What is kept of the token; raises `InvalidToken`."""


class Revocations(Protocol):
    """What is asked of `perimeter.state.state.State`."""

    epoch: int

    def good(self, principal: Principal) -> bool:
        """Whether the token by which the principal came is good still."""


class Identifier:
    """Finds the principal behind a request. ``clock`` gives seconds since the epoch; so many tokens are ``remembered``."""

    def __init__(
        self,
        chain: Chain,
        verifier: Verifier,
        api_tokens: ApiTokens,
        revocations: Revocations,
        clock: Callable[[], float],
        remembered: int = 32768,
    ) -> None:
        self._chain = chain
        self._verifier = verifier
        self._api_tokens = api_tokens
        self._revocations = revocations
        self._clock = clock
        self._verdicts = VerdictCache(remembered)

    def forget(self) -> None:
        """Verify everything anew: the keys have changed, or what is known of users."""
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
            remembered = self._remembered(values[0])
            if remembered is not None:
                if headers.narrowed:
                    _check_realm(remembered, parse_realms(headers.get_all(b"x-auth-realm")))
                return remembered
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

    def _remembered(self, raw: bytes) -> Principal | None:
        verdict = self._verdicts.get(raw)
        if (
            verdict is not None
            and verdict.expires > self._clock()
            and (verdict.epoch == self._revocations.epoch or self._still_good(verdict))
        ):
            return verdict.principal
        return None

    def _still_good(self, verdict: Verdict) -> bool:
        """Whether nothing that was revoked since the verdict was last looked at concerns it."""
        epoch = self._revocations.epoch
        if not self._revocations.good(verdict.principal):
            return False
        verdict.epoch = epoch
        return True

    def _remember(self, plain: bytes, principal: Principal, expires: float) -> Principal:
        self._verdicts.put(plain, Verdict(principal, expires, self._revocations.epoch))
        return principal

    def _one(self, credentials: Credentials, request: AuthenticationRequest, raw: bytes) -> Principal | Awaitable[Principal]:
        """Who holds one credential, which came in the Authorization value ``raw``."""
        if not isinstance(credentials, BearerCredentials):
            return self._chain.authenticate(credentials, request, raw)
        # A token is remembered as most clients send it, whatever stood around it: otherwise 16 KiB of blanks would be remembered
        # with it, and each number of them would be another question for its owner's directory (attack 23).
        plain = _plain(credentials)
        if plain != raw:
            remembered = self._remembered(plain)
            if remembered is not None:
                _check_realm(remembered, request.realms)
                return remembered
        if credentials.token.startswith(TOKEN_PREFIX):
            return self._by_api_token(self._api_tokens.verify(credentials.token), request, plain)
        try:
            verdict = self._verifier.verify(credentials.token)
        except ForeignToken:
            if not self._chain.takes_tokens:
                raise
            return self._chain.authenticate(credentials, request, raw)
        _check_realm(verdict.principal, request.realms)
        return self._remember(plain, verdict.principal, verdict.expires)

    def _by_api_token(self, kept: ApiToken, request: AuthenticationRequest, plain: bytes) -> Principal | Awaitable[Principal]:
        _check_realm(kept.owner, request.realms)
        owner = self._chain.recall(kept.owner, request)
        if isinstance(owner, Principal):
            return self._granted(kept, owner, plain)
        return self._granted_later(kept, owner, plain)

    async def _granted_later(self, kept: ApiToken, owner: Awaitable[Principal], plain: bytes) -> Principal:
        return self._granted(kept, await owner, plain)

    def _granted(self, kept: ApiToken, owner: Principal, plain: bytes) -> Principal:
        principal = attrs.evolve(owner, authenticator="token", grant=grant_of(kept))
        if not self._revocations.good(principal):
            raise InvalidToken("the API token was revoked while its owner was asked for")
        return self._remember(plain, principal, min(kept.expires, self._clock() + RECALL_INTERVAL))

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
                principal = found if isinstance(found, Principal) else await found
            except Refusal as error:
                if not index or (isinstance(error, Unavailable) and not isinstance(refusal, Unavailable)):
                    refusal = error
            else:
                self._remember_list(raw, credentials, request)
                return principal
        raise refusal

    def _remember_list(self, raw: bytes, credentials: Credentials, request: AuthenticationRequest) -> None:
        """For the next time, so that a wrong password in front of a good token is not tried with each request."""
        if isinstance(credentials, BearerCredentials) and not request.realms and len(raw) <= _LONGEST_LIST:
            verdict = self._verdicts.get(_plain(credentials))
            if verdict is not None:
                self._verdicts.put(raw, verdict)

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
            own = InvalidToken("a token of our own where a password is asked for")
            if credentials.token.startswith(TOKEN_PREFIX):
                raise own
            if not self._chain.takes_tokens:
                raise own
            try:
                self._verifier.verify(credentials.token)
            except ForeignToken:
                return self._chain.authenticate(credentials, request, raw)
            raise own
        return self._chain.authenticate(credentials, request, raw)


def _plain(credentials: BearerCredentials) -> bytes:
    return b"Bearer " + credentials.token.encode("ascii")


def _check_realm(principal: Principal, realms: frozenset[str]) -> None:
    """A client may narrow the realms that it is known in, never widen them (attack 34)."""
    if realms and principal.realm not in realms:
        raise InvalidToken("the token is of a realm that the client excluded")

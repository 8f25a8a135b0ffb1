"""Credentials in the Authorization header: passwords, access tokens, API tokens, tokens of other issuers.

What was verified before is found again without a Deferred, a signature check or a slow hash. Everything else is answered by the
token verifier (at once) or by the authenticators (later).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import attrs

from perimeter.auth.credentials import MAX_AUTHORIZATION, parse_credentials, parse_realms
from perimeter.errors import ForeignToken, InvalidToken, MissingCredentials, Refusal, Unavailable
from perimeter.gate.sources.owner import RECALL_INTERVAL, check_realm
from perimeter.gate.sources.source import Challenge, Found
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
from perimeter.tokens.news import News, no_news
from perimeter.tokens.verdict import Revocations, Verdict, VerdictCache, still_good

_LONGEST_LIST = 2048
"""Bytes of an Authorization value with several credentials that is remembered as a whole."""


class CredentialVerifier(Protocol):
    """What this source needs of `perimeter.auth.chain.chain.AuthenticatorChain`."""

    takes_tokens: bool

    def challenges(self) -> tuple[Challenge, ...]:
        """The challenges of all authenticators."""

    def lookup_basic(self, raw: bytes, realms: frozenset[str] = ...) -> Principal | None:
        """The user who was verified by this value before, if that is remembered."""

    def remembered_until(self, raw: bytes, realms: frozenset[str] = ...) -> float:
        """When what `lookup_basic` returns ends; 0 if it returns None."""

    def recall(self, owner: Principal, request: AuthenticationRequest) -> Principal | Awaitable[Principal]:
        """The current principal of an API token's owner."""

    def authenticate(
        self, credentials: Credentials, request: AuthenticationRequest, raw: bytes | None = ...
    ) -> Awaitable[Principal]:
        """Ask the authenticators."""


class Verifier(Protocol):
    """What this source needs of `perimeter.tokens.verifier.TokenVerifier`."""

    def verify(self, token: str) -> Verdict:
        """The verdict on an access token. Raises `InvalidToken`, and `ForeignToken` if the gateway did not issue it."""


class ApiTokenLookup(Protocol):
    """What this source needs of `perimeter.tokens.api_token.ApiTokenVerifier`."""

    def verify(self, token: str) -> ApiToken:
        """What is stored of the token. Raises `InvalidToken`."""


class Authorization:
    """The source that reads Authorization (`perimeter.gate.sources.source.CredentialSource`).

    ``clock`` gives seconds since the epoch. At most ``remembered`` verified tokens are kept. ``longest`` is the limit of an
    Authorization value, in bytes. ``news`` looks once for a token, or its key, that is not known here.
    """

    by_connection = False
    by_session = False
    by_authorization = True

    def __init__(
        self,
        chain: CredentialVerifier,
        verifier: Verifier,
        api_tokens: ApiTokenLookup,
        revocations: Revocations,
        clock: Callable[[], float],
        remembered: int,
        longest: int = MAX_AUTHORIZATION,
        news: News = no_news,
    ) -> None:
        self._chain = chain
        self._verifier = verifier
        self._api_tokens = api_tokens
        self._revocations = revocations
        self._clock = clock
        self._longest = longest
        self._news = news
        self._verdicts = VerdictCache(remembered)

    def challenges(self) -> tuple[Challenge, ...]:
        """See `CredentialSource.challenges`. The gateway's own Bearer challenge is not among them."""
        return self._chain.challenges()

    def forget(self) -> None:
        """See `CredentialSource.forget`."""
        self._verdicts.clear()

    def identify(self, headers: HeaderBlock, address: str, connection: ClientConnection) -> Found:
        """See `CredentialSource.identify`. None without a usable Authorization."""
        values = headers.authorization
        if not values:
            return None
        if len(values) == 1:
            # `_remembered`, written out: a call costs each request 0.05 µs.
            verdict = self._verdicts.get(values[0])
            if (
                verdict is not None
                and verdict.expires > self._clock()
                and (verdict.epoch == self._revocations.epoch or still_good(verdict, self._revocations))
            ):
                if headers.narrowed:
                    check_realm(verdict.principal, parse_realms(headers.get_all(b"x-auth-realm")))
                return verdict.principal
        realms = parse_realms(headers.get_all(b"x-auth-realm")) if headers.narrowed else frozenset()
        if len(values) == 1:
            known = self._chain.lookup_basic(values[0], realms)
            if known is not None:
                return known
        several = parse_credentials(values, self._longest)
        if not several:
            return None
        request = AuthenticationRequest(address, realms, connection.address)
        if len(several) > 1:
            return self._any(several, request, values[0], self._one)
        return self._one(several[0], request, values[0])

    def by_browser(self, headers: HeaderBlock) -> bool | None:
        """See `Source.by_browser`. A browser repeats a password, and scripts alone send a Bearer token."""
        if not headers.authorization:
            return None
        found = parse_credentials(headers.authorization)
        return None if not found else not all(isinstance(one, BearerCredentials) for one in found)

    def until(self, headers: HeaderBlock) -> float:
        """See `Source.until`."""
        values = headers.authorization
        if len(values) != 1:
            return 0.0
        raw = values[0]
        verdict = self._verdicts.get(raw)
        if verdict is not None:
            return verdict.expires
        found = parse_credentials(values)
        if len(found) == 1 and isinstance(found[0], BearerCredentials):
            verdict = self._verdicts.get(_plain(found[0]))
            return 0.0 if verdict is None else verdict.expires
        return self._chain.remembered_until(raw, parse_realms(headers.get_all(b"x-auth-realm")))

    def identify_first_hand(self, headers: HeaderBlock, address: str, connection: ClientConnection) -> Found:
        """See `CredentialSource.identify_first_hand`."""
        several = parse_credentials(headers.authorization, self._longest)
        if not several:
            return None
        realms = parse_realms(headers.get_all(b"x-auth-realm")) if headers.narrowed else frozenset()
        raw = headers.authorization[0]
        known = self._chain.lookup_basic(raw, realms)
        if known is not None:
            return known
        return self._any(several, AuthenticationRequest(address, realms, connection.address), raw, self._vouched)

    def _remembered(self, raw: bytes) -> Principal | None:
        verdict = self._verdicts.get(raw)
        if (
            verdict is not None
            and verdict.expires > self._clock()
            and (verdict.epoch == self._revocations.epoch or still_good(verdict, self._revocations))
        ):
            return verdict.principal
        return None

    def _remember(self, plain: bytes, principal: Principal, expires: float) -> Principal:
        self._verdicts.put(plain, Verdict(principal, expires, self._revocations.epoch))
        return principal

    def _one(self, credentials: Credentials, request: AuthenticationRequest, raw: bytes) -> Principal | Awaitable[Principal]:
        """The user of one credential, which came in the Authorization value ``raw``."""
        if not isinstance(credentials, BearerCredentials):
            return self._chain.authenticate(credentials, request, raw)
        # A token is remembered in the spelling that most clients use. Otherwise up to 16 KiB of white space would be remembered
        # with it, and each number of spaces would cost another question to the owner's directory (attack 23).
        plain = _plain(credentials)
        if plain != raw:
            remembered = self._remembered(plain)
            if remembered is not None:
                check_realm(remembered, request.realms)
                return remembered
        try:
            return self._own(credentials, request, plain)
        except InvalidToken as error:
            news = self._news(error, request.address)
            if news is not None:
                return self._own_later(news, credentials, request, raw)
            if not isinstance(error, ForeignToken) or not self._chain.takes_tokens:
                raise
        return self._chain.authenticate(credentials, request, raw)

    async def _own_later(
        self, news: Awaitable[None], credentials: BearerCredentials, request: AuthenticationRequest, raw: bytes
    ) -> Principal:
        await news
        try:
            found = self._own(credentials, request, _plain(credentials))
        except ForeignToken:
            if not self._chain.takes_tokens:
                raise
            found = self._chain.authenticate(credentials, request, raw)
        return found if isinstance(found, Principal) else await found

    def _own(
        self, credentials: BearerCredentials, request: AuthenticationRequest, plain: bytes
    ) -> Principal | Awaitable[Principal]:
        """The user of a token of the gateway's own."""
        if credentials.token.startswith(TOKEN_PREFIX):
            return self._by_api_token(self._api_tokens.verify(credentials.token), request, plain)
        verdict = self._verifier.verify(credentials.token)
        self._revocations.check_fresh(verdict.principal.grant)
        check_realm(verdict.principal, request.realms)
        return self._remember(plain, verdict.principal, verdict.expires)

    def _by_api_token(self, kept: ApiToken, request: AuthenticationRequest, plain: bytes) -> Principal | Awaitable[Principal]:
        self._revocations.check_fresh()
        check_realm(kept.owner, request.realms)
        owner = self._chain.recall(kept.owner, request)
        if isinstance(owner, Principal):
            return self._granted(kept, owner, plain)
        return self._granted_later(kept, owner, plain)

    async def _granted_later(self, kept: ApiToken, owner: Awaitable[Principal], plain: bytes) -> Principal:
        return self._granted(kept, await owner, plain)

    def _granted(self, kept: ApiToken, owner: Principal, plain: bytes) -> Principal:
        principal = attrs.evolve(owner, authenticator="token", grant=grant_of(kept))
        self._revocations.check_fresh()
        if not self._revocations.good(principal):
            raise InvalidToken("the API token was revoked while its owner was looked up")
        return self._remember(plain, principal, min(kept.expires, self._clock() + RECALL_INTERVAL))

    async def _any(
        self,
        several: Sequence[Credentials],
        request: AuthenticationRequest,
        raw: bytes,
        one: Callable[[Credentials, AuthenticationRequest, bytes], Principal | Awaitable[Principal]],
    ) -> Principal:
        """The user of the first good credential of several, tried in their order.

        Raises the refusal of the first one, or `Unavailable` if any of them could not be verified.
        """
        refusal: Refusal = MissingCredentials("no credential in the request that the gateway can use")
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
        """Remember the whole list, so that a wrong password in front of a good token is not tried with each request."""
        if isinstance(credentials, BearerCredentials) and not request.realms and len(raw) <= _LONGEST_LIST:
            verdict = self._verdicts.get(_plain(credentials))
            if verdict is not None:
                self._verdicts.put(raw, verdict)

    def _vouched(self, credentials: Credentials, request: AuthenticationRequest, raw: bytes) -> Awaitable[Principal]:
        """Like `_one`, but refuses the gateway's own tokens."""
        if isinstance(credentials, BearerCredentials):
            own = InvalidToken("a token of the gateway's own where first-hand credentials are needed")
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

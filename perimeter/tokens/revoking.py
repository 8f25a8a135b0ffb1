"""Ends tokens before their time: on behalf of the holder (RFC 7009), of the owner, or of the operator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import attrs
from twisted.internet.defer import Deferred

from perimeter.errors import InvalidToken, NoSuchToken
from perimeter.model import TOKEN_PREFIX, GrantKind, Principal
from perimeter.state.partial import finished
from perimeter.state.writer import finish
from perimeter.tokens.api_token import ApiToken, digest_of
from perimeter.tokens.check import TokenCheck, unknown
from perimeter.tokens.news import News, no_news
from perimeter.tokens.stored import StoredTokens

if TYPE_CHECKING:  # perimeter token list verifies none
    from perimeter.tokens.verifier import TokenVerifier


@attrs.frozen
class Revocation:
    """What the operator wants to end: API tokens by id, every token of a user (realm and name), or one token by its text."""

    ids: tuple[str, ...] = ()
    user: tuple[str, str] | None = None
    token: str | None = attrs.field(default=None, repr=False)


@attrs.frozen
class Ended:
    """How many tokens and sessions ended. The access tokens of a user are not counted, since they are not stored (``user`` is
    true then)."""

    api_tokens: int = 0
    access_tokens: int = 0
    user: bool = False
    sessions: int = 0


class UserSessions(Protocol):
    """What `Revoker` needs of `perimeter.sessions.stored.StoredSessions`."""

    def end_user(self, realm: str, username: str) -> Deferred[list[Any]]:
        """End every session of a user. Fires with those that the user had; fails with `Unavailable`."""

    def realms(self) -> frozenset[str]:
        """The realms of the users of sessions in memory."""

    async def has_realm(self, realm: str) -> bool:
        """Whether any user of ``realm`` has a session. Raises `Unavailable`."""


class Revoker:
    """Ends tokens, and with all tokens of a user their ``sessions``. Without ``verifier`` there are no access tokens.

    ``news`` reads an unknown token once: it must not stay valid because another process has issued it. ``check`` recognizes API
    tokens that cannot exist.

    Every method raises `perimeter.errors.Unavailable` if the end is in force but could not be written.
    """

    def __init__(
        self,
        stored: StoredTokens,
        verifier: TokenVerifier | None,
        sessions: UserSessions,
        news: News = no_news,
        check: TokenCheck | None = None,
    ) -> None:
        self._stored = stored
        self._news = news
        self._check = check
        self._sessions = sessions
        self._verifier = verifier

    async def end(self, text: str, address: str = "") -> Principal:
        """End the token ``text``, of either kind, for a client at ``address`` ("" for the operator). Returns its owner.

        Raises `InvalidToken` if it is not a valid token, and as ``news``.
        """
        try:
            return await self._end(text)
        except InvalidToken as error:
            news = self._news(error, address)
            if news is None:
                raise
            await news
        return await self._end(text)

    async def _end(self, text: str) -> Principal:
        if text.startswith(TOKEN_PREFIX):
            digest = digest_of(text)
            kept = self._stored.find(digest)
            if kept is None:
                raise unknown(text, digest, self._check)
            await self._stored.remove(kept)
            return kept.owner
        if self._verifier is None:
            raise InvalidToken("not an API token")
        principal = self._verifier.verify(text).principal
        assert principal.grant is not None
        await self._stored.revoke(principal.grant)
        return principal

    async def end_user(self, realm: str, username: str) -> Ended:
        """End all that a user was given until now: the API tokens, the access tokens and the sessions."""
        tokens, sessions = await finish(self._stored.revoke_user(realm, username), self._sessions.end_user(realm, username))
        return Ended(len(tokens), 0, True, len(sessions))

    async def revoke(self, wanted: Revocation) -> Ended:
        """End all that ``wanted`` names. Raises `NoSuchToken` and `InvalidToken`, and has ended nothing then."""
        ids = dict.fromkeys(wanted.ids)
        for id in ids:
            if self._stored.with_id(id) is None:
                await finished(self._stored.learn(("id", id)))
        tokens = [self._with_id(id) for id in ids]
        api_tokens, access_tokens = len(tokens), 0
        if wanted.token is not None:
            grant = (await self.end(wanted.token)).grant
            access_tokens = int(grant is not None and grant.kind is GrantKind.ACCESS_TOKEN)
            api_tokens += 1 - access_tokens
        await finish(*(self._stored.remove(token) for token in tokens))
        ended = Ended() if wanted.user is None else await self.end_user(*wanted.user)
        return attrs.evolve(ended, api_tokens=ended.api_tokens + api_tokens, access_tokens=access_tokens)

    def _with_id(self, id: str) -> ApiToken:
        token = self._stored.with_id(id)
        if token is None:
            raise NoSuchToken(f"there is no API token {id}")
        return token

    def realms(self) -> frozenset[str]:
        """The realms of the owners of API tokens and sessions in memory, which may be ones that are no longer configured."""
        return self._stored.realms() | self._sessions.realms()

    async def has_realm(self, realm: str) -> bool:
        """Whether any user of ``realm``, which may be no longer configured, has API tokens or sessions. Raises `Unavailable`."""
        return await self._stored.has_realm(realm) or await self._sessions.has_realm(realm)

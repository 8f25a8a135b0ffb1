"""API tokens and revocations as one kind of state: looked up in memory, changed through `perimeter.state.writer.ChangeWriter`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import inf
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from perimeter.errors import Unavailable
from perimeter.model import Grant, GrantKind, Principal
from perimeter.recent import Recent
from perimeter.state.changes import Change
from perimeter.state.kinds import Kind
from perimeter.state.page import Page
from perimeter.state.partial import PartialView
from perimeter.state.writer import ChangeWriter, check_fresh, finish, unaffected
from perimeter.tokens.api_token import ApiToken
from perimeter.tokens.index import Owner, TokenIndex
from perimeter.tokens.revocation import Removed, RevokedGrant, RevokedUser
from perimeter.tokens.tables import CODECS, RECORDS, TokenTable

NAME: Final = "tokens"
"""The name of this kind of state."""

MOST_PASSING: Final = 1000
"""API tokens that one user may have from ``GET /token``: with the next one the oldest ends."""

_UNCHECKED: Final = 50
"""If not all API tokens are in memory, those from ``GET /token`` are counted once in so many, in each process."""

_MOST_UNCHECKED: Final = 10_000
"""Users whose tokens from ``GET /token`` are counted so seldom; those of others are counted each time."""


class StoredTokens(PartialView[TokenIndex]):
    """The API tokens that exist, and what was revoked (`perimeter.state.kinds.View`).

    API tokens may be partly in memory (`perimeter.state.partial`): `learn` or `gather` comes before what looks them up.
    """

    def __init__(self, writer: ChangeWriter) -> None:
        super().__init__(writer, TokenIndex, NAME)
        #: by owner: how many tokens without a name this process may still write before it looks whether there are too many
        self._unchecked: Recent[Owner, int] = Recent(_MOST_UNCHECKED)
        #: what was verified in an earlier epoch has to be in memory to be still good
        self._doubted = 0
        #: by realm and user name, how many API tokens with a name are on their way to the store
        self._coming: Counter[tuple[str, str]] = Counter()
        #: changes whenever something was taken away, so that a remembered verdict on a token is checked again
        self.epoch = 0
        #: how often every token of a user was revoked
        self.users_revoked = 0

    # -- View

    def replace(self, index: TokenIndex) -> None:
        """Use ``index`` from now on. If that is not complete, the end of a token may have been missed."""
        if self.replaced and not index.complete:
            self._doubted = self.epoch + 1
        super().replace(index)

    def apply(self, change: Change) -> None:
        """Put one change in force."""
        super().apply(change)
        self.users_revoked += isinstance(change, RevokedUser)

    def removed(self) -> None:
        """Something was taken away."""
        self.epoch += 1

    # -- looking things up

    def find(self, digest: bytes) -> ApiToken | None:
        """The API token with this SHA-256, perhaps expired."""
        token = self._index.by_digest.get(digest)
        if token is not None:
            self._index.touch(token.id)
        return token

    def with_id(self, id: str) -> ApiToken | None:
        """The API token with this id, perhaps expired."""
        return self._index.by_id.get(id)

    def all(self) -> list[ApiToken]:
        """All API tokens in memory that have not expired, the oldest first."""
        now = self._writer.seconds()
        return sorted((one for one in self._index.by_id.values() if one.expires > now), key=lambda token: token.created)

    async def page(self, page: Page) -> Sequence[ApiToken]:
        """The API tokens of a page. Raises `Unavailable`."""
        if not self.complete:
            return [one for one in await self._found(page.key) if isinstance(one, ApiToken)]
        found = [
            one
            for one in self.all()
            if page.user in ("", one.owner.username) and page.realm in ("", one.owner.realm) and (page.passing or not one.passing)
        ]
        return (found[::-1] if page.latest else found)[page.first : page.first + page.most]

    def __len__(self) -> int:
        """How many API tokens there are, with those that expired a short time ago; roughly, if not all are in memory."""
        return len(self._index.by_id) if self.complete else max(self._index.counted, len(self._index.by_id))

    def realms(self) -> frozenset[str]:
        """The realms of the owners of API tokens in memory, which may be ones that are no longer configured."""
        return frozenset(token.owner.realm for token in self.all())

    async def has_realm(self, realm: str) -> bool:
        """Whether anyone of ``realm``, which may be no longer configured, has API tokens. Raises `Unavailable`."""
        return bool(await self.page(Page(self._writer.seconds(), 1, realm=realm, passing=True)))

    def owned(self, realm: str, username: str) -> list[ApiToken]:
        """The API tokens of a user that have not expired, the oldest first."""
        now, owner, index = self._writer.seconds(), (realm, username), self._index
        held = (*index.named.get(owner, {}).values(), *index.passing.get(owner, {}).values())
        return sorted((token for token in held if token.expires > now), key=lambda token: token.created)

    def count(self, realm: str, username: str) -> int:
        """How many API tokens with a name a user has, with those that are being written."""
        return self._coming[realm, username] + sum(1 for token in self.owned(realm, username) if not token.passing)

    def good(self, principal: Principal) -> bool:
        """Whether the token that ``principal`` came with still counts. Always true for a principal without one."""
        grant = principal.grant
        if grant is None:
            return True
        if grant.kind is GrantKind.API_TOKEN:
            return grant.id in self._index.by_id or self._dropped(grant, principal)
        return not self.revoked(grant, principal.realm, principal.username)

    def _dropped(self, grant: Grant, principal: Principal) -> bool:
        """Whether the API token of ``principal`` may only have been dropped from memory: its end was not seen."""
        index = self._index
        if index.complete or index.has_ended(grant.id):
            return False
        user = index.users.get((principal.realm, principal.username))
        return user is None or grant.issued > user.before

    def still_good(self, principal: Principal, epoch: int) -> bool:
        """Like `good`, for a token that was found good in an earlier ``epoch``."""
        grant = principal.grant
        unseen = grant is not None and grant.kind is GrantKind.API_TOKEN and grant.id not in self._index.by_id
        return self.good(principal) and not (unseen and epoch < self._doubted)

    def check_fresh(self, grant: Grant | None = None) -> None:
        """Raise `StateUnavailable` while it is not known which tokens other machines have revoked.

        Not for ``grant`` if that is of an access token that is short enough to be good all the same.
        """
        access = grant is not None and grant.kind is GrantKind.ACCESS_TOKEN
        check_fresh(self._writer, grant.expires - grant.issued if grant is not None and access else inf)

    def good_since(self, principal: Principal, since: float) -> bool:
        """Like `good`, for a user who was admitted at ``since`` (epoch seconds).

        A user without a token is not good if everything of theirs was revoked since then.
        """
        return self.good(principal) and (principal.grant is not None or since > self.revoked_at(principal))

    def revoked_at(self, principal: Principal) -> float:
        """When every token of the user was revoked last (epoch seconds); 0 for never."""
        user = self._index.users.get((principal.realm, principal.username))
        return 0.0 if user is None else user.before

    def revoked(self, grant: Grant, realm: str, username: str) -> bool:
        """Whether an access token was revoked before its time."""
        index = self._index
        if index.grants.hours and index.grants.has(grant.id, grant.expires):
            return True
        if not index.users:
            return False
        user = index.users.get((realm, username))
        return user is not None and grant.issued <= user.before

    # -- changing them

    def add(self, token: ApiToken) -> Deferred[None]:
        """Keep a new API token, which is valid once this has fired. Fails with `Unavailable` if it cannot be written."""
        owner = (token.owner.realm, token.owner.username)
        self._coming[owner] += not token.passing

        def written(result: Any) -> Any:
            self._coming[owner] -= not token.passing
            if self._coming[owner] <= 0:
                del self._coming[owner]
            if token.passing:
                self._make_room(owner)  # here, not in `apply`: one of several processes does it
            return result

        return unaffected(self._writer.add(token).addBoth(written))

    def _make_room(self, owner: Owner) -> None:
        """End the oldest passing tokens of ``owner``. If some may not be in memory, look at all of them once in a while."""
        if self.complete:
            self._end_oldest(owner)
            return
        left = self._unchecked.get(owner, 0)
        self._unchecked.keep(owner, left - 1 if left else _UNCHECKED)
        work = None if left else self.gather(("owner", *owner))
        if work is not None:
            work.addCallback(lambda _: self._end_oldest(owner)).addErrback(self._room_later, owner)

    def _room_later(self, failure: Failure, owner: Owner) -> None:
        failure.trap(Unavailable)
        self._unchecked.pop(owner, None)

    def _end_oldest(self, owner: Owner) -> None:
        passing = self._index.passing.get(owner, {})
        while len(passing) > MOST_PASSING:
            oldest = next(iter(passing.values()))
            self._writer.remove(Removed(oldest.id, passing=True)).addErrback(_logged)

    def remove(self, token: ApiToken) -> Deferred[None]:
        """End an API token, at once; fires when that is written. Fails with `Unavailable` if it cannot be written yet."""
        return self._writer.remove(Removed(token.id))

    def revoke(self, grant: Grant) -> Deferred[None]:
        """End an access token; as `remove`."""
        return self._writer.remove(RevokedGrant(grant.id, grant.expires))

    def revoke_user(self, realm: str, username: str) -> Deferred[list[ApiToken]]:
        """End every token of a user, of both kinds; as `remove`. Fires with the API tokens that the user had."""
        return Deferred.fromCoroutine(self._revoke_user(realm, username))

    async def _revoke_user(self, realm: str, username: str) -> list[ApiToken]:
        await self.gather_if_possible(("owner", realm, username))
        had = self.owned(realm, username)
        now = self._writer.seconds()
        later = [token for token in had if token.created > now]  # the clock was ahead when they were made
        ends = [RevokedUser(realm, username, now), *(Removed(token.id) for token in later)]
        await finish(*(self._writer.remove(end) for end in ends))
        return had


def _logged(_: Failure) -> None:
    """The state has logged it, and tries again."""


TOKENS: Final[Kind[StoredTokens]] = Kind(NAME, CODECS, TokenTable(), StoredTokens, RECORDS)
"""API tokens and revocations: one kind, since the revocation of a user decides which tokens count."""

"""API tokens and revocations as one kind of state: looked up in memory, changed through `perimeter.state.writer.ChangeWriter`."""

from __future__ import annotations

from collections import Counter
from math import inf
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from perimeter.model import Grant, GrantKind, Principal
from perimeter.state.changes import Change
from perimeter.state.kinds import IndexedView, Kind
from perimeter.state.writer import ChangeWriter, check_fresh, unaffected
from perimeter.tokens.api_token import ApiToken
from perimeter.tokens.index import HOUR, TokenIndex
from perimeter.tokens.revocation import Removed, RevokedGrant, RevokedUser
from perimeter.tokens.tables import CODECS, TokenTable

MOST_PASSING: Final = 1000
"""API tokens that one user may have from ``GET /token``: with the next one the oldest ends."""


class StoredTokens(IndexedView[TokenIndex]):
    """The API tokens that exist, and what was revoked (`perimeter.state.kinds.View`)."""

    def __init__(self, writer: ChangeWriter) -> None:
        super().__init__(writer, TokenIndex)
        #: by realm and user name, how many API tokens with a name are on their way to the store
        self._coming: Counter[tuple[str, str]] = Counter()
        #: changes whenever something was taken away, so that a remembered verdict on a token is checked again
        self.epoch = 0
        #: how often every token of a user was revoked
        self.users_revoked = 0

    # -- View

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
        return self._index.by_digest.get(digest)

    def with_id(self, id: str) -> ApiToken | None:
        """The API token with this id, perhaps expired."""
        return self._index.by_id.get(id)

    def all(self) -> list[ApiToken]:
        """All API tokens that have not expired, the oldest first."""
        now = self._writer.seconds()
        return sorted((one for one in self._index.by_id.values() if one.expires > now), key=lambda token: token.created)

    def realms(self) -> frozenset[str]:
        """The realms of the owners of API tokens, which may be ones that are no longer configured."""
        return frozenset(token.owner.realm for token in self.all())

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
            return grant.id in self._index.by_id
        return not self.revoked(grant, principal.realm, principal.username)

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
        if index.grants and hash(grant.id) in index.grants.get(int(grant.expires // HOUR), ()):
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
                self._make_room(token)  # here, not in `apply`: one of several processes does it
            return result

        return unaffected(self._writer.add(token).addBoth(written))

    def _make_room(self, token: ApiToken) -> None:
        passing = self._index.passing.get((token.owner.realm, token.owner.username), {})
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
        had = self.owned(realm, username)
        user = RevokedUser(realm, username, self._writer.seconds())
        return self._writer.remove(user).addCallback(lambda _: had)


def _logged(_: Failure) -> None:
    """The state has logged it, and tries again."""


TOKENS: Final[Kind[StoredTokens]] = Kind("tokens", CODECS, TokenTable(), StoredTokens)
"""API tokens and revocations: one kind, since the revocation of a user decides which tokens count."""

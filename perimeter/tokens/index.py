"""API tokens and revocations in memory, by everything that they are looked up by."""

from __future__ import annotations

from perimeter.state.changes import Change, Extent
from perimeter.state.partial import PartialIndex
from perimeter.tokens.api_token import ApiToken
from perimeter.tokens.revocation import Removed, RevokedGrant, RevokedUser
from perimeter.tokens.revoked import RevokedGrants

Owner = tuple[str, str]
"""Realm and user name."""


class TokenIndex(PartialIndex):
    """Empty at first; `apply` changes it. API tokens may be partly in memory, all else is."""

    def __init__(self) -> None:
        super().__init__()
        self.by_digest: dict[bytes, ApiToken] = {}
        self.by_id: dict[str, ApiToken] = {}
        #: by owner, then by id; tokens of ``GET /token`` are the oldest first
        self.named: dict[Owner, dict[str, ApiToken]] = {}
        self.passing: dict[Owner, dict[str, ApiToken]] = {}
        self.grants = RevokedGrants()
        self.users: dict[Owner, RevokedUser] = {}

    def apply(self, change: Change) -> None:
        """Put one change in force."""
        if isinstance(change, RevokedGrant):
            self.grants.add(change.id, change.expires)
        elif isinstance(change, ApiToken):
            self._add(change)
        elif isinstance(change, Removed):
            self.note_end(change.id)
            token = self.by_id.get(change.id)
            if token is not None:
                self.remove(token)
        elif isinstance(change, RevokedUser):
            key = (change.realm, change.username)
            self.users[key] = change.merged(self.users.get(key))
            for token in (*self.named.get(key, {}).values(), *self.passing.get(key, {}).values()):
                if change.covers(token):
                    self.remove(token)
        elif isinstance(change, Extent):
            self.measure(change)

    def _add(self, token: ApiToken) -> None:
        key = (token.owner.realm, token.owner.username)
        user = self.users.get(key)
        if (user is None or not user.covers(token)) and not self.has_ended(token.id):
            self.by_id[token.id] = token
            self.by_digest[token.digest] = token
            self._owners(token).setdefault(key, {})[token.id] = token
            for id in self.came(token.id, len(self.by_id), lambda: self.by_id):
                self.remove(self.by_id[id])

    def remove(self, token: ApiToken) -> None:
        """Drop ``token``."""
        self.went(token.id)
        self.by_id.pop(token.id, None)
        self.by_digest.pop(token.digest, None)
        owners, key = self._owners(token), (token.owner.realm, token.owner.username)
        owned = owners.get(key, {})
        owned.pop(token.id, None)
        if not owned:
            owners.pop(key, None)

    def _owners(self, token: ApiToken) -> dict[Owner, dict[str, ApiToken]]:
        return self.passing if token.passing else self.named

    def forget(self, now: float) -> None:
        """Drop what had ended by ``now`` (epoch seconds)."""
        for token in [token for token in self.by_digest.values() if token.expires <= now]:
            self.remove(token)
        self.forget_ends()
        self.grants.forget(now)
        for key in [key for key, user in self.users.items() if user.until <= now]:
            del self.users[key]

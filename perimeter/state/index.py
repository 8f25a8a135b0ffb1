"""What a state holds, in memory, by everything that it is looked up by. What is written when is `perimeter.state.state`'s."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Final

from perimeter.state.changes import Change, Held, RevokedGrant, RevokedUser
from perimeter.tokens.api_token import ApiToken

HOUR: Final = 3600.0


class Index:
    """What is held, by everything that it is looked up by."""

    def __init__(self, held: Held) -> None:
        self.by_digest: dict[bytes, ApiToken] = {}
        #: by realm and user name, then by id; those that pass by themselves, the oldest first
        self.named: dict[tuple[str, str], dict[str, ApiToken]] = {}
        self.passing: dict[tuple[str, str], dict[str, ApiToken]] = {}
        self.ids: set[str] = set()
        # By the hour of the expiry, which the token that is looked for tells too, so that the past is dropped by the hour.
        # Hashes, because 10^6 of them take 70 MiB and as many strings twice that; that two of 64 bits agree does not happen.
        self.grants: dict[int, set[int]] = {}
        self.users: dict[tuple[str, str], RevokedUser] = {}
        kept: list[Iterable[Change]] = [held.users, held.grants, held.tokens]
        for change in chain.from_iterable(kept):
            self.apply(change)

    def apply(self, change: Change) -> None:
        """Take note of what was written, or was taken away and is to be written; but `Removed`, for which there is `remove`."""
        if isinstance(change, ApiToken):
            user = self.users.get((change.owner.realm, change.owner.username))
            if user is not None and user.covers(change):
                return
            self.ids.add(change.id)
            self.by_digest[change.digest] = change
            self._kind(change).setdefault((change.owner.realm, change.owner.username), {})[change.id] = change
        elif isinstance(change, RevokedGrant):
            self.grants.setdefault(int(change.expires // HOUR), set()).add(hash(change.id))
        elif isinstance(change, RevokedUser):
            key = (change.realm, change.username)
            self.users[key] = change.joined(self.users.get(key))
            for token in (*self.named.get(key, {}).values(), *self.passing.get(key, {}).values()):
                self.remove(token)

    def remove(self, token: ApiToken) -> None:
        """Know ``token`` no more."""
        self.ids.discard(token.id)
        self.by_digest.pop(token.digest, None)
        kind, owner = self._kind(token), (token.owner.realm, token.owner.username)
        owned = kind.get(owner, {})
        owned.pop(token.id, None)
        if not owned:
            kind.pop(owner, None)

    def _kind(self, token: ApiToken) -> dict[tuple[str, str], dict[str, ApiToken]]:
        return self.passing if token.passing else self.named

    def forget(self, now: float) -> None:
        """Drop what had ended by ``now`` (epoch seconds)."""
        for token in [token for token in self.by_digest.values() if token.expires <= now]:
            self.remove(token)
        for hour in [hour for hour in self.grants if (hour + 1) * HOUR <= now]:
            del self.grants[hour]
        for key in [key for key, user in self.users.items() if user.until <= now]:
            del self.users[key]

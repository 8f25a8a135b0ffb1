"""Second factors in memory, by everything that they are looked up by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs

from perimeter.factors.factor import (
    EnrollCode,
    Factor,
    RecoveryCodes,
    RemovedFactor,
    RenamedFactor,
    ResetFactors,
    UsedFactor,
    UsedRecoveryCode,
)
from perimeter.state.changes import Change

_UNDER_WAY: Final = 86400.0
"""Seconds after which a change is surely not on its way to the store any more."""

Owner = tuple[str, str]
"""Realm and user name."""


class FactorIndex:
    """Empty at first; `apply` changes it."""

    def __init__(self) -> None:
        self.by_id: dict[str, Factor] = {}
        self.by_handle: dict[bytes, Factor] = {}
        #: by owner, the oldest first
        self.owned: dict[Owner, tuple[Factor, ...]] = {}
        self.recovery: dict[Owner, RecoveryCodes] = {}
        self.enroll: dict[Owner, EnrollCode] = {}
        #: by owner: when their factors were reset. What was made before may be on its way to the store
        self.reset: dict[Owner, float] = {}

    def apply(self, change: Change) -> None:
        """Put one change in force."""
        match change:
            case Factor():
                if change.id not in self.by_id and self._counts(change):
                    self._put(change)
            case UsedFactor():
                self._evolve(change.id, lambda one: _used(one, change))
            case RenamedFactor():
                self._evolve(change.id, lambda one: attrs.evolve(one, name=change.name))
            case RemovedFactor():
                self._remove(change.id)
            case RecoveryCodes():
                if self._counts(change):
                    self.recovery[change.realm, change.username] = change
            case UsedRecoveryCode():
                self._use_recovery((change.realm, change.username), change.digest)
            case EnrollCode():
                self.enroll[change.realm, change.username] = change
            case ResetFactors():
                self._reset((change.realm, change.username), change.before)

    def _counts(self, change: Factor | RecoveryCodes) -> bool:
        """Whether the user's factors were not reset since."""
        return change.created > self.reset.get((change.realm, change.username), 0.0)

    def _put(self, factor: Factor) -> None:
        """Add ``factor``, or replace the one with its id in its place."""
        key = (factor.realm, factor.username)
        before = self.owned.get(key, ())
        if factor.id in self.by_id:
            self.owned[key] = tuple(factor if one.id == factor.id else one for one in before)
        else:
            self.owned[key] = (*before, factor)
        self.by_id[factor.id] = factor
        if factor.handle:
            self.by_handle[factor.handle] = factor

    def _evolve(self, id: str, changed: Callable[[Factor], Factor]) -> None:
        factor = self.by_id.get(id)
        if factor is not None:
            self._put(changed(factor))

    def _remove(self, id: str) -> None:
        factor = self.by_id.pop(id, None)
        if factor is None:
            return
        if factor.handle:
            self.by_handle.pop(factor.handle, None)
        key = (factor.realm, factor.username)
        rest = tuple(one for one in self.owned[key] if one.id != id)
        if rest:
            self.owned[key] = rest
        else:
            del self.owned[key]

    def _use_recovery(self, key: Owner, digest: bytes) -> None:
        codes = self.recovery.get(key)
        if codes is not None:
            self.recovery[key] = attrs.evolve(codes, digests=tuple(one for one in codes.digests if one != digest))

    def _reset(self, key: Owner, before: float) -> None:
        self.reset[key] = max(before, self.reset.get(key, 0.0))
        for factor in self.owned.get(key, ()):
            self._remove(factor.id)
        self.recovery.pop(key, None)
        self.enroll.pop(key, None)

    def forget(self, now: float) -> None:
        """Drop what had ended by ``now`` (epoch seconds)."""
        for key in [key for key, code in self.enroll.items() if code.expires <= now]:
            del self.enroll[key]
        for key in [key for key, before in self.reset.items() if before <= now - _UNDER_WAY]:
            del self.reset[key]


def _used(factor: Factor, use: UsedFactor) -> Factor:
    return attrs.evolve(factor, used=max(factor.used, use.at), count=max(factor.count, use.count))

"""When signing keys are replaced, and what the keys of a site are if several machines share them. Pure.

A key's life: published a while before it signs, signing for ``key_lifetime``, then verifying until the last token that it can
have signed has expired.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import attrs

from perimeter.config.site.token import Algorithm, TokenSettings
from perimeter.tokens.jwk import generate
from perimeter.tokens.key_file import KeyEntry, KeySet, KeyState

#: seconds that a retired key is kept after its last token has expired: another process may have used it a little longer
GRACE: Final = 60.0

PATIENCE: Final = 3600.0
"""Seconds until a key that machines share gives way to one of another algorithm: while a new configuration is put on one machine
after the other, they do not replace each other's keys."""


def settle(entries: Sequence[KeyEntry], settings: TokenSettings, now: float, *, force: bool = False) -> tuple[KeyEntry, ...]:
    """The keys as they should be at ``now``: the one that signs, the next one, and the retired ones, newest first.

    A key is retired when it is older than ``key_lifetime``, when another algorithm was configured, or with ``force``.
    """
    by_state: dict[KeyState, KeyEntry] = {entry.state: entry for entry in entries if entry.state is not KeyState.RETIRED}
    retired = [entry for entry in entries if entry.state is KeyState.RETIRED and now < end_of(entry, settings)]
    signing, following = by_state.get(KeyState.SIGNING), by_state.get(KeyState.NEXT)
    if following is not None and following.jwk.algorithm != settings.algorithm:
        following = None
    if signing is not None and (force or _is_due(signing, settings, now)):
        retired.insert(0, _retired(signing, now))
        signing = None
    if settings.algorithm is Algorithm.HS256:
        return tuple(retired)
    if signing is None:
        signing = attrs.evolve(following or KeyEntry(generate(settings.algorithm), now), activated=now)
        following = None
    if following is None:
        following = KeyEntry(generate(settings.algorithm), now)
    return (signing, following, *retired)


def _is_due(signing: KeyEntry, settings: TokenSettings, now: float) -> bool:
    if signing.jwk.algorithm != settings.algorithm:
        return True
    return signing.activated is not None and now - signing.activated >= settings.key_lifetime


def end_of(entry: KeyEntry, settings: TokenSettings) -> float:
    """The time at which the last token that the key can have signed expires."""
    if entry.retired is None:
        return math.inf
    return entry.retired + max(settings.lifetime, settings.extended_lifetime) + GRACE


def due_together(entries: Sequence[KeyEntry], settings: TokenSettings, now: float) -> bool:
    """Whether one of the machines that share ``entries`` has to replace them by what `settle` returns."""
    signing = next((entry for entry in entries if entry.state is KeyState.SIGNING), None)
    if signing is None:
        return settings.algorithm is not Algorithm.HS256
    if signing.jwk.algorithm != settings.algorithm:
        return now - (signing.activated or 0.0) >= PATIENCE
    return _is_due(signing, settings, now) or any(now >= end_of(entry, settings) for entry in entries)


def agreed(ours: KeySet, theirs: KeySet | None, settings: TokenSettings, now: float) -> KeySet:
    """The keys of a machine and those that all machines share so far, together.

    The later ones are in force. Keys of the earlier ones that have signed go on verifying, unless all keys were discarded since.
    """
    if theirs is None:
        return attrs.evolve(ours, number=1) if ours.entries and not ours.number else ours
    later, earlier = (ours, theirs) if ours.order > theirs.order else (theirs, ours)
    if later.epoch != earlier.epoch:
        return later
    known = {entry.jwk.kid for entry in later.entries}
    missing = [
        _retired(entry, now)
        for entry in earlier.entries
        if entry.activated is not None and entry.jwk.kid not in known and now < end_of(entry, settings)
    ]
    if not missing:
        return later
    return KeySet((*later.entries, *missing), later.epoch, later.number + 1)


def _retired(entry: KeyEntry, now: float) -> KeyEntry:
    if entry.retired is not None:
        return entry
    return attrs.evolve(entry, retired=now, jwk=attrs.evolve(entry.jwk, private=None))

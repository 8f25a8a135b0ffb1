"""Copies the state of one machine (``state.db``) to Redis, when the machine joins others or is the first of them."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

import attrs
from twisted.internet.defer import Deferred

from perimeter.cluster.published import Publisher
from perimeter.cluster.records import RecordStore
from perimeter.state.changes import Change, Extent, Held
from perimeter.state.kinds import Kinds
from perimeter.state.writer import finish

_RECORDS: Final = 50
"""Records that are on their way at a time."""
_CHANGES: Final = 100
"""Changes in one entry of the log."""


@attrs.frozen
class Copied:
    """How many records, and how many other changes."""

    records: int
    others: int


async def copy(held: Held, records: RecordStore, publisher: Publisher, kinds: Kinds) -> Copied:
    """Copy the whole contents of a store. What Redis has already stays as it is, so to copy twice does no harm.

    Raises `perimeter.errors.Unavailable`: then some of it is copied.
    """
    changes = [change for some in held.values() for change in some if not isinstance(change, Extent)]
    kept = [change for change in changes if _is_record(kinds, change)]
    # What removes something comes first: a record that it covers is not in force anywhere, whenever it comes.
    others = [change for change in changes if not _is_record(kinds, change)]
    removals, additions = [one for one in others if not one.adds], [one for one in others if one.adds]
    await _publish(publisher, removals)
    # A record comes after the one that it came from.
    roots = [one for one in kept if not _has_parent(kinds, one)]
    for some in (*_slices(roots, _RECORDS), *_slices([one for one in kept if _has_parent(kinds, one)], _RECORDS)):
        await finish(*[Deferred.fromCoroutine(records.keep(one)) for one in some])
    await _publish(publisher, additions)
    return Copied(len(kept), len(others))


async def _publish(publisher: Publisher, changes: Sequence[Change]) -> None:
    for some in _slices(changes, _CHANGES):
        await publisher.publish(secrets.token_hex(8), some)


def _is_record(kinds: Kinds, change: Change) -> bool:
    records = kinds.of(change).records
    return records is not None and isinstance(change, records.change)


def _has_parent(kinds: Kinds, change: Change) -> bool:
    records = kinds.of(change).records
    return records is not None and any(key[0] == "parent" for key in records.keys(change))


def _slices(changes: Sequence[Change], size: int) -> Iterator[Sequence[Change]]:
    rest = iter(changes)
    while some := list(islice(rest, size)):
        yield some

"""How changes are written: the interface that the view of a kind gets."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any, Protocol, TypeAlias, TypeVar

from twisted.internet.defer import Deferred, DeferredList

from perimeter.errors import StateUnavailable
from perimeter.state.changes import Change

T = TypeVar("T")

LookupKey: TypeAlias = tuple[str, ...]
"""What records are found by: a word and its values, such as ``("owner", realm, username)``."""


class ChangeWriter(Protocol):
    """Writes changes (`perimeter.state.state.State`). All methods return Deferreds whose cancellation stops no write."""

    def add(self, change: Change) -> Deferred[None]:
        """Write a change that gives something; it is in force when the Deferred fires.

        Fails with `perimeter.errors.Unavailable` if the change cannot be written.
        """

    def remove(self, change: Change) -> Deferred[None]:
        """Put a change in force that takes something away, and write it. Fires when it is written.

        Fails with `perimeter.errors.NotWritten` if it cannot be written now: it is in force, and is written as soon as possible.
        """

    def claim(self, digest: bytes, until: float) -> Deferred[bool]:
        """Whether this is the first claim of ``digest``: see `perimeter.state.store.IStateStore.claim`.

        Fails with `perimeter.errors.Unavailable` if the store does not say so.
        """

    @property
    def stale(self) -> bool:
        """Whether this machine has not heard for too long what others have taken away: nothing that was given is good then."""

    @property
    def spared(self) -> float:
        """The longest life, in seconds, of access tokens that are good while the state is stale; 0: none is."""

    def find(self, kind: str, key: LookupKey) -> Deferred[Sequence[Change]]:
        """The records of the kind with this name that have ``key``, from the store, as changes that lead to them from nothing.

        Fails with `perimeter.errors.Unavailable` if the store does not answer in time.
        """

    def catch_up(self) -> Deferred[None] | None:
        """Read the store for an unknown token or session of a client, since another process may have written it.

        None if no read is needed. Fails with `perimeter.errors.Unavailable` if there are new changes that cannot be read.
        """

    def seconds(self) -> float:
        """The time, in epoch seconds."""


def stale_fault() -> StateUnavailable:
    """Why the state is of no use while it is stale."""
    return StateUnavailable("it is not known what other machines have revoked")


def check_fresh(writer: ChangeWriter, life: float = inf) -> None:
    """Raise `StateUnavailable` while the state is stale, unless an access token that lives for ``life`` seconds is spared."""
    if writer.stale and life > writer.spared:
        raise stale_fault()


class Follows(Protocol):
    """The part of a kind's view that `look` needs."""

    def news(self) -> Deferred[None] | None:
        """See `ChangeWriter.catch_up`."""


async def look(view: Follows) -> None:
    """Read the store once if the item is unknown. Raises the failure of `ChangeWriter.catch_up`."""
    news = view.news()
    if news is not None:
        await news


async def finish(*changes: Deferred[Any]) -> Sequence[Any]:
    """Wait until all ``changes`` are written, then raise what the first that failed has raised. Returns their results."""
    results: list[tuple[bool, Any]] = await DeferredList(changes, consumeErrors=True)
    for success, result in results:
        if not success:
            result.raiseException()
    return [result for _, result in results]


def unaffected(work: Deferred[T]) -> Deferred[T]:
    """The result of ``work``, for a caller who may cancel: the work goes on, and all that follows from it happens."""
    result: Deferred[T] = Deferred()

    def over(value: Any) -> None:
        if not result.called:
            result.callback(value)

    work.addBoth(over)
    return result

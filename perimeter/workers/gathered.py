"""A worker's question to all others, and their answers (`perimeter.workers.shares` is the manager's part)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

import attrs

from perimeter.errors import Unavailable
from perimeter.workers.channel import ChannelClosed, Refused
from perimeter.workers.place import Place
from perimeter.workers.sums import Counts

SLOW: Final = 1.0
"""Seconds in which a worker has to answer. Otherwise it is shown as slow."""

_MARGIN: Final = 1.0
"""Further seconds for the manager."""


T = TypeVar("T", bound=attrs.AttrsInstance)


def known(kind: type[T], members: Mapping[str, Any]) -> T:
    """An object of an attrs class, made of the ``members`` that it has.

    During an upgrade the program of another process may be newer and send further members, which are ignored. New members of a
    class need defaults, since that program may also be older.
    """
    names = {field.name for field in attrs.fields(kind)}
    return kind(**{name: value for name, value in members.items() if name in names})


@attrs.frozen
class WorkerNow:
    """A worker process. ``since`` is when it was started (epoch seconds); ``restarts`` are those of its slot.

    ``state`` is the name of a `SlotState` in lower case, ``generation`` the number of the configuration in force. A ``slow``
    worker has not answered in time.
    """

    slot: int
    pid: int
    state: str
    connections: int
    since: float
    restarts: int
    generation: int
    slow: bool = False


@attrs.frozen
class Gathered:
    """``shares`` are the answers of the other workers by slot, without those of slow ones. ``workers`` are all of them.

    ``counts`` is the sum of the counts of all present and earlier workers, ``uptime`` (seconds) that of the whole gateway.
    """

    shares: Mapping[int, Mapping[str, Any]]
    workers: Sequence[WorkerNow]
    counts: Counts
    uptime: float


async def gathered(place: Place, question: str, counts: Counts, timeout: float = SLOW) -> Gathered:
    """Ask all other workers that have clients, for ``timeout`` seconds. ``counts`` are the present ones of this worker.

    An answer is a mapping, in which ``counts`` may be the counts of that worker. Raises `Unavailable` if the manager does not
    answer.
    """
    asked = place.channel.ask("shares", timeout + _MARGIN, question=question, counts=counts, timeout=timeout)
    try:
        answer = await asked
    except (ChannelClosed, Refused, TimeoutError) as error:
        raise Unavailable(f"the other workers could not be asked: {error}") from None
    shares = {one["slot"]: one["value"] for one in answer["shares"]}
    late = {slot for slot, share in shares.items() if share is None}
    workers = [known(WorkerNow, {**one, "slow": one["slot"] in late and one["state"] == "serving"}) for one in answer["workers"]]
    answered = {slot: share for slot, share in shares.items() if share is not None}
    return Gathered(answered, workers, answer["counts"], answer["uptime"])

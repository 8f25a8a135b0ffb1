"""The metrics of all worker processes: the worker that answers a scrape asks the others for their shares."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import attrs
from prometheus_client.core import CollectorRegistry, Metric

from perimeter.errors import Unavailable
from perimeter.metrics.gauges import build_info, gauges
from perimeter.metrics.shares import Share, merged, share, system_registry
from perimeter.metrics.sources import NotRunning
from perimeter.metrics.worker_families import WorkerNow, worker_families
from perimeter.run.build.runtime import Runtime
from perimeter.workers.channel import ChannelClosed, Refused
from perimeter.workers.place import Place

SLOW: Final = 1.0
"""Seconds in which a worker has to answer. Otherwise it is shown as slow, and its counts are the last that the manager has."""

_MARGIN: Final = 1.0


class Scraping:
    """Asks for the shares of the other workers, and gives them that of this one."""

    def __init__(self, place: Place, runtime: Runtime) -> None:
        self._place = place
        self._metrics = runtime.metrics
        self._offload = runtime.offload
        self._system = system_registry()

    async def families(self) -> Iterator[Metric]:
        """The families of all workers, to be iterated in any thread. Takes little more than `SLOW`.

        Raises `NotRunning` while the gateway stops, and `Unavailable` if the manager does not answer: sums without the other
        workers would go back.
        """
        read = await self._read()
        counts, own = share(self._metrics, read)
        asked = self._place.channel.ask("shares", SLOW + _MARGIN, counts=counts, timeout=SLOW)
        try:
            answer = await asked
        except (ChannelClosed, Refused, TimeoutError) as error:
            raise Unavailable(f"the metrics of the other workers are not known: {error}") from None
        shares = {self._place.number: own}
        shares |= {one["slot"]: Share(**one["value"]) for one in answer["shares"] if one["value"] is not None}
        workers = [_worker(one, shares.get(one["slot"])) for one in answer["workers"]]
        return _all(merged(answer["counts"], tuple(shares.values()), read), workers)

    async def answer(self) -> Mapping[str, Any]:
        """The counts and the share of this worker, as JSON values. Raises ValueError while it stops."""
        try:
            counts, own = share(self._metrics, await self._read())
        except NotRunning as error:
            raise ValueError(error.phrase) from None
        return {"counts": counts, **attrs.asdict(own, recurse=False)}

    async def _read(self) -> list[Metric]:
        """What is read at the time of a scrape, with what the library reads of this process."""
        system = await self._offload.proceed(_collected, self._system)
        now = self._metrics.in_force()
        if now is None:
            raise NotRunning
        return [*gauges(now), *system]


def _collected(registry: CollectorRegistry) -> list[Metric]:
    return list(registry.collect())


def _worker(one: Mapping[str, Any], found: Share | None) -> WorkerNow:
    if found is None:
        return WorkerNow(**one, slow=one["state"] == "serving")
    return WorkerNow(**one, cpu=found.cpu, memory=found.memory)


def _all(several: Iterable[Metric], workers: Iterable[WorkerNow]) -> Iterator[Metric]:
    yield build_info()
    yield from several
    yield from worker_families(tuple(workers))

"""The metrics of all worker processes: the worker that answers a scrape asks the others for their shares."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs
from prometheus_client.core import CollectorRegistry, Metric

from perimeter.errors import Refusal
from perimeter.metrics.gauges import build_info, gauges
from perimeter.metrics.shares import Share, merged, share, system_registry
from perimeter.metrics.sources import NotRunning
from perimeter.metrics.worker_families import worker_families
from perimeter.run.build.runtime import Runtime
from perimeter.workers.gathered import gathered, known
from perimeter.workers.place import Place


class Scraping:
    """Asks for the shares of the other workers, and gives them that of this one."""

    def __init__(self, place: Place, runtime: Runtime) -> None:
        self._place = place
        self._metrics = runtime.metrics
        self._offload = runtime.offload
        self._system = system_registry()

    async def families(self) -> Iterator[Metric]:
        """The families of all workers, to be iterated in any thread. Takes little more than `perimeter.workers.gathered.SLOW`.

        Raises `NotRunning` while the gateway stops, and `Unavailable` if the manager does not answer: sums without the other
        workers would go back.
        """
        read = await self._read()
        counts, own = share(self._metrics, read)
        found = await gathered(self._place, "share", counts)
        shares = {self._place.number: own, **{slot: known(Share, one) for slot, one in found.shares.items()}}
        return _all(merged(found.counts, tuple(shares.values()), read), worker_families(found.workers, shares))

    async def answer(self) -> Mapping[str, Any]:
        """The counts and the share of this worker, as JSON values. Raises ValueError while it stops."""
        try:
            counts, own = share(self._metrics, await self._read())
        except Refusal as error:  # its configuration or its threads have stopped
            raise ValueError(error.detail or error.phrase) from None
        return {"counts": counts, **attrs.asdict(own, recurse=False)}

    async def _read(self) -> list[Metric]:
        """The families that are read at a scrape, with the library's metrics of this process."""
        system = await self._offload.proceed(_collected, self._system)
        now = self._metrics.in_force()
        if now is None:
            raise NotRunning
        return [*gauges(now), *system]


def _collected(registry: CollectorRegistry) -> list[Metric]:
    return list(registry.collect())


def _all(several: Iterable[Metric], workers: Iterable[Metric]) -> Iterator[Metric]:
    yield build_info()
    yield from several
    yield from workers

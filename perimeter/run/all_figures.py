"""The figures of all worker processes, for the operator's page: a worker asks the others, and answers them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from perimeter.metrics.counted import counted, from_counts
from perimeter.metrics.figures import Figures, Now, Totals, own_figures, together
from perimeter.metrics.sources import NotRunning
from perimeter.run.build.runtime import Runtime
from perimeter.workers.gathered import SLOW, gathered
from perimeter.workers.place import Place

SOON: Final = 0.5
"""Seconds in which a worker has to answer to be in a sample, of which there is one a second."""


class AllFigures:
    """Asks for the figures of the other workers, and gives them those of this one."""

    def __init__(self, place: Place, runtime: Runtime) -> None:
        self._place = place
        self._metrics = runtime.metrics
        self._seconds = runtime.reactor.seconds
        place.handlers["figures"] = self._answer
        place.handlers["counts"] = lambda _: {"counts": counted(self._metrics)}

    def _own(self) -> Figures:
        return own_figures(self._metrics, self._seconds())

    async def all(self, timeout: float = SLOW) -> Figures:
        """The figures of all workers; a slow one has its last totals, and nothing of what there is now.

        Raises `NotRunning`, and `Unavailable` if the manager does not answer.
        """
        own = self._own()
        found = await gathered(self._place, "figures", own.totals.counts(), timeout)
        others = [Now.from_members(share["now"]) for share in found.shares.values()]
        return Figures(Totals.from_counts(found.counts), together(own.now, others), found.uptime, found.workers)

    async def sample(self) -> tuple[Totals, Now]:
        """For `perimeter.metrics.samples.Sampler`."""
        figures = await self.all(SOON)
        return figures.totals, figures.now

    async def attempts(self) -> Mapping[tuple[str, ...], int]:
        """Questions to authenticators of all workers. Raises `Unavailable`."""
        return from_counts((await gathered(self._place, "counts", counted(self._metrics))).counts).auth.attempts

    def _answer(self, _: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            own = self._own()
        except NotRunning as error:
            raise ValueError(error.phrase) from None
        return {"counts": own.totals.counts(), "now": own.now.members()}

"""Measurements, and statistics about them. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence

import attrs


@attrs.frozen
class Measurement:
    """One kind of figure for several peers, in rounds. The same position in each sequence is the same round.

    ``scenario`` and ``unit`` identify the figure; less is always better. A ratio is the figure of ``baseline`` divided by that of
    another peer. If ``growth`` is true, the peers are sizes of one thing, the baseline is the smallest, and a ratio is the figure
    of a size divided by that of the baseline.
    """

    scenario: str
    unit: str
    samples: Mapping[str, Sequence[float]]
    baseline: str
    note: str = ""
    growth: bool = False

    @property
    def peers(self) -> tuple[str, ...]:
        """The names of the peers that have figures."""
        return tuple(name for name, values in self.samples.items() if values)

    def median(self, peer: str) -> float | None:
        """The figure of a peer, or None if it did not take part."""
        values = self.samples.get(peer)
        return statistics.median(values) if values else None

    def best(self, peer: str) -> float | None:
        """The smallest figure of a peer: the one with the least disturbance by other programs."""
        values = self.samples.get(peer)
        return min(values) if values else None

    def ratio(self, peer: str) -> float | None:
        """The baseline's figure divided by ``peer``'s (see `growth`): the median of the ratios within each round.

        A disturbance of the machine that lasts longer than a round affects both sides of such a ratio.
        """
        pairs: Iterable[tuple[float, float]] = zip(self.samples.get(self.baseline, ()), self.samples.get(peer, ()), strict=False)
        if self.growth:
            pairs = ((theirs, ours) for ours, theirs in pairs)
        ratios = [over / under for over, under in pairs if under > 0]
        return statistics.median(ratios) if ratios else None

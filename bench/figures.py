"""What was measured, and what can be said of it. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence

import attrs


@attrs.frozen
class Measurement:
    """One kind of figure for several peers, in rounds: the same position of each sequence is the same round.

    ``scenario`` and ``unit`` say what it is; less is always better. ``baseline`` is whom the others are compared with, and a
    ratio is its figure divided by another's. Where ``growth`` is set the peers are sizes of one thing, the baseline is the
    smallest, and a ratio is the other way round.
    """

    scenario: str
    unit: str
    samples: Mapping[str, Sequence[float]]
    baseline: str
    note: str = ""
    growth: bool = False

    @property
    def peers(self) -> tuple[str, ...]:
        """Whose figures there are."""
        return tuple(name for name, values in self.samples.items() if values)

    def median(self, peer: str) -> float | None:
        """The figure of a peer, or None where it took no part."""
        values = self.samples.get(peer)
        return statistics.median(values) if values else None

    def best(self, peer: str) -> float | None:
        """Its least figure: what is left when nobody else uses the machine."""
        values = self.samples.get(peer)
        return min(values) if values else None

    def ratio(self, peer: str) -> float | None:
        """The baseline's figure divided by ``peer``'s (see `growth`): the median over the rounds, each compared with itself.

        What disturbs the machine for longer than a round disturbs both sides of such a ratio.
        """
        pairs: Iterable[tuple[float, float]] = zip(self.samples.get(self.baseline, ()), self.samples.get(peer, ()), strict=False)
        if self.growth:
            pairs = ((theirs, ours) for ours, theirs in pairs)
        ratios = [over / under for over, under in pairs if under > 0]
        return statistics.median(ratios) if ratios else None

"""What a scenario is: a name to call it by, who takes part, and how it is measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs

from bench.figures import Measurement
from bench.peers.base import Peer
from bench.run import Run

Measure = Callable[[Run, Sequence[Peer]], list[Measurement]]


@attrs.frozen
class Scenario:
    """``measure`` gets those of ``peers`` that run, in this order. ``short`` marks what the short form holds.

    ``missing`` says why it cannot be measured on this machine, or None.
    """

    name: str
    title: str
    peers: tuple[str, ...]
    measure: Measure
    short: bool = False
    missing: Callable[[], str | None] = lambda: None

"""The interface of a scenario: its name, its peers, and how it is measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs

from bench.figures import Measurement
from bench.peers.base import Peer
from bench.run import Run

Measure = Callable[[Run, Sequence[Peer]], list[Measurement]]


@attrs.frozen
class Scenario:
    """``measure`` gets those of ``peers`` that run, in this order. ``short``: the scenario is part of the short form.

    ``missing`` returns the reason why it cannot be measured on this machine, or None.
    """

    name: str
    title: str
    peers: tuple[str, ...]
    measure: Measure
    short: bool = False
    missing: Callable[[], str | None] = lambda: None

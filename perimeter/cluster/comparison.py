"""What is wrong among the nodes of a cluster: clocks, configurations, nodes that are silent. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Final

import attrs

from perimeter.cluster.nodes import Node

NOTICED_SKEW: Final = 0.5
"""Seconds of difference between two clocks that are reported."""

MOST_SKEW: Final = 2.0
"""Seconds of difference to Redis' clock above which a node refuses what needs the state."""


class Trouble(Enum):
    """The kinds of faults."""

    SILENT = "silent"
    BEHIND = "behind"
    CLOCK = "clock"
    CONFIGURATION = "configuration"
    UNREADABLE = "unreadable"


@attrs.frozen
class NodeFault:
    """A fault of the node ``name``. ``refuses`` is whether requests fail there now."""

    trouble: Trouble
    name: str
    message: str
    refuses: bool = False


def faults(nodes: Sequence[Node], now: float, stale_limit: float) -> list[NodeFault]:
    """The faults of ``nodes`` at the time ``now`` (epoch seconds, Redis' clock). ``stale_limit`` is that of ``[perimeter]``."""
    serving = [one for one in nodes if not one.silent(now)]
    return [
        *(fault for one in nodes if one.silent(now) for fault in _silent(one, now)),
        *(fault for one in serving for fault in _own(one, stale_limit)),
        *_configurations(serving),
    ]


def _silent(node: Node, now: float) -> Iterator[NodeFault]:
    message = f"it has not written its record for {node.age(now):.0f} s: it was killed, or cannot reach Redis"
    yield NodeFault(Trouble.SILENT, node.name, message)


def _own(node: Node, stale_limit: float) -> Iterator[NodeFault]:
    if node.heard > stale_limit:
        message = f"it has heard nothing of the log for {node.heard:.0f} s, and refuses tokens and sessions"
        yield NodeFault(Trouble.BEHIND, node.name, message, refuses=True)
    if abs(node.clock) > NOTICED_SKEW:
        message = f"its clock is {abs(node.clock):.1f} s {'ahead of' if node.clock > 0 else 'behind'} Redis' clock"
        refuses = abs(node.clock) > MOST_SKEW
        yield NodeFault(Trouble.CLOCK, node.name, message + (": it refuses tokens and sessions" if refuses else ""), refuses)


def _configurations(nodes: Sequence[Node]) -> Iterator[NodeFault]:
    """Nodes whose configuration is not that of most nodes; of equally frequent ones, that of the node that comes first."""
    counts = Counter(one.configuration for one in nodes)
    if len(counts) < 2:
        return
    usual, _ = counts.most_common(1)[0]
    others = next(one.name for one in nodes if one.configuration == usual)
    for one in nodes:
        if one.configuration != usual:
            message = f"its configuration ({one.configuration}) is not that of {others} ({usual})"
            yield NodeFault(Trouble.CONFIGURATION, one.name, message)

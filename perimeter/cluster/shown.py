"""The nodes of a cluster as rows, for ``perimeter status`` and the operator's page. Pure."""

from __future__ import annotations

from typing import Any, Final

from perimeter.cluster.comparison import Trouble, faults
from perimeter.cluster.registry import Nodes

SERVING: Final = "serving"
"""The state of a node without a fault of its own; its configuration may be another one."""

UNREADABLE: Final = "unreadable"
"""The state of a record that no node with the same cluster secret has written."""

_STATES: Final = {Trouble.SILENT: "silent", Trouble.BEHIND: "refuses", Trouble.CLOCK: "clock differs"}


def rows(found: Nodes, now: float, stale_limit: float) -> list[dict[str, Any]]:
    """A row for each node, by name. ``now`` is the time by Redis' clock, in epoch seconds.

    ``state`` is one word or two, ``age`` the seconds since the node wrote its record, ``up`` those since its start. The other
    members are those of `perimeter.cluster.nodes.Node`.
    """
    troubles: dict[str, str] = {}
    for fault in faults(found.all, now, stale_limit):
        if fault.trouble in _STATES:
            troubles.setdefault(fault.name, _STATES[fault.trouble])
    made = [
        {
            "name": one.name,
            "state": troubles.get(one.name, SERVING),
            "version": one.version,
            "configuration": one.configuration,
            "address": one.address,
            "heard": round(one.heard, 3),
            "clock": round(one.clock, 3),
            "age": round(one.age(now), 3),
            "up": int(max(0.0, one.written - one.started)),
        }
        for one in found.all
    ]
    made += [
        {"name": name, "state": UNREADABLE, "version": "", "configuration": "", "address": ""}
        | dict.fromkeys(("heard", "clock", "age", "up"), None)
        for name in found.unreadable
    ]
    return sorted(made, key=lambda row: str(row["name"]))

from __future__ import annotations

import attrs
from twisted.trial.unittest import TestCase

from perimeter.cluster.nodes import Node
from perimeter.cluster.registry import Nodes
from perimeter.cluster.shown import rows

NOW = 2000.0
B = Node("b", "f00d", "1.0", "bbbb", "10.0.0.2", 1000.5, 0.51239, -0.00049, NOW - 4)


class RowTests(TestCase):
    def test_a_row_for_each_node_by_name(self) -> None:
        a = attrs.evolve(B, name="a", configuration="aaaa")
        found = rows(Nodes((B, a), ("aa",)), NOW, 60.0)
        self.assertEqual(
            [(one["name"], one["state"]) for one in found], [("a", "serving"), ("aa", "unreadable"), ("b", "serving")]
        )
        self.assertEqual(
            found[2],
            {
                "name": "b",
                "state": "serving",
                "version": "1.0",
                "configuration": "bbbb",
                "address": "10.0.0.2",
                "heard": 0.512,
                "clock": -0.0,
                "age": 4.0,
                "up": 995,
            },
        )
        self.assertEqual(set(found[1]), set(found[2]))
        self.assertEqual((found[1]["age"], found[1]["version"]), (None, ""))

    def test_states(self) -> None:
        nodes = (
            attrs.evolve(B, name="a", written=NOW - 31, clock=9.0),
            attrs.evolve(B, name="b", heard=61.0, clock=9.0),
            attrs.evolve(B, name="c", clock=-0.6),
            attrs.evolve(B, name="d", started=NOW + 9),
        )
        found = rows(Nodes(nodes), NOW, 60.0)
        self.assertEqual([one["state"] for one in found], ["silent", "refuses", "clock differs", "serving"])
        self.assertEqual(found[3]["up"], 0)

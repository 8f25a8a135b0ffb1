from __future__ import annotations

from typing import Any

import attrs
from twisted.trial.unittest import TestCase

from perimeter.cluster.comparison import NodeFault, Trouble, faults
from perimeter.cluster.nodes import Node

NOW = 2000.0
A = Node("a", "f00d", "1.0", "aaaa", "10.0.0.1", 1000.0, 0.5, 0.0, NOW)


def node(name: str, **others: Any) -> Node:
    return attrs.evolve(A, name=name, **others)


class FaultsTests(TestCase):
    def found(self, *nodes: Node) -> list[NodeFault]:
        return faults(nodes, NOW, 60.0)

    def test_equal_nodes_have_none(self) -> None:
        self.assertEqual(self.found(A, node("b"), node("c", version="1.1")), [])
        self.assertEqual(self.found(), [])

    def test_a_silent_node(self) -> None:
        message = "it has not written its record for 31 s: it was killed, or cannot reach Redis"
        self.assertEqual(self.found(A, node("b", written=NOW - 31)), [NodeFault(Trouble.SILENT, "b", message)])

    def test_nothing_else_is_said_of_a_silent_node(self) -> None:
        found = self.found(A, node("b", written=NOW - 31, clock=9.0, heard=90.0, configuration="bbbb"))
        self.assertEqual([one.trouble for one in found], [Trouble.SILENT])

    def test_a_node_that_hears_nothing(self) -> None:
        self.assertEqual(self.found(node("a", heard=60.0)), [])
        message = "it has heard nothing of the log for 61 s, and refuses tokens and sessions"
        self.assertEqual(self.found(node("a", heard=61.0)), [NodeFault(Trouble.BEHIND, "a", message, True)])

    def test_clocks_that_differ(self) -> None:
        self.assertEqual(self.found(node("a", clock=0.5), node("b", clock=-0.5)), [])
        self.assertEqual(
            self.found(node("a", clock=0.6), node("b", clock=-2.0), node("c", clock=-2.1)),
            [
                NodeFault(Trouble.CLOCK, "a", "its clock is 0.6 s ahead of Redis' clock"),
                NodeFault(Trouble.CLOCK, "b", "its clock is 2.0 s behind Redis' clock"),
                NodeFault(
                    Trouble.CLOCK, "c", "its clock is 2.1 s behind Redis' clock: it refuses tokens and sessions", refuses=True
                ),
            ],
        )

    def test_configurations_that_differ_from_that_of_most_nodes(self) -> None:
        found = self.found(node("a", configuration="other"), node("b"), node("c"))
        message = "its configuration (other) is not that of b (aaaa)"
        self.assertEqual(found, [NodeFault(Trouble.CONFIGURATION, "a", message)])

    def test_of_two_nodes_the_second_one_differs(self) -> None:
        found = self.found(node("a"), node("b", configuration="bbbb"))
        self.assertEqual([one.name for one in found], ["b"])

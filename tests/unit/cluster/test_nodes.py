from __future__ import annotations

import json
from typing import Any

import attrs
from twisted.trial.unittest import TestCase

from perimeter.cluster.nodes import Node, decoded, encoded

A = Node("a", "f00d", "1.0", "0123456789ab", "10.0.0.1", 1000.0, 0.5, -0.25, 2000.0)


class NodeTests(TestCase):
    def test_a_record_is_read_back(self) -> None:
        self.assertEqual(decoded(encoded(A)), A)

    def test_unknown_members_are_ignored(self) -> None:
        self.assertEqual(decoded(json.dumps({**attrs.asdict(A), "later": 1}).encode()), A)

    def test_a_node_is_silent_30_seconds_after_its_last_record(self) -> None:
        self.assertFalse(A.silent(2030.0))
        self.assertTrue(A.silent(2030.5))
        self.assertEqual(A.age(2010.0), 10.0)
        self.assertEqual(A.age(1990.0), 0.0)

    def _refused(self, **others: Any) -> None:
        members = {**attrs.asdict(A), **others}
        with self.assertRaises(ValueError):
            decoded(json.dumps({name: value for name, value in members.items() if value is not None}).encode())

    def test_what_no_node_writes_is_refused(self) -> None:
        for name, value in (
            ("name", "../a"),
            ("name", "a" * 65),
            ("name", ""),
            ("version", "1\n2"),
            ("version", "1" * 201),
            ("version", 1),
            ("version", None),
            ("heard", "1"),
            ("heard", True),
            ("heard", 1e999),
            ("heard", None),
        ):
            self._refused(**{name: value})
        for data in (b"", b"[]", b"\xff", b"1"):
            with self.assertRaises(ValueError):
                decoded(data)

    def test_lengths_up_to_the_limits_are_accepted(self) -> None:
        longest = attrs.evolve(A, name="a" * 64, version="1" * 200)
        self.assertEqual(decoded(encoded(longest)), longest)

    def test_a_record_has_at_most_4096_bytes(self) -> None:
        data = encoded(A)
        self.assertEqual(decoded(data + b" " * (4096 - len(data))), A)
        with self.assertRaises(ValueError):
            decoded(data + b" " * (4097 - len(data)))

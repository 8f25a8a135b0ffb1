from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from perimeter.cluster.nodes import Node, encoded
from perimeter.cluster.registry import Nodes, Registry
from perimeter.cluster.sealing import Sealing
from perimeter.errors import StateUnavailable

A = Node("a", "f00d", "1.0", "aaaa", "10.0.0.1", 1000.0, 0.5, 0.0, 200000.0)
B = attrs.evolve(A, name="b")


class Keys:
    """Redis, as far as the registry uses it."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.names: dict[str, int] = {}
        self.calls: list[tuple[Any, ...]] = []
        self.down = False

    def call(self, *arguments: Any) -> Deferred[Any]:
        self.calls.append(arguments)
        return fail(StateUnavailable("down")) if self.down else succeed(getattr(self, f"_{arguments[0]}".lower())(*arguments[1:]))

    def _ping(self) -> bytes:
        return b"PONG"

    def _set(self, key: str, value: bytes, px: str, life: int, get: str) -> Any:
        before = self.values.get(key)
        self.values[key] = value
        return before

    def _zadd(self, key: str, score: int, name: str) -> int:
        self.names[name] = score
        return 1

    def _zremrangebyscore(self, key: str, least: str, most: int) -> int:
        self.names = {name: score for name, score in self.names.items() if score > most}
        return 0

    def _zremrangebyrank(self, key: str, first: int, last: int) -> int:
        return 0

    def _zrange(self, key: str, first: int, last: int, order: str) -> list[bytes]:
        return [name.encode() for name in sorted(self.names, key=self.names.__getitem__, reverse=True)[first : last + 1]]

    def _mget(self, *keys: str) -> list[Any]:
        return [self.values.get(key) for key in keys]

    def _del(self, key: str) -> int:
        return int(self.values.pop(key, None) is not None)

    def _zrem(self, key: str, name: str) -> int:
        return int(self.names.pop(name, None) is not None)


class RegistryTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.keys = Keys()
        self.sealing = Sealing(b"k" * 32)
        self.registry = Registry(self.keys, self.sealing)

    def done(self, work: Any) -> Any:
        return self.successResultOf(Deferred.fromCoroutine(work))

    def nodes(self) -> Nodes:
        found = self.done(self.registry.read())
        assert isinstance(found, Nodes)
        return found

    def test_all_nodes_are_read_in_the_order_of_their_names(self) -> None:
        self.assertIsNone(self.done(self.registry.write(B)))
        self.assertIsNone(self.done(self.registry.write(A)))
        self.assertEqual(self.nodes(), Nodes((A, B)))

    def test_there_may_be_none(self) -> None:
        self.assertEqual(self.nodes(), Nodes())
        self.assertEqual([one[0] for one in self.keys.calls], ["ZRANGE"])

    def test_a_record_is_kept_for_a_day(self) -> None:
        self.done(self.registry.write(A))
        self.assertEqual(
            self.keys.calls,
            [
                ("SET", "perimeter:node:a", self.sealing.seal("perimeter:node:a", encoded(A)), "PX", 86400000, "GET"),
                ("ZADD", "perimeter:nodes", 200000, "a"),
                ("ZREMRANGEBYSCORE", "perimeter:nodes", "-inf", 113600),
                ("ZREMRANGEBYRANK", "perimeter:nodes", 0, -2001),
            ],
        )

    def test_the_record_before_is_returned(self) -> None:
        self.done(self.registry.write(A))
        other = attrs.evolve(A, instance="beef")
        self.assertEqual(self.done(self.registry.write(other)), A)
        self.assertEqual(self.nodes(), Nodes((other,)))

    def test_a_node_that_stops_is_removed(self) -> None:
        self.done(self.registry.write(A))
        self.done(self.registry.write(B))
        self.done(self.registry.remove("a"))
        self.assertEqual(self.nodes(), Nodes((B,)))
        self.assertEqual(list(self.keys.values), ["perimeter:node:b"])

    def test_a_record_that_has_ended_is_no_node(self) -> None:
        self.done(self.registry.write(A))
        self.keys.values.clear()
        self.assertEqual(self.nodes(), Nodes())

    def test_attack_197_a_record_that_no_node_has_written_is_named_and_not_shown(self) -> None:
        self.done(self.registry.write(A))
        key = "perimeter:node:a"
        self.done(Registry(self.keys, Sealing(b"x" * 32)).write(B))
        self.assertEqual(self.nodes(), Nodes((A,), ("b",)))
        self.keys.values[key] = self.sealing.seal(key, b"{}")
        self.assertEqual(self.nodes(), Nodes((), ("a", "b")))
        self.keys.values[key] = self.sealing.seal(key, encoded(B))
        self.assertEqual(self.nodes(), Nodes((), ("a", "b")))
        self.flushLoggedErrors()

    def test_strange_names_are_ignored(self) -> None:
        self.keys.names = {"a b": 1, "": 1, "x" * 65: 1}
        self.assertEqual(self.nodes(), Nodes())

    def test_many_records_are_read_in_parts(self) -> None:
        self.keys.names = {f"n{number:03}": 1 for number in range(201)}
        self.nodes()
        self.assertEqual([len(one) - 1 for one in self.keys.calls if one[0] == "MGET"], [200, 1])

    def test_the_latest_records_are_read_if_there_are_too_many(self) -> None:
        self.keys.names = {f"n{number}": number for number in range(2002)}
        self.nodes()
        asked = {name for one in self.keys.calls if one[0] == "MGET" for name in one[1:]}
        self.assertEqual(asked, {f"perimeter:node:n{number}" for number in range(2, 2002)})

    def test_redis_is_away(self) -> None:
        self.keys.down = True
        for work in (self.registry.ready(), self.registry.write(A), self.registry.remove("a"), self.registry.read()):
            self.failureResultOf(Deferred.fromCoroutine(work), StateUnavailable)

"""The record of this gateway among those that share its state, and what the operator sees of all of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

import perimeter
from perimeter.cluster.comparison import Trouble
from perimeter.cluster.configuration import configuration_hash
from perimeter.cluster.nodes import Node
from perimeter.cluster.registry import Registry
from perimeter.cluster.sealing import Sealing
from perimeter.run.nodes import OwnRecord, node_faults, shared_status
from tests.unit.cluster.test_registry import Keys

NOW = 1000.0


class Client(Keys):
    """Redis, and what the client knows of it."""

    primary, version, problem, local = "10.0.0.9:6379", "7.0.15", "", "10.0.0.1"
    offset = 0.25


class SharedCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.client = Client()
        self.sealing = Sealing(b"k" * 32)
        self.clock = Clock()
        self.clock.advance(NOW)
        self.engine = SimpleNamespace(client=self.client, sealing=self.sealing)
        self.runtime: Any = SimpleNamespace(reactor=self.clock, place=None)

    def assembly(self, name: str = "gw-1", engine: Any = None, silent: float = 0.5) -> Any:
        return SimpleNamespace(
            state=SimpleNamespace(engine=engine, freshness=SimpleNamespace(silent=silent)),
            config=SimpleNamespace(perimeter=SimpleNamespace(node_name=name, stale_limit=60.0), sections=()),
        )

    def shared(self, name: str = "gw-1", silent: float = 0.5) -> Any:
        return self.assembly(name, self.engine, silent)

    def done(self, work: Any) -> Any:
        return self.successResultOf(Deferred.fromCoroutine(work))

    def nodes(self) -> tuple[Node, ...]:
        known: tuple[Node, ...] = self.done(Registry(self.client, self.sealing).read()).all
        return known


class OwnRecordTests(SharedCase):
    def test_nothing_is_written_if_this_machine_has_its_state_for_itself(self) -> None:
        own = OwnRecord(self.runtime)
        self.successResultOf(own.put_in_force(self.assembly()))
        own.start()
        self.assertEqual((self.client.calls, own.problem()), ([], ""))
        self.successResultOf(own.put_in_force(None))

    def test_what_the_record_says(self) -> None:
        own = OwnRecord(self.runtime)
        self.clock.advance(20.0)
        self.successResultOf(own.put_in_force(self.shared()))
        self.assertEqual(self.client.calls, [])
        own.start()
        (node,) = self.nodes()
        self.assertRegex(node.instance, "^[0-9a-f]{16}$")
        self.assertEqual(
            node,
            Node(
                name="gw-1",
                instance=node.instance,
                version=perimeter.__version__,
                configuration=configuration_hash(()),
                address="10.0.0.1",
                started=NOW + 0.25,
                heard=0.5,
                clock=-0.25,
                written=NOW + 20.25,
            ),
        )

    def test_a_node_that_has_heard_nothing_says_since_when(self) -> None:
        own = OwnRecord(self.runtime)
        self.clock.advance(20.0)
        self.successResultOf(own.put_in_force(self.shared(silent=float("inf"))))
        own.start()
        self.assertEqual(self.nodes()[0].heard, 20.0)

    def test_a_reload_changes_the_next_record(self) -> None:
        own = OwnRecord(self.runtime)
        self.successResultOf(own.put_in_force(self.shared()))
        own.start()
        self.successResultOf(own.put_in_force(self.shared(silent=7.0)))
        self.clock.advance(10.0)
        self.assertEqual([one.heard for one in self.nodes()], [7.0])

    def test_the_record_is_removed_at_a_stop_and_when_the_state_moves(self) -> None:
        own = OwnRecord(self.runtime)
        self.successResultOf(own.put_in_force(self.shared()))
        own.start()
        self.successResultOf(own.put_in_force(self.assembly()))
        self.assertEqual(self.nodes(), ())
        self.successResultOf(own.put_in_force(self.shared("gw-2")))
        self.assertEqual([one.name for one in self.nodes()], ["gw-2"])
        self.successResultOf(own.put_in_force(None))
        self.assertEqual((self.nodes(), own.problem()), ((), ""))

    def test_all_workers_of_a_gateway_are_one_instance_and_the_leading_one_writes(self) -> None:
        found = []
        for leads in (True, False, True):
            place = SimpleNamespace(leads=leads, page=SimpleNamespace(secret=memoryview(b"s" * 32)))
            own = OwnRecord(SimpleNamespace(reactor=self.clock, place=place))  # type: ignore[arg-type]
            self.successResultOf(own.put_in_force(self.shared()))
            own.start()
            found.append(self.nodes()[0].instance)
        self.assertEqual(len(set(found)), 1)
        self.assertEqual(sum(one[0] == "SET" for one in self.client.calls), 2)

    def test_another_gateway_with_the_same_name_is_a_problem(self) -> None:
        own = OwnRecord(self.runtime)
        self.successResultOf(own.put_in_force(self.shared()))
        own.start()
        (node,) = self.nodes()
        self.done(Registry(self.client, self.sealing).write(attrs.evolve(node, instance="beef")))
        self.clock.advance(10.0)
        self.assertEqual(own.problem(), "another gateway, at 10.0.0.1, has the same name")


class ShownTests(SharedCase):
    def setUp(self) -> None:
        super().setUp()
        own = OwnRecord(self.runtime)
        self.successResultOf(own.put_in_force(self.shared()))
        own.start()

    def test_the_status_has_redis_and_the_nodes(self) -> None:
        found = self.done(shared_status(self.shared(), self.clock))
        self.assertEqual(found["redis"], {"node": "gw-1", "primary": "10.0.0.9:6379", "version": "7.0.15", "problem": ""})
        self.assertEqual([(one["name"], one["state"], one["age"]) for one in found["nodes"]], [("gw-1", "serving", 0.0)])
        later_clock = Clock()
        later_clock.advance(NOW + 31.0)
        (later,) = self.done(shared_status(self.shared(), later_clock))["nodes"]
        self.assertEqual((later["state"], later["age"]), ("silent", 31.0))

    def test_a_state_of_one_machine_has_neither(self) -> None:
        self.assertEqual(self.done(shared_status(self.assembly(), self.clock)), {})
        self.assertEqual(self.done(node_faults(self.assembly(), self.clock)), ())

    def test_redis_is_away(self) -> None:
        self.client.down = True
        found = self.done(shared_status(self.shared(), self.clock))
        self.assertEqual((found["redis"]["node"], found["nodes"]), ("gw-1", []))
        self.assertEqual(self.done(node_faults(self.shared(), self.clock)), [])

    def test_redis_hangs(self) -> None:
        self.patch(self.client, "call", lambda *what: Deferred())
        for ask in (shared_status, node_faults):
            asked = Deferred.fromCoroutine(ask(self.shared(), self.clock))
            self.clock.advance(0.9)
            self.assertNoResult(asked)
            self.clock.advance(0.1)
            self.successResultOf(asked)

    def test_faults(self) -> None:
        self.assertEqual(self.done(node_faults(self.shared(), self.clock)), [])
        (node,) = self.nodes()
        foreign = Registry(self.client, Sealing(b"x" * 32))
        self.done(foreign.write(attrs.evolve(node, name="gw-3")))
        self.done(Registry(self.client, self.sealing).write(attrs.evolve(node, name="gw-2", heard=61.0)))
        found = self.done(node_faults(self.shared(), self.clock))
        self.assertEqual([(one.trouble, one.name) for one in found], [(Trouble.UNREADABLE, "gw-3"), (Trouble.BEHIND, "gw-2")])
        self.flushLoggedErrors()

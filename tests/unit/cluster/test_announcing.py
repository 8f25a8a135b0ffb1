from __future__ import annotations

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from perimeter.cluster.announcing import Announcer
from perimeter.cluster.nodes import Node
from perimeter.cluster.registry import Registry
from perimeter.cluster.sealing import Sealing
from tests.unit.cluster.test_registry import A, Keys


class AnnouncerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.keys = Keys()
        self.registry = Registry(self.keys, Sealing(b"k" * 32))
        self.clock = Clock()
        self.node = A
        self.leading = True
        self.announcer = self.announce()

    def announce(self) -> Announcer:
        return Announcer(self.registry, lambda: self.node, lambda: self.leading, self.clock)

    def known(self) -> tuple[Node, ...]:
        return self.successResultOf(Deferred.fromCoroutine(self.registry.read())).all

    def written(self) -> int:
        return sum(one[0] == "SET" for one in self.keys.calls)

    def test_the_record_is_written_at_once_and_every_ten_seconds(self) -> None:
        self.announcer.start()
        self.assertEqual(self.known(), (A,))
        self.node = attrs.evolve(A, heard=4.0)
        self.clock.advance(9.9)
        self.assertEqual(self.known(), (A,))
        self.clock.advance(0.1)
        self.assertEqual(self.known(), (self.node,))

    def test_only_the_leading_process_writes(self) -> None:
        self.leading = False
        self.announcer.start()
        self.assertEqual(self.written(), 0)
        self.leading = True
        self.clock.advance(10.0)
        self.assertEqual(self.written(), 1)

    def test_the_record_goes_with_the_node(self) -> None:
        self.announcer.start()
        self.assertIsNone(self.successResultOf(self.announcer.stop()))
        self.assertEqual(self.known(), ())
        self.clock.advance(60.0)
        self.assertEqual(self.written(), 1)

    def test_nothing_is_written_after_a_stop(self) -> None:
        waiting: list[Deferred[None]] = []

        async def ready() -> None:
            waiting.append(Deferred())
            await waiting[-1]

        self.patch(self.registry, "ready", ready)
        self.announcer.start()
        self.successResultOf(self.announcer.stop())
        waiting[0].callback(None)
        self.assertEqual(self.keys.calls, [])

    def test_a_record_that_is_being_written_is_removed_after_that(self) -> None:
        written: Deferred[bytes] = Deferred()
        call = self.keys.call
        self.patch(self.keys, "call", lambda *what: call(*what) if what[0] != "SET" else written)
        self.announcer.start()
        self.successResultOf(self.announcer.stop())
        self.assertEqual(self.keys.calls[-2:], [("DEL", "perimeter:node:a"), ("ZREM", "perimeter:nodes", "a")])
        written.callback(b"")

    def test_a_process_that_has_written_nothing_removes_nothing(self) -> None:
        self.announcer.start()
        other = self.announce()
        self.successResultOf(other.stop())
        self.leading = False
        other.start()
        self.successResultOf(other.stop())
        self.assertEqual(self.known(), (A,))

    def test_a_process_that_does_not_lead_any_more_removes_nothing(self) -> None:
        self.announcer.start()
        self.leading = False
        self.clock.advance(10.0)
        self.successResultOf(self.announcer.stop())
        self.assertEqual(self.known(), (A,))

    def test_it_goes_on_when_redis_answers_again(self) -> None:
        self.keys.down = True
        self.announcer.start()
        self.assertEqual(self.flushLoggedErrors(), [])
        self.assertEqual(self.announcer.problem(), "its record cannot be written: down")
        self.keys.down = False
        self.clock.advance(10.0)
        self.assertEqual(self.known(), (A,))
        self.assertEqual(self.announcer.problem(), "")
        self.keys.down = True
        self.assertIsNone(self.successResultOf(self.announcer.stop()))

    def test_a_fault_of_the_program_is_logged_and_does_not_end_it(self) -> None:
        announcer = Announcer(self.registry, lambda: 1 // 0, lambda: True, self.clock)  # type: ignore[arg-type,return-value]
        announcer.start()
        self.clock.advance(10.0)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_two_gateways_with_one_name_are_noticed(self) -> None:
        self.announcer.start()
        self.node = attrs.evolve(A, instance="beef", address="10.0.0.2")
        twin = self.announce()
        twin.start()
        self.assertEqual(twin.problem(), "")  # it may be the next start of the same gateway
        self.node = A
        self.clock.advance(10.0)
        self.assertEqual(self.announcer.problem(), "another gateway, at 10.0.0.2, has the same name")
        # and what the other one has written stays
        self.assertIsNone(self.successResultOf(self.announcer.stop()))
        self.assertEqual([one.name for one in self.known()], ["a"])

    def test_the_other_gateway_stops(self) -> None:
        self.announcer.start()
        self.successResultOf(Deferred.fromCoroutine(self.registry.write(attrs.evolve(A, instance="beef", address=""))))
        self.clock.advance(10.0)
        self.assertEqual(self.announcer.problem(), "another gateway, at an unknown address, has the same name")
        self.clock.advance(10.0)
        self.assertEqual(self.announcer.problem(), "")

    def test_a_new_name_is_not_taken_for_that_of_another_gateway(self) -> None:
        other = attrs.evolve(A, name="b", instance="beef")
        self.successResultOf(Deferred.fromCoroutine(self.registry.write(other)))
        self.announcer.start()
        self.node = attrs.evolve(A, name="b")
        self.clock.advance(10.0)
        self.assertEqual(self.announcer.problem(), "")

    def test_a_node_with_a_new_name_is_not_shown_under_the_old_one(self) -> None:
        self.announcer.start()
        self.node = attrs.evolve(A, name="b")
        self.clock.advance(10.0)
        self.assertEqual([one.name for one in self.known()], ["b"])

    def test_the_record_of_a_twin_stays_when_this_node_gets_a_new_name(self) -> None:
        self.announcer.start()
        self.successResultOf(Deferred.fromCoroutine(self.registry.write(attrs.evolve(A, instance="beef"))))
        self.clock.advance(10.0)
        self.node = attrs.evolve(A, name="b")
        self.clock.advance(10.0)
        self.assertEqual([one.name for one in self.known()], ["a", "b"])

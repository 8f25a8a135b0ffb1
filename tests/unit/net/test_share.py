"""The share of a worker in the connections of all: its size, stepping back, and the limits over all workers."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any

from twisted.internet import protocol
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from perimeter.config.site.listener import ListenerSettings
from perimeter.net.binding import listening_socket
from perimeter.net.deadlines import Deadlines
from perimeter.net.listeners import listen
from perimeter.net.share import (
    ALONE,
    ASK_AGAIN,
    CALM_LOOK,
    LONGEST_LOOK,
    LOOK,
    MAKE_ROOM,
    MAX_ACCEPTS,
    PATIENCE,
    SharedLimits,
    SharedPort,
    limit_for_one,
    room,
)
from perimeter.workers.page import SharedPage, SlotState
from perimeter.workers.place import Place


class RoomTests(SynchronousTestCase):
    def test_alone_there_is_always_room(self) -> None:
        self.assertEqual(room(1_000_000, []), ALONE)

    def test_two_workers_have_an_eighth_and_four_above_the_mean(self) -> None:
        self.assertEqual(room(0, [0]), 4)
        self.assertEqual(room(4, [0]), 2)  # mean 2, slack 4.25
        self.assertEqual(room(6, [0]), 1)  # mean 3, slack 4.375
        self.assertEqual(room(8, [0]), 0)  # mean 4, slack 4.5
        self.assertEqual(room(9, [0]), 0)  # mean 4.5, slack 4.56
        self.assertEqual(room(10, [0]), -1)

    def test_more_workers_share_the_slack(self) -> None:
        self.assertEqual(room(250, [250, 250, 250]), 11)  # (250 / 8 + 4) / 3
        self.assertEqual(room(261, [250, 250, 239]), 0)

    def test_least_has_room_among_many(self) -> None:
        for others in ([0] * 63, [5] * 63, [5, *[6] * 62], [0] * 62 + [100]):
            self.assertGreaterEqual(room(min(others), others), 1)

    def test_spread_is_within_15_percent_if_each_fills_its_share_before_the_next(self) -> None:
        """The worst order: always the same worker accepts, as long as it has room."""
        for workers in (2, 3, 4, 8):
            held = [0] * workers
            for _ in range(250 * workers):
                taker = next(at for at, own in enumerate(held) if room(own, held[:at] + held[at + 1 :]) > 0)
                held[taker] += 1
            self.assertGreaterEqual(min(held), 0.85 * 250, held)
            self.assertLessEqual(max(held), 1.15 * 250, held)


class LimitForOneTests(SynchronousTestCase):
    def test_one_worker_has_the_whole(self) -> None:
        self.assertEqual([limit_for_one(limit, 1) for limit in (1, 1000)], [1, 1000])

    def test_several_have_a_share_and_an_eighth_and_four(self) -> None:
        self.assertEqual(limit_for_one(1000, 2), 567)  # 562.5
        self.assertEqual(limit_for_one(1000, 4), 286)  # 281.25
        self.assertEqual(limit_for_one(64, 4), 22)  # 18
        self.assertEqual(limit_for_one(8, 2), 8)

    def test_never_more_than_the_limit(self) -> None:
        self.assertEqual([limit_for_one(limit, 8) for limit in (1, 4, 5, 6)], [1, 4, 5, 5])


class _Waits(Clock):
    """A clock that records which ports wait for connections."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: set[Any] = set()

    def addListener(self, port: Any) -> None:
        assert port not in self.waits
        self.waits.add(port)

    def removeListener(self, port: Any) -> None:
        self.waits.discard(port)

    def addReader(self, reader: Any) -> None:
        """Connections are never read."""

    removeReader = addWriter = removeWriter = addReader


class _Quiet(protocol.Protocol):
    """Does nothing."""


class ShareTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.page = SharedPage.create()
        self.addCleanup(self.page.close)
        self.reactor: Any = _Waits()
        self.told: list[str] = []
        channel: Any = SimpleNamespace(tell=lambda _, /, name, arguments: self.told.append(name))
        self.limits = SharedLimits(Place(0, self.page, channel, {}), self.reactor)
        self.limits.change(1000, 1000)
        self.own = self.page.slots[0]
        self.own.state = SlotState.SERVING

    def other(self, number: int, held: int, state: SlotState = SlotState.SERVING) -> None:
        self.page.slots[number].state = state
        self.page.slots[number].held = held

    def hold(self, count: int) -> None:
        for number in range(count):
            self.assertTrue(self.limits.admit(f"client {number}"))


class SharedLimitsTests(ShareTestCase):
    def test_page_shows_what_the_worker_has(self) -> None:
        self.hold(3)
        self.assertEqual(self.own.held, 3)
        self.limits.release("client 1")
        self.assertEqual((self.own.held, self.limits.open), (2, 2))

    def test_total_is_that_of_all(self) -> None:
        self.other(1, 5)
        self.other(2, 3, SlotState.DRAINING)
        self.limits.change(10, 1000)
        self.hold(2)
        self.assertFalse(self.limits.admit("one more"))
        self.assertEqual(self.own.held, 2)
        self.other(2, 2, SlotState.DRAINING)
        self.assertTrue(self.limits.admit("one more"))
        self.assertFalse(self.limits.admit("one more"))

    def test_others_are_looked_at_for_each_connection_near_the_limit(self) -> None:
        self.other(1, 0)
        self.limits.change(100, 1000)
        self.hold(100 - MAX_ACCEPTS - 1)
        self.other(1, MAX_ACCEPTS - 1)
        self.assertTrue(self.limits.admit("not near"))
        self.assertTrue(self.limits.admit("near"))
        self.assertFalse(self.limits.admit("one more"))
        self.assertEqual(self.own.held, 100 - MAX_ACCEPTS + 1)

    def test_attack_86_two_workers_never_take_the_last_place_both(self) -> None:
        """The other one decides at the moment at which this one looks: between its look and its count."""
        self.page.slots[1].state = SlotState.SERVING
        channel: Any = SimpleNamespace(tell=lambda *_, **__: None)
        other = SharedLimits(Place(1, self.page, channel, {}), self.reactor)
        for limits in (self.limits, other):
            limits.change(10, 1000)
        self.hold(4)
        for number in range(5):
            self.assertTrue(other.admit(f"other {number}"))
        look, answers = self.limits.look, []

        def meanwhile() -> int:
            found = look()
            answers.append(other.admit("other"))
            return found

        self.patch(self.limits, "look", meanwhile)
        answers.append(self.limits.admit("own"))
        self.assertEqual(answers, [False, True])
        self.assertEqual(self.own.held + self.page.slots[1].held, 10)
        self.assertEqual((self.own.held, self.page.slots[1].held), (self.limits.open, other.open))

    def test_nothing_is_admitted_if_the_others_have_more_than_all_may_have(self) -> None:
        self.other(1, 12)
        self.limits.change(10, 1000)
        self.assertFalse(self.limits.admit("client"))

    def test_alone_an_address_may_have_the_whole_limit(self) -> None:
        self.other(1, 0, SlotState.STARTING)
        self.other(2, 0, SlotState.DRAINING)
        self.limits.change(1000, 16)
        self.assertEqual([self.limits.admit("same") for _ in range(17)], [True] * 16 + [False])

    def test_address_has_a_part_of_the_limit_in_each_of_several(self) -> None:
        self.other(1, 0)
        self.limits.change(1000, 16)
        self.assertEqual([self.limits.admit("same") for _ in range(14)], [True] * 13 + [False])
        self.assertTrue(self.limits.admit("other"))
        self.page.clear(1, SlotState.EMPTY)
        self.limits.look()
        self.assertTrue(self.limits.admit("same"))

    def test_silent_connections_make_room(self) -> None:
        self.limits.make_room = self.close_one
        self.limits.change(1, 1)
        self.hold(1)
        self.assertTrue(self.limits.admit("client"))
        self.assertEqual((self.own.held, self.limits.open), (1, 1))

    def close_one(self, _: str | None) -> int:
        """The real one frees the place at once, too; the place that is being taken stays shown."""
        before = self.own.held
        self.limits.release("client 0")
        self.assertEqual(self.own.held, before - 1)
        return 1

    def test_attack_86_a_place_that_another_worker_takes_is_not_taken_with_one_that_became_free(self) -> None:
        """The other one has 5 and takes the tenth place: one connection less here is not enough for one more."""
        self.limits.make_room = self.close_one
        self.other(1, 5)
        self.limits.change(10, 1000)
        self.hold(5)
        self.other(1, 6)
        self.assertFalse(self.limits.admit("client"))
        self.assertEqual((self.own.held, self.limits.open), (4, 4))
        self.other(1, 5)
        self.assertTrue(self.limits.admit("client"))

    def test_attack_86_others_are_asked_to_make_room(self) -> None:
        """The connections that send nothing may all be those of other workers."""
        self.other(1, 5)
        self.limits.change(8, 1000)
        self.hold(3)
        self.assertEqual(self.told, [])
        for seconds, told in ((0.0, 1), (0.0, 1), (ASK_AGAIN - 0.01, 1), (0.01, 2)):
            self.reactor.advance(seconds)
            self.assertFalse(self.limits.admit("client"))
            self.assertEqual(self.told, [MAKE_ROOM] * told)

    def test_others_are_not_asked_for_the_limit_of_an_address(self) -> None:
        self.limits.change(8, 1)
        self.hold(1)
        self.assertFalse(self.limits.admit("client 0"))
        self.assertEqual(self.told, [])

    def test_room_follows_the_page(self) -> None:
        self.assertEqual(self.limits.look(), ALONE)
        self.other(1, 0)
        self.assertEqual(self.limits.look(), 4)
        self.hold(4)
        self.assertEqual(self.limits.look(), 2)
        self.other(2, 100, SlotState.DRAINING)
        self.assertEqual(self.limits.look(), 2)


class SharedPortTests(ShareTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.clients: list[socket.socket] = []
        self.port = self.listen()

    def listen(self) -> SharedPort:
        factory = protocol.Factory.forProtocol(_Quiet)
        factory.noisy = False
        port = listen(
            self.reactor,
            ListenerSettings("shared", 0, "127.0.0.1"),
            factory,
            None,
            self.limits,
            Deadlines(self.reactor),
            listening=listening_socket("127.0.0.1", 0),
            port_type=SharedPort,
        )
        assert isinstance(port, SharedPort)
        port.startListening()
        self.addCleanup(port.socket.close)
        self.made: list[Any] = []

        def build(peer: object, alpn: bytes) -> protocol.Protocol:
            self.made.append(_Quiet())
            return self.made[-1]  # type: ignore[no-any-return]

        port.build_protocol = build
        return port

    def connect(self, count: int) -> None:
        for _ in range(count):
            client = socket.create_connection(self.port.socket.getsockname())
            self.addCleanup(client.close)
            self.clients.append(client)

    def end(self, count: int) -> None:
        for _ in range(count):
            self.made.pop().transport.close_now()

    def test_waits_until_it_is_closed(self) -> None:
        self.assertEqual(self.reactor.waits, {self.port})
        self.port.stopListening()
        self.assertEqual(self.reactor.waits, set())

    def test_accepts_few_in_one_turn(self) -> None:
        self.connect(MAX_ACCEPTS + 3)
        self.port.doRead()
        self.assertEqual(self.own.held, MAX_ACCEPTS)
        self.port.doRead()
        self.assertEqual(self.own.held, MAX_ACCEPTS + 3)
        self.assertFalse(self.limits.stepped_back)

    def test_accepts_no_more_than_its_share_and_steps_back(self) -> None:
        self.other(1, 0)
        self.connect(10)
        turns = []
        while not self.limits.stepped_back:
            self.port.doRead()
            turns.append(self.own.held)
        self.assertEqual(turns, [4, 6, 7])
        self.assertEqual(self.reactor.waits, set())

    def test_worker_that_has_its_share_already_accepts_nothing(self) -> None:
        self.other(1, 0)
        self.hold(8)
        self.connect(1)
        self.port.doRead()
        self.assertEqual((self.own.held, self.limits.stepped_back), (8, True))

    def stand_aside(self) -> None:
        self.other(1, 0)
        self.connect(7)
        while not self.limits.stepped_back:
            self.port.doRead()

    def test_joins_when_others_have_more(self) -> None:
        self.stand_aside()
        self.reactor.advance(LOOK)
        self.assertEqual(self.reactor.waits, set())
        self.other(1, 1)
        self.reactor.advance(2 * LOOK)
        self.assertEqual((self.limits.stepped_back, self.reactor.waits), (False, {self.port}))
        self.assert_calm()

    def assert_calm(self) -> None:
        """The next look is that of a worker that has not stepped back."""
        (call,) = self.reactor.getDelayedCalls()
        self.assertEqual(call.getTime() - self.reactor.seconds(), CALM_LOOK)

    def test_joins_at_once_when_a_connection_ends(self) -> None:
        self.stand_aside()
        self.end(1)
        self.assertEqual((self.limits.stepped_back, self.reactor.waits), (False, {self.port}))
        self.assert_calm()

    def test_stays_aside_when_a_connection_ends_and_it_still_has_its_share(self) -> None:
        self.stand_aside()
        self.other(1, 20)
        self.other(2, 0)
        self.other(3, 0)
        self.hold(10)
        self.end(1)
        self.assertEqual((self.limits.stepped_back, self.own.held), (True, 16))

    def test_all_ports_step_back_and_join_together(self) -> None:
        second = self.listen()
        self.assertEqual(self.reactor.waits, {self.port, second})
        self.limits.step_back()
        self.limits.step_back()
        self.assertEqual((self.reactor.waits, len(self.reactor.getDelayedCalls())), (set(), 1))
        third = self.listen()
        self.assertEqual(self.reactor.waits, set(), "the worker has stepped back when the port comes")
        self.reactor.advance(LOOK)
        self.assertEqual(self.reactor.waits, {self.port, second, third})

    def looks(self, times: int) -> list[float]:
        """When the next looks are."""
        found = []
        for _ in range(times):
            (call,) = self.reactor.getDelayedCalls()
            self.reactor.advance(call.getTime() - self.reactor.seconds())
            found.append(round(self.reactor.seconds(), 6))
        return found

    def test_looks_less_often_while_no_connection_waits(self) -> None:
        self.stand_aside()
        self.assertEqual(LONGEST_LOOK, 4 * LOOK)
        self.assertEqual(self.looks(5), [0.005, 0.015, 0.035, 0.055, 0.075])
        self.assertEqual(self.own.held, 7)

    def test_accepts_what_waits_if_the_others_do_nothing(self) -> None:
        """The others are stuck: it does not matter then who has its share (attack 85)."""
        self.stand_aside()
        self.connect(MAX_ACCEPTS + 1)
        for _ in range(PATIENCE):
            self.reactor.advance(LOOK)
            self.assertEqual(self.own.held, 7, "they may have had no time")
        self.reactor.advance(LOOK)
        self.assertEqual(self.own.held, 7 + MAX_ACCEPTS)
        self.reactor.advance(LOOK)
        self.assertEqual(self.own.held, 7 + MAX_ACCEPTS + 1)
        self.assertTrue(self.limits.stepped_back)

    def test_others_that_do_nothing_are_remembered_while_nothing_waits(self) -> None:
        self.stand_aside()
        self.connect(1)
        self.reactor.pump([LOOK] * (PATIENCE + 1))
        self.looks(3)
        self.connect(1)
        self.looks(1)
        self.assertEqual(self.own.held, 9)

    def test_leaves_what_waits_to_others_that_accept(self) -> None:
        self.stand_aside()
        self.other(2, 0)
        self.connect(1)
        for held in (0, 1) * PATIENCE:
            self.other(2, held)
            self.reactor.advance(LOOK)
        self.assertEqual(self.own.held, 7)
        self.reactor.pump([LOOK] * PATIENCE)
        self.assertEqual(self.own.held, 8)

    def test_accepts_without_an_event_what_waits_for_long(self) -> None:
        """The kernel has woken another worker for it, which has ended before it could accept it (attack 85)."""
        self.connect(1)
        self.reactor.advance(CALM_LOOK / 2)
        self.assertEqual(self.own.held, 0)
        self.reactor.advance(CALM_LOOK / 2)
        self.assertEqual(self.own.held, 1)
        self.assert_calm()

    def test_accepts_nothing_without_an_event_if_it_has_its_share(self) -> None:
        self.other(1, 0)
        self.hold(8)
        self.connect(1)
        self.reactor.advance(CALM_LOOK)
        self.assertEqual((self.own.held, self.limits.stepped_back), (8, True))

    def test_closed_port_takes_no_part(self) -> None:
        self.stand_aside()
        self.port.stopListening()
        self.assertFalse(self.limits.stepped_back)
        self.reactor.advance(1)
        self.assertEqual((self.reactor.waits, self.reactor.getDelayedCalls()), (set(), []))

    def test_does_not_step_back_without_a_port(self) -> None:
        self.limits.remove(self.port)
        self.limits.step_back()
        self.assertFalse(self.limits.stepped_back)

    def test_is_waited_for(self) -> None:
        self.assertFalse(self.port.is_waited_for())
        self.connect(1)
        self.assertTrue(self.port.is_waited_for())

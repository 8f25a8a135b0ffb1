"""Two protocols connected without a socket: order, ends and back-pressure as over a socket."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial import unittest
from zope.interface import implementer

from perimeter.proxy.in_memory import connect_in_memory


@implementer(IPushProducer)
class Side(Protocol):
    """Records the calls."""

    transport: Any

    def __init__(self) -> None:
        self.received = b""
        self.ends: list[type[BaseException]] = []
        self.told: list[str] = []
        self.reply = b""

    def connectionMade(self) -> None:
        self.told.append("made")

    def dataReceived(self, data: bytes) -> None:
        assert not self.ends
        self.received += data
        if self.reply:
            self.transport.write(self.reply)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ends.append(type(reason.value))

    def pauseProducing(self) -> None:
        self.told.append("pause")

    def resumeProducing(self) -> None:
        self.told.append("resume")

    def stopProducing(self) -> None:
        self.told.append("stop")


class InMemoryTests(unittest.TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.client, self.server = Side(), Side()
        connect_in_memory(self.clock, self.client, self.server)

    def turn(self, count: int = 5) -> None:
        for _ in range(count):
            self.clock.advance(0)

    def test_both_ways_on_a_later_turn(self) -> None:
        self.assertEqual((self.client.told, self.server.told), (["made"], ["made"]))
        self.server.reply = b"pong"
        self.client.transport.write(b"ping")
        self.assertEqual(self.server.received, b"")
        self.turn()
        self.assertEqual((self.server.received, self.client.received), (b"ping", b"pong"))
        self.client.transport.writeSequence([b"a", b"b"])
        self.turn()
        self.assertEqual(self.server.received, b"pingab")

    def test_close_delivers_what_was_written(self) -> None:
        self.server.transport.write(b"last words")
        self.server.transport.loseConnection()
        self.server.transport.write(b"too late")
        self.turn()
        self.assertEqual(self.client.received, b"last words")
        self.assertEqual((self.client.ends, self.server.ends), ([ConnectionDone], [ConnectionDone]))

    def test_close_waits_for_a_reader_that_has_paused(self) -> None:
        self.client.transport.pauseProducing()
        self.server.transport.write(b"last words")
        self.server.transport.loseConnection()
        self.turn()
        self.assertEqual((self.client.received, self.client.ends), (b"", []))
        self.client.transport.resumeProducing()
        self.turn()
        self.assertEqual((self.client.received, self.client.ends), (b"last words", [ConnectionDone]))

    def test_abort(self) -> None:
        self.server.transport.write(b"lost")
        self.client.transport.abortConnection()
        self.turn()
        self.assertEqual(self.client.received, b"")
        self.assertEqual((self.client.ends, self.server.ends), ([ConnectionAborted], [ConnectionAborted]))

    def test_abort_after_the_other_side_closed(self) -> None:
        """A client closes while the end of its response waits: the connection ends nevertheless."""
        self.client.transport.pauseProducing()
        self.server.transport.write(b"never read")
        self.server.transport.loseConnection()
        self.turn()
        self.client.transport.abortConnection()
        self.turn()
        self.assertEqual((self.client.received, len(self.client.ends), len(self.server.ends)), (b"", 1, 1))

    def test_close_of_a_side_that_has_paused(self) -> None:
        self.client.transport.pauseProducing()
        self.server.transport.write(b"never read")
        self.turn()
        self.client.transport.loseConnection()
        self.turn()
        self.assertEqual((self.client.received, len(self.client.ends), len(self.server.ends)), (b"", 1, 1))

    def test_ends_are_reported_once(self) -> None:
        for _ in range(2):
            self.client.transport.loseConnection()
            self.client.transport.abortConnection()
            self.server.transport.abortConnection()
        self.turn()
        self.assertEqual((len(self.client.ends), len(self.server.ends)), (1, 1))

    def test_back_pressure(self) -> None:
        self.server.transport.registerProducer(self.server, True)
        self.client.transport.pauseProducing()
        self.turn()
        self.server.transport.write(b"x" * 200_000)
        self.assertEqual(self.server.told, ["made"])
        self.server.transport.write(b"x" * 200_000)
        self.assertEqual(self.server.told, ["made", "pause"])
        self.client.transport.resumeProducing()
        self.turn()
        self.assertEqual(self.server.told, ["made", "pause", "resume"])
        self.assertEqual(len(self.client.received), 400_000)

    def test_a_quarter_of_a_mebibyte_may_wait(self) -> None:
        """The producer pauses beyond 256 KiB, and resumes at half of it, once each time."""
        self.server.transport.registerProducer(self.server, True)
        self.client.transport.pauseProducing()
        for size in (131_072, 1, 131_071):
            self.server.transport.write(b"x" * size)
        self.assertEqual((self.server.told, self.server.transport.buffered), (["made"], 262_144))
        self.server.transport.write(b"x")
        self.server.transport.write(b"x" * 0)
        self.assertEqual(self.server.told, ["made", "pause"])
        self.take(1)
        self.assertEqual((self.server.told, self.server.transport.buffered), (["made", "pause"], 131_073))
        self.take(1)
        self.assertEqual((self.server.told, self.server.transport.buffered), (["made", "pause", "resume"], 131_072))
        self.take(1)
        self.server.transport.write(b"x" * 262_144)
        self.assertEqual(self.server.told, ["made", "pause", "resume", "pause"])

    def take(self, count: int) -> None:
        """The client reads ``count`` of the writes that wait."""

        def received(data: bytes) -> None:
            nonlocal count
            count -= 1
            if not count:
                self.client.transport.pauseProducing()

        self.client.dataReceived = received  # type: ignore[method-assign]
        self.client.transport.resumeProducing()
        self.turn()

    def test_a_producer_that_left_is_not_resumed_and_the_next_is_paused(self) -> None:
        self.server.transport.registerProducer(self.server, True)
        self.client.transport.pauseProducing()
        self.server.transport.write(b"x" * 300_000)
        self.server.transport.unregisterProducer()
        self.server.transport.registerProducer(self.server, True)
        self.server.transport.write(b"x")
        self.assertEqual(self.server.told, ["made", "pause", "pause"])
        self.server.transport.unregisterProducer()
        self.client.transport.resumeProducing()
        self.turn()
        self.assertEqual(self.server.told, ["made", "pause", "pause"])
        self.assertEqual(len(self.client.received), 300_001)

    def test_an_end_drops_what_waits(self) -> None:
        self.client.transport.pauseProducing()
        self.server.transport.write(b"never read")
        self.assertTrue(self.client.transport.has_input())
        self.server.transport.abortConnection()
        self.assertEqual(self.server.transport.buffered, 0)
        self.turn()
        self.assertEqual((self.client.received, self.client.ends), (b"", [ConnectionAborted]))

    def test_input_is_what_waits_or_the_end(self) -> None:
        self.assertIs(self.client.transport.has_input(), False)
        self.server.transport.write(b"x")
        self.assertIs(self.client.transport.has_input(), True)
        self.turn()
        self.assertIs(self.client.transport.has_input(), False)
        self.server.transport.loseConnection()
        self.assertIs(self.client.transport.has_input(), True)

    def test_several_writes_take_one_turn(self) -> None:
        self.server.transport.write(b"a")
        self.server.transport.write(b"b")
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.turn(1)
        self.assertEqual((self.client.received, self.clock.getDelayedCalls()), (b"ab", []))
        self.server.transport.write(b"c")
        self.turn(1)
        self.assertEqual(self.client.received, b"abc")

    def test_a_dead_end_takes_no_turns(self) -> None:
        self.client.transport.loseConnection()
        self.turn()
        self.client.transport.resumeProducing()
        self.server.transport.write(b"x")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_nothing_is_delivered_while_paused_from_within(self) -> None:
        def pause(data: bytes) -> None:
            self.client.received += data
            self.client.transport.pauseProducing()

        self.client.dataReceived = pause  # type: ignore[method-assign]
        self.server.transport.write(b"a")
        self.server.transport.write(b"b")
        self.turn()
        self.assertEqual(self.client.received, b"a")
        self.client.transport.resumeProducing()
        self.turn()
        self.assertEqual(self.client.received, b"ab")

    def test_addresses(self) -> None:
        self.assertEqual(self.client.transport.getPeer(), IPv4Address("TCP", "127.0.0.1", 0))
        self.assertEqual(self.client.transport.getHost(), IPv4Address("TCP", "127.0.0.1", 0))

    def test_pull_producer(self) -> None:
        class Pulled:
            left = 5

            def resumeProducing(pulled) -> None:
                pulled.left -= 1
                self.server.transport.write(b"x" * 10)
                if not pulled.left:
                    self.server.transport.unregisterProducer()

            def stopProducing(pulled) -> None:
                pass

        self.server.transport.registerProducer(Pulled(), False)
        self.turn(20)
        self.assertEqual(self.client.received, b"x" * 50)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_pull_producer_is_not_asked_while_a_quarter_of_a_mebibyte_waits(self) -> None:
        for waiting, asked in ((262_143, ["made", "resume"]), (262_144, ["made"])):
            self.setUp()
            self.client.transport.pauseProducing()
            self.server.transport.write(b"x" * waiting)
            self.server.transport.registerProducer(self.server, False)
            self.assertEqual(self.server.told, asked)
            self.server.transport.unregisterProducer()
            self.turn()
            self.assertEqual((self.server.told, self.clock.getDelayedCalls()), (asked, []))

"""The connection to the primary that is kept, and the calls that wait for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from perimeter.errors import StateUnavailable
from perimeter.redis import link
from perimeter.redis.connection import RedisConnection
from perimeter.redis.greeting import Greeting
from perimeter.redis.link import Found, Link
from perimeter.redis.script import Script


class Transport(StringTransport):
    def abortConnection(self) -> None:
        """The other side does not notice."""


class Server:
    """A finder whose attempts and looks the test answers."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.attempts: list[Deferred[Found]] = []
        self.looks: list[Deferred[float]] = []
        self.lost: Callable[[str], object] = lambda reason: None

    def connect(self, lost: Callable[[str], object]) -> Deferred[Found]:
        self.lost = lost
        self.attempts.append(Deferred())
        return self.attempts[-1]

    def look(self, found: Found) -> Deferred[float]:
        self.looks.append(Deferred())
        return self.looks[-1]

    def stop(self) -> None:
        """Nothing is kept."""

    def accept(self, run_id: str = "r1") -> RedisConnection:
        connection = RedisConnection(self.clock, 2.0, self.lost)
        connection.makeConnection(Transport())
        self.attempts.pop().callback(Found(connection, "127.0.0.1:6379", Greeting(run_id, "7.2.4", 0.25)))
        return connection

    def refuse(self, words: str = "no") -> None:
        self.attempts.pop().errback(StateUnavailable(f"Redis: {words}"))


class LinkTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.server = Server(self.clock)
        self.link = Link(self.clock, self.server, 2.0)
        self.patch(link.random, "uniform", lambda low, high: 1.0)
        self.link.start()

    def reply(self, connection: RedisConnection, text: bytes = b":1\r\n") -> None:
        connection.dataReceived(text)

    def fails(self, call: Deferred[Any], words: str) -> None:
        self.assertIn(words, self.failureResultOf(call, StateUnavailable).value.detail)

    def test_calls_wait_for_the_connection(self) -> None:
        call = self.link.call("A")
        self.assertEqual(
            ("Redis: not connected yet", "", "", ""), (self.link.problem, self.link.run_id, self.link.primary, self.link.local)
        )
        connection = self.server.accept()
        self.assertEqual(
            ("", "r1", "127.0.0.1:6379", "7.2.4"), (self.link.problem, self.link.run_id, self.link.primary, self.link.version)
        )
        self.assertEqual(0.25, self.link.offset)
        self.reply(connection)
        self.assertEqual(1, self.successResultOf(call))

    def test_calls_wait_no_longer_than_the_deadline(self) -> None:
        """It counts from the loss of the connection: later calls have less time, and then none."""
        first = self.link.call("A")
        self.clock.advance(1.5)
        second = self.link.call("A")
        self.clock.advance(0.49)
        self.assertNoResult(first)
        self.assertNoResult(second)
        third = self.link.call("A")
        self.assertNoResult(third)
        self.clock.advance(0.01)
        self.fails(first, "not connected yet")
        self.fails(second, "not connected yet")
        self.fails(third, "not connected yet")
        self.fails(self.link.call("A"), "not connected yet")
        connection = self.server.accept()
        connection.drop("gone")
        self.assertNoResult(self.link.call("A"))

    def test_wait_for_the_connection_counts(self) -> None:
        """Waiting for a connection and for the reply are together no longer than the deadline."""
        call = self.link.call("A")
        self.clock.advance(1.5)
        self.server.accept()
        self.clock.advance(0.49)
        self.assertNoResult(call)
        self.clock.advance(0.01)
        self.fails(call, "did not answer in time")

    def test_pauses_grow_and_end(self) -> None:
        pauses = []
        for _ in range(7):
            self.server.refuse()
            before = self.clock.seconds()
            while not self.server.attempts:
                self.clock.advance(0.005)
            pauses.append(round(self.clock.seconds() - before, 2))
        self.assertEqual([0.05, 0.1, 0.2, 0.25, 0.25, 0.25, 0.25], pauses)
        # a connection that lasts for a while begins them anew
        self.server.accept()
        self.clock.advance(1.0)
        self.link._found.connection.drop("gone")  # type: ignore[union-attr]
        self.clock.advance(0.05)
        self.assertEqual(1, len(self.server.attempts))

    def test_connection_that_does_not_last(self) -> None:
        """A server that takes each connection and closes it is not asked again at once each time."""
        self.server.refuse()
        self.clock.advance(0.05)
        self.server.accept().drop("gone")
        self.clock.advance(0.09)
        self.assertEqual([], self.server.attempts)
        self.clock.advance(0.01)
        self.assertEqual(1, len(self.server.attempts))
        self.server.accept().drop("gone")
        self.clock.advance(0.19)
        self.assertEqual([], self.server.attempts)

    def test_problems_in_the_log(self) -> None:
        """The same one once a minute, another one at once."""
        told: list[str] = []
        self.patch(link._log, "warn", lambda text, problem: told.append(problem))
        for _ in range(3):
            self.server.refuse("one")
            self.clock.advance(1.0)
        self.server.refuse("two")
        self.assertEqual(["Redis: one", "Redis: two"], told)
        for _ in range(60):
            self.clock.advance(1.0)
            self.server.refuse("two")
        self.assertEqual(["Redis: one", "Redis: two", "Redis: two"], told)
        quiet = Link(self.clock, self.server, 2.0, logged=False)
        quiet.start()
        self.server.refuse("three")
        self.assertEqual((3, "Redis: three"), (len(told), quiet.problem))

    def test_lost_and_found(self) -> None:
        self.server.accept()
        self.link._found.connection.drop("gone")  # type: ignore[union-attr]
        self.assertEqual(("Redis: gone", ""), (self.link.problem, self.link.run_id))
        call = self.link.call("A")
        self.clock.advance(0.05)
        connection = self.server.accept("r2")
        self.reply(connection)
        self.assertEqual((1, "r2"), (self.successResultOf(call), self.link.run_id))

    def test_lost_before_it_is_used(self) -> None:
        """A connection that has ended by the time it is found is not one."""
        attempt = self.server.attempts.pop()
        connection = RedisConnection(self.clock, 2.0, self.server.lost)
        connection.makeConnection(Transport())
        connection.drop("gone")
        attempt.callback(Found(connection, "x", Greeting("r1", "", 0.0)))
        self.assertEqual(("", "Redis: gone"), (self.link.run_id, self.link.problem))
        self.clock.advance(0.05)
        self.assertEqual(1, len(self.server.attempts))

    def test_looks(self) -> None:
        """Each second; the clock's offset follows; a server that is no primary any more is left."""
        connection = self.server.accept()
        self.clock.advance(0.99)
        self.assertEqual([], self.server.looks)
        self.clock.advance(0.01)
        self.server.looks.pop().callback(-3.0)
        self.assertEqual(-3.0, self.link.offset)
        self.clock.advance(1.0)
        self.server.looks.pop().errback(StateUnavailable("Redis: the server is not the primary"))
        self.assertEqual("Redis: the server is not the primary", connection.problem)
        self.assertEqual("Redis: the server is not the primary", self.link.problem)
        self.clock.advance(0.05)
        self.assertEqual(1, len(self.server.attempts))

    def test_scripts(self) -> None:
        """The source is sent to a server that does not know the script, within the same deadline."""
        connection = self.server.accept()
        script = Script("return 1")
        call = self.link.run(script, ["k"], [b"v"])
        self.clock.advance(1.5)
        self.reply(connection, b"-NOSCRIPT No matching script\r\n")
        self.clock.advance(0)
        sent = connection.transport.value()  # type: ignore[union-attr]
        self.assertIn(b"EVALSHA\r\n$40\r\ne0e1f9fabfc9d4800c877a703b823ac0578ff8db\r\n$1\r\n1\r\n$1\r\nk\r\n$1\r\nv\r\n", sent)
        self.assertIn(b"EVAL\r\n$8\r\nreturn 1\r\n$1\r\n1\r\n$1\r\nk\r\n$1\r\nv\r\n", sent)
        self.clock.advance(0.49)
        self.assertNoResult(call)
        self.clock.advance(0.01)
        self.fails(call, "did not answer in time")

    def test_error_of_a_script(self) -> None:
        connection = self.server.accept()
        call = self.link.run(Script("return 1"), [], [])
        self.reply(connection, b"-OOM x\r\n")
        self.fails(call, "its memory is full")
        self.clock.advance(0)
        self.assertNotIn(b"EVAL\r\n", connection.transport.value())  # type: ignore[union-attr]

    def test_look_when_there_is_a_reason(self) -> None:
        """At once, and not again for a moment; then as before."""
        connection = self.server.accept()
        self.clock.advance(0.19)
        connection.suspect()
        self.assertEqual(0, len(self.server.looks))
        self.clock.advance(0.01)
        for _ in range(3):
            connection.suspect()
        self.assertEqual(1, len(self.server.looks))
        self.clock.advance(0.99)
        self.assertEqual(1, len(self.server.looks))
        self.clock.advance(0.01)
        self.assertEqual(2, len(self.server.looks))
        connection.drop("gone")
        connection.suspect()
        self.assertEqual(2, len(self.server.looks))

    def test_late_look_is_of_its_own_connection(self) -> None:
        """A look that fails after the connection was replaced does not end the new one."""
        old = self.server.accept()
        self.clock.advance(1.0)
        old.drop("gone")
        self.clock.advance(0.1)
        new = self.server.accept()
        self.server.looks.pop(0).errback(StateUnavailable("Redis: gone"))
        self.assertEqual(("", ""), (new.problem, self.link.problem))

    def test_stop(self) -> None:
        waiting = self.link.call("A")
        self.link.stop()
        self.fails(waiting, "stopping")
        self.assertTrue(self.server.attempts[0].called)
        self.fails(self.link.call("A"), "stopping")
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_stop_during_a_later_attempt(self) -> None:
        self.server.refuse()
        self.clock.advance(0.05)
        self.assertEqual(1, len(self.server.attempts))
        self.link.stop()
        self.link.stop()
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_stop_with_a_connection(self) -> None:
        connection = self.server.accept()
        call = self.link.call("A")
        self.link.stop()
        self.fails(call, "stopping")
        self.assertEqual("Redis: the gateway is stopping", connection.problem)
        self.assertEqual([], self.clock.getDelayedCalls())
        self.assertEqual([], self.server.attempts)

    def test_waiting_calls_are_bounded(self) -> None:
        self.patch(link, "MOST_WAITING", 2)
        calls = [self.link.call("A") for _ in range(3)]
        self.fails(calls[2], "not connected yet")
        calls[0].cancel()
        self.failureResultOf(calls[0], CancelledError)
        self.assertNoResult(self.link.call("A"))
        self.fails(self.link.call("A"), "not connected yet")

    def test_call_that_another_one_cancels(self) -> None:
        """A caller may cancel further calls when its own is answered."""
        calls = [self.link.call("A") for _ in range(3)]
        calls[0].addErrback(lambda failure: calls[1].cancel())
        self.link.stop()
        self.failureResultOf(calls[1], CancelledError)
        self.fails(calls[2], "stopping")

    def test_found_at_once(self) -> None:
        """A finder may fire before it returns."""
        connection = RedisConnection(self.clock, 2.0, lambda reason: None)
        connection.makeConnection(Transport())
        found = Found(connection, "x", Greeting("r1", "", 0.0))
        self.server.connect = lambda lost: succeed(found)  # type: ignore[method-assign]
        quick = Link(self.clock, self.server, 2.0)
        quick.start()
        self.assertEqual("r1", quick.run_id)

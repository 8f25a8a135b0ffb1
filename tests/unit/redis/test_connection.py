"""One connection to a server: pipelined calls, deadlines, and what closes it."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from perimeter.errors import StateUnavailable
from perimeter.redis import connection
from perimeter.redis.connection import RedisConnection
from perimeter.redis.errors import ErrorReply


class Transport(StringTransport):
    aborted = False
    writes = 0

    def write(self, data: bytes) -> None:
        self.writes += 1
        super().write(data)

    def abortConnection(self) -> None:
        self.aborted = True


class ConnectionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.lost: list[str] = []
        self.connection = RedisConnection(self.clock, 2.0, self.lost.append)
        self.transport = Transport()
        self.connection.makeConnection(self.transport)

    def sent(self) -> bytes:
        self.clock.advance(0)
        data: bytes = self.transport.value()
        self.transport.clear()
        return data

    def fails(self, call: Any, words: str) -> None:
        self.assertIn(words, self.failureResultOf(call, StateUnavailable).value.detail)

    def closed(self, words: str) -> None:
        """The connection was closed, once, with these words."""
        self.assertTrue(self.transport.aborted)
        self.assertEqual(1, len(self.lost))
        self.assertIn(words, self.lost[0])
        self.assertEqual(f"Redis: {self.lost[0]}", self.connection.problem)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_calls_of_a_turn_are_one_write(self) -> None:
        calls = [self.connection.call("GET", "a"), self.connection.call("SET", "b", b"\xff", "PX", 5)]
        self.assertEqual(b"", self.transport.value())
        self.assertEqual(
            b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n*5\r\n$3\r\nSET\r\n$1\r\nb\r\n$1\r\n\xff\r\n$2\r\nPX\r\n$1\r\n5\r\n", self.sent()
        )
        self.assertEqual(1, self.transport.writes)
        self.connection.dataReceived(b"$1\r\nx\r\n+O")
        self.assertEqual(b"x", self.successResultOf(calls[0]))
        self.assertNoResult(calls[1])
        self.connection.dataReceived(b"K\r\n")
        self.assertEqual(b"OK", self.successResultOf(calls[1]))
        self.assertEqual("", self.connection.problem)

    def test_replies_of_all_kinds(self) -> None:
        for text, value in (
            (b"*2\r\n:1\r\n_\r\n", [1, None]),
            (b"%1\r\n+a\r\n$0\r\n\r\n", {b"a": b""}),
            (b"$-1\r\n", None),
            (b"=6\r\ntxt:ab\r\n", b"ab"),
            (b"#t\r\n", True),
        ):
            call = self.connection.call("X")
            self.connection.dataReceived(text)
            self.assertEqual(value, self.successResultOf(call))

    def test_deadline(self) -> None:
        """The oldest call is late: all fail, and the connection is closed."""
        first = self.connection.call("A")
        self.clock.advance(1.0)
        second = self.connection.call("B")
        self.clock.advance(0.99)
        self.assertNoResult(first)
        self.clock.advance(0.01)
        self.fails(first, "did not answer in time")
        self.fails(second, "did not answer in time")
        self.closed("did not answer in time")
        self.fails(self.connection.call("C"), "did not answer in time")

    def test_deadline_counts_from_each_call(self) -> None:
        self.connection.call("A")
        self.clock.advance(1.5)
        second = self.connection.call("B")
        self.connection.dataReceived(b":1\r\n")
        self.clock.advance(1.99)
        self.assertNoResult(second)
        self.connection.dataReceived(b":2\r\n")
        self.assertEqual(2, self.successResultOf(second))
        self.clock.advance(10)
        self.assertEqual("", self.connection.problem)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_patience(self) -> None:
        """A call that waits on purpose has more time; one that has waited already has less."""
        call = self.connection.call("XREAD", patience=2.0)
        self.clock.advance(3.99)
        self.assertNoResult(call)
        self.clock.advance(0.01)
        self.fails(call, "did not answer in time")
        self.setUp()
        call = self.connection.call("GET", patience=-1.5)
        self.clock.advance(0.5)
        self.fails(call, "did not answer in time")

    def test_errors_about_a_call(self) -> None:
        for text in (b"NOPERM User x", b"NOSCRIPT No", b"WRONGTYPE x", b"OOM x", b"MISCONF x"):
            call, other = self.connection.call("A"), self.connection.call("B")
            self.connection.dataReceived(b"-%b\r\n:1\r\n" % text)
            problem = self.failureResultOf(call, ErrorReply).value
            self.assertEqual((text.partition(b" ")[0].decode(), text.decode()), (problem.code, problem.text))
            self.assertEqual(1, self.successResultOf(other))
        self.assertEqual("", self.connection.problem)

    def test_errors_about_the_server(self) -> None:
        """After each of them, and after one that is not known, the connection is not used any more."""
        for text in (b"READONLY You", b"LOADING x", b"MASTERDOWN x", b"UNHEARD Of", b"ERR what", b"lower case"):
            self.setUp()
            call, other = self.connection.call("A"), self.connection.call("B")
            self.connection.dataReceived(b"-%b\r\n:1\r\n" % text)
            self.failureResultOf(call, ErrorReply)
            self.failureResultOf(other, StateUnavailable)
            self.closed("")

    def test_server_that_may_be_cut_off(self) -> None:
        """It goes on answering, and its owner looks for another one."""
        suspected: list[str] = []
        self.connection.suspect = lambda: suspected.append("look")
        call, other = self.connection.call("A"), self.connection.call("B")
        self.connection.dataReceived(b"-NOREPLICAS x\r\n:1\r\n")
        self.assertIn("min-replicas-to-write", self.failureResultOf(call, ErrorReply).value.detail)
        self.assertEqual((1, "", ["look"]), (self.successResultOf(other), self.connection.problem, suspected))

    def test_no_message_has_what_the_server_says(self) -> None:
        call = self.connection.call("AUTH", "secret")
        self.connection.dataReceived(b"-ERR unknown command 'AUTH', with args beginning with: 'secret'\r\n")
        problem = self.failureResultOf(call, ErrorReply).value
        self.assertNotIn("secret", problem.detail + str(problem) + repr(problem) + self.lost[0])

    def test_errors_inside_an_array_are_elements(self) -> None:
        call = self.connection.call("A")
        self.connection.dataReceived(b"*2\r\n-READONLY x\r\n:1\r\n")
        self.assertEqual(1, self.successResultOf(call)[1])

    def test_attack_172_what_is_no_reply(self) -> None:
        """Garbage, a reply without a question, a push and a map with a list as a key close the connection, and calls fail."""
        for text, words in (
            (b"HTTP/1.1 400 Bad Request\r\n\r\n", "no reply of Redis"),
            (b"*4294967295\r\n", "too large"),
            (b"%1\r\n*0\r\n:1\r\n", "no reply of Redis"),
            (b"(12ab\r\n", "no reply of Redis"),
            (b":99999999999999999999\r\n", "no reply of Redis"),
            (b"*1\r\n" * 20 + b":1\r\n", "arrays in arrays"),
            (b">2\r\n+invalidate\r\n*0\r\n", "no reply of Redis"),
        ):
            with self.subTest(text=text):
                self.setUp()
                call = self.connection.call("A")
                self.connection.dataReceived(text)
                self.fails(call, words)
                self.closed(words)
        self.setUp()
        self.connection.dataReceived(b":1\r\n")
        self.closed("without a question")
        self.setUp()
        call = self.connection.call("A")
        self.connection.dataReceived(b":1\r\n:2\r\n")
        self.assertEqual(1, self.successResultOf(call))
        self.closed("without a question")

    def test_after_the_end_nothing_is_read(self) -> None:
        call = self.connection.call("A")
        self.connection.drop("over")
        self.connection.dataReceived(b":1\r\n")
        self.fails(call, "over")
        self.connection.drop("again")
        self.connection.connectionLost()
        self.closed("over")

    def test_server_closes(self) -> None:
        call = self.connection.call("A")
        self.connection.connectionLost()
        self.fails(call, "the connection was closed")
        self.assertEqual(["the connection was closed"], self.lost)

    def test_call_again_from_a_failure_is_after_lost(self) -> None:
        """Who calls again when a call fails, finds that the connection was given up already."""
        found: list[str] = []
        self.connection.call("A").addErrback(lambda failure: found.extend(self.lost))
        self.connection.drop("over")
        self.assertEqual(["over"], found)

    def test_cancelled_call(self) -> None:
        """Its reply is skipped; the others get theirs."""
        call, other = self.connection.call("A"), self.connection.call("B")
        call.cancel()
        self.failureResultOf(call, CancelledError)
        self.connection.dataReceived(b":1\r\n:2\r\n")
        self.assertEqual(2, self.successResultOf(other))

    def test_bounded(self) -> None:
        self.patch(connection, "MOST_WAITING", 2)
        calls = [self.connection.call("A") for _ in range(3)]
        self.fails(calls[2], "too many calls")
        self.connection.dataReceived(b":1\r\n")
        self.assertNoResult(self.connection.call("B"))
        self.fails(self.connection.call("B"), "too many calls")

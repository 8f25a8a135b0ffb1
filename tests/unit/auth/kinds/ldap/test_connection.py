"""One connection to a directory: how it begins, what a hostile server may add, and how it ends."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from perimeter.auth.kinds.ldap import compat
from perimeter.auth.kinds.ldap.connection import LdapConnection
from perimeter.auth.kinds.ldap.values import Equal, Found, Search, ServerFailure
from tests.unit.auth.kinds.ldap.test_directory import Wire, connected, entry, result


class RecordingWire(Wire):
    """It keeps the options of its socket."""

    def __init__(self) -> None:
        super().__init__()
        self.options: dict[str, bool] = {}

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.options["nodelay"] = enabled

    def setTcpKeepAlive(self, enabled: bool) -> None:
        self.options["keepalive"] = enabled


class BeginningTests(TestCase):
    def test_nothing_is_sent_before_the_connection_is_made(self) -> None:
        connection = LdapConnection(Clock())
        self.assertIs(connection.alive, False)
        failure = self.failureResultOf(connection.bind("cn=a", "pw", 5), ServerFailure).value
        self.assertEqual((failure.detail, failure.stale), ("the connection is closed", True))
        self.assertEqual(connection.pending, 0)

    def test_requests_are_sent_at_once_and_a_dead_server_is_noticed(self) -> None:
        connection, wire = LdapConnection(Clock()), RecordingWire()
        connection.makeConnection(wire)
        self.assertIs(connection.alive, True)
        self.assertEqual(wire.options, {"nodelay": True, "keepalive": True})


class AnswerTests(TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.connection, self.wire = connected(self.clock)

    def search(self, limit: int) -> Deferred[Found]:
        return Deferred.fromCoroutine(self.connection.search(Search("dc=x", Equal("cn", "a"), ("cn",), limit), 5))

    def test_as_many_entries_as_wanted_are_not_too_many(self) -> None:
        for limit in (1, 2):
            pending = self.search(limit)
            number = self.connection._number
            for one in range(limit):
                self.connection.dataReceived(entry(number, b"cn=%d" % one))
            self.connection.dataReceived(result(number, 0x65))
            found = self.successResultOf(pending)
            self.assertEqual([one.dn for one in found.entries], [f"cn={one}" for one in range(limit)])
            self.assertIs(found.more, False)

    def test_nothing_counts_after_a_notice_of_disconnection(self) -> None:
        bound = self.connection.bind("cn=a", "pw", 5)
        self.connection.dataReceived(result(0, 0x78, 52) + result(1, 0x61))
        self.assertNoResult(bound)
        self.connection.connectionLost(Failure(ConnectionDone()))
        self.assertTrue(self.failureResultOf(bound, ServerFailure).value.stale)

    def test_nothing_counts_after_a_malformed_message(self) -> None:
        bound = self.connection.bind("cn=a", "pw", 5)
        self.connection.dataReceived(b"\x31" + result(1, 0x61))
        self.connection.dataReceived(result(1, 0x61))
        self.assertNoResult(bound)
        self.connection.connectionLost(Failure(ConnectionDone()))
        self.assertFalse(self.failureResultOf(bound, ServerFailure).value.stale)


class EndTests(TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.connection, self.wire = connected(self.clock)

    def test_an_unbind_request_with_a_number_of_its_own(self) -> None:
        bound = self.connection.bind("cn=a", "pw", 5)
        self.connection.dataReceived(result(1, 0x61))
        self.successResultOf(bound)
        self.wire.clear()
        self.connection.close()
        self.connection.close()
        self.assertEqual(self.wire.value(), compat.unbind_request(2))
        self.assertTrue(self.wire.disconnecting)

    def test_a_closed_connection_takes_no_request(self) -> None:
        self.connection.close()
        self.wire.clear()
        self.assertTrue(self.failureResultOf(self.connection.bind("cn=a", "pw", 5), ServerFailure).value.stale)
        self.assertEqual(self.wire.value(), b"")

    def test_a_closed_connection_is_cut_after_five_seconds(self) -> None:
        self.connection.close()
        self.clock.advance(4.75)
        self.assertFalse(self.wire.aborted)
        self.clock.advance(0.25)
        self.assertTrue(self.wire.aborted)

    def test_no_timer_is_left(self) -> None:
        self.connection.close()
        self.connection.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.clock.getDelayedCalls(), [])

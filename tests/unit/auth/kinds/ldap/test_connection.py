"""One connection to a directory: how it begins, what a hostile server may add, and how it ends."""

from __future__ import annotations

from ldaptor.protocols import pureber, pureldap
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


class PageTests(TestCase):
    def setUp(self) -> None:
        self.connection, self.wire = connected(Clock())

    def search(self, limit: int, page: int) -> Deferred[Found]:
        search = Search("dc=x", Equal("cn", "a"), ("cn",), limit, page)
        return Deferred.fromCoroutine(self.connection.search(search, 5))

    def asked(self, number: int, size: int, cookie: bytes = b"") -> None:
        """The latest request asks for so many entries in the next page."""
        expected = compat.search_request(number, "dc=x", 2, Equal("cn", "a"), ("cn",), 0, 5, size, cookie)
        self.assertEqual(self.wire.value(), expected)
        self.wire.clear()

    def page(self, number: int, *names: bytes, cookie: bytes = b"") -> None:
        """Answer with a page, after which ``cookie`` leads to the next one."""
        value = pureber.BERSequence([pureber.BERInteger(0), pureber.BEROctetString(cookie)]).toWire()
        done = pureldap.LDAPMessage(
            pureldap.LDAPSearchResultDone(resultCode=0), controls=[(compat.PAGED_RESULTS, False, value)], id=number
        )
        self.connection.dataReceived(b"".join(entry(number, name) for name in names) + done.toWire())

    def names(self, found: Found) -> list[str]:
        return [one.dn for one in found.entries]

    def test_each_page_is_asked_for_until_the_last(self) -> None:
        found = self.search(3, 2)
        self.asked(1, 2)
        self.page(1, b"cn=a", b"cn=b", cookie=b"next")
        self.assertNoResult(found)
        self.asked(2, 2, b"next")
        self.page(2, b"cn=c")
        self.assertEqual(self.names(self.successResultOf(found)), ["cn=a", "cn=b", "cn=c"])
        self.assertEqual(self.wire.value(), b"")

    def test_a_page_is_not_larger_than_needed_to_notice_too_many(self) -> None:
        found = self.search(2, 500)
        self.asked(1, 3)
        self.page(1, b"cn=a", b"cn=b")
        self.assertFalse(self.successResultOf(found).more)

    def test_more_than_the_limit_in_a_later_page(self) -> None:
        pending = self.search(3, 2)
        self.page(1, b"cn=a", b"cn=b", cookie=b"next")
        self.page(2, b"cn=c", b"cn=d", cookie=b"more")
        found = self.successResultOf(pending)
        self.assertEqual((self.names(found), found.more), (["cn=a", "cn=b", "cn=c"], True))

    def test_a_cookie_that_was_not_asked_for_is_ignored(self) -> None:
        found = self.search(1, 0)
        self.page(1, b"cn=a", cookie=b"next")
        self.assertEqual(self.names(self.successResultOf(found)), ["cn=a"])


class ChangeTests(TestCase):
    def test_the_last_search_that_is_given_up_makes_the_connection_idle(self) -> None:
        connection, _ = connected(Clock())
        changes: list[int] = []
        connection.on_change = lambda: changes.append(connection.pending)
        searches = [connection.bind("cn=a", "pw", 5) for _ in range(2)]
        for one in searches:
            one.addErrback(lambda failure: None)
        searches[0].cancel()
        self.assertEqual(changes, [])
        searches[1].cancel()
        self.assertEqual(changes, [0])


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

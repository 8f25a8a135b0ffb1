"""The connections for searches: shared, kept while they are of use, and replaced when they break."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from perimeter.auth.kinds.ldap.connection import LdapConnection
from perimeter.auth.kinds.ldap.pool import SearchPool
from perimeter.auth.kinds.ldap.values import Found, ServerFailure
from perimeter.errors import Overloaded
from tests.unit.auth.kinds.ldap.test_directory import SEARCH, Wire, connected, result


class PoolTests(TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.openings: list[Deferred[LdapConnection]] = []
        self.opened: list[tuple[LdapConnection, Wire]] = []
        self.pool = SearchPool(self.opener, 2, self.clock)

    async def opener(self) -> LdapConnection:
        self.openings.append(Deferred())
        return await self.openings[-1]

    def open(self, index: int) -> tuple[LdapConnection, Wire]:
        self.opened.append(connected(self.clock))
        self.openings[index].callback(self.opened[-1][0])
        return self.opened[-1]

    def search(self) -> Deferred[Found]:
        return Deferred.fromCoroutine(self.pool.search(SEARCH, 5))

    def test_no_more_connections_than_its_size(self) -> None:
        searches = [self.search() for _ in range(6)]
        self.assertEqual(len(self.openings), 2)
        for index in (0, 1):
            connection, _ = self.open(index)
            self.assertEqual(connection.pending, 3)
            connection.dataReceived(b"".join(result(number, 0x65) for number in (1, 2, 3)))
        for one in searches:
            self.successResultOf(one)
        self.search()  # on one that is there
        self.assertEqual(len(self.openings), 2)
        self.assertEqual(self.opened[0][0].pending + self.opened[1][0].pending, 1)

    def test_a_bound_on_what_is_under_way(self) -> None:
        for _ in range(200):
            self.assertNoResult(self.search().addErrback(lambda failure: None))
        self.failureResultOf(self.search(), Overloaded)

    def test_unused_connections_are_closed(self) -> None:
        done = self.search()
        connection, wire = self.open(0)
        connection.dataReceived(result(1, 0x65))
        self.successResultOf(done)
        self.clock.advance(59.75)
        self.assertFalse(wire.disconnecting)
        self.clock.advance(0.25)
        self.assertTrue(wire.disconnecting)
        self.search().addErrback(lambda failure: None)
        self.assertEqual(len(self.openings), 2)

    def test_a_kept_connection_that_broke_is_replaced_once(self) -> None:
        first = self.search()
        connection, _ = self.open(0)
        connection.dataReceived(result(1, 0x65))
        self.successResultOf(first)
        second = self.search()
        connection.connectionLost(Failure(ConnectionDone()))
        self.assertNoResult(second)
        fresh, _ = self.open(1)
        fresh.connectionLost(Failure(ConnectionDone()))
        self.failureResultOf(second, ServerFailure)

    def test_a_connection_that_ends_while_it_is_idle(self) -> None:
        first = self.search()
        connection, _ = self.open(0)
        connection.dataReceived(result(1, 0x65))
        self.successResultOf(first)
        connection.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_all_searches_fail_with_a_failed_opening(self) -> None:
        searches = [self.search() for _ in range(4)]
        for index in (0, 1):
            self.openings[index].errback(ServerFailure("down", final=True))
        problems = [self.failureResultOf(one, ServerFailure).value for one in searches]
        self.assertEqual({(one.detail, one.final) for one in problems}, {("down", True)})
        self.assertEqual(len({id(one) for one in problems}), 4)
        self.search().addErrback(lambda failure: None)
        self.assertEqual(len(self.openings), 3)

    def test_who_leaves_leaves_alone(self) -> None:
        searches = [self.search() for _ in range(3)]
        searches[0].addErrback(lambda failure: None)
        searches[0].cancel()
        connection, _ = self.open(0)
        self.assertEqual(connection.pending, 1)

    def test_a_closed_pool_keeps_nothing_and_still_answers(self) -> None:
        under_way = self.search()
        connection, wire = self.open(0)
        self.pool.close()
        self.assertFalse(wire.disconnecting)
        connection.dataReceived(result(1, 0x65))
        self.successResultOf(under_way)
        self.assertTrue(wire.disconnecting)
        late = self.search()
        connection, wire = self.open(1)
        connection.dataReceived(result(1, 0x65))
        self.successResultOf(late)
        self.assertTrue(wire.disconnecting)
        given_up = self.search()
        given_up.addErrback(lambda failure: None)
        given_up.cancel()
        self.openings[2].addErrback(lambda failure: None)
        self.assertTrue(self.openings[2].called)

    def used(self, index: int = 0) -> tuple[LdapConnection, Wire]:
        """The connection of a new opening, after one search on it."""
        done = self.search()
        self.assertEqual(len(self.openings), index + 1)
        connection, wire = self.open(index)
        connection.dataReceived(result(1, 0x65))
        self.successResultOf(done)
        return connection, wire

    def test_an_open_connection_is_preferred(self) -> None:
        connection, _ = self.used()
        self.search()
        self.assertEqual((len(self.openings), connection.pending), (1, 1))

    def test_the_connection_with_fewer_searches_is_chosen(self) -> None:
        searches = [self.search() for _ in range(3)]
        one, _ = self.open(0)
        other, _ = self.open(1)
        self.assertEqual((one.pending, other.pending), (2, 1))
        searches.append(self.search())
        self.assertEqual((one.pending, other.pending), (2, 2))
        for number in (1, 2):
            one.dataReceived(result(number, 0x65))
        searches += [self.search(), self.search()]
        self.assertEqual((one.pending, other.pending), (2, 2))

    def test_a_connection_in_use_is_not_idle(self) -> None:
        connection, wire = self.used()
        self.clock.advance(59.5)
        late = self.search()
        self.clock.advance(0.5)
        self.assertFalse(wire.disconnecting)
        connection.dataReceived(result(2, 0x65))
        self.successResultOf(late)
        self.clock.advance(59.75)
        self.assertFalse(wire.disconnecting)
        self.clock.advance(0.25)
        self.assertTrue(wire.disconnecting)

    def test_the_end_of_an_old_connection_does_not_touch_the_new_one(self) -> None:
        old, _ = self.used()
        self.clock.advance(60)
        _, wire = self.used(1)
        self.clock.advance(30)
        old.connectionLost(Failure(ConnectionDone()))
        self.clock.advance(29.75)
        self.assertFalse(wire.disconnecting)
        self.clock.advance(0.25)
        self.assertTrue(wire.disconnecting)

    def test_a_connection_that_was_cut_is_replaced(self) -> None:
        old, _ = self.used()
        old.abort("it sent garbage")
        waiting = self.search()
        self.assertEqual(self.clock.getDelayedCalls(), [], "nothing waits for the old one to be idle")
        connection, _ = self.open(1)
        connection.dataReceived(result(1, 0x65))
        self.successResultOf(waiting)

    def test_a_connection_that_is_not_wanted_any_more_is_idle(self) -> None:
        given_up = self.search()
        given_up.addErrback(lambda failure: None)
        given_up.cancel()
        _, wire = self.open(0)
        self.clock.advance(60)
        self.assertTrue(wire.disconnecting)

    def test_a_search_is_repeated_only_if_a_kept_connection_ended(self) -> None:
        first = self.search()
        connection, _ = self.open(0)
        connection.connectionLost(Failure(ConnectionDone()))
        self.failureResultOf(first, ServerFailure)
        self.assertEqual(len(self.openings), 1, "the connection was new")
        self.used(1)
        silent = self.search()
        self.clock.advance(5.5)
        self.assertIn("did not answer", self.failureResultOf(silent, ServerFailure).value.detail)
        self.assertEqual(len(self.openings), 2, "the server is there, and silent")

    def test_closing_closes_what_is_idle_and_gives_up_what_is_not_wanted(self) -> None:
        _, wire = self.used()
        self.pool.close()
        self.assertTrue(wire.disconnecting)
        self.pool = SearchPool(self.opener, 1, self.clock)
        given_up = self.search()
        given_up.addErrback(lambda failure: None)
        given_up.cancel()
        self.openings[1].addErrback(lambda failure: None)
        self.assertFalse(self.openings[1].called, "the next search will want it")
        self.pool.close()
        self.assertTrue(self.openings[1].called)

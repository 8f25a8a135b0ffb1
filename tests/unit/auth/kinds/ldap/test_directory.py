"""Connections to a directory and the logins over them, with a clock and servers that the test controls."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from perimeter.auth.kinds.ldap import compat, directory
from perimeter.auth.kinds.ldap.authenticator import LdapAuthenticator
from perimeter.auth.kinds.ldap.connection import LdapConnection
from perimeter.auth.kinds.ldap.opening import Address
from perimeter.auth.kinds.ldap.settings import LdapSettings
from perimeter.auth.kinds.ldap.values import Equal, Found, LdapEntry, Result, Search, ServerFailure
from perimeter.errors import Overloaded, Rejected, Unavailable, Undecided
from perimeter.fair_queue import CLIENT
from perimeter.model import AuthenticationRequest, BasicCredentials, BearerCredentials, Principal
from perimeter.plugin.authenticator import ICanonicalNames, IRunningAuthenticator

SEARCH = Search("dc=x", Equal("cn", "a"), ("cn",), 1)


def result(number: int, tag: int, code: int = 0) -> bytes:
    """An LDAP result: tag 0x61 answers a bind, 0x65 ends a search, 0x78 answers an extended operation."""
    return b"\x30\x0c\x02\x01" + bytes([number, tag]) + b"\x07\x0a\x01" + bytes([code]) + b"\x04\x00\x04\x00"


def entry(number: int, name: bytes) -> bytes:
    body = b"\x04" + bytes([len(name)]) + name + b"\x30\x00"
    operation = b"\x64" + bytes([len(body)]) + body
    return b"\x30" + bytes([len(operation) + 3]) + b"\x02\x01" + bytes([number]) + operation


class Wire(StringTransport):
    """A transport in memory, with the extra methods of a TCP transport."""

    aborted = False

    def setTcpNoDelay(self, enabled: bool) -> None:
        pass

    def setTcpKeepAlive(self, enabled: bool) -> None:
        pass

    def abortConnection(self) -> None:
        self.aborted = True


def connected(clock: Clock) -> tuple[LdapConnection, Wire]:
    connection, wire = LdapConnection(clock), Wire()
    connection.makeConnection(wire)
    return connection, wire


class ConnectionTests(TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.connection, self.wire = connected(self.clock)

    def search(self) -> Deferred[Found]:
        return Deferred.fromCoroutine(self.connection.search(SEARCH, 5))

    def test_answers_split_at_every_byte(self) -> None:
        data = entry(1, b"cn=a") + result(1, 0x65)
        for cut in range(1, len(data)):
            connection, _ = connected(self.clock)
            found = Deferred.fromCoroutine(connection.search(SEARCH, 5))
            connection.dataReceived(data[:cut])
            self.assertNoResult(found)
            connection.dataReceived(data[cut:])
            self.assertEqual(self.successResultOf(found).entries, (LdapEntry("cn=a"),))

    def test_answers_find_their_question(self) -> None:
        first, second = self.search(), self.search()
        self.connection.dataReceived(entry(2, b"cn=two") + result(2, 0x65) + entry(1, b"cn=one") + result(1, 0x65))
        self.assertEqual(self.successResultOf(first).entries, (LdapEntry("cn=one"),))
        self.assertEqual(self.successResultOf(second).entries, (LdapEntry("cn=two"),))

    def test_attack_33_an_answer_that_comes_too_late_is_dropped(self) -> None:
        given_up = self.search()
        given_up.addErrback(lambda failure: None)
        given_up.cancel()
        self.assertIn(compat.abandon_request(2, 1), self.wire.value())
        second = self.search()
        self.connection.dataReceived(entry(1, b"cn=admin") + result(1, 0x65))
        self.assertNoResult(second)
        self.connection.dataReceived(result(3, 0x65))
        self.assertEqual(self.successResultOf(second).entries, ())

    def test_attack_31_more_entries_than_one_are_reported(self) -> None:
        found = self.search()
        self.connection.dataReceived(entry(1, b"cn=a") + entry(1, b"cn=b") + result(1, 0x65))
        self.assertTrue(self.successResultOf(found).more)
        limited = self.search()
        self.connection.dataReceived(entry(2, b"cn=a") + result(2, 0x65, 4))
        self.assertTrue(self.successResultOf(limited).more)

    def test_the_server_gives_up_before_the_gateway_does(self) -> None:
        found = self.search()
        self.assertEqual(self.wire.value(), compat.search_request(1, "dc=x", 2, SEARCH.filter, ("cn",), 2, 5))
        self.clock.advance(5.1)
        self.connection.dataReceived(result(1, 0x65, 3))
        self.failureResultOf(found, Undecided)
        self.assertFalse(self.wire.aborted)
        silent = self.search()
        self.clock.advance(5.6)
        self.failureResultOf(silent, ServerFailure)
        self.assertTrue(self.wire.aborted)

    def test_attack_32_a_name_needs_a_password(self) -> None:
        for dn, password in (("cn=a", ""), ("", "pw")):
            self.assertRaises(ValueError, self.connection.bind, dn, password, 5)
        self.assertEqual(self.wire.value(), b"")

    def test_silence_ends_the_connection(self) -> None:
        first = self.connection.bind("cn=a", "pw", 5)
        self.clock.advance(4.9)
        self.assertNoResult(first)
        self.clock.advance(0.2)
        self.assertIn("did not answer within 5 s", self.failureResultOf(first, ServerFailure).getErrorMessage())
        self.assertTrue(self.wire.aborted)
        self.failureResultOf(self.search(), ServerFailure)

    def test_everything_under_way_fails_with_the_connection(self) -> None:
        first, second = self.search(), self.connection.bind("cn=a", "pw", 5)
        self.connection.connectionLost(Failure(ConnectionDone()))
        for one in (first, second):
            self.assertTrue(self.failureResultOf(one, ServerFailure).value.stale)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_goodbye_that_is_not_answered(self) -> None:
        self.connection.close()
        self.assertTrue(self.wire.disconnecting)
        self.clock.advance(5)
        self.assertTrue(self.wire.aborted)


class DirectoryTests(TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.asked: list[str] = []
        self.down: set[str] = set()
        self.final = False
        self.closed = 0
        self.held: list[Deferred[None]] = []
        self.hold = False
        self.patch(directory, "open_connection", self.open_connection)
        self.directory = self.of("one", "two")

    def of(self, *hosts: str, **options: Any) -> directory.LdapDirectory:
        given: dict[str, Any] = {"timeout": 2, "rest": 30, "search_connections": 1, "bind_connections": 3} | options
        addresses = [Address(host, 389) for host in hosts]
        return directory.LdapDirectory("corp", addresses, "cn=gw", "pw", self.clock, **given)

    async def open_connection(self, reactor: Any, address: Address, timeout: float) -> Any:
        self.asked.append(address.host)
        if address.host in self.down:
            raise ServerFailure("down", final=self.final)
        if self.hold:
            self.held.append(Deferred())
            await self.held[-1]
        return self

    # the connection that it returns

    async def bind(self, dn: str, password: str, timeout: float) -> Result:
        return Result(0 if password in ("pw", "secret") else 49)

    def close(self) -> None:
        self.closed += 1

    def check(self, password: str = "secret") -> Deferred[None]:
        return Deferred.fromCoroutine(self.directory.check_password("cn=a", password))

    def test_the_first_server_that_works(self) -> None:
        self.successResultOf(self.check())
        self.down.add("one")
        self.successResultOf(self.check())
        self.successResultOf(self.check())
        self.assertEqual(self.asked, ["one", "one", "two", "two"])
        self.clock.advance(30)
        self.down.clear()
        self.successResultOf(self.check())
        self.assertEqual(self.asked[-1], "one")

    def test_a_wrong_password_is_asked_of_one_server_only(self) -> None:
        self.failureResultOf(self.check("wrong"), Rejected)
        self.assertEqual(self.asked, ["one"])

    def test_attack_33_the_connection_of_a_login_is_closed_after_it(self) -> None:
        self.successResultOf(self.check())
        self.failureResultOf(self.check("wrong"), Rejected)
        self.assertEqual(self.closed, 2)

    def test_a_server_that_answers_rests_no_more(self) -> None:
        for password in ("secret", "wrong"):
            self.asked.clear()
            self.directory = self.of("one", "two")
            self.down = {"one", "two"}
            self.failureResultOf(self.check(), Unavailable)
            self.down = {"two"}
            self.check(password).addErrback(lambda failure: failure.trap(Rejected))
            self.down = {"one"}
            self.successResultOf(self.check())
            self.assertEqual(self.asked, ["one", "two", "one", "one", "two"], "the one that answered, then the one that rests")

    def test_a_probe_binds_as_the_account_for_searches(self) -> None:
        self.down.add("one")
        self.successResultOf(Deferred.fromCoroutine(self.directory.probe()))
        self.assertEqual(self.asked, ["one", "two"])
        self.down.add("two")
        error = self.failureResultOf(Deferred.fromCoroutine(self.directory.probe()), Unavailable).value
        self.assertIn("two:389: down", error.detail)

    def test_attack_41_where_all_are_down_one_is_tried(self) -> None:
        self.down = {"one", "two"}
        error = self.failureResultOf(self.check(), Unavailable).value
        self.assertIn("one:389: down; two:389: down", error.detail)
        self.assertEqual(error.retry_after, 30)
        self.clock.advance(10)
        self.failureResultOf(self.check(), Unavailable)
        self.assertEqual(self.asked, ["one", "two", "one"])
        self.down.clear()
        self.successResultOf(self.check())
        self.assertEqual(self.asked[-1], "two")

    def test_a_server_that_refuses_the_gateway_s_account_is_not_asked_again_before_its_rest_ends(self) -> None:
        self.down, self.final = {"one", "two"}, True
        self.failureResultOf(self.check(), Unavailable)
        self.clock.advance(29.75)
        refused = self.failureResultOf(self.check(), Unavailable).value
        self.assertIn("all servers rest", refused.detail)
        self.assertEqual((self.asked, refused.retry_after), (["one", "two"], 1))
        self.clock.advance(0.25)
        self.down.clear()
        self.successResultOf(self.check())
        self.down, self.final = {"one", "two"}, False
        self.failureResultOf(self.check(), Unavailable)
        self.failureResultOf(self.check(), Unavailable)
        self.assertEqual(self.asked[3:], ["one", "two", "one"], "an answer makes it a server like others")

    def test_no_more_binds_at_a_time_than_set(self) -> None:
        self.hold = True
        checks = [self.check() for _ in range(8)]
        self.assertEqual(len(self.held), 3)
        checks[7].addErrback(lambda failure: None)
        checks[7].cancel()
        while self.held:
            self.held.pop(0).callback(None)
            self.assertLessEqual(len(self.held), 3)
        for one in checks[:7]:
            self.successResultOf(one)
        self.assertEqual(len(self.asked), 7)

    def test_attack_47_clients_take_turns_for_binds(self) -> None:
        """One client's guesses fill all connections for binds and their queue; another client's login waits for one of them."""
        self.hold = True

        def check_for(client: str) -> Deferred[None]:
            CLIENT.set(client)
            return self.check()

        guesses = [copy_context().run(check_for, "guesser") for _ in range(3 + directory.MAX_WAITING)]
        login = copy_context().run(check_for, "other")
        self.failureResultOf(guesses.pop(), Overloaded)
        for _ in range(5):
            self.held.pop(0).callback(None)
        self.successResultOf(login)
        while self.held:
            self.held.pop(0).callback(None)
        for one in guesses:
            self.successResultOf(one)


class SearchTests(TestCase):
    """Searches through a directory whose connections the test answers."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.opened: list[tuple[LdapConnection, Wire]] = []
        self.patch(directory, "open_connection", self.open_connection)
        limits: dict[str, Any] = {"timeout": 2, "rest": 30, "search_connections": 1, "bind_connections": 1}
        self.directory = directory.LdapDirectory("corp", [Address("one", 389)], "cn=gw", "pw", self.clock, **limits)

    async def open_connection(self, reactor: Any, address: Address, timeout: float) -> LdapConnection:
        self.opened.append(connected(self.clock))
        return self.opened[-1][0]

    def search(self) -> Deferred[Found]:
        return Deferred.fromCoroutine(self.directory.search(SEARCH))

    def test_a_search_is_sent_as_the_gateway_s_own_account(self) -> None:
        found = self.search()
        ((connection, wire),) = self.opened
        self.assertEqual(wire.value(), compat.bind_request(1, "cn=gw", "pw"))
        wire.clear()
        connection.dataReceived(result(1, 0x61))
        self.assertEqual(wire.value(), compat.search_request(2, "dc=x", 2, SEARCH.filter, ("cn",), 2, 2))
        connection.dataReceived(entry(2, b"cn=a") + result(2, 0x65))
        self.assertEqual(self.successResultOf(found).entries, (LdapEntry("cn=a"),))
        self.assertFalse(wire.disconnecting)
        self.directory.close()
        self.assertTrue(wire.disconnecting)

    def test_a_connection_whose_bind_is_refused_is_closed(self) -> None:
        found = self.search()
        ((connection, wire),) = self.opened
        connection.dataReceived(result(1, 0x61, 49))
        self.assertIn("it refuses the bind of bind_dn", self.failureResultOf(found, Unavailable).value.detail)
        self.assertTrue(wire.disconnecting)

    def test_attack_23_searches_under_way_and_waiting_are_bounded(self) -> None:
        searches = [self.search() for _ in range(600)]  # 100 on the connection, 500 that wait
        self.failureResultOf(self.search(), Overloaded)
        ((connection, _),) = self.opened
        connection.dataReceived(result(1, 0x61))
        self.assertEqual(connection.pending, 100)
        for number in range(2, 52):
            connection.dataReceived(result(number, 0x65))
        self.assertEqual(connection.pending, 100)
        for one in searches[:50]:
            self.successResultOf(one)
        for one in searches[50:]:
            self.assertNoResult(one.addErrback(lambda failure: None))
            one.cancel()


class FakeDirectory:
    """Gives the answers of the test, after the delays of the test."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.found: Found = Found((), Result(0))
        self.opens = False
        self.takes = 0.0
        self.binds: list[str] = []
        self.searched: Search | None = None

    async def search(self, search: Search) -> Found:
        self.searched = search
        return self.found

    async def check_password(self, dn: str, password: str) -> None:
        self.binds.append(dn)
        if self.takes:
            waiting: Deferred[None] = Deferred()
            self.clock.callLater(self.takes, waiting.callback, None)
            await waiting
        if not self.opens:
            raise Rejected("wrong")

    def close(self) -> None:
        pass


class AuthenticatorTests(TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.fake: Any = FakeDirectory(self.clock)
        self.settings = LdapSettings((("h", 389),), "dc=x", domain="example.org", netbios_domain="EX")
        self.ldap = LdapAuthenticator("corp", "staff", self.settings, self.clock, self.fake)

    def login(self, username: str = "john", password: str = "pw") -> Deferred[Principal | None]:
        return Deferred.fromCoroutine(self.ldap.authenticate(BasicCredentials(username, password), AuthenticationRequest("::1")))

    def have(self, *names: bytes, dn: str = "cn=john,dc=x") -> None:
        self.fake.found = Found((LdapEntry(dn, {"cn": names}),), Result(0))

    def test_its_interfaces(self) -> None:
        self.assertTrue(verifyObject(IRunningAuthenticator, self.ldap))
        self.assertTrue(verifyObject(ICanonicalNames, self.ldap))
        for spelled in ("EX\\JOHN", "john@example.org"):
            self.assertEqual(self.ldap.canonical_name(spelled), "john")

    def test_tokens_are_left_to_the_next_authenticator(self) -> None:
        asked = self.ldap.authenticate(BearerCredentials("t"), AuthenticationRequest("::1"))
        self.assertIsNone(self.successResultOf(Deferred.fromCoroutine(asked)))

    def elapsed(self, answer: Deferred[Any]) -> float:
        answer.addErrback(lambda failure: None)
        began = self.clock.seconds()
        while not answer.called:
            self.clock.advance(0.01)
        return self.clock.seconds() - began

    def test_attack_29_an_unknown_user_takes_as_long_as_a_wrong_password(self) -> None:
        """This holds if the directory answers at once for an unknown user, but after a slow hash for a known one."""
        self.have(b"john")
        self.fake.takes = 0.5
        wrong = self.elapsed(self.login())
        self.fake.found = Found((), Result(0))
        self.fake.takes = 0.0
        for _ in range(3):
            self.assertAlmostEqual(self.elapsed(self.login("nobody")), wrong, delta=0.02)
        self.assertEqual(len(self.fake.binds), 4)

    def test_one_entry_is_asked_for(self) -> None:
        self.assertIsNone(self.successResultOf(self.login("nobody")))
        assert self.fake.searched is not None
        self.assertEqual((self.fake.searched.base, self.fake.searched.limit, self.fake.searched.page), ("dc=x", 1, 0))

    def test_attack_41_a_directory_that_takes_any_password(self) -> None:
        self.fake.opens = True
        self.failureResultOf(self.login("nobody"), Unavailable)

    def test_attack_41_an_entry_without_a_name_or_a_readable_value(self) -> None:
        self.fake.opens = True
        self.have(b"john", dn="")
        self.failureResultOf(self.login(), Unavailable)
        self.assertEqual(self.fake.binds, [])
        self.have()
        self.failureResultOf(self.login(), Unavailable)
        self.have(b"\xff")
        self.failureResultOf(self.login(), Rejected)

    def test_attack_15_a_name_with_control_characters(self) -> None:
        self.fake.opens = True
        self.have(b"john\r\nX-Auth-Roles: admin")
        self.failureResultOf(self.login(), Rejected)

    def test_attack_30_the_second_name_of_a_user_must_be_his_alone(self) -> None:
        self.fake.opens = True
        self.have(b"a-shared", b"john", dn="uid=1,dc=x")
        found = self.successResultOf(self.login("a-shared"))
        assert found is not None
        self.assertEqual(found.username, "a-shared")
        mine = self.fake.found
        self.fake.search = self.one_after_the_other([mine, Found(mine.entries, Result(0), more=True)])
        self.failureResultOf(self.login("john"), Rejected)
        other = Found((LdapEntry("uid=2,dc=x", {"cn": (b"a-shared",)}),), Result(0))
        for again in (other, Found((), Result(0))):
            self.fake.search = self.one_after_the_other([mine, again])
            self.failureResultOf(self.login("john"), Rejected)

    def test_attack_30_of_several_names_the_one_in_the_entry_s_name_counts(self) -> None:
        self.fake.opens = True
        self.have(b"a-first", b"John")
        found = self.successResultOf(self.login("john"))
        assert found is not None
        self.assertEqual(found.username, "John")

    @staticmethod
    def one_after_the_other(answers: list[Found]) -> Callable[[Search], Any]:
        async def search(asked: Search) -> Found:
            return answers.pop(0)

        return search

    def test_the_time_of_a_whole_login(self) -> None:
        self.have(b"john")
        self.fake.takes = 60
        answer = self.login()
        self.clock.advance(4.9)
        self.assertNoResult(answer)
        self.clock.advance(0.2)
        self.assertIn("took longer than 5 s", self.failureResultOf(answer, Unavailable).value.detail)

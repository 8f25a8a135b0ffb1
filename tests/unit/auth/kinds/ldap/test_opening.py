"""Opening connections to a directory: reached, secured, verified, or given up."""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL
from twisted.internet import error
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from perimeter.auth.kinds.ldap import opening
from perimeter.auth.kinds.ldap.connection import LdapConnection
from perimeter.auth.kinds.ldap.opening import Address, open_connection
from perimeter.auth.kinds.ldap.values import ServerFailure
from perimeter.net.contexts import ClientTLS
from tests.unit.auth.kinds.ldap.test_directory import Wire, result


class TLS(ClientTLS):
    """Reports the given result for every certificate."""

    def __init__(self, reason: str = "") -> None:
        super().__init__("directory.example", alpn=())
        self.reason = reason

    def verify(self, connection: Any) -> str:
        return self.reason


class SecureWire(Wire):
    """It also begins TLS; the test decides the result."""

    creator: Any = None

    def startTLS(self, creator: Any) -> None:
        self.creator = creator

    def getHandle(self) -> Any:
        return None


class OpeningTests(TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.asked: list[tuple[str, int, float]] = []
        self.reached: Deferred[Any] = Deferred()
        self.wire = SecureWire()
        self.patch(opening, "HostnameEndpoint", self.endpoint)

    def endpoint(self, reactor: Any, host: str, port: int, timeout: float) -> Any:
        test = self
        self.asked.append((host, port, timeout))

        class Endpoint:
            def connect(self, factory: Any) -> Deferred[Any]:
                test.factory = factory
                return test.reached

        return Endpoint()

    def open(self, **options: Any) -> Deferred[LdapConnection]:
        return Deferred.fromCoroutine(open_connection(self.clock, Address("directory.example", 389, **options), 5))

    def connect(self) -> LdapConnection:
        protocol: LdapConnection = self.factory.buildProtocol(None)
        protocol.makeConnection(self.wire)
        self.reached.callback(protocol)
        return protocol

    def refused(self, opened: Deferred[Any]) -> str:
        return str(self.failureResultOf(opened, ServerFailure).value)

    def test_plain_text(self) -> None:
        opened = self.open()
        self.assertEqual(self.asked, [("directory.example", 389, 5)])
        connection = self.connect()
        self.assertIs(self.successResultOf(opened), connection)
        self.assertTrue(connection.alive)
        self.assertTrue(verifyObject(IHandshakeListener, connection))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_addresses_as_people_write_them(self) -> None:
        self.assertEqual(str(Address("::1", 389)), "[::1]:389")
        self.assertEqual(str(Address("h", 636)), "h:636")

    def test_servers_that_cannot_be_reached(self) -> None:
        for problem, message in (
            (error.DNSLookupError(), "its name cannot be resolved"),
            (error.TimeoutError(), "no answer within 5 s"),
            (error.ConnectionRefusedError(), "nothing listens there"),
            (error.NoRouteError(), "there is no network route to it"),
        ):
            self.reached = Deferred()
            opened = self.open()
            self.reached.errback(Failure(problem))
            self.assertIn(message, self.refused(opened))

    def test_silence_is_given_up(self) -> None:
        opened = self.open()
        self.clock.advance(4.9)
        self.assertNoResult(opened)
        self.clock.advance(0.2)
        self.assertIn("no answer within 5 s", self.refused(opened))

    def test_ldaps_is_open_once_the_server_is_verified(self) -> None:
        opened = self.open(tls=TLS())
        connection = self.connect()
        self.assertNoResult(opened)
        self.assertEqual(self.wire.value(), b"")
        made = self.wire.creator.clientConnectionForTLS(None)
        self.assertEqual(made.get_servername() or b"directory.example", b"directory.example")
        connection.handshakeCompleted()
        self.assertIs(self.successResultOf(opened), connection)
        self.assertFalse(self.wire.aborted)

    def test_a_certificate_of_another_server(self) -> None:
        opened = self.open(tls=TLS("the certificate is not for directory.example"))
        connection = self.connect()
        connection.handshakeCompleted()
        self.assertTrue(self.wire.aborted)
        self.assertNoResult(opened)
        connection.connectionLost(Failure(error.ConnectionAborted()))
        self.assertIn("the certificate is not for directory.example", self.refused(opened))

    def test_a_handshake_that_fails(self) -> None:
        opened = self.open(tls=TLS())
        self.connect().connectionLost(Failure(SSL.Error([("SSL routines", "", "certificate verify failed")])))
        self.assertIn("its certificate cannot be verified", self.refused(opened))

    def test_a_handshake_that_hangs(self) -> None:
        opened = self.open(tls=TLS())
        self.connect()
        self.clock.advance(5.1)
        self.assertIn("no answer within 5 s", self.refused(opened))
        self.assertTrue(self.wire.aborted)

    def test_starttls_is_asked_for_before_the_handshake(self) -> None:
        opened = self.open(tls=TLS(), start_tls=True)
        connection = self.connect()
        self.assertIn(b"1.3.6.1.4.1.1466.20037", self.wire.value())
        self.assertIsNone(self.wire.creator)
        connection.dataReceived(result(1, 0x78))
        self.assertIsNotNone(self.wire.creator)
        connection.handshakeCompleted()
        self.assertIs(self.successResultOf(opened), connection)

    def test_starttls_that_is_not_answered_in_time(self) -> None:
        opened = self.open(tls=TLS(), start_tls=True)
        self.clock.advance(3)
        self.connect()
        self.clock.advance(1.75)
        self.assertNoResult(opened)
        self.assertFalse(self.wire.aborted)
        self.clock.advance(0.25)
        self.assertIn("no answer within 5 s", self.refused(opened))
        self.assertTrue(self.wire.aborted, "and not only abandoned")

    def test_starttls_that_is_refused(self) -> None:
        opened = self.open(tls=TLS(), start_tls=True)
        self.connect().dataReceived(result(1, 0x78, 2))
        self.assertIn("it refuses StartTLS", self.refused(opened))
        self.assertIsNone(self.wire.creator)
        self.assertTrue(self.wire.aborted)

    def test_plain_text_behind_the_answer_to_starttls(self) -> None:
        """An attacker on the way may have inserted it, so that it is taken for data that was sent under TLS."""
        opened = self.open(tls=TLS(), start_tls=True)
        self.connect().dataReceived(result(1, 0x78) + b"\x30")
        self.assertIn("plain text", self.refused(opened))
        self.assertIsNone(self.wire.creator)
        self.assertTrue(self.wire.aborted)

    def test_a_notice_of_disconnection(self) -> None:
        opened = self.open()
        connection = self.connect()
        self.successResultOf(opened)
        done = connection.bind("cn=a", "pw", 5)
        connection.dataReceived(result(0, 0x78, 52))
        self.assertTrue(self.wire.aborted)
        connection.connectionLost(Failure(error.ConnectionAborted()))
        failure = self.failureResultOf(done, ServerFailure).value
        self.assertTrue(failure.stale)

    def test_garbage_ends_the_connection(self) -> None:
        self.open()
        connection = self.connect()
        done = connection.bind("cn=a", "pw", 5)
        connection.dataReceived(b"HTTP/1.1 400 Bad Request\r\n")
        self.assertTrue(self.wire.aborted)
        connection.connectionLost(Failure(error.ConnectionAborted()))
        failure = self.failureResultOf(done, ServerFailure).value
        self.assertIn("it sent", str(failure))
        self.assertFalse(failure.stale)

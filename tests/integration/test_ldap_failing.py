"""Directories that are down, silent, restarted or faulty."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet import endpoints, reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.protocol import Factory, Protocol

from perimeter.auth.kinds.ldap import directory
from perimeter.auth.kinds.ldap.settings import LdapSettings
from perimeter.errors import Overloaded, Rejected, Unavailable
from perimeter.model import Principal
from tests.integration.directories import SUFFIX, group, person
from tests.integration.ldapkit import LdapCase, settings_for
from tests.integration.ports import free_port

JOHN = Principal("john", "staff", ("admin",), "corp")
ENTRIES = [person("john", "secret"), group("admin", "john")]


class DownTests(LdapCase):
    async def test_attack_41_a_directory_that_is_down_is_unavailable(self) -> None:
        server = self.slapd(ENTRIES)
        ldap = self.authenticator(settings_for(server))
        self.assertEqual(await self.login(ldap, "john", "secret"), JOHN)
        server.kill()
        for password in ("secret", "wrong"):
            with self.assertRaises(Unavailable) as caught:
                await self.login(ldap, "john", password)
            self.assertIn("nothing listens there", caught.exception.detail)
            self.assertGreater(caught.exception.retry_after or 0, 0)
        server.start()
        self.assertEqual(await self.login(ldap, "john", "secret"), JOHN)

    async def test_a_restart_between_two_logins_is_not_noticed(self) -> None:
        server = self.slapd(ENTRIES)
        ldap = self.authenticator(settings_for(server))
        self.assertEqual(await self.login(ldap, "john", "secret"), JOHN)
        server.kill()
        server.start()
        self.assertEqual(await self.login(ldap, "john", "secret"), JOHN)

    async def test_the_whole_login_has_a_time_too(self) -> None:
        server = self.slapd(ENTRIES)
        server.freeze()
        self.addCleanup(server.thaw)
        ldap = self.authenticator(settings_for(server, server_timeout=30, timeout=0.3))
        with self.assertRaises(Unavailable) as caught:
            await self.login(ldap, "john", "secret")
        self.assertIn("took longer than 0.3 s", caught.exception.detail)


class FailOverTests(LdapCase):
    async def test_the_second_server_answers_for_the_first(self) -> None:
        first, second = self.slapd(ENTRIES), self.slapd(ENTRIES)
        ldap = self.authenticator(settings_for(first, second))
        self.assertEqual(await self.login(ldap, "john", "secret"), JOHN)
        self.assertNotIn("SRCH", second.log)
        first.kill()
        self.assertEqual(await self.login(ldap, "john", "secret"), JOHN)
        self.assertIn("SRCH", second.log)
        with self.assertRaises(Rejected):
            await self.login(ldap, "john", "wrong")

    async def test_a_server_that_failed_rests(self) -> None:
        first, second = self.slapd(ENTRIES), self.slapd(ENTRIES)
        ldap = self.authenticator(settings_for(first, second, rest=3600))
        first.kill()
        self.assertEqual(await self.login(ldap, "john", "secret"), JOHN)
        first.start()
        before = first.log.count("SRCH")
        self.assertEqual(await self.login(ldap, "john", "secret"), JOHN)
        self.assertEqual(first.log.count("SRCH"), before)
        second.kill()  # without another server, the resting one is tried
        self.assertEqual(await self.login(ldap, "john", "secret"), JOHN)

    async def test_after_its_rest_it_is_the_first_again(self) -> None:
        first, second = self.slapd(ENTRIES), self.slapd(ENTRIES)
        ldap = self.authenticator(settings_for(first, second, rest=0.001))
        first.kill()
        self.assertEqual(await self.login(ldap, "john", "secret"), JOHN)
        first.start()
        before = second.log.count("SRCH")
        self.assertEqual(await self.login(ldap, "john", "secret"), JOHN)
        self.assertEqual(second.log.count("SRCH"), before)

    async def test_a_silent_server_is_passed_over_within_the_time(self) -> None:
        first, second = self.slapd(ENTRIES), self.slapd(ENTRIES)
        first.freeze()
        self.addCleanup(first.thaw)
        ldap = self.authenticator(settings_for(first, second, server_timeout=0.3, timeout=5))
        self.assertEqual(await self.login(ldap, "john", "secret"), JOHN)


class Fake(Protocol):
    """A server whose answers the test defines."""

    def __init__(self, on_data: Callable[[Any], None]) -> None:
        self.on_data = on_data
        self.received = b""

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        self.on_data(self)


class FakeCase(LdapCase):
    async def serve(self, on_data: Callable[[Any], None]) -> LdapSettings:
        """Settings for a server on loopback that runs ``on_data`` whenever it gets something."""
        self.protocols: list[Fake] = []
        self.on_lost: Deferred[None] | None = None

        def build() -> Fake:
            made = Fake(on_data)
            self.protocols.append(made)
            return made

        port = await endpoints.serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(_Building(build))
        self.addCleanup(port.stopListening)
        people = f"ou=people,{SUFFIX}"
        return LdapSettings(((("127.0.0.1"), port.getHost().port),), people, server_timeout=0.5, timeout=3)


class _Building(Factory):
    noisy = False

    def __init__(self, build: Callable[[], Fake]) -> None:
        self.build = build

    def buildProtocol(self, addr: object) -> Fake:
        return self.build()


class StrangeServerTests(FakeCase):
    async def refused(self, on_data: Callable[[Any], None], **options: Any) -> str:
        settings = attrs.evolve(await self.serve(on_data), **options)
        with self.assertRaises(Unavailable) as caught:
            await self.login(self.authenticator(settings), "john", "secret")
        return str(caught.exception.detail)

    async def test_attack_41_what_is_not_ldap_lets_no_client_in(self) -> None:
        for answer, reason in (
            (b"HTTP/1.1 400 Bad Request\r\n\r\n", "something that is not LDAP"),
            (b"\x30\x80\x02\x01\x01", "impossible length"),
            (b"\x30\x84\x7f\xff\xff\xff\x02\x01\x01", "a message of 2147483653 bytes"),
            (b"\x30\x03\x02\x01\x01", "malformed message"),
            # a bind response without a code, and a success that answers no request
            (b"\x30\x05\x02\x01\x01\x61\x00", "malformed message"),
            (b"\x30\x0c\x02\x01\x63\x61\x07\x0a\x01\x00\x04\x00\x04\x00", "did not answer within 0.5 s"),
        ):
            detail = await self.refused(lambda fake, answer=answer: fake.transport.write(answer))
            self.assertIn(reason, detail)

    async def test_a_connection_that_is_cut(self) -> None:
        self.assertIn("closed the connection", await self.refused(lambda fake: fake.transport.loseConnection()))
        self.assertIn("closed the connection", await self.refused(lambda fake: fake.transport.abortConnection()))

    async def test_a_notice_of_disconnection(self) -> None:
        # RFC 4511, section 4.4.1, with unavailable (52) and its name
        name = b"1.3.6.1.4.1.1466.20036"
        operation = b"\x0a\x01\x34\x04\x00\x04\x00\x8a" + bytes([len(name)]) + name
        notice = b"\x02\x01\x00\x78" + bytes([len(operation)]) + operation
        message = b"\x30" + bytes([len(notice)]) + notice
        self.assertIn("closed the connection", await self.refused(lambda fake: fake.transport.write(message)))

    async def test_attack_starttls_that_is_refused_sends_no_password(self) -> None:
        refusal = b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x35\x04\x00\x04\x00"
        detail = await self.refused(
            lambda fake: fake.transport.write(refusal), tls="starttls", bind_dn="cn=x", bind_password="pw"
        )
        self.assertIn("refuses StartTLS (unwillingToPerform)", detail)
        self.assertNotIn(b"pw", self.protocols[0].received)

    async def test_attack_plain_text_injected_after_starttls(self) -> None:
        agreed = b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00"
        bound = b"\x30\x0c\x02\x01\x02\x61\x07\x0a\x01\x00\x04\x00\x04\x00"
        detail = await self.refused(lambda fake: fake.transport.write(agreed + bound), tls="starttls")
        self.assertIn("in plain text after it agreed to TLS", detail)


class LoadTests(LdapCase):
    async def test_a_queue_that_is_full_is_reported_at_once(self) -> None:
        self.patch(directory, "MAX_WAITING", 3)
        server = self.slapd(ENTRIES)
        ldap = self.authenticator(settings_for(server, bind_connections=1, server_timeout=10))

        async def outcome() -> str:
            try:
                await self.login(ldap, "john", "secret")
            except Overloaded:
                return "overloaded"
            return "in"

        outcomes = await gatherResults([Deferred.fromCoroutine(outcome()) for _ in range(20)])
        self.assertIn("overloaded", outcomes)
        self.assertIn("in", outcomes)

    async def test_a_cancelled_login_leaves_nothing_behind(self) -> None:
        server = self.slapd(ENTRIES)
        ldap = self.authenticator(settings_for(server, bind_connections=1))
        self.assertEqual(await self.login(ldap, "john", "secret"), JOHN)
        server.freeze()
        self.addCleanup(server.thaw)
        for _ in range(3):
            login = Deferred.fromCoroutine(self.login(ldap, "john", "secret"))
            login.addErrback(lambda failure: None)
            login.cancel()
        server.thaw()
        self.assertEqual(await self.login(ldap, "john", "secret"), JOHN)

    async def test_a_name_that_is_not_known(self) -> None:
        settings = LdapSettings((("ldap.invalid", free_port()),), f"ou=people,{SUFFIX}", server_timeout=2)
        with self.assertRaises(Unavailable) as caught:
            await self.login(self.authenticator(settings), "john", "secret")
        self.assertRegex(caught.exception.detail, "its name cannot be resolved|no answer within")

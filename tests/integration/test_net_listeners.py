"""Listeners, their limits, and the handshake with real TLS clients."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
from errno import EACCES, ECONNABORTED, EMFILE
from functools import partial
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.trial import unittest

from perimeter.acme.pending import challenge_identity
from perimeter.config.site.listener import ListenerSettings
from perimeter.errors import StartupError
from perimeter.net import binding
from perimeter.net.connection_limits import ConnectionLimits
from perimeter.net.contexts import ClientAuthentication, ServerContexts
from perimeter.net.listeners import PAUSE, listen
from tests.integration.netkit import NetTestCase, Remembering, Serving, client_context, eventually, identity, pause, pem, read_all

LOCALHOST = identity("localhost", "127.0.0.1")
EXACT = identity("exact.example.com")
WILD = identity("*.example.com")


def echo() -> Remembering:
    return Remembering(on_data=lambda self, data: self.transport.write(data))


class LimitTests(unittest.TestCase):
    def test_total_and_per_address(self) -> None:
        limits = ConnectionLimits(total=3, per_address=2)
        self.assertTrue(limits.admit("a"))
        self.assertTrue(limits.admit("a"))
        self.assertFalse(limits.admit("a"))
        self.assertTrue(limits.admit("b"))
        self.assertFalse(limits.admit("c"))
        limits.release("a")
        self.assertTrue(limits.admit("c"))
        self.assertEqual(limits.open, 3)

    def test_attack_58_silent_connections_make_room(self) -> None:
        asked: list[str | None] = []
        limits = ConnectionLimits(total=2, per_address=2)

        def close_one(address: str | None) -> int:
            asked.append(address)
            limits.release("a")
            return 1

        limits.make_room = close_one
        for _ in range(3):
            self.assertTrue(limits.admit("a"))
        self.assertEqual((asked, limits.open), (["a"], 2))
        self.assertTrue(limits.admit("b"))
        self.assertEqual((asked, limits.open), (["a", None], 2))
        limits.make_room = lambda address: 0
        self.assertFalse(limits.admit("c"))
        self.assertEqual(limits.open, 2)

    def test_addresses_that_are_gone_take_no_memory(self) -> None:
        limits = ConnectionLimits(total=1, per_address=1)
        limits.admit("a")
        limits.admit("b")
        limits.release("a")
        self.assertEqual(len(limits._by_address), 0)


class StartupTests(NetTestCase):
    def refused(self, interface: str, port: int, name: str = "https") -> str:
        with self.assertRaises(StartupError) as caught:
            listen(reactor, ListenerSettings(name, port, interface), Serving(Remembering), None, self.limits, self.deadlines)
        return str(caught.exception)

    def test_port_taken(self) -> None:
        for interface, shown in (("127.0.0.1", "127.0.0.1"), ("::1", "[::1]"), ("", "*")):
            _, port = self.serve(interface=interface)
            self.assertEqual(
                self.refused(interface, port),
                f"listener https: cannot listen on {shown}:{port}: address already in use: another "
                "program listens there (ss -ltnp shows which), or set another port",
            )

    def test_address_of_another_machine(self) -> None:
        self.assertEqual(
            self.refused("192.0.2.1", 9443),
            "listener https: cannot listen on 192.0.2.1:9443: cannot assign requested address: this "
            "machine does not have the address in interface",
        )

    def test_no_address(self) -> None:
        self.assertEqual(
            self.refused("gateway", 9443), "listener https: cannot listen on gateway:9443: this is not an IP address"
        )

    def test_permission_denied(self) -> None:
        def forbidden(*arguments: Any, **options: Any) -> None:
            raise PermissionError(EACCES, os.strerror(EACCES))

        self.patch(binding, "_bound", forbidden)
        self.assertEqual(
            self.refused("", 443),
            "listener https: cannot listen on *:443: permission denied: ports below 1024 need root or "
            "CAP_NET_BIND_SERVICE: start with root and --uid, set AmbientCapabilities=CAP_NET_BIND_SERVICE in the systemd unit, "
            "or use a higher port",
        )


class AcceptTests(NetTestCase):
    async def test_all_interfaces_of_both_families(self) -> None:
        serving, port = self.serve(echo, interface="")
        for host in ("127.0.0.1", "::1"):
            waiting = serving.next()
            client = self.connect(port, host)
            server = await waiting
            # An IPv4 client on the dual-stack socket counts as an IPv4 client (attack 10).
            self.assertEqual(server.transport.getPeer().host, host)
            self.assertEqual(server.transport.getHost().host, host)
            self.assertEqual(server.transport.getHost().port, port)
            self.assertEqual(server.transport.getPeer().port, client.getsockname()[1])

    async def test_ipv6_only(self) -> None:
        serving, port = self.serve(echo, interface="::1")
        waiting = serving.next()
        self.connect(port, "::1")
        await waiting
        self.assertRaises(ConnectionRefusedError, self.connect, port, "127.0.0.1")

    async def test_socket_options(self) -> None:
        serving, port = self.serve(echo)
        waiting = serving.next()
        self.connect(port)
        transport = (await waiting).transport
        self.assertTrue(transport.getTcpNoDelay())
        self.assertTrue(transport.getTcpKeepAlive())

    async def test_many_at_once(self) -> None:
        serving, port = self.serve(echo)
        clients = [self.connect(port) for _ in range(250)]
        for client in clients:
            client.send(b"x")
        await eventually(lambda: len(serving.built) == 250 and all(server.received for server in serving.built))
        self.assertEqual(self.limits.open, 250)
        for client in clients:
            self.assertEqual(client.recv(1), b"x")

    async def test_attack_22_connections_of_one_address_are_bounded(self) -> None:
        self.limits.per_address = 2
        for tls in (None, ServerContexts([LOCALHOST])):
            serving, port = self.serve(echo, tls, interface="")
            first, second = self.connect(port), self.connect(port)
            await eventually(lambda: self.limits.open == 2)
            third = self.connect(port)
            self.assertEqual(await self.in_thread(third.recv, 10), b"")
            # Another address is still served.
            other = self.connect(port, "::1")
            await eventually(lambda: self.limits.open == 3)
            for client in (first, second, other):
                client.close()
            await eventually(lambda: self.limits.open == 0)
            waiting = serving.next()
            client = self.connect(port)
            if tls is None:
                await waiting
            await eventually(lambda: self.limits.open == 1)
            client.close()
            await eventually(lambda: self.limits.open == 0)

    async def test_attack_22_connections_are_bounded(self) -> None:
        self.limits.total = 1
        _, port = self.serve(echo)
        self.connect(port)
        await eventually(lambda: self.limits.open == 1)
        self.assertEqual(await self.in_thread(self.connect(port).recv, 10), b"")

    async def test_factory_that_fails_or_declines(self) -> None:
        outcomes: list[Any] = [ZeroDivisionError, None]

        def build(address: Any, alpn: bytes) -> None:
            outcome = outcomes.pop(0)
            if outcome:
                raise outcome

        _, port = self.serve()
        self.ports[0].build_protocol = build
        for _ in range(2):
            self.assertEqual(await self.in_thread(self.connect(port).recv, 10), b"")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.limits.open, 0)

    async def test_stop_listening(self) -> None:
        serving, port = self.serve(echo)
        waiting = serving.next()
        client = self.connect(port)
        await waiting
        await self.ports[0].stopListening()
        self.assertRaises(ConnectionRefusedError, self.connect, port)
        client.send(b"x")
        self.assertEqual(await self.in_thread(client.recv, 10), b"x")
        client.close()


class Exhausted:
    """A listening socket in a process that has run out of descriptors."""

    def __init__(self, *errors: int) -> None:
        self.errors = list(errors)
        self.accepts = 0

    def _accept(self) -> Any:
        self.accepts += 1
        if self.errors:
            error = self.errors.pop(0)
            raise OSError(error, os.strerror(error))
        raise BlockingIOError


class FakeReactor(Clock):
    def __init__(self) -> None:
        super().__init__()
        self.readers: set[Any] = set()

    def addReader(self, reader: Any) -> None:
        self.readers.add(reader)

    def removeReader(self, reader: Any) -> None:
        self.readers.discard(reader)


class ExhaustionTests(NetTestCase):
    def make(self, *errors: int) -> tuple[Any, FakeReactor, Exhausted]:
        self.serve()
        port: Any = self.ports[0]
        clock = FakeReactor()
        exhausted = Exhausted(*errors)
        genuine = port.reactor, port.socket
        port.reactor, port.socket = clock, exhausted
        clock.addReader(port)
        self.genuine = (port, genuine)
        return port, clock, exhausted

    async def tearDown(self) -> None:
        port, (port.reactor, port.socket) = self.genuine
        await super().tearDown()

    def test_no_descriptors_left_does_not_spin(self) -> None:
        port, clock, exhausted = self.make(EMFILE)
        port.doRead()
        self.assertEqual(exhausted.accepts, 1)
        self.assertNotIn(port, clock.readers)
        clock.advance(PAUSE)
        self.assertIn(port, clock.readers)

    def test_a_port_that_pauses_accepts_nothing_until_it_goes_on(self) -> None:
        port, clock, _ = self.make(EMFILE)
        port.pause(True)
        self.assertNotIn(port, clock.readers)
        port.pause(False)
        self.assertIn(port, clock.readers)
        port.doRead()
        port.pause(True)
        clock.advance(PAUSE)
        self.assertNotIn(port, clock.readers)
        port.pause(False)
        self.assertIn(port, clock.readers)

    def test_attack_58_silent_connections_make_room_for_descriptors(self) -> None:
        port, clock, exhausted = self.make(EMFILE, EMFILE)
        left = [3, 0]
        port.limits.make_room = lambda address: left.pop(0)
        port.doRead()
        self.assertEqual((exhausted.accepts, left), (2, []))
        self.assertNotIn(port, clock.readers)

    def test_aborted_connection_does_not_hide_the_next(self) -> None:
        port, clock, exhausted = self.make(ECONNABORTED, ECONNABORTED)
        port.doRead()
        self.assertEqual(exhausted.accepts, 3)
        self.assertIn(port, clock.readers)


class HandshakeTests(NetTestCase):
    def contexts(self) -> ServerContexts:
        return ServerContexts([LOCALHOST, WILD, EXACT])

    async def test_attack_22_stalled_handshake(self) -> None:
        serving, port = self.serve(echo, self.contexts(), handshake_timeout=0.4)
        started = reactor.seconds()
        silent = self.connect(port)
        dripping = self.connect(port)
        hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100)

        async def drip() -> int:
            # Each byte arrives well before the deadline, which is absolute.
            for number in range(len(hello)):
                try:
                    dripping.send(hello[number : number + 1])
                except OSError:
                    return number
                await pause(0.05)
            return len(hello)

        self.assertLess(await drip(), len(hello))
        self.assertEqual(await self.in_thread(silent.recv, 10), b"")
        self.assertLess(reactor.seconds() - started, 3)
        self.assertEqual(serving.built, [])
        self.assertEqual(self.limits.open, 0)
        # A correct client is served as usual, and the deadline of its handshake is removed.
        good = await self.in_thread(self.tls_client, port)
        await pause(0.6)
        await self.in_thread(good.send, b"x")
        self.assertEqual(await self.in_thread(good.recv, 10), b"x")

    async def test_protocol_is_built_after_the_handshake_only(self) -> None:
        serving, port = self.serve(echo, self.contexts())
        client = self.connect(port)
        await eventually(lambda: self.limits.open == 1)
        self.assertEqual(serving.built, [])
        client.close()
        await eventually(lambda: self.limits.open == 0)
        self.assertEqual(serving.built, [])

    async def test_plain_http_on_the_tls_port(self) -> None:
        serving, port = self.serve(echo, self.contexts())
        for request in (
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: x\r\n\r\n" + bytes(50000),
            b"CONNECT x:1 HTTP/1.1\r\n\r\n",
        ):
            client = self.connect(port)
            client.sendall(request)
            answer = await self.in_thread(read_all, client)
            head, _, body = answer.partition(b"\r\n\r\n")
            self.assertTrue(head.startswith(b"HTTP/1.1 400 Bad Request\r\n"), answer)
            self.assertIn(b"Content-Length: %d\r\n" % len(body), head)
            self.assertIn(b"TLS", body)
            client.close()
        self.assertEqual(serving.built, [])

    async def test_garbage_and_resets_log_nothing(self) -> None:
        serving, port = self.serve(echo, self.contexts())
        for data in (b"\x00" * 100, os.urandom(500), b"\x16\x03\x01", b"\x80\x2e\x01\x00\x02", b"SSH-2.0-x\r\n"):
            client = self.connect(port)
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            await self.in_thread(self.drain, client)
            client.close()
        await eventually(lambda: self.limits.open == 0)
        self.assertEqual(serving.built, [])
        self.assertEqual(self.flushLoggedErrors(), [])

    def drain(self, client: socket.socket) -> None:
        with contextlib.suppress(ConnectionResetError):
            read_all(client)

    async def test_old_tls_is_refused(self) -> None:
        _, port = self.serve(echo, self.contexts())
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_cipher_list(b"ALL:@SECLEVEL=0")
        context.set_min_proto_version(SSL.TLS1_VERSION)
        context.set_max_proto_version(SSL.TLS1_1_VERSION)
        with self.assertRaises(SSL.Error) as caught:
            await self.in_thread(self.openssl_client, port, context)
        self.assertIn("protocol version", str(caught.exception))

    async def test_weak_ciphers_are_refused(self) -> None:
        _, port = self.serve(echo, self.contexts())
        for ciphers in ("ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0", "AES128-GCM-SHA256:@SECLEVEL=0", "ECDHE-ECDSA-AES256-SHA384"):
            context = client_context(version=ssl.TLSVersion.TLSv1_2)
            context.set_ciphers(ciphers)
            with self.assertRaises(ssl.SSLError, msg=ciphers):
                await self.in_thread(self.tls_client, port, "localhost", context)

    async def test_preference_is_the_servers_but_for_clients_without_aes(self) -> None:
        _, port = self.serve(echo, self.contexts())
        aes128, aes256, chacha = (
            f"ECDHE-ECDSA-{name}" for name in ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305")
        )
        for offered, chosen in (
            ((aes256, chacha, aes128), aes128),
            ((chacha, aes256, aes128), chacha),
            ((chacha, aes256), chacha),
            ((aes256, chacha), aes256),
        ):
            context = client_context(version=ssl.TLSVersion.TLSv1_2)
            context.set_ciphers(":".join(offered))
            client = await self.in_thread(self.tls_client, port, "localhost", context)
            self.assertEqual((client.cipher() or ("",))[0], chosen)

    async def test_renegotiation_is_refused(self) -> None:
        _, port = self.serve(echo, self.contexts())
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_max_proto_version(SSL.TLS1_2_VERSION)

        def renegotiate() -> int:
            client = self.openssl_client(port, context)
            client.send(b"x")
            client.recv(10)
            client.renegotiate()
            try:
                client.do_handshake()
                client.send(b"y")
                client.recv(10)
            except SSL.Error as problem:
                return "no renegotiation" in str(problem)
            return False

        self.assertTrue(await self.in_thread(renegotiate))

    async def test_versions_and_alpn(self) -> None:
        serving, port = self.serve(echo, self.contexts())
        for version, name in ((ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")):
            for offered, agreed in ((["h2", "http/1.1"], "http/1.1"), (["http/1.0"], "http/1.0"), (None, None)):
                waiting = serving.next()
                client = await self.in_thread(self.tls_client, port, "localhost", client_context(offered, version))
                server = await waiting
                self.assertEqual(client.selected_alpn_protocol(), agreed)
                self.assertEqual(server.transport.alpn, (agreed or "").encode())
                self.assertEqual(server.transport.tls_version, name)
                await self.in_thread(client.send, b"x")
                self.assertEqual(await self.in_thread(client.recv, 10), b"x")

    async def test_attack_117_a_client_of_another_protocol_is_refused(self) -> None:
        serving, port = self.serve(echo, self.contexts())
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            for offered in (["h2"], ["ftp", "smtp"], ["acme-tls/1"]):

                def refused(offered: list[str] = offered, version: ssl.TLSVersion = version) -> str:
                    try:
                        client = self.tls_client(port, "localhost", client_context(offered, version))
                        client.recv(1)
                    except ssl.SSLError as problem:
                        return str(problem)
                    return ""

                self.assertIn("alert no application protocol", await self.in_thread(refused))
        self.assertEqual(serving.built, [])

    async def test_resumption_with_a_ticket(self) -> None:
        _, port = self.serve(echo, self.contexts())
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            for name in ("localhost", "exact.example.com"):
                context = client_context(version=version)

                def talk(context: ssl.SSLContext, session: Any, name: str) -> tuple[Any, bool]:
                    client = self.tls_client(port, name, context, session=session)
                    client.send(b"x")
                    client.recv(10)
                    session, reused = client.session, client.session_reused
                    client.close()
                    return session, bool(reused)

                session, reused = await self.in_thread(talk, context, None, name)
                self.assertFalse(reused)
                session, reused = await self.in_thread(talk, context, session, name)
                self.assertTrue(reused, (version, name))

    async def test_server_name_chooses_the_certificate(self) -> None:
        contexts = self.contexts()
        _, port = self.serve(echo, contexts)

        async def served(name: str) -> bytes:
            client = await self.in_thread(self.tls_client, port, name)
            return client.getpeercert(binary_form=True) or b""

        def der(of: Any) -> bytes:
            return of.chain[0].public_bytes(Encoding.DER)

        for name, expected in (
            ("localhost", LOCALHOST),
            ("exact.example.com", EXACT),
            ("EXACT.example.com", EXACT),
            ("any.example.com", WILD),
            ("two.labels.example.com", LOCALHOST),
            ("elsewhere.org", LOCALHOST),
        ):
            self.assertEqual(await served(name), der(expected), name)

    async def test_attack_118_no_name_is_a_way_around_client_certificates(self) -> None:
        ca = identity("Root", ca=True, common="Root")
        user = identity("alice", issuer=ca)
        files = {name: self.mktemp() for name in ("ca", "user")}
        Path(files["ca"]).write_bytes(pem(*ca.chain))
        key = user.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        Path(files["user"]).write_bytes(pem(*user.chain) + key)
        clients = ClientAuthentication(Path(files["ca"]), required=True)
        serving, port = self.serve(echo, ServerContexts([LOCALHOST, EXACT, WILD], clients))

        def answered(name: str, version: ssl.TLSVersion, shown: bool) -> bytes:
            context = client_context(version=version)
            if shown:
                context.load_cert_chain(files["user"])
            try:
                client = self.tls_client(port, name or None, context)
                client.send(b"x")
                return client.recv(10)
            except OSError:
                return b""

        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            for name in ("localhost", "exact.example.com", "any.example.com", "elsewhere.org", ""):
                self.assertEqual(await self.in_thread(answered, name, version, False), b"", (name, version))
                self.assertEqual(serving.built, [])
            for name in ("localhost", "exact.example.com", "any.example.com"):
                self.assertEqual(await self.in_thread(answered, name, version, True), b"x", (name, version))
                self.assertEqual(serving.built.pop().transport.client_certificate, user.chain[0])

    async def test_replaced_certificates_leave_open_connections_alone(self) -> None:
        _, port = self.serve(echo, ServerContexts([LOCALHOST]))
        before = await self.in_thread(self.tls_client, port)
        self.ports[0].contexts = ServerContexts([EXACT])
        after = await self.in_thread(self.tls_client, port)
        self.assertNotEqual(before.getpeercert(binary_form=True), after.getpeercert(binary_form=True))
        for client in (before, after):
            await self.in_thread(client.send, b"x")
            self.assertEqual(await self.in_thread(client.recv, 10), b"x")

    async def test_attack_146_handshake_of_a_ca(self) -> None:
        pending = {"exact.example.com": (challenge := challenge_identity("exact.example.com", "token.thumb"))}
        ca = Path(self.mktemp())
        ca.write_bytes(pem(LOCALHOST.chain[0]))
        contexts = ServerContexts([LOCALHOST, EXACT], ClientAuthentication(ca, required=True), pending)
        _, port = self.serve(echo, contexts)
        build = self.ports[0].build_protocol
        self.ports[0].build_protocol = lambda peer, alpn: None if alpn == b"acme-tls/1" else build(peer, alpn)

        def seen(
            name: str, *offered: str, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
        ) -> tuple[str | None, bytes | None, bytes]:
            """What a client without a certificate gets: the protocol, the certificate, and the answer to what it sends."""
            client = self.tls_client(port, name, client_context(list(offered), version))
            found = client.selected_alpn_protocol(), client.getpeercert(binary_form=True)
            client.settimeout(5)
            try:
                client.send(b"GET / HTTP/1.1\r\n\r\n")
                return *found, client.recv(100)
            except OSError:
                return *found, b""

        got = await self.in_thread(seen, "exact.example.com", "acme-tls/1")
        self.assertEqual(got, ("acme-tls/1", challenge.chain[0].public_bytes(Encoding.DER), b""))
        for name, offered, version in (
            ("localhost", "acme-tls/1", ssl.TLSVersion.TLSv1_3),
            ("exact.example.com", "http/1.1", ssl.TLSVersion.TLSv1_3),
            ("exact.example.com", "acme-tls/1", ssl.TLSVersion.TLSv1_2),
        ):
            try:
                protocol, certificate, answer = await self.in_thread(partial(seen, name, offered, version=version))
            except ssl.SSLError:
                continue
            self.assertNotEqual(protocol, "acme-tls/1", name)
            self.assertNotEqual(certificate, challenge.chain[0].public_bytes(Encoding.DER))
            self.assertEqual(answer, b"", "no service without a certificate")
        pending.clear()
        with self.assertRaises((ssl.SSLError, AssertionError)):
            self.assertEqual((await self.in_thread(seen, "exact.example.com", "acme-tls/1"))[0], "acme-tls/1")

    async def test_factory_that_declines_after_the_handshake(self) -> None:
        _, port = self.serve(echo, self.contexts())
        self.ports[0].build_protocol = lambda address, alpn: None
        client = await self.in_thread(self.tls_client, port)
        self.assertEqual(await self.in_thread(client.recv, 10), b"")

    async def test_close_notify_is_sent_and_awaited(self) -> None:
        serving, port = self.serve(
            lambda: Remembering(on_data=lambda self, data: self.transport.loseConnection()), self.contexts()
        )
        waiting = serving.next()

        def talk() -> None:
            client = self.openssl_client(port)
            client.send(b"x")
            with self.assertRaises(SSL.ZeroReturnError):
                client.recv(10)
            client.shutdown()
            client.sock_shutdown(socket.SHUT_RDWR)

        await self.in_thread(talk)
        self.assertIsInstance(await (await waiting).lost, ConnectionDone)

"""Connecting to services: addresses in turn, one deadline, and TLS verified before a byte is sent."""

from __future__ import annotations

import shutil
import socket
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectError, ConnectionDone, ConnectionRefusedError, DNSLookupError, TimeoutError
from twisted.internet.threads import deferToThread

from perimeter.errors import StartupError
from perimeter.net.connect import HandshakeFailed, connect
from perimeter.net.contexts import ClientAuthentication, ClientTLS, ServerContexts, public_key_pin
from perimeter.net.tls import TLSEnded
from perimeter.proxy.faults import connection_fault, ended_fault
from tests.integration.netkit import NetTestCase, Remembering, eventually, identity, pause, pem

CA = identity("CA", ca=True, common="CA")
SERVICE = identity("service.example.com", "127.0.0.1", issuer=CA)
STRANGER = identity("service.example.com")


class Names:
    """The reactor, except for its name resolver."""

    def __init__(self, **names: list[str] | None) -> None:
        self.names = names
        self.nameResolver = self

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)

    def resolveHostName(self, receiver: Any, name: str, port: int = 0, *arguments: Any, **options: Any) -> Any:
        receiver.resolutionBegan(self)
        addresses = self.names[name]
        if addresses is not None:
            for host in addresses:
                receiver.addressResolved(IPv6Address("TCP", host, port) if ":" in host else IPv4Address("TCP", host, port))
            reactor.callLater(0, receiver.resolutionComplete)
        return self


def echo() -> Remembering:
    return Remembering(on_data=lambda self, data: self.transport.write(data))


class ConnectTests(NetTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.clients: list[Remembering] = []
        self.ca = Path(self.mktemp()).absolute()
        self.ca.parent.mkdir(parents=True, exist_ok=True)
        self.ca.write_bytes(pem(CA.chain[0]))

    async def tearDown(self) -> None:
        for client in self.clients:
            if client.transport is not None and not client.is_lost:
                client.transport.abortConnection()
                await client.lost
        await super().tearDown()

    def client(self) -> Remembering:
        self.clients.append(Remembering())
        return self.clients[-1]

    def dial(self, host: str, port: int, tls: ClientTLS | None = None, timeout: float = 10.0, names: Any = reactor) -> Any:
        return connect(names, host, port, tls, self.client, timeout)

    def timers(self) -> int:
        return len([call for call in reactor.getDelayedCalls() if "_Connecting" in str(call)])

    def silent(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """A port whose backlog is full: further connections get no answer."""
        listening = socket.socket()
        self.sockets.append(listening)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(0)
        port = listening.getsockname()[1]
        for _ in range(3):
            filler = socket.socket()
            self.sockets.append(filler)
            filler.setblocking(False)
            filler.connect_ex((host, port))
        return port

    async def test_plain(self) -> None:
        for interface in ("127.0.0.1", "::1"):
            _, port = self.serve(echo, interface=interface)
            client = await self.dial(interface, port)
            self.assertTrue(client.transport.getTcpNoDelay())
            self.assertEqual((client.transport.getPeer().host, client.transport.getPeer().port), (interface, port))
            client.transport.write(b"hello")
            await client.until(5)
            self.assertEqual(self.timers(), 0)
            client.transport.loseConnection()
            self.assertIsInstance(await client.lost, ConnectionDone)

    async def test_bulk_both_ways(self) -> None:
        for tls, contexts in ((None, None), (ClientTLS("127.0.0.1", self.ca), ServerContexts([SERVICE]))):
            _, port = self.serve(echo, contexts)
            client = await self.dial("127.0.0.1", port, tls)
            data = bytes(range(256)) * 20000
            client.transport.write(data)
            await client.until(len(data))
            self.assertEqual(bytes(client.received), data)

    async def test_refused(self) -> None:
        port = self.silent()
        self.sockets[0].close()
        await self.assertFailure(self.dial("127.0.0.1", port), ConnectionRefusedError)
        self.assertEqual(self.timers(), 0)
        self.assertEqual(self.clients, [])

    async def test_unknown_name(self) -> None:
        await self.assertFailure(self.dial("nowhere", 1, names=Names(nowhere=[])), DNSLookupError)

    async def test_name_service_that_does_not_answer(self) -> None:
        await self.assertFailure(self.dial("slow", 1, timeout=0.1, names=Names(slow=None)), TimeoutError)

    async def test_genuine_resolver(self) -> None:
        _, port = self.serve(echo)
        await self.dial("localhost", port)

    async def test_next_address_at_a_refusal(self) -> None:
        _, port = self.serve(echo)
        client = await self.dial("two", port, names=Names(two=["::1", "127.0.0.2", "127.0.0.1"]))
        self.assertEqual(client.transport.getPeer().host, "127.0.0.1")

    async def test_silent_address_takes_only_its_share(self) -> None:
        _, port = self.serve(echo)
        self.silent("127.0.0.2", port)
        client = await self.dial("two", port, timeout=1.0, names=Names(two=["127.0.0.2", "127.0.0.1"]))
        self.assertEqual(client.transport.getPeer().host, "127.0.0.1")
        self.assertEqual(len(self.clients), 1)

    async def test_timeout(self) -> None:
        await self.assertFailure(self.dial("127.0.0.1", self.silent(), timeout=0.2), TimeoutError)
        self.assertEqual(self.timers(), 0)

    async def test_cancelled_at_every_stage(self) -> None:
        contexts = ServerContexts([SERVICE])
        _, plain = self.serve(echo)
        silent = self.silent()
        stalled = socket.create_server(("127.0.0.1", 0))
        self.sockets.append(stalled)
        tls = ClientTLS("127.0.0.1", self.ca)
        _, port = self.serve(echo, contexts)
        for host, number, secured, wait in (
            ("slow", 1, None, 0),
            ("127.0.0.1", silent, None, 0.02),
            ("127.0.0.1", plain, None, 0),
            ("127.0.0.1", port, tls, 0),
            ("127.0.0.1", stalled.getsockname()[1], tls, 0.05),
        ):
            dialled = self.dial(host, number, secured, names=Names(slow=None))
            await pause(wait)
            dialled.cancel()
            await self.assertFailure(dialled, CancelledError)
            self.assertEqual(self.timers(), 0)
        await eventually(lambda: self.limits.open == 0)
        self.assertEqual(self.clients, [])

    async def test_tls(self) -> None:
        serving, port = self.serve(echo, ServerContexts([STRANGER, SERVICE]))
        contexts = ServerContexts([SERVICE])
        self.ports[0].contexts = contexts
        client = await self.dial("127.0.0.1", port, ClientTLS("service.example.com", self.ca))
        self.assertEqual(client.transport.tls_version, "TLSv1.3")
        self.assertEqual(client.transport.alpn, b"http/1.1")
        client.transport.write(b"hello")
        await client.until(5)
        self.assertEqual(serving.built[0].transport.server_name, "service.example.com")
        # The service sends close_notify: a clean end.
        serving.built[0].transport.loseConnection()
        self.assertIsInstance(await client.lost, ConnectionDone)

    async def test_tls_to_an_address(self) -> None:
        serving, port = self.serve(echo, ServerContexts([SERVICE]))
        client = await self.dial("127.0.0.1", port, ClientTLS("127.0.0.1", self.ca))
        client.transport.write(b"x")
        await client.until(1)
        self.assertEqual(serving.built[0].transport.server_name, "")

    async def test_tls_for_another_name(self) -> None:
        """One file of CAs for servers of several names and addresses: each is verified for its own, and asked for its own."""
        serving, port = self.serve(echo, ServerContexts([SERVICE]))
        tls = ClientTLS("other.example.com", self.ca)
        self.ca.unlink()
        for number, (name, asked) in enumerate((("service.example.com", "service.example.com"), ("127.0.0.1", ""))):
            client = await self.dial("127.0.0.1", port, tls.for_name(name))
            client.transport.write(b"x")
            await client.until(1)
            self.assertEqual(serving.built[number].transport.server_name, asked)
        for wrong in (tls, tls.for_name("127.0.0.2")):
            await self.assertFailure(self.dial("127.0.0.1", port, wrong), HandshakeFailed)

    async def test_every_certificate_of_the_file_is_a_trust_anchor(self) -> None:
        """An intermediate without its root, and the certificate of the service itself, as operators save it from the service."""
        intermediate = identity(ca=True, issuer=CA, common="intermediate")
        issued = identity("service.example.com", issuer=intermediate)
        alone = identity("service.example.com")
        for shown, anchor in ((issued, intermediate), (issued, issued), (SERVICE, SERVICE), (alone, alone)):
            _, port = self.serve(echo, ServerContexts([shown]))
            file = self.ca.with_name("anchor.pem")
            file.write_bytes(pem(anchor.chain[0]))
            client = await self.dial("127.0.0.1", port, ClientTLS("service.example.com", file))
            client.transport.write(b"x")
            await client.until(1)
            client.transport.abortConnection()
            await client.lost

    async def test_attack_41_an_anchor_vouches_for_nothing_else(self) -> None:
        """The certificate of one service is no CA, and another name, an expired one or another intermediate is still refused."""
        intermediate, other = (identity(ca=True, issuer=CA, common=name) for name in ("intermediate", "other"))
        issued = identity("service.example.com", issuer=intermediate)
        expired = identity("service.example.com", days=0.01)
        forged = identity("service.example.com", issuer=SERVICE)
        for shown, anchor, name in (
            (issued, other, "service.example.com"),
            (issued, intermediate, "other.example.com"),
            (expired, expired, "service.example.com"),
            (forged, SERVICE, "service.example.com"),
        ):
            serving, port = self.serve(echo, ServerContexts([shown]))
            file = self.ca.with_name("anchor.pem")
            file.write_bytes(pem(anchor.chain[0]))
            await self.assertFailure(self.dial("127.0.0.1", port, ClientTLS(name, file)), HandshakeFailed)
            self.assertTrue(all(not server.received for server in serving.built))

    async def test_attack_41_certificate_that_does_not_stand_up(self) -> None:
        """With a certificate for another name or address, of an unknown issuer, or expired, nothing is sent."""
        expired = identity("service.example.com", issuer=CA, days=0.01)
        for shown, name, words in (
            (SERVICE, "other.example.com", "not for other.example.com"),
            (SERVICE, "127.0.0.2", "not for 127.0.0.2"),
            (STRANGER, "service.example.com", "certificate verify failed"),
            (expired, "service.example.com", "certificate verify failed"),
        ):
            serving, port = self.serve(echo, ServerContexts([shown]))
            failure = await self.assertFailure(self.dial("127.0.0.1", port, ClientTLS(name, self.ca)), HandshakeFailed)
            self.assertIn(words, str(failure))
            await eventually(lambda: self.limits.open == 0)
            self.assertEqual(self.clients, [])
            self.assertTrue(all(not server.received for server in serving.built))

    async def test_tls_to_a_plain_service(self) -> None:
        _, port = self.serve(
            lambda: Remembering(on_data=lambda self, data: self.transport.write(b"HTTP/1.1 400 Bad Request\r\n"))
        )
        await self.assertFailure(self.dial("127.0.0.1", port, ClientTLS("127.0.0.1", self.ca)), HandshakeFailed)

    async def test_service_that_closes_or_resets_in_the_handshake(self) -> None:
        for end in ("loseConnection", "abortConnection"):
            _, port = self.serve(lambda end=end: Remembering(on_data=lambda self, data: getattr(self.transport, end)()))
            await self.assertFailure(self.dial("127.0.0.1", port, ClientTLS("127.0.0.1", self.ca)), HandshakeFailed)

    async def test_stalled_handshake_counts(self) -> None:
        stalled = socket.create_server(("127.0.0.1", 0))
        self.sockets.append(stalled)
        dialled = self.dial("127.0.0.1", stalled.getsockname()[1], ClientTLS("127.0.0.1", self.ca), timeout=0.2)
        await self.assertFailure(dialled, TimeoutError)
        self.assertEqual(self.timers(), 0)

    # -- what is sent first

    async def test_the_preface_comes_before_everything(self) -> None:
        _, port = self.serve(echo)
        client = await connect(reactor, "127.0.0.1", port, None, self.client, 10.0, b"PROXY UNKNOWN\r\n")
        client.transport.write(b"hello")
        await client.until(20)
        self.assertEqual(bytes(client.received), b"PROXY UNKNOWN\r\nhello")

    async def test_the_preface_comes_before_tls(self) -> None:
        listening = socket.create_server(("127.0.0.1", 0))
        self.sockets.append(listening)
        tls = ClientTLS("127.0.0.1", self.ca)
        dialled = connect(reactor, "127.0.0.1", listening.getsockname()[1], tls, self.client, 10.0, b"PROXY UNKNOWN\r\n")
        listening.settimeout(5)
        peer, _ = await deferToThread(listening.accept)
        self.sockets.append(peer)
        peer.settimeout(5)
        data = await deferToThread(peer.recv, 17, socket.MSG_WAITALL)
        self.assertEqual(data, b"PROXY UNKNOWN\r\n\x16\x03")
        dialled.cancel()
        await self.assertFailure(dialled, CancelledError)

    # -- unix sockets

    def listening_on(self, backlog: int = 10) -> str:
        """The path of a unix socket."""
        directory = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, directory)
        path = f"{directory}/socket"
        listening = socket.socket(socket.AF_UNIX)
        self.sockets.append(listening)
        listening.bind(path)
        listening.listen(backlog)
        listening.settimeout(5)
        return path

    async def test_unix_socket(self) -> None:
        path = self.listening_on()
        client = await connect(reactor, path, 0, None, self.client, 10.0, b"first ")
        self.assertEqual((client.transport.getPeer().name, client.transport.getHost().name), (path.encode(), None))
        peer, _ = self.sockets[-1].accept()
        self.sockets.append(peer)
        peer.settimeout(5)
        client.transport.write(b"hello")
        self.assertEqual(await deferToThread(peer.recv, 11, socket.MSG_WAITALL), b"first hello")
        await deferToThread(peer.sendall, b"x" * 300_000)
        await client.until(300_000)
        peer.close()
        self.assertIsInstance(await client.lost, ConnectionDone)
        self.assertEqual(self.timers(), 0)

    async def test_unix_socket_that_cannot_be_used(self) -> None:
        path = self.listening_on()
        directory = Path(path).parent
        (directory / "file").write_text("")
        for name, words in (
            ("none", "there is no socket with this path"),
            ("file", "nothing listens on this socket"),
            ("socket", "nothing listens on this socket"),
        ):
            if name == "socket":
                self.sockets[-1].close()
            failure = await self.assertFailure(connect(reactor, f"{directory}/{name}", 0, None, self.client, 10.0), ConnectError)
            self.assertIn(words, connection_fault(failure, 10.0))
        self.assertEqual(self.timers(), 0)

    async def test_unix_socket_whose_queue_is_full(self) -> None:
        path = self.listening_on(0)
        filler = socket.socket(socket.AF_UNIX)
        self.sockets.append(filler)
        filler.connect(path)
        listening = self.sockets[-2]
        failure = await self.assertFailure(connect(reactor, path, 0, None, self.client, 0.1), TimeoutError)
        self.assertIn("its queue is full", connection_fault(failure, 0.1))
        self.assertEqual(self.timers(), 0)
        waiting = connect(reactor, path, 0, None, self.client, 10.0)
        await pause(0.03)
        self.sockets.append(listening.accept()[0])
        client = await waiting
        self.assertFalse(client.is_lost)
        dropped = connect(reactor, path, 0, None, self.client, 10.0)
        dropped.cancel()
        await self.assertFailure(dropped, CancelledError)
        await pause(0.02)

    # -- client certificates and pins

    async def test_a_client_certificate(self) -> None:
        authority = self.ca.with_name("clients.pem")
        authority.write_bytes(pem(CA.chain[0]))
        asking = ServerContexts([SERVICE], ClientAuthentication(authority, required=True))
        serving, port = self.serve(echo, asking)
        shown = identity("gateway", issuer=CA)
        client = await self.dial("127.0.0.1", port, ClientTLS("127.0.0.1", self.ca, identity=shown))
        client.transport.write(b"hello")
        await client.until(5)
        self.assertEqual(serving.built[0].transport.client_certificate, shown.chain[0])
        for wrong in (None, identity("gateway")):
            client = await self.dial("127.0.0.1", port, ClientTLS("127.0.0.1", self.ca, identity=wrong))
            client.transport.write(b"hello")
            reason = await client.lost
            self.assertIsInstance(reason, TLSEnded)
            self.assertIn("set client_certificate", ended_fault(reason.reason))

    async def test_attack_123_a_certificate_with_another_key(self) -> None:
        other = identity("127.0.0.1", issuer=CA)
        for pins, good in (
            ((public_key_pin(SERVICE.chain[0]),), True),
            ((public_key_pin(other.chain[0]), public_key_pin(SERVICE.chain[0])), True),
            ((public_key_pin(other.chain[0]),), False),
            ((public_key_pin(CA.chain[0]),), False),
        ):
            serving, port = self.serve(echo, ServerContexts([SERVICE]))
            dialled = self.dial("127.0.0.1", port, ClientTLS("127.0.0.1", self.ca, pins=pins))
            if good:
                await dialled
            else:
                failure = await self.assertFailure(dialled, HandshakeFailed)
                self.assertIn(str(public_key_pin(SERVICE.chain[0])), failure.reason)
                self.assertIn("not one of those in pin", connection_fault(failure, 1.0))
                self.assertTrue(all(not server.received for server in serving.built))

    async def test_attack_123_a_pinned_key_does_not_replace_the_ca_and_the_name(self) -> None:
        for shown, name in ((STRANGER, "service.example.com"), (SERVICE, "other.example.com")):
            _, port = self.serve(echo, ServerContexts([shown]))
            tls = ClientTLS(name, self.ca, pins=(public_key_pin(shown.chain[0]),))
            await self.assertFailure(self.dial("127.0.0.1", port, tls), HandshakeFailed)

    async def test_protocol_that_fails_at_once(self) -> None:
        def fail(client: Any) -> None:
            raise ZeroDivisionError

        _, port = self.serve(echo)
        dialled = connect(reactor, "127.0.0.1", port, None, lambda: Remembering(on_made=fail), 10.0)
        await self.assertFailure(dialled, ZeroDivisionError)
        self.assertEqual(self.timers(), 0)
        await eventually(lambda: self.limits.open == 0)

    async def test_answer_before_a_reset_is_read(self) -> None:
        """A service that answers and closes in the middle of an upload: its answer is delivered before the end is reported."""
        service = socket.create_server(("127.0.0.1", 0))
        self.sockets.append(service)
        client = await self.dial("127.0.0.1", service.getsockname()[1])
        peer, _ = service.accept()
        client.transport.write(b"upload")
        peer.sendall(b"413 too large")
        peer.close()  # with unread bytes, which causes a reset
        while client.transport._writable:
            client.transport.write(b"more")
            self.assertFalse(client.is_lost)
        await client.lost
        self.assertEqual(bytes(client.received), b"413 too large")


class ClientTLSTests(NetTestCase):
    def test_unusable_ca_file(self) -> None:
        directory = Path(self.mktemp()).absolute()
        directory.mkdir(parents=True)
        self.assertRaises(StartupError, ClientTLS, "a", directory / "missing")
        empty = directory / "empty"
        empty.write_bytes(b"")
        with self.assertRaises(StartupError) as caught:
            ClientTLS("a", empty)
        self.assertEqual(str(caught.exception), f"{empty}: the file contains no CA certificate in PEM format")

    async def test_system_cas_do_not_know_ours(self) -> None:
        _, port = self.serve(echo, ServerContexts([SERVICE]))
        dialled = connect(reactor, "127.0.0.1", port, ClientTLS("127.0.0.1"), Remembering, 10.0)
        await self.assertFailure(dialled, HandshakeFailed)

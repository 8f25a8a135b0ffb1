"""The transports on real loopback sockets, plain and with TLS."""

from __future__ import annotations

import hashlib
import os
import random
import select
import socket
import ssl
import subprocess
from collections.abc import Iterator
from typing import Any

from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IPullProducer, IPushProducer
from zope.interface import implementer

from perimeter.net.contexts import ServerContexts
from tests.integration.netkit import (
    HalfClosing,
    NetTestCase,
    Remembering,
    client_context,
    duplex,
    eventually,
    identity,
    pause,
    read_all,
    reset,
)

LOCALHOST = identity("localhost", "127.0.0.1")


@implementer(IPushProducer)
class Pushing:
    """Writes chunks while it may, a limited number per turn."""

    def __init__(self, transport: Any, chunks: list[bytes], turn: Any) -> None:
        self.transport = transport
        self.chunks = chunks
        self.turn = turn
        self.paused = False
        self.pauses = 0
        self.most = 0

    def run(self) -> None:
        while self.chunks and not self.paused:
            self.transport.write(self.chunks.pop(0))
            self.most = max(self.most, self.transport.buffered)
        if not self.chunks:
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    def pauseProducing(self) -> None:
        self.paused = True
        self.pauses += 1

    def resumeProducing(self) -> None:
        self.paused = False
        self.run()

    def stopProducing(self) -> None:
        self.chunks.clear()


@implementer(IPullProducer)
class Pulled:
    def __init__(self, transport: Any, chunks: list[bytes]) -> None:
        self.transport = transport
        self.chunks = chunks

    def resumeProducing(self) -> None:
        if self.chunks:
            self.transport.write(self.chunks.pop(0))
        else:
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    def stopProducing(self) -> None:
        self.chunks.clear()


class TransportTests(NetTestCase):
    """On plain connections. `TLSTransportTests` runs the same tests with TLS."""

    tls: ServerContexts | None = None

    def client(self, port: int, **options: Any) -> Any:
        return self.connect(port, **options)

    async def opened(self, make: Any = Remembering, **options: Any) -> tuple[Any, Any]:
        serving, port = self.serve(make, self.tls)
        waiting = serving.next()
        client = await self.in_thread(lambda: self.client(port, **options))
        return client, await waiting

    async def test_small_write_is_sent_at_once(self) -> None:
        client, server = await self.opened()
        if self.tls:
            await self.in_thread(lambda: (client.send(b"x"), server))
            await server.until(1)
            # The session tickets are read, so that only the write can make the socket readable.
            client.setblocking(False)
            self.assertRaises(ssl.SSLWantReadError, client.recv, 10)
            client.settimeout(20)
        self.assertEqual(select.select([client], [], [], 0)[0], [])
        server.transport.write(b"now")
        # No turn of the reactor in between:
        self.assertEqual(client.recv(10), b"now")
        self.assertEqual(server.transport.buffered, 0)
        self.assertNotIn(server.transport, self.writers())

    def writers(self) -> list[Any]:
        return reactor.getWriters()

    async def test_write_sequence_and_types_of_bytes(self) -> None:
        client, server = await self.opened()
        server.transport.writeSequence([b"a", bytearray(b"b"), memoryview(b"c")])
        server.transport.write(b"")
        server.transport.write(bytearray(b"d"))
        server.transport.loseConnection()
        self.assertEqual(await self.in_thread(read_all, client), b"abcd")
        client.close()

    async def test_partial_writes_keep_the_order(self) -> None:
        client, server = await self.opened(receive_buffer=4096)
        server.transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2048)
        dice = random.Random(1)
        expected = hashlib.sha256()
        total = 0
        while total < 3_000_000:
            chunk = bytearray(dice.randbytes(dice.choice([1, 10, 1000, 5000, 16384, 70000, 200000])))
            server.transport.write(chunk)
            expected.update(chunk)
            total += len(chunk)
            chunk[:] = bytes(len(chunk))  # a later change of the caller's buffer must not change what was written
        self.assertGreater(server.transport.buffered, 1_000_000)
        server.transport.loseConnection()
        received = await self.in_thread(read_all, client)
        client.close()
        self.assertEqual(len(received), total)
        self.assertEqual(hashlib.sha256(received).digest(), expected.digest())
        self.assertIsInstance(await server.lost, ConnectionDone)
        self.assertEqual(server.transport.buffered, 0)

    async def test_streaming_producer_is_paused_and_resumed(self) -> None:
        client, server = await self.opened(receive_buffer=65536)
        server.transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)
        chunks = [os.urandom(16000) for _ in range(600)]
        expected = b"".join(chunks)
        producer = Pushing(server.transport, chunks, pause)
        server.transport.registerProducer(producer, True)
        producer.run()
        self.assertTrue(producer.paused)
        self.assertGreater(len(chunks), 100)
        await pause(0.05)
        self.assertTrue(producer.paused)
        self.assertEqual(await self.in_thread(read_all, client), expected)
        client.close()
        self.assertGreater(producer.pauses, 3)
        self.assertLessEqual(producer.most, server.transport.bufferSize + 16000)
        self.assertIsInstance(await server.lost, ConnectionDone)

    async def test_pull_producer_is_pulled_until_it_ends(self) -> None:
        client, server = await self.opened()
        chunks = [bytes([number]) * 3000 for number in range(200)]
        expected = b"".join(chunks)
        server.transport.registerProducer(Pulled(server.transport, chunks), False)
        self.assertEqual(await self.in_thread(read_all, client), expected)
        client.close()

    async def test_producer_of_a_lost_connection_is_stopped(self) -> None:
        client, server = await self.opened()
        producer = Pushing(server.transport, [b"x"], pause)
        server.transport.registerProducer(producer, True)
        reset(client)
        await server.lost
        self.assertEqual(producer.chunks, [])

    async def test_lose_connection_waits_for_the_flush(self) -> None:
        client, server = await self.opened(receive_buffer=4096)
        data = os.urandom(2_000_000)
        server.transport.write(data)
        server.transport.loseConnection()
        self.assertFalse(server.is_lost)
        await pause(0.05)
        self.assertFalse(server.is_lost)
        self.assertEqual(await self.in_thread(read_all, client), data)
        client.close()
        self.assertIsInstance(await server.lost, ConnectionDone)

    async def test_abort_drops_what_is_queued_and_resets(self) -> None:
        client, server = await self.opened(receive_buffer=4096)
        server.transport.write(bytes(2_000_000))
        server.transport.abortConnection()
        self.assertFalse(server.is_lost)
        server.transport.write(b"too late")
        self.assertEqual(server.transport.buffered, 0)
        self.assertIsInstance(await server.lost, ConnectionAborted)
        await self.assert_reset(client)

    async def assert_reset(self, client: Any) -> None:
        with self.assertRaises(ConnectionResetError):
            await self.in_thread(read_all, client)

    async def test_reset_seen_inside_write_is_reported_later(self) -> None:
        client, server = await self.opened()
        reset(client)
        for _ in range(3):
            server.transport.write(b"anybody there?")
            self.assertFalse(server.is_lost)
        self.assertEqual(server.transport.buffered, 0)
        self.assertIsInstance(await server.lost, ConnectionLost)
        server.transport.write(b"ignored")

    async def test_reset_while_data_is_queued(self) -> None:
        client, server = await self.opened(receive_buffer=4096)
        server.transport.write(bytes(3_000_000))
        self.assertGreater(server.transport.buffered, 0)
        await self.in_thread(client.recv, 1000)
        reset(client)
        self.assertIsInstance(await server.lost, (ConnectionLost, ConnectionDone))
        self.assertEqual(server.transport.buffered, 0)

    async def test_pause_leaves_bytes_in_the_kernel(self) -> None:
        client, server = await self.opened(lambda: Remembering(on_data=lambda self, data: self.transport.pauseProducing()))
        await self.in_thread(client.send, b"first")
        await server.until(5)
        await self.in_thread(client.send, b"second")
        await pause(0.05)
        self.assertEqual(bytes(server.received), b"first")
        server.transport.resumeProducing()
        await server.until(11)

    async def test_input_that_waits_is_seen_without_reading_it(self) -> None:
        for act in (lambda client: client.send(b"second"), reset, lambda client: client.close()):
            client, server = await self.opened(lambda: Remembering(on_data=lambda self, data: self.transport.pauseProducing()))
            await self.in_thread(client.send, b"first")
            await server.until(5)
            self.assertFalse(server.transport.has_input())
            act(client)
            await pause(0.05)
            self.assertTrue(server.transport.has_input())
            self.assertEqual(bytes(server.received), b"first")
            server.transport.abortConnection()
            await server.lost

    async def test_answer_survives_a_close_while_the_client_still_sends(self) -> None:
        def answer(server: Any, data: bytes) -> None:
            server.transport.write(b"413")
            server.transport.loseConnection()

        client, server = await self.opened(lambda: Remembering(on_data=answer))

        def upload() -> bytes:
            for _ in range(100):
                client.sendall(bytes(20000))
            return read_all(client)

        # Without lingering, the unread bytes would turn the close into a reset, and the answer would be lost.
        self.assertEqual(await self.in_thread(upload), b"413")
        client.close()
        self.assertIsInstance(await server.lost, ConnectionDone)

    async def test_lingering_ends_with_a_peer_that_stays(self) -> None:
        self.patch(__import__("perimeter.net.transport", fromlist=["LINGER"]), "LINGER", 0.1)
        client, server = await self.opened()
        server.transport.loseConnection()
        self.assertIsInstance(await server.lost, ConnectionDone)
        self.assertEqual(await self.in_thread(read_all, client), b"")

    async def test_read_on_and_answer_after_the_peers_half_close(self) -> None:
        client, server = await self.opened(HalfClosing)
        await self.in_thread(self.end_side, client)
        await server.read_end
        server.transport.resumeProducing()
        await pause(0.05)
        self.assertEqual(server.read_ends, 1)
        self.assertFalse(server.is_lost)
        server.transport.write(b"answer")
        server.transport.loseConnection()
        self.assertEqual(await self.in_thread(read_all, client), b"answer")
        self.assertIsInstance(await server.lost, ConnectionDone)

    def end_side(self, client: Any) -> None:
        client.shutdown(socket.SHUT_WR)

    async def test_half_close_ends_an_ordinary_protocol(self) -> None:
        client, server = await self.opened()
        await self.in_thread(self.end_side, client)
        self.assertIsInstance(await server.lost, ConnectionDone)

    async def test_own_half_close(self) -> None:
        client, server = await self.opened(HalfClosing)
        server.transport.write(b"all")
        server.transport.loseWriteConnection()
        self.assertEqual(await self.in_thread(read_all, client), b"all")
        self.assertEqual(server.write_ends, 1)
        await self.in_thread(client.send, b"still here")
        await server.until(10)
        server.transport.loseConnection()
        self.assertFalse(server.is_lost)
        self.assertIsInstance(await server.lost, ConnectionDone)

    async def test_failing_protocol_is_disconnected(self) -> None:
        def fail(server: Any, data: bytes) -> None:
            raise ZeroDivisionError("a bug")

        client, server = await self.opened(lambda: Remembering(on_data=fail))
        await self.in_thread(client.send, b"x")
        self.assertIsInstance(await server.lost, ZeroDivisionError)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    async def test_echo_of_fifty_mebibytes(self) -> None:
        client, server = await self.opened(
            lambda: Remembering(
                on_made=lambda self: self.transport.registerProducer(self.transport, True),
                on_data=lambda self, data: (self.transport.write(data), self.received.clear()),
            )
        )
        total = 50 * 1024 * 1024

        def chunks() -> Iterator[bytes]:
            dice = random.Random(2)
            left = total
            while left:
                chunk = dice.randbytes(min(left, dice.choice([1, 500, 4096, 16384, 100_000, 300_000])))
                left -= len(chunk)
                yield chunk

        sent, echoed = await self.in_thread(duplex, client, chunks())
        self.assertEqual(echoed, sent)
        server.transport.unregisterProducer()


class TLSTransportTests(TransportTests):
    """The same tests with TLS, and tests that only TLS needs."""

    tls = ServerContexts([LOCALHOST])

    def client(self, port: int, **options: Any) -> Any:
        return client_context().wrap_socket(self.connect(port, **options), server_hostname="localhost")

    async def openssl(self, make: Any = Remembering, context: SSL.Context | None = None) -> tuple[SSL.Connection, Any]:
        serving, port = self.serve(make, self.tls)
        waiting = serving.next()
        return await self.in_thread(self.openssl_client, port, context), await waiting

    async def test_read_on_and_answer_after_the_peers_half_close(self) -> None:
        client, server = await self.openssl(HalfClosing)
        self.assertFalse(await self.in_thread(client.shutdown))
        await server.read_end
        server.transport.write(b"answer")
        server.transport.loseConnection()
        self.assertEqual(await self.in_thread(client.recv, 100), b"answer")
        with self.assertRaises(SSL.ZeroReturnError):
            await self.in_thread(client.recv, 100)
        self.assertIsInstance(await server.lost, ConnectionDone)

    async def test_half_close_ends_an_ordinary_protocol(self) -> None:
        client, server = await self.openssl()
        self.assertFalse(await self.in_thread(client.shutdown))
        self.assertIsInstance(await server.lost, ConnectionDone)
        # The close_notify is answered (RFC 8446, section 6.1).
        self.assertTrue(await self.in_thread(client.shutdown))

    async def assert_reset(self, client: Any) -> None:
        # Python's ssl reports every end in the same way here, so the socket itself is read.
        plain = socket.socket(fileno=client.detach())
        plain.settimeout(20)
        self.sockets.append(plain)
        await super().assert_reset(plain)

    async def test_end_without_close_notify_is_no_clean_end(self) -> None:
        client, server = await self.openssl()
        client.sock_shutdown(socket.SHUT_WR)
        self.assertIsInstance(await server.lost, ConnectionLost)
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_data_right_before_the_end_is_delivered(self) -> None:
        client, server = await self.openssl()
        data = os.urandom(300_000)
        await self.in_thread(lambda: (client.sendall(data), client.shutdown()))
        await server.until(len(data))
        self.assertEqual(bytes(server.received), data)
        self.assertIsInstance(await server.lost, ConnectionDone)

    async def test_answer_to_a_request_that_ends_with_close_notify(self) -> None:
        """If the protocol writes and closes during the read that found the end, its data is still sent completely."""
        answer = os.urandom(3_000_000)

        def reply(server: Any, data: bytes) -> None:
            if len(server.received) == 40_000:
                server.transport.write(answer)
                server.transport.loseConnection()

        client, _ = await self.openssl(lambda: Remembering(on_data=reply))
        await self.in_thread(lambda: (client.sendall(bytes(40_000)), client.shutdown()))

        def rest() -> bytes:
            received = bytearray()
            try:
                while True:
                    received += client.recv(65536)
            except SSL.ZeroReturnError:
                return bytes(received)

        self.assertEqual(await self.in_thread(rest), answer)

    async def test_garbage_after_the_handshake(self) -> None:
        client, server = await self.openssl()
        os.write(client.fileno(), b"\x17\x03\x03\x00\x20" + bytes(32))
        self.assertIsInstance(await server.lost, ConnectionLost)
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_records_of_every_size(self) -> None:
        """No data stays in OpenSSL, where epoll cannot see it."""
        client, server = await self.openssl()
        dice = random.Random(3)
        expected = bytearray()
        for _ in range(300):
            chunk = dice.randbytes(dice.choice([1, 4095, 4096, 4097, 16383, 16384, 16385, 40000]))
            expected += chunk
            await self.in_thread(client.sendall, chunk)
            await server.until(len(expected))
        self.assertEqual(bytes(server.received), bytes(expected))

    async def test_openssl_must_write_before_it_reads_on(self) -> None:
        client, server = await self.openssl()
        transport = server.transport
        genuine, waited = transport._recv, []

        def receive(size: int) -> bytes:
            transport._recv = genuine
            transport.stopReading()  # so that only a writable socket can trigger the read
            waited.append(transport)
            raise SSL.WantWriteError

        transport._recv = receive
        await self.in_thread(client.send, b"hello")
        await server.until(5)
        self.assertEqual(len(waited), 1)
        await eventually(lambda: transport not in self.writers())
        transport.write(b"answer")
        self.assertEqual(await self.in_thread(client.recv, 10), b"answer")

    async def test_openssl_must_read_before_it_writes_on(self) -> None:
        client, server = await self.openssl()
        transport = server.transport
        genuine, tries = transport._send, []

        def send(data: Any) -> int:
            tries.append(data)
            if server.received:
                return genuine(data)
            raise SSL.WantReadError

        transport._send = send
        transport.pauseProducing()
        transport.write(b"answer")
        await pause(0.1)
        # While it waits for the peer it must not spin on a socket that is always writable.
        self.assertLess(len(tries), 4)
        self.assertEqual(transport.buffered, 6)
        await self.in_thread(client.send, b"hello")
        self.assertEqual(await self.in_thread(client.recv, 10), b"answer")
        self.assertEqual(transport.buffered, 0)
        self.assertNotIn(transport, self.readers())

    def readers(self) -> list[Any]:
        return reactor.getReaders()

    async def test_key_updates(self) -> None:
        """RFC 8446, section 4.6.3: the client updates its keys, and requests an update of the server's keys."""
        _, port = self.serve(lambda: Remembering(on_data=lambda self, data: self.transport.write(data)), self.tls)

        def talk() -> bytes:
            client = subprocess.Popen(
                ["openssl", "s_client", "-tls1_3", "-connect", f"127.0.0.1:{port}"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            assert client.stdin is not None
            assert client.stdout is not None
            with client:
                try:
                    seen = b""
                    for line, expected in (
                        (b"one", b"one"),
                        (b"K", b"KEYUPDATE"),
                        (b"two", b"two"),
                        (b"k", b"KEYUPDATE"),
                        (b"three", b"three"),
                    ):
                        client.stdin.write(line + b"\n")
                        client.stdin.flush()
                        while expected not in (read := client.stdout.readline()):
                            seen += read
                            if not read:
                                raise AssertionError(seen)
                        seen += read
                finally:
                    client.kill()
                return seen

        seen = await self.in_thread(talk)
        self.assertTrue(seen.endswith(b"three\n"), seen)
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_facts_are_known_when_the_connection_is_made(self) -> None:
        facts: list[Any] = []

        def made(server: Any) -> None:
            transport = server.transport
            facts.append((transport.tls_version, transport.server_name, transport.alpn, transport.getPeer().host))

        serving, port = self.serve(lambda: Remembering(on_made=made), self.tls)
        waiting = serving.next()
        await self.in_thread(self.tls_client, port, "LocalHost", client_context(["h2", "http/1.1"]))
        await waiting
        self.assertEqual(facts, [("TLSv1.3", "localhost", b"http/1.1", "127.0.0.1")])

    async def test_established_connections_are_not_watched(self) -> None:
        _, server = await self.opened()
        await eventually(lambda: len(self.deadlines) == 0)
        self.assertFalse(server.is_lost)

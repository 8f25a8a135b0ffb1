"""The direct calls of OpenSSL behave like pyOpenSSL's own methods."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

from OpenSSL import SSL
from twisted.trial.unittest import TestCase

from perimeter.config.site.listener import ListenerSettings
from perimeter.net.certificates import load_identities
from perimeter.net.contexts import ServerContexts
from perimeter.net.tls_records import FastConnection, Handshake, PortableConnection


class RecordsTests(TestCase):
    connection = FastConnection

    def setUp(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir()
        (identity,) = load_identities(ListenerSettings("https", 0, tls=True), directory)
        near, far = socket.socketpair()
        self.sockets = near, far
        for sock in self.sockets:
            sock.setblocking(False)
            self.addCleanup(sock.close)
        self.server = self.connection(ServerContexts([identity]).default, near)
        self.server.set_accept_state()
        self.client = self.connection(SSL.Context(SSL.TLS_METHOD), far)
        self.client.set_connect_state()
        waiting = [self.client, self.server]
        while waiting:
            for connection in waiting[:]:
                try:
                    connection.do_handshake()
                except SSL.WantReadError:
                    continue
                waiting.remove(connection)

    def test_bytes_of_every_type(self) -> None:
        send = self.server.send_some
        receive = self.client.receive_some
        for data in (b"bytes", memoryview(b"view"), memoryview(b"a slice")[2:], bytearray(b"array")):
            self.assertEqual(send(data), len(data))
            self.assertEqual(receive(100), bytes(data))

    def test_reads_in_pieces(self) -> None:
        send = self.server.send_some
        receive = self.client.receive_some
        send(bytes(range(256)) * 64)
        self.assertEqual((receive(10), receive(1 << 20)), (bytes(range(10)), (bytes(range(256)) * 64)[10:]))

    def test_what_was_read_stays(self) -> None:
        """OpenSSL's buffer is used again, but the bytes that were returned do not change."""
        send = self.server.send_some
        receive = self.client.receive_some
        send(b"first")
        first = receive(100)
        send(b"other")
        self.assertEqual((receive(100), first), (b"other", b"first"))

    def test_nothing_to_read(self) -> None:
        receive = self.server.receive_some
        self.assertRaises(SSL.WantReadError, receive, 100)

    def test_no_room_to_write(self) -> None:
        send = self.server.send_some
        with self.assertRaises(SSL.WantWriteError):
            for _ in range(10_000):
                send(bytes(16384))

    def test_orderly_end(self) -> None:
        receive = self.client.receive_some
        self.server.shutdown()
        self.assertRaises(SSL.ZeroReturnError, receive, 100)

    def test_torn_off(self) -> None:
        receive = self.client.receive_some
        self.sockets[0].shutdown(socket.SHUT_RDWR)
        self.assertRaises(SSL.SysCallError, receive, 100)

    def test_error_stays_with_its_connection(self) -> None:
        """Garbage on one connection causes no error on the next, although OpenSSL has one error queue for all connections."""
        receive = self.client.receive_some
        self.sockets[0].send(b"\x17\x03\x03\x00\x20" + bytes(32))
        self.assertRaises(SSL.Error, receive, 100)
        receive_other = self.server.receive_some
        self.assertRaises(SSL.Error, receive_other, 100)  # the alert that answers the garbage
        other = RecordsTests("test_nothing_to_read")
        other.setUp()
        self.addCleanup(other.doCleanups)
        other.test_nothing_to_read()

    def test_handshake_says_what_it_waits_for(self) -> None:
        near, far = socket.socketpair()
        for sock in (near, far):
            sock.setblocking(False)
            self.addCleanup(sock.close)
        server = self.connection(self.server.get_context(), near)
        server.set_accept_state()
        self.assertIs(server.continue_handshake(), Handshake.WANTS_READ)
        self.assertIs(server.continue_handshake(), Handshake.WANTS_READ)
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        with contextlib.suppress(BlockingIOError):
            while near.send(bytes(64)):
                pass
        client = self.connection(self.client.get_context(), near)
        client.set_connect_state()
        self.assertIs(client.continue_handshake(), Handshake.WANTS_WRITE)
        self.assertIs(self.server.continue_handshake(), Handshake.DONE)

    def test_handshake_fails_with_its_reason(self) -> None:
        near, far = socket.socketpair()
        for sock in (near, far):
            sock.setblocking(False)
            self.addCleanup(sock.close)
        server = self.connection(self.server.get_context(), near)
        server.set_accept_state()
        far.send(b"GET / HTTP/1.1\r\n\r\n")
        problem = self.assertRaises(SSL.Error, server.continue_handshake)
        self.assertIn("http request", str(problem))
        far.close()
        self.assertRaises(SSL.Error, server.continue_handshake)
        self.test_nothing_to_read()


class PortableTests(RecordsTests):
    """The same with a pyOpenSSL with unknown internals: its public methods are used."""

    connection = PortableConnection

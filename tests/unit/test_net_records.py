"""The short way to OpenSSL means what pyOpenSSL's own methods mean."""

from __future__ import annotations

import socket
from pathlib import Path
from unittest import mock

from OpenSSL import SSL
from twisted.trial.unittest import TestCase

from perimeter.config.values import ListenerSettings
from perimeter.net import records
from perimeter.net.certificates import load_identity
from perimeter.net.contexts import ServerContexts
from perimeter.net.records import record_calls


class RecordCallsTests(TestCase):
    def setUp(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir()
        identity = load_identity(ListenerSettings("https", 0, tls=True), directory)
        near, far = socket.socketpair()
        self.sockets = near, far
        for sock in self.sockets:
            sock.setblocking(False)
            self.addCleanup(sock.close)
        self.server = SSL.Connection(ServerContexts([identity]).default, near)
        self.server.set_accept_state()
        self.client = SSL.Connection(SSL.Context(SSL.TLS_METHOD), far)
        self.client.set_connect_state()
        waiting = [self.client, self.server]
        while waiting:
            for connection in waiting[:]:
                try:
                    connection.do_handshake()
                except SSL.WantReadError:
                    continue
                waiting.remove(connection)

    def test_octets_of_every_kind(self) -> None:
        send, _ = record_calls(self.server)
        _, receive = record_calls(self.client)
        for data in (b"bytes", memoryview(b"view"), memoryview(b"a slice")[2:], bytearray(b"array")):
            self.assertEqual(send(data), len(data))
            self.assertEqual(receive(100), bytes(data))

    def test_reads_in_pieces(self) -> None:
        send, _ = record_calls(self.server)
        _, receive = record_calls(self.client)
        send(bytes(range(256)) * 64)
        self.assertEqual((receive(10), receive(1 << 20)), (bytes(range(10)), (bytes(range(256)) * 64)[10:]))

    def test_what_was_read_stays(self) -> None:
        """The room that OpenSSL reads into is used again; what was handed out is not."""
        send, _ = record_calls(self.server)
        _, receive = record_calls(self.client)
        send(b"first")
        first = receive(100)
        send(b"other")
        self.assertEqual((receive(100), first), (b"other", b"first"))

    def test_nothing_to_read(self) -> None:
        _, receive = record_calls(self.server)
        self.assertRaises(SSL.WantReadError, receive, 100)

    def test_no_room_to_write(self) -> None:
        send, _ = record_calls(self.server)
        with self.assertRaises(SSL.WantWriteError):
            for _ in range(10_000):
                send(bytes(16384))

    def test_orderly_end(self) -> None:
        _, receive = record_calls(self.client)
        self.server.shutdown()
        self.assertRaises(SSL.ZeroReturnError, receive, 100)

    def test_torn_off(self) -> None:
        _, receive = record_calls(self.client)
        self.sockets[0].shutdown(socket.SHUT_RDWR)
        self.assertRaises(SSL.SysCallError, receive, 100)

    def test_error_stays_with_its_connection(self) -> None:
        """Garbage on one connection is no error of the next one: OpenSSL keeps one queue of errors for all."""
        _, receive = record_calls(self.client)
        self.sockets[0].send(b"\x17\x03\x03\x00\x20" + bytes(32))
        self.assertRaises(SSL.Error, receive, 100)
        _, receive_other = record_calls(self.server)
        self.assertRaises(SSL.Error, receive_other, 100)  # the alert that the garbage was answered with
        other = RecordCallsTests("test_nothing_to_read")
        other.setUp()
        self.addCleanup(other.doCleanups)
        other.test_nothing_to_read()

    def test_another_pyopenssl(self) -> None:
        """Without the binding that this knows, the public methods do."""
        with mock.patch.object(records, "_ffi", None):
            send, receive = record_calls(self.server)
        self.assertEqual((send, receive), (self.server.send, self.server.recv))

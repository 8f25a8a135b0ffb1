"""Connections that begin with a header of the PROXY protocol: what is read of them, how long, and what they count for."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet import protocol
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from perimeter.config.language.net_types import UNIX_PEERS
from perimeter.config.site.listener import ListenerSettings
from perimeter.net.binding import listening_socket
from perimeter.net.connection_limits import ConnectionLimits
from perimeter.net.contract import Peer, UnixPeer
from perimeter.net.deadlines import Deadlines
from perimeter.net.listeners import ListeningPort, listen
from perimeter.net.proxied import HeaderReader
from perimeter.net.transport import peer_of, socket_address

HEADER = b"PROXY TCP4 192.0.2.7 127.0.0.1 40000 443\r\n"
TIMEOUT = 10.0


class _Reactor(Clock):
    """A clock, and the readers that wait."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[Any] = set()

    def addReader(self, reader: Any) -> None:
        self.readers.add(reader)

    def removeReader(self, reader: Any) -> None:
        self.readers.discard(reader)

    def removeWriter(self, writer: Any) -> None:
        """There are none."""


class _Quiet(protocol.Protocol):
    def __init__(self) -> None:
        self.received = b""

    def dataReceived(self, data: bytes) -> None:
        self.received += data


class ProxiedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor: Any = _Reactor()
        self.limits = ConnectionLimits(total=4, per_address=2)
        self.peers: list[Peer] = []
        self.made: list[Any] = []
        factory = protocol.Factory.forProtocol(_Quiet)
        settings = ListenerSettings("web", 0, "127.0.0.1", proxy_protocol=(UNIX_PEERS,))
        self.port: ListeningPort = listen(
            self.reactor, settings, factory, None, self.limits, Deadlines(self.reactor), TIMEOUT, listening_socket("127.0.0.1", 0)
        )
        self.addCleanup(self.port.listening.close)

        def build(peer: Any, alpn: bytes) -> _Quiet:
            self.peers.append(peer)
            self.made.append(_Quiet())
            return self.made[-1]

        self.port.build_protocol = build

    def accept(self, name: Any = "") -> tuple[socket.socket, HeaderReader | None]:
        """A connection from a load balancer, and what reads its header."""
        client, accepted = socket.socketpair()
        for one in (client, accepted):
            self.addCleanup(one.close)
        accepted.setblocking(False)
        client.setblocking(False)
        before = set(self.port.waiting)
        self.port._accepted(accepted, name)
        return client, next((one for one in self.port.waiting if one not in before), None)  # type: ignore[return-value]

    def reader(self) -> tuple[socket.socket, HeaderReader]:
        client, reader = self.accept()
        assert reader is not None
        return client, reader

    def test_the_client_of_the_header_is_served(self) -> None:
        client, reader = self.reader()
        self.assertEqual(self.reactor.readers, {reader})
        self.assertEqual(reader.getPeer().host, "unix:")
        client.send(HEADER + b"GET / HTTP/1.1\r\n")
        self.assertIsNone(reader.doRead())
        self.assertEqual(self.peers, [peer_of("192.0.2.7", 40000)])
        self.assertEqual(reader.fileno(), -1)
        self.assertEqual(self.port.waiting, {})
        (transport,) = self.reactor.readers
        transport.doRead()
        self.assertEqual(self.made[0].received, b"GET / HTTP/1.1\r\n")
        self.assertEqual(self.limits._by_address, {"192.0.2.7": 1})
        transport.close_now()
        self.assertEqual((self.limits.open, self.limits._by_address), (0, {}))

    def test_an_unknown_client_is_the_load_balancer(self) -> None:
        client, reader = self.reader()
        client.send(b"PROXY UNKNOWN\r\n")
        reader.doRead()
        self.assertEqual(self.peers, [UnixPeer()])
        self.assertEqual(self.limits._by_address, {"unix:": 1})

    def test_a_header_in_pieces(self) -> None:
        client, reader = self.reader()
        self.assertIsNone(reader.doRead())  # nothing has come
        for number in range(len(HEADER)):
            client.send(HEADER[number : number + 1])
            self.assertEqual(self.peers, [])
            self.assertIsNone(reader.doRead())
        self.assertEqual(self.peers, [peer_of("192.0.2.7", 40000)])

    def test_a_malformed_header_and_an_end(self) -> None:
        for data, why in ((b"GET / HTTP/1.1\r\n", CONNECTION_LOST), (b"PROXY X\r\n", CONNECTION_LOST), (b"", CONNECTION_DONE)):
            client, reader = self.reader()
            if data:
                client.send(data)
            else:
                client.shutdown(socket.SHUT_WR)
            self.assertIs(reader.doRead(), why)
            reader.connectionLost(None)  # type: ignore[arg-type]
            reader.connectionLost(None)  # type: ignore[arg-type]
            self.assertEqual(client.recv(1) if not data else b"", b"")
            self.assertEqual((self.limits.open, self.port.waiting, self.reactor.readers), (0, {}, set()))
        self.assertEqual(self.port._faulty, 2)

    def test_attack_115_a_header_has_an_absolute_time(self) -> None:
        client, reader = self.reader()
        self.reactor.advance(TIMEOUT - 1)
        client.send(HEADER[:5])
        reader.doRead()
        self.assertEqual(self.limits.open, 1)
        self.reactor.pump([0.25] * 6)
        self.assertEqual((self.limits.open, self.port.waiting, self.reactor.readers), (0, {}, set()))
        self.assertEqual(client.recv(1), b"")

    def test_attack_115_limits_are_those_of_the_clients(self) -> None:
        readers = [self.reader() for _ in range(3)]  # more than one address may have
        for client, reader in readers:
            client.send(HEADER)
            reader.doRead()
        self.assertEqual(self.limits._by_address, {"192.0.2.7": 2})
        self.assertEqual(len(self.made), 2)
        self.assertEqual(readers[2][0].recv(1), b"")
        self.reader()
        self.reader()
        client, reader = self.accept()
        self.assertIsNone(reader)
        self.assertEqual(client.recv(1), b"")
        self.assertEqual(self.limits.open, 4)

    def test_a_silent_connection_makes_room(self) -> None:
        client, reader = self.reader()
        self.assertTrue(reader.make_room())
        self.assertEqual(self.limits.open, 0)
        self.assertEqual(client.recv(1), b"")

    def test_a_reader_is_closed_at_once(self) -> None:
        client, reader = self.reader()
        reader.close_now()
        self.assertEqual((self.limits.open, self.port.waiting, self.reactor.readers), (0, {}, set()))
        self.assertEqual(client.recv(1), b"")

    def test_attack_115_other_addresses_are_closed(self) -> None:
        client, reader = self.accept(("127.0.0.1", 1))
        self.assertIsNone(reader)
        self.assertEqual(client.recv(1), b"")
        self.assertEqual((self.limits.open, self.port._faulty), (0, 1))


class PeerTests(SynchronousTestCase):
    def test_addresses(self) -> None:
        for name, host, port in (
            (("127.0.0.1", 1), "127.0.0.1", 1),
            (("::ffff:127.0.0.1", 2, 0, 0), "127.0.0.1", 2),
            (("::1", 3, 0, 0), "::1", 3),
            ("", "unix:", 0),
            (b"\0abstract", "unix:", 0),
            ("/run/client", "unix:", 0),
        ):
            found = socket_address(name)
            self.assertEqual((found.host, found.port), (host, port))
            self.assertEqual(peer_of(host, port), found)

"""The PROXY protocol: what a connection to a service begins with."""

from __future__ import annotations

from ipaddress import ip_address

from twisted.trial import unittest

from perimeter.config.site.dialling import ProxyProtocol
from perimeter.model import UNIX_PEER, ClientConnection
from perimeter.net.proxy_protocol import Source, extent, source
from perimeter.proxy.introduction import introduction, of_no_client
from tests.unit.doubles.http_rig import Client
from tests.unit.doubles.http_upstream import OK, Gateway

V1, V2 = ProxyProtocol
SIGNATURE = b"\x0d\x0a\x0d\x0a\x00\x0d\x0a\x51\x55\x49\x54\x0a"


def connection(address: str = "192.0.2.7", local: str = "198.51.100.1") -> ClientConnection:
    return ClientConnection(address, 4711, "main", 443, "TLSv1.3", None, lambda: local)


class IntroductionTests(unittest.TestCase):
    def test_without_the_option_there_is_nothing(self) -> None:
        self.assertEqual(introduction(None)(connection(), "192.0.2.7"), b"")
        self.assertEqual(of_no_client(None), b"")

    def test_the_text_form(self) -> None:
        first = introduction(V1)
        self.assertEqual(first(connection(), "192.0.2.7"), b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n")
        six = connection("2001:db8::7", "2001:db8::1")
        self.assertEqual(first(six, "2001:db8::7"), b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n")

    def test_the_binary_form(self) -> None:
        first = introduction(V2)
        self.assertEqual(
            first(connection(), "192.0.2.7"),
            SIGNATURE + b"\x21\x11\x00\x0c" + bytes((192, 0, 2, 7, 198, 51, 100, 1)) + b"\x12\x67\x01\xbb",
        )
        six = connection("2001:db8::7", "2001:db8::1")
        packed = ip_address("2001:db8::7").packed + ip_address("2001:db8::1").packed
        self.assertEqual(first(six, "2001:db8::7"), SIGNATURE + b"\x21\x21\x00\x24" + packed + b"\x12\x67\x01\xbb")

    def test_a_client_behind_a_proxy_has_no_known_port(self) -> None:
        self.assertEqual(introduction(V1)(connection(), "203.0.113.9"), b"PROXY TCP4 203.0.113.9 198.51.100.1 0 443\r\n")
        self.assertEqual(introduction(V2)(connection(), "203.0.113.9")[-4:], b"\x00\x00\x01\xbb")

    def test_both_addresses_are_of_one_family(self) -> None:
        mapped = str(ip_address("::ffff:198.51.100.1")).encode()
        self.assertEqual(introduction(V1)(connection(), "2001:db8::7"), b"PROXY TCP6 2001:db8::7 " + mapped + b" 0 443\r\n")
        self.assertEqual(introduction(V2)(connection("192.0.2.7", "2001:db8::1"), "192.0.2.7")[12:16], b"\x21\x21\x00\x24")

    def test_a_client_without_an_ip_address_is_unknown(self) -> None:
        for client in (connection(UNIX_PEER), connection(UNIX_PEER, "")):
            self.assertEqual(introduction(V1)(client, UNIX_PEER), b"PROXY UNKNOWN\r\n")
            self.assertEqual(introduction(V2)(client, UNIX_PEER), SIGNATURE + b"\x21\x00\x00\x00")

    def test_a_gateway_on_a_unix_socket(self) -> None:
        for address, first in (("192.0.2.7", b"TCP4 192.0.2.7 0.0.0.0"), ("2001:db8::7", b"TCP6 2001:db8::7 ::")):
            client = ClientConnection(address, 4711, "main", 0, "", None, str)
            self.assertEqual(introduction(V1)(client, address), b"PROXY %b 4711 0\r\n" % first)

    def test_the_gateway_reads_what_it_writes(self) -> None:
        for client in (connection(), connection("2001:db8::7", "2001:db8::1")):
            for version in ProxyProtocol:
                header = introduction(version)(client, client.address)
                self.assertEqual(extent(header), (len(header), True))
                self.assertEqual(source(header), Source(client.address, 4711))
        for version in ProxyProtocol:
            self.assertIsNone(source(of_no_client(version)))

    def test_a_client_that_came_over_a_unix_socket(self) -> None:
        for address, unspecified in (("192.0.2.7", "0.0.0.0"), ("2001:db8::7", "::")):
            client = ClientConnection(address, 4711, "main", 0, "", None, lambda: "unix:")
            family = 4 if "." in address else 6
            expected = f"PROXY TCP{family} {address} {unspecified} 4711 0\r\n".encode()
            self.assertEqual(introduction(V1)(client, address), expected)
            self.assertEqual(source(introduction(V2)(client, address)), Source(address, 4711))

    def test_another_gateway_reads_it(self) -> None:
        for version in (V1, V2):
            for address, local in (("192.0.2.7", "198.51.100.1"), ("2001:db8::7", "2001:db8::1"), ("192.0.2.7", "2001:db8::1")):
                header = introduction(version)(connection(address, local), address)
                self.assertEqual(extent(header + b"GET"), (len(header), True))
                self.assertEqual(source(header), Source(address, 4711))
            self.assertIsNone(source(of_no_client(version)))

    def test_connections_of_the_gateway_itself(self) -> None:
        self.assertEqual(of_no_client(V1), b"PROXY UNKNOWN\r\n")
        self.assertEqual(of_no_client(V2), SIGNATURE + b"\x20\x00\x00\x00")


class IntroducedTests(unittest.TestCase):
    def gateway(self, *servers: str) -> Gateway:
        return Gateway(*servers, settings={"proxy_protocol": V1})

    def test_attack_120_a_connection_serves_one_client(self) -> None:
        for servers in (("one",), ("one", "two")):
            gateway = self.gateway(*servers)
            for number, peer in enumerate(("192.0.2.7", "192.0.2.8")):
                client = Client(gateway, peer=peer)
                client.request("GET", "/", f"X-Forwarded-For: 203.0.113.{number}")
                attempt = gateway.attempts[number]
                self.assertEqual(attempt.preface, b"PROXY TCP4 %b 192.0.2.1 4711 9443\r\n" % peer.encode())
                upstream = attempt.accept()
                upstream.reply(OK)
                self.assertEqual(client.response().status, 200)
                self.assertTrue(upstream.ended)
            self.assertEqual(gateway.idle, 0)

    def test_attack_120_a_client_cannot_introduce_itself(self) -> None:
        gateway = self.gateway()
        client = gateway.client()
        client.send(b"PROXY TCP4 203.0.113.1 203.0.113.2 1 2\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertEqual(gateway.attempts, [])
        self.assertIn(client.response().status, (400, 505))

    def test_the_address_is_the_one_that_the_rules_see(self) -> None:
        gateway = self.gateway()
        gateway.address = "203.0.113.5"
        gateway.client().get()
        self.assertEqual(gateway.attempts[0].preface, b"PROXY TCP4 203.0.113.5 192.0.2.1 0 9443\r\n")

    def test_a_connection_of_the_pool_itself_is_for_no_client(self) -> None:
        gateway = self.gateway()
        gateway.pool.connect(gateway.pool.servers[0])
        self.assertEqual(gateway.attempts[0].preface, b"PROXY UNKNOWN\r\n")

    def test_without_the_option_connections_are_kept(self) -> None:
        gateway = Gateway()
        client, peer = gateway.begun()
        peer.reply(OK)
        self.assertEqual((gateway.attempts[0].preface, gateway.idle, client.response().status), (b"", 1, 200))

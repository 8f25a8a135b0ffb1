"""Sockets that listen, and own addresses, as Linux shows them in /proc/net."""

from __future__ import annotations

import socket
import sys
from ipaddress import ip_address
from pathlib import Path

from twisted.trial.unittest import TestCase

from perimeter.doctor.sockets import Listening, is_own, listening, own_addresses, reachable

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


def hexadecimal(address: str) -> str:
    raw = ip_address(address).packed
    words = (int.from_bytes(raw[at : at + 4], sys.byteorder) for at in range(0, len(raw), 4))
    return "".join(f"{word:08X}" for word in words)


def row(address: str, port: int, state: str = "0A", uid: int = 33) -> str:
    zero = "0" * len(hexadecimal(address))
    return f"   0: {hexadecimal(address)}:{port:04X} {zero}:0000 {state} 00000000:00000000 00:00000000 00000000  {uid} 0 1 1 0\n"


TRIE = """\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 127.0.0.0/8 2 0 2
           |-- 127.0.0.1
              /32 host LOCAL
     |-- 192.0.2.2
        /32 host LOCAL
     |-- 192.0.2.255
        /32 link BROADCAST
"""
SIX = "fe80000000000000000000000000beef 02 40 20 80 eth0\nfd000000000000000000000000000002 02 40 00 80 eth0\n"


class ProcTests(TestCase):
    def setUp(self) -> None:
        self.proc = Path(self.mktemp())
        self.proc.mkdir()

    def test_listening_sockets(self) -> None:
        rows = (row("127.0.0.1", 80), row("0.0.0.0", 8080, uid=0), row("127.0.0.1", 81, "01"), "torn\n")
        (self.proc / "tcp").write_text(HEAD + "".join(rows))
        (self.proc / "tcp6").write_text(HEAD + row("::", 443) + row("::ffff:127.0.0.1", 82) + row("fd00::2", 83))
        self.assertEqual(
            listening(self.proc),
            [
                Listening(ip_address("127.0.0.1"), 80, 33),
                Listening(ip_address("0.0.0.0"), 8080, 0),
                Listening(ip_address("::"), 443, 33),
                Listening(ip_address("127.0.0.1"), 82, 33),
                Listening(ip_address("fd00::2"), 83, 33),
            ],
        )

    def test_own_addresses(self) -> None:
        (self.proc / "fib_trie").write_text(TRIE)
        (self.proc / "if_inet6").write_text(SIX)
        expected = {ip_address(one) for one in ("127.0.0.1", "192.0.2.2", "fe80::beef", "fd00::2")}
        self.assertEqual(own_addresses(self.proc), expected)

    def test_without_proc(self) -> None:
        self.assertEqual((listening(self.proc), own_addresses(self.proc)), ([], frozenset()))

    def test_this_machine(self) -> None:
        for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            with socket.socket(family) as real:
                real.bind((address, 0))
                real.listen()
                port = real.getsockname()[1]
                self.assertIn((ip_address(address), port), [(one.address, one.port) for one in listening()])
        self.assertIn(ip_address("127.0.0.1"), own_addresses())


class ReachableTests(TestCase):
    def test_by_address(self) -> None:
        outside = [ip_address("127.0.0.1"), ip_address("192.0.2.2")]
        for address, expected in (
            ("127.0.0.1", False),
            ("127.0.0.9", False),
            ("::1", False),
            ("192.0.2.2", True),
            ("fd00::2", True),
        ):
            self.assertEqual(reachable(Listening(ip_address(address), 80, 0), outside), expected, address)

    def test_all_addresses_of_a_machine_without_a_network(self) -> None:
        alone = [ip_address("127.0.0.1"), ip_address("::1"), ip_address("fe80::1")]
        for address in ("0.0.0.0", "::"):
            listener = Listening(ip_address(address), 80, 0)
            self.assertFalse(reachable(listener, alone), address)
            self.assertTrue(reachable(listener, [*alone, ip_address("192.0.2.2")]), address)
        self.assertFalse(reachable(Listening(ip_address("0.0.0.0"), 80, 0), [ip_address("fd00::2")]))

    def test_own(self) -> None:
        own = [ip_address("192.0.2.2"), ip_address("fe80::1")]
        for address, expected in (("127.0.0.5", True), ("192.0.2.2", True), ("192.0.2.3", False), ("fe80::1", True)):
            self.assertEqual(is_own(ip_address(address), own), expected, address)

    def test_the_text_has_brackets_for_ipv6(self) -> None:
        self.assertEqual(Listening(ip_address("::"), 80, 0).text, "[::]:80")
        self.assertEqual(Listening(ip_address("0.0.0.0"), 80, 0).text, "0.0.0.0:80")

"""The header of the PROXY protocol, byte by byte."""

from __future__ import annotations

import struct
from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from perimeter.net.proxy_protocol import LONGEST, LONGEST_LINE, SIGNATURE, BadProxyHeader, Source, extent, source

FOLLOWING = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n"
UNIX = b"/tmp/client".ljust(108, b"\0") + b"/tmp/server".ljust(108, b"\0")


def version_2(command: int, family: int, rest: bytes) -> bytes:
    return SIGNATURE + bytes((command, family)) + struct.pack("!H", len(rest)) + rest


def tcp(client: str, port: int, more: bytes = b"") -> bytes:
    packed = ip_address(client).packed
    return version_2(0x21, 0x11 if len(packed) == 4 else 0x21, packed * 2 + struct.pack("!HH", port, 443) + more)


WHOLE = (
    b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n",
    b"PROXY TCP6 2001:db8::7 2001:db8::1 1 65535\r\n",
    b"PROXY UNKNOWN\r\n",
    tcp("192.0.2.7", 56324),
    tcp("2001:db8::7", 65535, b"\x04\x00\x02ab"),
    version_2(0x20, 0, b""),
    version_2(0x21, 0x31, UNIX),
)


def outcome(data: bytes) -> int:
    """The bytes of a header at the begin of ``data`` that is whole and good, otherwise 0."""
    try:
        end, whole = extent(data)
        if whole:
            source(data[:end])
        return end if whole else 0
    except BadProxyHeader:
        return 0


class ProxyHeaderTests(SynchronousTestCase):
    def test_clients(self) -> None:
        for header, client in (
            (WHOLE[0], Source("192.0.2.7", 56324)),
            (WHOLE[1], Source("2001:db8::7", 1)),
            (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 0 0\r\n", Source("192.0.2.7", 0)),
            (b"PROXY TCP6 2001:DB8:0::7 ::1 0 0\r\n", Source("2001:db8::7", 0)),
            (tcp("192.0.2.7", 56324), Source("192.0.2.7", 56324)),
            (tcp("2001:db8::7", 65535), Source("2001:db8::7", 65535)),
            (tcp("::ffff:192.0.2.7", 1), Source("192.0.2.7", 1)),
            (tcp("192.0.2.7", 1, b"\x04\x00\x02ab\x05\x00\x00"), Source("192.0.2.7", 1)),
            (version_2(0x21, 0x31, UNIX), Source("unix:", 0)),
        ):
            self.assertEqual(source(header), client)

    def test_the_sender_itself_or_an_unknown_client(self) -> None:
        for header in (
            b"PROXY UNKNOWN\r\n",
            b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n",
            version_2(0x20, 0x00, b""),
            version_2(0x20, 0x11, bytes(12)),
            version_2(0x20, 0x77, b"anything"),
            version_2(0x21, 0x00, b""),
            version_2(0x21, 0x00, b"\x04\x00\x00"),
        ):
            self.assertIsNone(source(header))

    def test_no_byte_behind_the_header_is_taken(self) -> None:
        for header in WHOLE:
            self.assertEqual(extent(header + FOLLOWING), (len(header), True))
            self.assertEqual(extent(header), (len(header), True))

    def test_a_header_that_comes_in_pieces(self) -> None:
        for header in WHOLE:
            for end in range(1, len(header)):
                self.assertEqual(extent(header[:end]), (end, False), header[:end])

    def test_other_beginnings_are_refused(self) -> None:
        for data in (b"GET / HTTP/1.1\r\n", FOLLOWING, b"proxy ", b"PROXYTCP4", b"\r\nGET", SIGNATURE[:-1] + b"X", b"\0"):
            with self.assertRaisesRegex(BadProxyHeader, "does not begin with the PROXY protocol"):
                extent(data)

    def test_bounds_of_a_header(self) -> None:
        line = b"PROXY UNKNOWN ".ljust(LONGEST_LINE - 2, b"x")
        self.assertEqual(extent(line + b"\r\n"), (LONGEST_LINE, True))
        self.assertEqual(extent(line + b"\r"), (LONGEST_LINE - 1, False))
        for long in (line + b"xx", line + b"x\r\n", line + b"\rx", b"PROXY UNKNOWN\n"):
            with self.assertRaisesRegex(BadProxyHeader, "too long, or does not end in CR LF"):
                extent(long)
        most = version_2(0x20, 0, bytes(LONGEST - 16))
        self.assertEqual(extent(most), (LONGEST, True))
        self.assertEqual(extent(most[:16]), (16, False))
        with self.assertRaisesRegex(BadProxyHeader, f"has {LONGEST + 1} bytes, and at most {LONGEST} are accepted"):
            extent(version_2(0x20, 0, bytes(LONGEST - 15))[:16])

    def test_malformed_lines(self) -> None:
        for line, fault in (
            (b"PROXY TCP4 192.0.2.7 198.51.100.1 56324", "malformed"),
            (b"PROXY  TCP4 192.0.2.7 198.51.100.1 56324 443", "malformed"),
            (b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443 ", "malformed"),
            (b"PROXY TCP4 192.0.2.7\t198.51.100.1 56324 443", "malformed"),
            (b"PROXY tcp4 192.0.2.7 198.51.100.1 56324 443", "malformed"),
            (b"PROXY UDP4 192.0.2.7 198.51.100.1 56324 443", "malformed"),
            (b"PROXY TCP4 192.0.2.7 198.51.100.1 056 443", "malformed"),
            (b"PROXY TCP4 192.0.2.7 198.51.100.1 +1 443", "malformed"),
            (b"PROXY TCP6 fe80::1%eth0 ::1 1 443", "malformed"),
            (b"PROXY UNKNOWNx", "malformed"),
            (b"PROXY UNKNOWN a\x00", "malformed"),
            (b"PROXY TCP4 192.0.2.07 198.51.100.1 1 443", "invalid address"),
            (b"PROXY TCP4 192.0.2 198.51.100.1 1 443", "invalid address"),
            (b"PROXY TCP4 192.0.2.7 198.51.100.256 1 443", "invalid address"),
            (b"PROXY TCP4 ::1 ::1 1 443", "does not belong to TCP4"),
            (b"PROXY TCP6 192.0.2.7 192.0.2.8 1 443", "does not belong to TCP6"),
            (b"PROXY TCP6 ::1 192.0.2.8 1 443", "does not belong to TCP6"),
            (b"PROXY TCP4 192.0.2.7 198.51.100.1 65536 443", "invalid port"),
            (b"PROXY TCP4 192.0.2.7 198.51.100.1 1 65536", "invalid port"),
        ):
            with self.assertRaisesRegex(BadProxyHeader, fault):
                source(line + b"\r\n")

    def test_malformed_binary_headers(self) -> None:
        for header, fault in (
            (version_2(0x11, 0x11, bytes(12)), "command 0x11 of version 2"),
            (version_2(0x22, 0x11, bytes(12)), "command 0x22 of version 2"),
            (version_2(0x21, 0x12, bytes(12)), "protocol 0x12 of version 2 is not TCP"),
            (version_2(0x21, 0x01, b""), "protocol 0x01 of version 2 is not TCP"),
            (version_2(0x21, 0x11, bytes(11)), "addresses of version 2 are incomplete"),
            (version_2(0x21, 0x21, bytes(35)), "addresses of version 2 are incomplete"),
            (version_2(0x21, 0x31, bytes(215)), "addresses of version 2 are incomplete"),
            (tcp("192.0.2.7", 1, b"\x04"), "additions"),
            (tcp("192.0.2.7", 1, b"\x04\x00"), "additions"),
            (tcp("192.0.2.7", 1, b"\x04\x00\x03ab"), "additions"),
            (tcp("192.0.2.7", 1, b"\x04\x00\x02ab\x05\x00\x01"), "additions"),
        ):
            with self.assertRaisesRegex(BadProxyHeader, fault):
                source(header)

    @given(st.binary(max_size=300), st.sampled_from((b"", b"PROXY ", SIGNATURE, SIGNATURE + b"\x21\x11")))
    def test_any_bytes_are_a_header_or_refused(self, data: bytes, before: bytes) -> None:
        self.assertLessEqual(outcome(before + data), len(before + data))

"""Heads of requests: the largest, and what the audit log shows of those that are none."""

from __future__ import annotations

import attrs
from twisted.trial import unittest

from perimeter.config.site.limits import LimitSettings
from perimeter.errors import BadRequest, HeadTooLarge, TargetTooLong
from perimeter.http.h1.heads import BadHead, HeadReader, remains, without_empty_lines

START = b"GET / HTTP/1.1\r\nHost: gw\r\nX: "


class HeadTests(unittest.TestCase):
    def read(self, data: bytes, max_head: int = 100) -> bytes | None:
        return HeadReader().read(data, attrs.evolve(LimitSettings(), max_head=max_head))

    def refusal(self, data: bytes) -> tuple[type[BadRequest], bytes]:
        with self.assertRaises(BadHead) as caught:
            self.read(data)
        return type(caught.exception.refusal), caught.exception.line

    def test_attack_23_the_largest_head(self) -> None:
        """``max_head`` counts everything except the empty line at the end."""
        largest = START.ljust(100, b"y")
        self.assertEqual(self.read(largest + b"\r\n\r\nrest"), b"rest")
        self.assertIsNone(self.read(largest))
        for data in (largest + b"y", largest + b"y\r\n\r\n"):
            self.assertEqual(self.refusal(data), (HeadTooLarge, data[:100]))

    def test_attack_23_a_line_that_is_too_long_is_a_target_that_is_too_long(self) -> None:
        line = b"GET /".ljust(98, b"x")
        self.assertEqual(self.refusal(line + b"\r\nX: y\r\n")[0], HeadTooLarge)
        self.assertEqual(self.refusal(line + b"x\r\nX: y\r\n")[0], TargetTooLong)

    def test_a_bare_lf(self) -> None:
        self.assertEqual(self.refusal(b"GET / HTTP/1.1\nHost: gw"), (BadRequest, b"GET / HTTP/1.1"))

    def test_empty_lines_before_a_request(self) -> None:
        for data, kept in (
            (b"\r\n\r\nGET", b"GET"),
            (b"\r\n", b""),
            (b"GET\r\n\r\n", b"GET\r\n\r\n"),
            (b"\r\nGET\r\n", b"GET\r\n"),
            (b"\r", b"\r"),
        ):
            self.assertEqual(without_empty_lines(data), kept)

    def test_a_head_is_remembered_for_the_next_request(self) -> None:
        reader = HeadReader()
        data = b"GET / HTTP/1.1\r\nHost: gw\r\n\r\n"
        heads = []
        for rest in (b"", b"GET"):
            self.assertEqual(reader.read(data + rest, LimitSettings()), rest)
            heads.append(reader.head)
        self.assertIs(heads[0], heads[1])
        self.assertEqual(reader.read(b"POST" + data[3:], LimitSettings()), b"")
        self.assertEqual(reader.head.method, b"POST")
        self.assertIs(reader.head.headers, heads[0].headers)

    def test_what_is_shown_of_a_head_that_is_none(self) -> None:
        for data, method, target in (
            (b"GET /x HTTP/1.1\r\nHost: y", b"GET", b"/x"),
            (b"GET /x\r\nHost: y", b"GET", b"/x"),
            (b"GET /x", b"GET", b"/x"),
            (b"GET ", b"GET", b""),
            (b"GET", b"", b""),
            (b"user=x&password=y z", b"", b""),
            (b"M" * 32 + b" /x", b"M" * 32, b"/x"),
            (b"M" * 33 + b" /x", b"", b""),
        ):
            head = remains(data)
            self.assertEqual((head.method, head.target, head.version, head.host), (method, target, "HTTP/1.1", b""), data)

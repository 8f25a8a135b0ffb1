"""Which responses are compressed, and what their header lines become."""

from __future__ import annotations

from twisted.trial import unittest

from perimeter.config.site.compression import Coding
from perimeter.http.grammar import parse_block
from perimeter.model import HeaderBlock, RequestHead, Version
from perimeter.proxy.codings import encoder_of
from perimeter.proxy.compression import MOST, Compression, Encoders, coded_lines, may_be_probed

GZIP, BROTLI, _ = Coding
TYPES = ("text/html", "application/*+json", "font/*")


def block(*lines: str) -> HeaderBlock:
    return parse_block("".join(f"{line}\r\n" for line in lines).encode(), 100)


def compression(under_way: Encoders | None = None) -> Compression:
    return Compression({coding: encoder_of(coding) for coding in (BROTLI, GZIP)}, TYPES, 1000, under_way or Encoders())


def request(*lines: str, version: Version = Version.HTTP_1_1) -> RequestHead:
    return RequestHead(b"GET", b"/", version, block("Host: a", *lines), b"a")


class SuitsTests(unittest.TestCase):
    def suits(self, *lines: str, length: int | None = 1000, status: int = 200, kind: str = "text/html") -> bool:
        sent = (*(f"Content-Type: {one}" for one in [kind] if one), *lines)
        return compression().suits(status, "".join(f"{line}\r\n" for line in sent).encode(), length)

    def test_the_size(self) -> None:
        self.assertTrue(self.suits(length=1000))
        self.assertFalse(self.suits(length=999))
        self.assertTrue(self.suits(length=None))

    def test_the_type(self) -> None:
        for kind, expected in (
            ("text/html", True),
            ("Text/HTML; charset=utf-8", True),
            ("text/htmlx", False),
            ("text/plain", False),
            ("application/ld+json", True),
            ("application/json", False),
            ("application/+json", True),
            ("text/x+json", False),
            ("font/ttf", True),
            ("fonts/ttf", False),
            ("", False),
        ):
            self.assertIs(self.suits(kind=kind), expected, kind)

    def test_the_status(self) -> None:
        for status, expected in ((200, True), (204, False), (205, False), (206, False), (304, False), (404, True), (500, True)):
            self.assertIs(self.suits(status=status), expected, status)

    def test_what_is_encoded_or_must_not_change_stays(self) -> None:
        for line, expected in (
            ("Content-Encoding: gzip", False),
            ("Content-Encoding: Identity", True),
            ("Content-Range: bytes 0-1/2", False),
            ("Content-Digest: sha-256=:AA==:", False),
            ("Repr-Digest: sha-256=:AA==:", False),
            ("Digest: sha-256=AA==", False),
            ("Content-MD5: AA==", False),
            ("Signature: sig1=:AA==:", False),
            ("Cache-Control: public, max-age=60", True),
            ("Cache-Control: max-age=60, No-Transform", False),
            ("cache-control:public\r\nCache-Control: no-transform", False),
            ("Content-Encoding: gzip\r\nContent-Encoding: identity", False),
            ("X-Cache-Control: no-transform", True),
        ):
            self.assertIs(self.suits(line), expected, line)

    def test_attack_121_what_is_private_is_not_compressed(self) -> None:
        for line in (
            "Set-Cookie: a=b",
            "Cache-Control: private",
            'Cache-Control: max-age=0, private="x"',
            "Cache-Control: no-store",
        ):
            self.assertFalse(self.suits(line), line)


class BeginTests(unittest.TestCase):
    def coding(self, *lines: str, known: bool = False, version: Version = Version.HTTP_1_1) -> Coding | None:
        begun = compression().begin(request("Accept-Encoding: gzip, br", *lines, version=version), known)
        return None if begun is None else begun[0]

    def test_the_coding(self) -> None:
        self.assertIs(self.coding(), BROTLI)
        self.assertIsNone(compression().begin(request("Accept-Encoding: deflate"), False))
        self.assertIsNone(compression().begin(request(), False))
        several = compression().begin(request("Accept-Encoding: br;q=0.5", "Accept-Encoding: gzip"), False)
        assert several is not None
        self.assertIs(several[0], GZIP)

    def test_an_old_client_gets_it_plain(self) -> None:
        self.assertIsNone(self.coding(version=Version.HTTP_1_0))

    def test_attack_122_only_so_many_at_a_time(self) -> None:
        under_way = Encoders()
        several, other = compression(under_way), compression(under_way)
        asked = request("Accept-Encoding: gzip")
        for _ in range(MOST):
            self.assertIsNotNone(several.begin(asked, False))
        self.assertIsNone(other.begin(asked, False))
        under_way.free()
        self.assertIsNotNone(several.begin(asked, False))
        self.assertIsNone(several.begin(asked, False))

    def test_attack_121_requests_that_another_site_may_have_caused(self) -> None:
        for lines, known, probed in (
            ((), False, False),
            ((), True, True),
            (("Authorization: Bearer x",), True, False),
            (("Authorization: bearer x",), False, False),
            (("Authorization: Basic eDp5",), True, True),
            (("Authorization: Basic eDp5",), False, True),
            (("Authorization: Negotiate x",), True, True),
            (("Cookie: a=b",), False, True),
            (("Cookie: a=b", "Authorization: Bearer x"), True, True),
            (("Sec-Fetch-Site: same-origin", "Cookie: a=b"), True, False),
            (("Sec-Fetch-Site: none", "Cookie: a=b"), True, False),
            (("Sec-Fetch-Site: Same-Origin",), True, False),
            (("Sec-Fetch-Site: cross-site",), False, True),
            (("Sec-Fetch-Site: same-site",), False, True),
            (("Sec-Fetch-Site: other",), False, True),
            (("Sec-Fetch-Site: none", "Sec-Fetch-Site: none"), False, True),
            (("Sec-Fetch-Site: cross-site", "Authorization: Bearer x"), True, True),
        ):
            self.assertIs(may_be_probed(request(*lines).headers, known), probed, lines)
            self.assertIs(self.coding(*lines, known=known) is None, probed, lines)


class LinesTests(unittest.TestCase):
    def test_a_coded_response(self) -> None:
        lines = b'Server: x\r\nETag: "1"\r\nAccept-Ranges: bytes\r\nContent-Encoding: identity\r\nVary: Origin\r\n'
        self.assertEqual(
            coded_lines(lines, BROTLI),
            b'Server: x\r\nETag: W/"1"\r\nVary: Origin\r\nContent-Encoding: br\r\nVary: Accept-Encoding\r\n',
        )

    def test_a_plain_response_differs_in_vary_alone(self) -> None:
        lines = b'ETag: "1"\r\nAccept-Ranges: bytes\r\n'
        self.assertEqual(coded_lines(lines, None), lines + b"Vary: Accept-Encoding\r\n")

    def test_vary_is_not_repeated(self) -> None:
        for value in (b"Accept-Encoding", b"origin, accept-encoding", b"*", b"Origin , ACCEPT-ENCODING"):
            lines = b"Vary: %b\r\n" % value
            self.assertEqual(coded_lines(lines, None), lines)

    def test_a_weak_tag_stays(self) -> None:
        self.assertEqual(coded_lines(b'etag:W/"1"\r\nVary: *\r\n', GZIP), b'etag:W/"1"\r\nVary: *\r\nContent-Encoding: gzip\r\n')

    def test_no_lines(self) -> None:
        self.assertEqual(coded_lines(b"", None), b"Vary: Accept-Encoding\r\n")

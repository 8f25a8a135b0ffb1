"""Bodies: where they end, however they are split, and which are refused (attack 18)."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial import unittest

from perimeter.errors import BadRequest
from perimeter.http.h1.framing import BodyReader, ChunkedReader, CloseReader, LengthReader, chunk, last_chunk
from perimeter.model import Field

#: Chunked bodies that are refused, by what is wrong with them.
BAD_CHUNKED = {
    "a bare semicolon": b"5;\r\nhello\r\n0\r\n\r\n",
    "an extension without a name": b"5;=y\r\nhello\r\n0\r\n\r\n",
    "an extension without a semicolon": b"5 x\r\nhello\r\n0\r\n\r\n",
    "an extension without its value": b"5;x=\r\nhello\r\n0\r\n\r\n",
    "an extension with a string that is not closed": b'5;x="y\r\nhello\r\n0\r\n\r\n',
    "an extension with a line end in its string": b'5;x="\r\n"\r\nhello\r\n0\r\n\r\n',
    "an extension with LF": b"5;x\nhello\r\n0\r\n\r\n",
    "an extension with LF in its string": b'5;x="\n"\r\nhello\r\n0\r\n\r\n',
    "an extension with CR": b"5;x\ry\r\nhello\r\n0\r\n\r\n",
    "an extension with NUL": b'5;x="\0"\r\nhello\r\n0\r\n\r\n',
    "an extension with an escaped control": b'5;x="\\\x01"\r\nhello\r\n0\r\n\r\n',
    "an extension after a string": b'5;x="y"z\r\nhello\r\n0\r\n\r\n',
    "an extension whose name is two words": b"5;x y\r\nhello\r\n0\r\n\r\n",
    "a long extension": b"5;x=" + b"y" * 4096 + b"\r\nhello\r\n0\r\n\r\n",
    "a long padding": b"5" + b" " * 4096 + b"\r\nhello\r\n0\r\n\r\n",
    "many extensions": b"1;x=%b\r\na\r\n" % (b"y" * 200) * 90 + b"0\r\n\r\n",
    "white space before the size": b" 5\r\nhello\r\n0\r\n\r\n",
    "a sign": b"+5\r\nhello\r\n0\r\n\r\n",
    "a minus sign": b"-5\r\nhello\r\n0\r\n\r\n",
    "0x": b"0x5\r\nhello\r\n0\r\n\r\n",
    "an underscore": b"0_5\r\nhello\r\n0\r\n\r\n",
    "no size": b"\r\nhello\r\n0\r\n\r\n",
    "no hexadecimal digit": b"g\r\nhello\r\n0\r\n\r\n",
    "a size that overflows": b"ffffffffffffffff\r\nhello",
    "a size of many zeros": b"0" * 47 + b"5\r\nhello\r\n0\r\n\r\n",
    "LF after the size": b"5\nhello\r\n0\r\n\r\n",
    "CR CR LF after the size": b"5\r\r\nhello\r\n0\r\n\r\n",
    "LF after the chunk": b"5\r\nhello\n0\r\n\r\n",
    "no CRLF after the chunk": b"5\r\nhello0\r\n\r\n",
    "CR only after the chunk": b"5\r\nhello\rX0\r\n\r\n",
    "a chunk longer than its size": b"4\r\nhello\r\n0\r\n\r\n",
    "a chunk shorter than its size": b"6\r\nhello\r\n0\r\n\r\n",
    "NUL in the size": b"5\x00\r\nhello\r\n0\r\n\r\n",
    "a folded trailer": b"0\r\nX: y\r\n z\r\n\r\n",
    "a trailer without a colon": b"0\r\nX\r\n\r\n",
    "a trailer with a space before its colon": b"0\r\nX : y\r\n\r\n",
    "a bare LF in a trailer": b"0\r\nX: y\nZ: z\r\n\r\n",
    "NUL in a trailer": b"0\r\nX: \x00\r\n\r\n",
    "too many trailers": b"0\r\n" + b"X: y\r\n" * 33 + b"\r\n",
    "too large a trailer": b"0\r\nX: " + b"y" * 9000 + b"\r\n\r\n",
    "an endless trailer": b"0\r\nX: " + b"y" * 9000,
}

TOKEN = st.text(alphabet="abcdefgXYZ-", min_size=1, max_size=8).map(lambda text: text.encode())
TRAILERS = st.lists(st.tuples(TOKEN.map(lambda name: b"x" + name.lower()), st.sampled_from([b"", b"a b", b"\xe9;,"])), max_size=3)


def fed(reader: BodyReader, pieces: Iterable[bytes]) -> tuple[bytes, bytes | None]:
    """The body out of ``pieces``, and what followed it."""
    body = b""
    rest: bytes | None = None
    for piece in pieces:
        if rest is not None:
            rest += piece
        else:
            raw, rest = reader.feed(piece)
            body += raw
    return body, rest


def split(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    places = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    return [data[start:end] for start, end in itertools.pairwise(places)]


class LengthTests(unittest.TestCase):
    def test_every_split(self) -> None:
        data = b"hello, body|GET / HTTP/1.1"
        for cut in range(len(data) + 1):
            reader = LengthReader(11)
            self.assertEqual(fed(reader, [data[:cut], data[cut:]]), (b"hello, body", b"|GET / HTTP/1.1"), cut)
            self.assertTrue(reader.end())

    def test_end_too_early(self) -> None:
        reader = LengthReader(5)
        self.assertEqual(reader.feed(b"four"), (b"four", None))
        self.assertEqual((reader.end(), reader.behind, reader.trailers), (False, False, ()))


class CloseTests(unittest.TestCase):
    def test_never_complete_but_by_the_end(self) -> None:
        reader = CloseReader()
        self.assertEqual(reader.feed(b"0\r\n\r\n"), (b"0\r\n\r\n", None))
        self.assertEqual((reader.end(), reader.behind, reader.trailers), (True, False, ()))


class ChunkedTests(unittest.TestCase):
    def test_every_split(self) -> None:
        data = b"5\r\nhello\r\n00A\r\n0123456789\r\nf\r\nfifteen octets!\r\n0\r\nX-Sum: 1\r\nY:\r\n\r\nGET /"
        for cut in range(len(data) + 1):
            for second in (cut, min(cut + 1, len(data)), min(cut + 7, len(data))):
                reader = ChunkedReader()
                pieces = [data[:cut], data[cut:second], data[second:]]
                self.assertEqual(fed(reader, pieces), (b"hello0123456789fifteen octets!", b"GET /"), (cut, second))
                self.assertEqual(list(reader.trailers), [(b"x-sum", b"1"), (b"y", b"")])

    def test_byte_by_byte(self) -> None:
        data = b"3\r\nabc\r\n0\r\n\r\nrest"
        reader = ChunkedReader()
        self.assertEqual(fed(reader, [data[at : at + 1] for at in range(len(data))]), (b"abc", b"rest"))

    def test_the_end_of_the_connection_never_completes_it(self) -> None:
        for data in (b"", b"5\r\nhel", b"5\r\nhello\r\n", b"5\r\nhello\r\n0\r\n"):
            reader = ChunkedReader()
            reader.feed(data)
            self.assertIs(reader.end(), False)

    def test_attack_18_chunks(self) -> None:
        for what, data in BAD_CHUNKED.items():
            with self.assertRaises(BadRequest, msg=what):
                fed(ChunkedReader(), [data, b"x" * 10])
            with self.assertRaises(BadRequest, msg=what + ", byte by byte"):
                fed(ChunkedReader(), [data[at : at + 1] for at in range(len(data))] + [b"x"] * 10)

    def test_extensions_and_padding_are_dropped(self) -> None:
        """RFC 9112, section 7.1.1: "A recipient MUST ignore unrecognized chunk extensions"."""
        for line in (
            b"5;x",
            b"5;x=y",
            b'5;x="y; z\\"\\\\\t\xe9"',
            b'5;x=""',
            b"5 ; x = y ;\tz",
            b"5;chunk-signature=" + b"a" * 64,
            b"5;a;b;c=d;e",
            b"5 ",
            b"5\t  ",
            b"5;x=y ",
            b"0" * 32 + b"5",
            b"00000005   ",
            b"5;" + b"x" * 4092,
        ):
            data = line + b"\r\nhello\r\n0" + line[1:].lstrip(b"05") + b"\r\nX: 1\r\n\r\nGET /"
            for cut in range(0, len(data) + 1, 1 + len(data) // 200):
                reader = ChunkedReader()
                self.assertEqual(fed(reader, [data[:cut], data[cut:]]), (b"hello", b"GET /"), (line, cut))
                self.assertEqual(list(reader.trailers), [(b"x", b"1")])

    def test_attack_23_extensions_are_bounded_by_what_the_chunks_are_worth(self) -> None:
        signed = b"100;chunk-signature=%b\r\n%b\r\n" % (b"a" * 64, b"x" * 256)
        body, rest = fed(ChunkedReader(), [signed * 1000, *[b""] * 4, b"0\r\n\r\n"])
        self.assertEqual((len(body), rest), (256_000, b""))
        line = b"1;x=%b\r\n" % (b"y" * 102)  # 108 bytes, of which the chunk is worth 18
        limit = 16 * 1024 // 90
        fed(ChunkedReader(), [(line + b"a\r\n") * limit])
        self.assertRaises(BadRequest, fed, ChunkedReader(), [(line + b"a\r\n") * (limit + 1)])
        # what a chunk is worth is not kept for later ones
        reader = ChunkedReader()
        fed(reader, [b"FFFF;x\r\n" + b"z" * 0xFFFF + b"\r\n"])
        self.assertRaises(BadRequest, fed, reader, [(line + b"a\r\n") * (limit + 1)])

    def test_attack_23_the_largest_trailers(self) -> None:
        """8192 bytes, without the empty line at the end, and 32 headers."""
        for size, good in ((8192, True), (8193, False)):
            lines = b"X: ".ljust(size, b"y")
            for pieces in ([b"0\r\n" + lines + b"\r\n\r\n"], [b"0\r\n" + lines, b"\r\n\r\n"]):
                reader = ChunkedReader()
                if good:
                    self.assertEqual(fed(reader, pieces), (b"", b""))
                    self.assertEqual(len(reader.trailers), 1)
                else:
                    with self.assertRaises(BadRequest):
                        reader.feed(pieces[0])
        reader = ChunkedReader()
        self.assertEqual(fed(reader, [b"0\r\n" + b"X: y\r\n" * 32 + b"\r\n"]), (b"", b""))
        self.assertEqual(len(reader.trailers), 32)

    def test_attack_46_256_chunks_at_a_time(self) -> None:
        reader = ChunkedReader()
        self.assertEqual(reader.feed(b"1\r\nx\r\n" * 256), (b"x" * 256, None))
        self.assertIs(reader.behind, False)
        self.assertEqual(reader.feed(b"1\r\nx\r\n" * 257), (b"x" * 256, None))
        self.assertIs(reader.behind, True)
        self.assertEqual(reader.feed(b""), (b"x", None))
        self.assertIs(reader.behind, False)

    def test_largest_size(self) -> None:
        body, rest = ChunkedReader().feed(b"fffffffffffffff\r\nabc")
        self.assertEqual((body, rest), (b"abc", None))

    def test_attack_23_a_size_line_is_bounded(self) -> None:
        with self.assertRaises(BadRequest):
            fed(ChunkedReader(), [b"0"] * 48)
        fed(ChunkedReader(), [b"0"] * 47)

    @given(st.binary(max_size=40), st.lists(st.integers(0, 40), max_size=6))
    @settings(max_examples=300, deadline=None)
    def test_arbitrary_bytes_raise_nothing_else(self, data: bytes, cuts: list[int]) -> None:
        def outcome(pieces: list[bytes]) -> object:
            try:
                return fed(ChunkedReader(), pieces)
            except BadRequest:
                return "refused"

        whole = outcome([data])
        self.assertEqual(outcome(split(data, cuts)), whole)

    @given(
        st.lists(st.binary(min_size=1, max_size=300), max_size=6),
        TRAILERS,
        st.binary(max_size=10),
        st.lists(st.integers(0, 2000), max_size=8),
    )
    @settings(max_examples=150, deadline=None)
    def test_round_trip(self, parts: list[bytes], trailers: list[Field], rest: bytes, cuts: list[int]) -> None:
        data = b"".join(chunk(part) for part in parts) + last_chunk(trailers) + rest
        reader = ChunkedReader()
        self.assertEqual(fed(reader, split(data, cuts)), (b"".join(parts), rest))
        self.assertEqual(list(reader.trailers), trailers)

"""The limits of replies, before they are parsed."""

from __future__ import annotations

import hiredis
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from perimeter.redis import framing
from perimeter.redis.framing import BadReply, Framing

GARBAGE = (
    b"HTTP/1.1 400 Bad Request\r\n",
    b"\x15\x03\x01\x00\x02\x02\x46",
    b"*x\r\n",
    b"*-2\r\n",
    b"*\r\n",
    b"$+5\r\n",
    b"$-2\r\n",
    b"%1 \r\n",
    b">1\r\n+invalidate\r\n",
    b"|1\r\n+a\r\n+b\r\n+c\r\n",
    b"!5\r\nERR x\r\n",
    b"$?\r\n;4\r\n",
    b"\r\n",
    b"Q",
    b"*2\r\n+a\r\nQ",
    b"$11111111111\r\n",
)


def encoded(value: object) -> bytes:
    if isinstance(value, bytes):
        return b"$%d\r\n%b\r\n" % (len(value), value)
    if isinstance(value, int):
        return b":%d\r\n" % value
    if value is None:
        return b"_\r\n"
    if isinstance(value, dict):
        return b"%%%d\r\n" % len(value) + b"".join(encoded(key) + encoded(item) for key, item in value.items())
    assert isinstance(value, list)
    return b"*%d\r\n" % len(value) + b"".join(map(encoded, value))


VALUES = st.recursive(
    st.none() | st.integers(-(2**62), 2**62) | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.binary(max_size=5), inner, max_size=3),
    max_leaves=20,
)


class FramingTests(SynchronousTestCase):
    def refused(self, data: bytes, words: str) -> None:
        with self.assertRaises(BadReply) as caught:
            Framing().check(data)
        self.assertIn(words, str(caught.exception))

    @given(st.lists(VALUES, min_size=1, max_size=4), st.data())
    def test_replies_pass_in_any_parts(self, values: list[object], data: st.DataObject) -> None:
        """What the parser takes passes, wherever it is split; the end of each reply is known."""
        text = b"".join(map(encoded, values))
        cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
        checked, reader, found = Framing(), hiredis.Reader(notEnoughData=self), []
        for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
            if begin < end:
                checked.check(text[begin:end])
                reader.feed(text[begin:end])
        while (reply := reader.gets()) is not self:
            found.append(reply)
        self.assertEqual(values, found)
        self.assertEqual(([], 0, 0, 0, b""), (checked._open, checked._elements, checked._bytes, checked._skip, checked._rest))

    def test_replies_pass_byte_by_byte(self) -> None:
        checked = Framing()
        text = b"*3\r\n$4\r\na\r\nb\r\n%1\r\n+k\r\n(123\r\n$-1\r\n*0\r\n*-1\r\n,1.5\r\n#t\r\n~1\r\n=5\r\ntxt:a\r\n-ERR x\r\n"
        for at in range(len(text)):
            checked.check(text[at : at + 1])
        self.assertEqual(([], 0, 0, 0, b""), (checked._open, checked._elements, checked._bytes, checked._skip, checked._rest))

    def test_garbage(self) -> None:
        for text in GARBAGE:
            with self.subTest(text=text):
                self.refused(text, "no reply of Redis")

    def test_attack_172_lengths_that_reserve_memory(self) -> None:
        """An array, or a string, is refused by its head, before anything is reserved for it."""
        for text in (
            b"*262145\r\n",
            b"*4294967295\r\n",
            b"%131073\r\n",
            b"~262145\r\n",
            b"*200000\r\n*62145\r\n",
            b"*2\r\n*2\r\n*2\r\n*262140\r\n",
            b"$16777216\r\n",
            b"$9999999999\r\n",
            b"=16777216\r\n",
        ):
            with self.subTest(text=text):
                self.refused(text, "too large")

    def test_attack_172_arrays_inside_each_other(self) -> None:
        self.refused(b"*1\r\n" * 17, "arrays in arrays")
        checked = Framing()
        for _ in range(2):
            checked.check(b"*1\r\n" * 16 + b":1\r\n")
            self.assertEqual([], checked._open)

    def test_limits_are_for_one_reply(self) -> None:
        """The largest reply passes, as often as it comes."""
        checked = Framing()
        for _ in range(2):
            checked.check(b"*262144\r\n" + b":1\r\n" * 262_144)
        head = b"$16777205\r\n"
        for _ in range(2):
            checked.check(head + bytes(framing.MOST_BYTES - len(head)) + b"\r\n")

    def test_attack_172_endless_replies(self) -> None:
        """What never becomes a reply, or a line, is refused when it has reached its limit."""
        checked = Framing()
        checked.check(b"*262144\r\n")
        part = b"$65536\r\n" + bytes(65536) + b"\r\n"
        for _ in range(255):
            checked.check(part)
        with self.assertRaises(BadReply):
            checked.check(part)
        checked = Framing()
        checked.check(b"+" + b"a" * (framing.LONGEST_HEAD - 2))
        with self.assertRaises(BadReply) as caught:
            checked.check(b"a")
        self.assertIn("line that is too long", str(caught.exception))

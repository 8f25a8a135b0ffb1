"""Members of the beginning of a JSON text: the whole text, every beginning of it, and text that is none."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial import unittest

from perimeter.json_prefix import LONGEST, members, pointer

TEXT = b'{"a": {"n~/": [1, {"x": "y\\u00e9"}, true], "b": -1.5e3}, "c": "d", "e": null, "f": {}, "g": [], "h": "last"}'


class PointerTests(unittest.TestCase):
    def test_pointers(self) -> None:
        for text, tokens in (
            ("/a", ("a",)),
            ("/a/0/b", ("a", "0", "b")),
            ("/a~1b/m~0n", ("a/b", "m~n")),
            ("/", ("",)),
            ("/~01", ("~1",)),
        ):
            self.assertEqual(pointer(text), tokens)
        for text in ("", "a", "a/b", "/~", "/a~2", "#/a", "$.a"):
            self.assertRaises(ValueError, pointer, text)


class MemberTests(unittest.TestCase):
    def found(self, data: bytes, *pointers: str) -> list[list[str]]:
        return members(data, [pointer(one) for one in pointers])

    def test_values(self) -> None:
        for path, values in (
            ("/c", ["d"]),
            ("/h", ["last"]),
            ("/e", ["null"]),
            ("/a/b", ["-1.5e3"]),
            ("/a/n~0~1/0", ["1"]),
            ("/a/n~0~1/1/x", ["yé"]),
            ("/a/n~0~1/2", ["true"]),
            ("/a", []),
            ("/f", []),
            ("/g/0", []),
            ("/x", []),
            ("/c/d", []),
        ):
            self.assertEqual(self.found(TEXT, path), [values], path)
        self.assertEqual(self.found(TEXT, "/c", "/x", "/h"), [["d"], [], ["last"]])
        self.assertEqual(self.found(b'[["a"], "b"]', "/0/0", "/1", "/2"), [["a"], ["b"], []])
        self.assertEqual(self.found(b'\r\n\t {\r\n\t "a"\r\n : 1 }', "/a"), [["1"]])

    def test_every_beginning(self) -> None:
        """A value is there as soon as it is whole, and never in part."""
        for path, value in (("/a/n~0~1/0", "1"), ("/a/b", "-1.5e3"), ("/c", "d"), ("/h", "last"), ("/e", "null")):
            whole = [len(self.found(TEXT[:size], path)[0]) for size in range(len(TEXT) + 1)]
            self.assertEqual(whole, sorted(whole))
            for size in range(len(TEXT) + 1):
                self.assertIn(self.found(TEXT[:size], path)[0], ([], [value]), size)
            self.assertEqual(self.found(TEXT, path), [[value]])
        self.assertEqual(self.found(b'{"a":12', "/a"), [[]])  # it may be 123
        self.assertEqual(self.found(b'{"a":12 ', "/a"), [["12"]])
        self.assertEqual(self.found(b'{"a":"\xc3', "/a"), [[]])

    def test_twice(self) -> None:
        self.assertEqual(self.found(b'{"a":"x","a":"y","\\u0061":"z"}', "/a"), [["x", "y", "z"]])
        self.assertEqual(self.found(b'{"a":1,' + b",".join([b'"a":2'] * 9) + b"}", "/a"), [["1", "2", "2", "2"]])

    def test_what_follows_a_mistake_is_not_read(self) -> None:
        for text in (
            b'{"a":1}}{"b":2}',
            b'{"a":1} , "b":2',
            b'{"a":1,"\x01":2,"b":3}',
            b"{'b':1}",
            b'"b"',
            b"",
            b"}",
            b"\xff\xfe{",
        ):
            self.assertEqual(self.found(text, "/b"), [[]], text)

    def test_bounds(self) -> None:
        self.assertEqual(self.found(b'{"a":"' + b"x" * 500 + b'"}', "/a"), [["x" * LONGEST]])
        self.assertEqual(self.found(b"[" * 60 + b"7 ", "/" + "/".join("0" * 60)), [["7"]])
        self.assertEqual(self.found(b"[" * 70 + b"7 ", "/" + "/".join("0" * 70)), [[]])

    @given(st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
    def test_like_a_parser(self, value: object) -> None:
        def leaves(value: object, path: tuple[str, ...]) -> dict[tuple[str, ...], str]:
            if isinstance(value, dict):
                pairs = list(value.items())
            elif isinstance(value, list):
                pairs = [(str(index), one) for index, one in enumerate(value)]
            else:
                return {path: value if isinstance(value, str) else json.dumps(value)}
            return {key: leaf for name, one in pairs for key, leaf in leaves(one, (*path, name)).items()}

        expected = leaves(value, ())
        found = members(json.dumps(value).encode() + b" ", list(expected))
        self.assertEqual(found, [[leaf[:LONGEST]] for leaf in expected.values()])

    @given(st.binary())
    def test_anything(self, data: bytes) -> None:
        members(data, [("a",)])

"""Strict JSON, which has one reading only, and every part of the gateway that uses it."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import TestCase

from perimeter.auth.kinds.login_modules.command import judged
from perimeter.errors import Unavailable
from perimeter.strict_json import decode, decode_object
from perimeter.web_client.client import RemoteAnswer
from tests.unit.doubles.properties import reached, reaches

AMBIGUOUS = (
    b'{"active": false, "active": true}',
    b'{"a": {"b": 1, "b": 2}}',
    b'{"exp": NaN}',
    b'{"exp": -Infinity}',
    '{"a": 1}'.encode("utf-16"),
    '{"a": 1}'.encode("utf-32"),
    b'\xef\xbb\xbf{"a": 1}',
    b'{"a": "\xff"}',
    b'{"a": 1} x',
    b'{"a": "\\ud800"}',
    b'["x\\uDFFFx"]',
    b'{"\\udbff": 1}',
    b'"\\udc00\\ud800"',
    b"[" * 100_000,
    b"",
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


class StrictJsonTests(TestCase):
    @given(VALUES)
    def test_what_the_standard_library_writes_is_read(self, value: object) -> None:
        self.assertEqual(decode(json.dumps(value).encode()), value)

    def test_attack_35_text_with_two_readings(self) -> None:
        for text in AMBIGUOUS:
            self.assertRaises(ValueError, decode, text)

    def test_a_character_of_two_parts_is_read(self) -> None:
        self.assertEqual(decode(b'["\\ud83d\\ude00", "\\\\ud800"]'), ["\U0001f600", "\\ud800"])

    def test_only_an_object_is_an_object(self) -> None:
        self.assertEqual(decode_object(b'{"a": 1}'), {"a": 1})
        for text in (b"[]", b"null", b"1", b'"a"'):
            self.assertRaises(ValueError, decode_object, text)

    @reaches(1)
    @given(st.binary() | st.text().map(str.encode) | VALUES.map(lambda value: json.dumps(value).encode("utf-16-le")))
    def test_anything_is_read_or_refused(self, data: bytes) -> None:
        try:
            decode(data)
        except ValueError:
            reached(self)


class ReaderTests(TestCase):
    """An ambiguous answer is refused, no matter which service sent it."""

    def test_attack_35_answers_of_services(self) -> None:
        self.assertEqual(RemoteAnswer("s", 200, b'{"active": true}').members(), {"active": True})
        for text in AMBIGUOUS:
            error = self.assertRaises(Unavailable, RemoteAnswer("s", 200, text).members)
            self.assertNotIn("active", error.detail)

    def test_attack_35_answers_of_programs(self) -> None:
        for text in (*AMBIGUOUS, b'{"result": "reject", "result": "accept"}', '{"result": "accept"}'.encode("utf-16")):
            self.assertRaises(Unavailable, judged, text, "alice", "program")

"""The one reading of a path: what is refused, what is brought into normal form, and that the form is final."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial import unittest

from perimeter.errors import BadTarget
from perimeter.gate.paths import has_encoded_slash, normalise, readings, readings_as_sent, split_target
from tests.unit.doubles.properties import reached, reaches

#: Pieces of path attacks, so that random joins of them often are attacks.
PIECES = [
    *rb"/ // . .. %2e %2E %2f %2F %5c %5C \ % %25 %252e %32 %65 %66 %46 %35 %63 %00 %0d %0a %7f %80 %c0%ae".split(),
    *rb"; ;x=1 %3b %3f %23 a admin 2 e 5c F ~ * [ ] |".split(),
    b" ",
    b"\x00",
    b"\xff",
]
PATHS = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=12).map(lambda parts: b"/" + b"".join(parts)),
    st.binary(max_size=30).map(lambda rest: b"/" + rest),
)

REFUSED = [
    b"/pub/../admin",
    b"/pub/..",
    b"/..",
    b"/.",
    b"/./admin",
    b"/pub/./x",
    b"/pub/%2e%2e/admin",
    b"/pub/%2E./admin",
    b"/pub/.%2e/admin",
    b"/%2e/admin",
    b"/pub/..;/admin",
    b"/pub/..;x=1/admin",
    b"/pub/%2e%2e;x/admin",
    b"/pub/.;/admin",
    b"/pub%5cadmin",
    b"/pub%5C..%5Cadmin",
    b"/..%5cadmin",
    b"/pub\\..\\admin",
    b"/pub/%00",
    b"/pub%0d%0aX:%20y",
    b"/pub/%1f",
    b"/pub/%7f",
    b"/%252e%252e/admin",
    b"/..%252f",
    b"/pub%252fadmin",
    b"/pub%255cadmin",
    b"/pub/%25%32%65%25%32%65/admin",
    b"/pub%25%32fadmin",
    b"/pub%252%66admin",
    b"/pub/%2",
    b"/pub/%",
    b"/pub/%zz",
    b"/pub/%-1",
    b"/pub admin",
    b"/pub\x00",
    b"/pub\x7f",
    b"/caf\xe9",
    b"/pub/%c0%ae%c0%ae/admin",
    b"/pub%C0%AFadmin",
    b"xadmin",
]

NORMAL = [
    (b"/", b"/"),
    (b"/a", b"/a"),
    (b"/a/", b"/a/"),
    (b"//admin", b"/admin"),
    (b"///a//b///", b"/a/b/"),
    (b"/%61dmin", b"/admin"),
    (b"/%41", b"/A"),
    (b"/a%2eb", b"/a.b"),
    (b"/%7euser", b"/~user"),
    (b"/a%20b", b"/a%20b"),
    (b"/a%c3%a9", b"/a%C3%A9"),
    (b"/a%3fb%23c", b"/a%3Fb%23c"),
    (b"/100%25", b"/100%25"),
    (b"/100%25/x", b"/100%25/x"),
    (b"/a%2fb", b"/a%2Fb"),
    (b"/a;v=1", b"/a;v=1"),
    (b"/...", b"/..."),
    (b"/.well-known/x", b"/.well-known/x"),
    (b"/..a/.b", b"/..a/.b"),
    (b"/a..b/c.", b"/a..b/c."),
    (b"/api%2e/admin", b"/api./admin"),
    (b"/a{b}|c^[d]", b"/a{b}|c^[d]"),
]


class NormaliseTests(unittest.TestCase):
    def test_attack_1_path_traversal(self) -> None:
        for path in REFUSED:
            with self.assertRaises(BadTarget, msg=repr(path)):
                normalise(path)

    def test_normal_form(self) -> None:
        for path, expected in NORMAL:
            self.assertEqual(normalise(path), expected)

    def test_attack_1_escape_hidden_in_escapes(self) -> None:
        """Decoding unreserved digits must not spell an escape that was not there before."""
        for path in (b"/%25%32%65", b"/%25%32e", b"/%252%65", b"/%25%32%46", b"/%25%35%43"):
            with self.assertRaises(BadTarget, msg=repr(path)):
                normalise(path)

    @reaches(10)
    @given(PATHS)
    @settings(max_examples=400, deadline=None)
    @example(b"/%25%32%65%25%32%65/admin")
    @example(b"/a/%2e")
    def test_result_is_final_and_plain(self, path: bytes) -> None:
        try:
            normal = normalise(path)
        except BadTarget:
            return
        reached(self)
        self.assertEqual(normalise(normal), normal)
        self.assertTrue(normal.startswith(b"/"))
        self.assertNotIn(b"//", normal)
        self.assertNotIn(b"\\", normal)
        self.assertIsNone(re.search(rb"[\x00-\x20\x7f-\xff#?]", normal))
        # However often a server decodes what is left, no dot segment and no control byte comes out of it.
        decoded = normal
        for _ in range(3):
            decoded = unquote_to_bytes(decoded)
            self.assertNotIn(b"\\", decoded)
            self.assertIsNone(re.search(rb"[\x00-\x1f\x7f]", decoded))
            if b"%2F" not in normal:
                segments = [segment.partition(b";")[0] for segment in normal.split(b"/")]
                self.assertNotIn(b"..", segments)
                self.assertNotIn(b".", segments)

    @reaches(10)
    @given(st.text(alphabet="abz09-._~/", max_size=20))
    @settings(max_examples=100, deadline=None)
    def test_plain_paths_pass_as_they_are(self, text: str) -> None:
        path = b"/" + text.encode()
        if b"//" in path or {b".", b".."} & set(path.split(b"/")):
            return
        reached(self)
        self.assertEqual(normalise(path), path)


class SplitTests(unittest.TestCase):
    def test_attack_3_query_is_no_part_of_the_path(self) -> None:
        self.assertEqual(split_target(b"/api/secret?x=/status"), (b"/api/secret", b"?x=/status"))
        self.assertEqual(split_target(b"/a?b?c"), (b"/a", b"?b?c"))
        self.assertEqual(split_target(b"/a?"), (b"/a", b"?"))
        self.assertEqual(split_target(b"/a"), (b"/a", b""))
        # An escaped question mark or hash stays in the path.
        self.assertEqual(split_target(b"/api/secret%3F/status"), (b"/api/secret%3F/status", b""))
        self.assertEqual(normalise(b"/api/secret%23/status"), b"/api/secret%23/status")


class ReadingsTests(unittest.TestCase):
    def test_parameters_are_read_away(self) -> None:
        self.assertEqual(readings(b"/admin;x/y"), [b"/admin/y"])
        self.assertEqual(readings(b"/;x/admin"), [b"/admin"])
        self.assertEqual(readings(b"/plain"), [])

    def test_encoded_slashes_are_read_as_slashes(self) -> None:
        self.assertTrue(has_encoded_slash(b"/a%2Fb"))
        self.assertEqual(readings(b"/a%2Fb"), [b"/a/b"])
        self.assertEqual(readings(b"/a%2F%2Fb"), [b"/a/b"])
        self.assertEqual(set(readings(b"/a;b%2Fc/d")), {b"/a/d", b"/a;b/c/d", b"/a/c/d"})
        self.assertIn(b"/x/admin", readings(b"/x;%2Fadmin"))
        self.assertEqual(set(readings(b"/a%2F;x/b")), {b"/a%2F/b", b"/a/b", b"/a/;x/b"})

    def test_attack_1_escapes_are_decoded(self) -> None:
        self.assertEqual(readings(b"/a%40b/%20"), [b"/a@b/ "])
        self.assertEqual(readings(b"/a%3Bx/%C3"), [b"/a;x/\xc3", b"/a/\xc3"])
        self.assertEqual(readings(b"/a;x%40"), [b"/a", b"/a;x@"])

    def test_attack_1_dot_segments_between_encoded_slashes(self) -> None:
        for path in (b"/pub%2F..%2Fadmin", b"/pub/..%2Fadmin", b"/%2F../x", b"/a%2F.", b"/a%2F..;x"):
            with self.assertRaises(BadTarget, msg=repr(path)):
                readings(path)


class ReadingsAsSentTests(unittest.TestCase):
    def test_what_a_service_may_make_of_a_path(self) -> None:
        for path, others in (
            (b"/a/b", []),
            (b"/", []),
            (b"/job/feature%252Fx", [b"/job/feature%2Fx", b"/job/feature/x"]),
            (b"/file%2520name", [b"/file%20name", b"/file name"]),
            (b"/fetch/http://e/a", [b"/fetch/http:/e/a"]),
            (b"/%7Euser", [b"/~user"]),
            (b"/a%5Cb", [b"/a\\b", b"/a/b"]),
            (b"/a;x/b", [b"/a/b"]),
            (b"/a;x%2Fb", [b"/a", b"/a;x/b", b"/a/b"]),
            (b"/a%3Bx/b", [b"/a;x/b", b"/a/b"]),
            (b"/a%3Fx/b", [b"/a?x/b", b"/a"]),
            (b"/a%23x/b", [b"/a#x/b", b"/a"]),
            (b"/a%2Fb", [b"/a/b"]),
            (b"/caf%C3%A9", [b"/caf\xc3\xa9"]),
            (b"/100%25", [b"/100%"]),
            (b"/a/...", []),
            (b"/.a", []),
        ):
            self.assertEqual(readings_as_sent(path), {path, *others}, path)

    def test_attack_65_dot_segments_and_control_bytes_in_any_reading(self) -> None:
        for path in (
            *(b"/..", b"/.", b"/a/../b", b"/a/%2e%2E/b", b"/a/.%2e", b"/%252e%252e/b", b"/%25252e./b", b"/%25%32%65./b"),
            *(
                b"/a%2F..%2Fb",
                b"/a%252F..%252Fb",
                b"/a%5C..%5Cb",
                b"/a%255C..",
                b"/..;x/b",
                b"/..%3Bx/b",
                b"/..%253Bx",
                b"/;/..;/b",
            ),
            *(b"/a/..%3Fx", b"/a/..%23", b"/a/.%253F", b"/a;%2F../b", b"/a/;x%2F..;y/b"),
            *(b"/%00", b"/%2500", b"/a%0d%0ab", b"/a%250A", b"/%7f", b"/%1F", b"/%257F"),
            *(b"/%c0%ae", b"/%25c0%25af", b"/%C0%AE%c0%ae/x", b"/%e0%80%af"),
        ):
            self.assertRaises(BadTarget, readings_as_sent, path)

    def test_what_is_no_path(self) -> None:
        for path in (b"", b"x", b"*", b"/a b", b"/\\", b"/a#", b"/a?", b"/\xe9", b"/%", b"/%4", b"/%zz", b"/%25%", b"/\x00"):
            self.assertRaises(BadTarget, readings_as_sent, path)

    def test_attack_23_paths_with_many_readings(self) -> None:
        self.assertRaises(BadTarget, readings_as_sent, b"/" + b"%25" * 10_000 + b"32;//%5c%3f;//")
        self.assertEqual(len(readings_as_sent(b"/" + b"a" * 32_765 + b"%25")), 2)  # 65,536 bytes
        with self.assertRaises(BadTarget):
            readings_as_sent(b"/" + b"a" * 32_766 + b"%25")
        self.assertEqual(len(readings_as_sent(b"/" + b"a" * 100_000)), 1)

    @reaches(30)
    @given(PATHS)
    @settings(max_examples=500, deadline=None)
    def test_no_reading_leaves_the_set(self, path: bytes) -> None:
        """Whatever steps a server takes, in whatever order, it is in the set; and none of it has a dot segment."""
        try:
            found = readings_as_sent(path)
        except BadTarget:
            return
        reached(self)
        self.assertIn(path, found)
        for one in found:
            for step in (
                unquote_to_bytes,
                lambda text: text.replace(b"\\", b"/"),
                lambda text: re.sub(rb"/+", b"/", text),
                lambda text: re.sub(rb";[^/]*", b"", text),
                lambda text: re.split(rb"[?#]", text)[0],
            ):
                self.assertIn(step(one), found)
            for text in (one, re.split(rb"[?#]", one)[0]):
                self.assertNotIn(b"..", re.split(rb"[/\\]", re.sub(rb";[^/]*", b"", text)))
            self.assertNotIn(b"\0", one)

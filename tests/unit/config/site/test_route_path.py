"""What the path of a route may be, and which paths it matches."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from twisted.trial.unittest import TestCase

from perimeter.config.language.datatypes import BadValue
from perimeter.config.language.expressions import compiled
from perimeter.config.site.route_path import ROUTE_PATH, PathKind, RoutePath, plain

BASE = Path("/")


def path_of(text: str) -> RoutePath:
    return ROUTE_PATH.convert(text, BASE)


class PathTests(TestCase):
    def fault(self, text: str) -> BadValue:
        return self.assertRaises(BadValue, path_of, text)  # type: ignore[no-any-return]

    def test_kinds(self) -> None:
        for text, kind, bare, place in (
            ("/", PathKind.PREFIX, "/", ""),
            ("/a/b", PathKind.PREFIX, "/a/b", "/a/b"),
            ("prefix:/a", PathKind.PREFIX, "/a", "/a"),
            ("prefix: /a", PathKind.PREFIX, "/a", "/a"),
            ("exact:/", PathKind.EXACT, "/", ""),
            ("exact:/a", PathKind.EXACT, "/a", ""),
            ("exact:/a/b", PathKind.EXACT, "/a/b", "/a"),
            ("exact:/a/", PathKind.EXACT, "/a/", "/a"),
            ("regex:^/x/(\\d+)$", PathKind.REGEX, "^/x/(\\d+)$", "/x"),
            ("/exact:/a", PathKind.PREFIX, "/exact:/a", "/exact:/a"),
        ):
            found = path_of(text)
            self.assertEqual((found.kind, found.text, found.place), (kind, bare, place), text)
            self.assertEqual(found.expression is not None, kind is PathKind.REGEX)
        self.assertEqual(path_of("prefix:/a"), plain("/a"))

    def test_as_it_is_written(self) -> None:
        for text in ("/a", "exact:/a", "regex:^/a/.*"):
            self.assertEqual(str(path_of(text)), text)
        self.assertEqual(str(path_of("prefix:/a")), "/a")

    def test_which_paths(self) -> None:
        for text, good, bad in (
            ("/a", ("/a", "/a/", "/a/b"), ("/", "/ab", "/b")),
            ("exact:/a", ("/a",), ("/a/", "/a/b", "/")),
            ("exact:/a/", ("/a/",), ("/a", "/a/b")),
            ("regex:^/x/(\\d+)$", ("/x/1", "/x/12"), ("/x/", "/x/a", "/x/1/", "/x/1a", "/y/x/1", "/x")),
            ("regex:^/x/a|^/b", ("/x/a", "/x/ab", "/b/c"), ("/c/x/a", "/c/b")),
            ("regex:^/(?:en|de)/", ("/en/", "/de/x"), ("/fr/", "/en")),
            ("regex:(?i)^/Up/", ("/up/x", "/UP/x"), ("/down/",)),
        ):
            for path in good:
                self.assertTrue(path_of(text).matches(path), (text, path))
            for path in bad:
                self.assertFalse(path_of(text).matches(path), (text, path))

    def test_the_directory_of_an_expression(self) -> None:
        for expression, place in (
            ("^/x/(\\d+)$", "/x"),
            ("^/x$", ""),
            ("^/x/y$", "/x"),
            ("^/x/y/.*\\.png$", "/x/y"),
            ("^/x/y?/z", "/x"),
            ("^/x/*", ""),
            ("^/x/y/+z", "/x"),
            ("^/x/{1,2}", ""),
            ("^/a\\.b/c\\-d/(e|f)", "/a.b/c-d"),
            ("^/x/a|/y", ""),
            ("^/x/(a|b)/[|]$", "/x"),
            ("^/x/((a|b)|c)", "/x"),
            ("^/x/[]|]$", "/x"),
            ("^/x/\\|$", "/x"),
            ("^/x/\\Qa|b\\E", ""),
            ("(?i)^/x/y", ""),
            ("^/.*", ""),
            ("^.*[.]x$", ""),
            ("^(/a)/b", ""),
        ):
            self.assertEqual(path_of(f"regex:{expression}").place, place, expression)

    def test_faults(self) -> None:
        for text in (
            "exact:a", "exact:/a//", "exact:/a/../b", "exact:/a*", "exact:", "exact://", "regex:", "regex:/x", "regex:x",
            "regex:^x", "regex:^/(", "regex:^/\u00e9", "prefix:x", "other:/x", "regex:^/a\\1",
        ):  # fmt: skip
            self.fault(text)
        self.assertEqual(self.fault("regex:/x").message, "expected a regular expression that begins with ^/ or ^.*")
        self.assertEqual(self.fault("exact:/a//").suggestion, "/a")
        self.assertEqual(self.fault("exakt:/a").suggestion, "exact:/a")
        self.assertEqual(self.fault("Regex:^/a$").suggestion, "regex:^/a$")

    def test_attack_128_an_expression_that_takes_more_than_linear_time_is_refused(self) -> None:
        for expression in (
            "^/(a)\\1",
            "^/(?=x)",
            "^/(?!x)x",
            "^/(?<=/)a",
            "^/(?>a+)b",
            "^/((a{1,500}){1,500}){1,500}",
            "^/a{1001}",
        ):
            fault = self.fault(f"regex:{expression}")
            self.assertTrue(fault.message.startswith("expected a regular expression that matches in linear time"), fault.message)

    def test_attack_128_no_path_takes_long_to_match(self) -> None:
        """Python's own expressions need minutes for the first one with 40 characters."""
        for expression in ("^/(a+)+$", "^/(a|aa)+$", "^/(.*)*,$", "^/(a*)*b$", "^/.*.*.*.*x$"):
            found = compiled(expression)
            began = time.thread_time()
            self.assertIsNone(found.match(b"/" + b"a" * 8000 + b"!"))
            self.assertLess(time.thread_time() - began, 0.02, expression)

    def test_without_the_package(self) -> None:
        self.addCleanup(sys.modules.__setitem__, "re2", sys.modules["re2"])
        sys.modules["re2"] = None  # type: ignore[assignment]
        fault = self.fault("regex:^/x")
        self.assertEqual(fault.message, "regular expressions need the package google-re2: install perimeter-gateway[regex]")
        self.assertTrue(fault.complete)

    def test_expressions_of_bytes(self) -> None:
        found = compiled("^/([^/]+)/(x)?")
        self.assertEqual(found.groups, 2)
        match: Any = found.match(b"/a\xff/")
        self.assertEqual((match.group(0), match.group(1), match.group(2)), (b"/a\xff/", b"a\xff", None))
        self.assertIsNone(found.fullmatch(b"/a/y"))
        self.assertIsNotNone(found.fullmatch(b"/a/x"))

"""Regular expressions of nginx: what they stand for, as nginx would match it."""

from __future__ import annotations

import re
from itertools import product

from twisted.trial.unittest import TestCase

from perimeter.config.site.route_matching import covers, prefix_of
from perimeter.importers.nginx.expressions import directory, hidden, host_names, may_match, plain_paths, unescaped, well_known

PATHS = ("/", "/a", "/a/", "/a/b", "/ab", "/b", "/b/c", "/c/x", "/a.b/c", "/axb/c", "/api", "/apis", "/api/x")
EXPRESSIONS = (
    *("^/a", "^/a/", "^/(a|b)/", "^/(?:a|b)", "^/a/.*", "^/a/(.*)$", "^/a(/|$)", "^/a(?:/.*)?$", "^/a$", "^/a/?$", r"^/a\.b/"),
    *("^/a.b/", "^/api?", "^/a+", "^/(a|b)?", "^/[ab]/", "^/a|^/b", "^/", "^/$", "^/a/b$", "^/(a|b|c)/x", "/a", "a", "^a", ""),
)


class PlainPathTests(TestCase):
    def test_table(self) -> None:
        for expression, expected in (
            ("^/a/", (("/a/", False),)),
            ("^/(user|admin)/", (("/user/", False), ("/admin/", False))),
            (r"^/a\.b/(.*)$", (("/a.b/", False),)),
            ("^/api(/|$)", (("/api/", False),)),
            ("^/(in|out)$", (("/in", True), ("/out", True))),
            ("^/v(1|2)(/beta)?$", (("/v1/beta", True), ("/v1", True), ("/v2/beta", True), ("/v2", True))),
            ("^/a.b/", ()),
            ("^/api?", ()),
            ("^/[ab]/", ()),
            ("^/a|^/b", ()),
            ("/a", ()),
            ("^/" + "(a|b)" * 5, ()),
        ):
            self.assertEqual(plain_paths(expression), expected, expression)

    def test_attack_48_the_paths_are_those_that_the_expression_matches(self) -> None:
        """A directory is also for its name without the slash, which is part of the same route."""
        compared = 0
        for expression, path in product(EXPRESSIONS, PATHS):
            paths = plain_paths(expression)
            if paths and not any(one.rstrip("/") == path.rstrip("/") for one, _ in paths):
                found = any(not exact and path.startswith(one) for one, exact in paths)
                self.assertEqual(found, re.search(expression, path) is not None, (expression, path))
                compared += 1
        self.assertGreater(compared, 100)

    def test_attack_48_nothing_outside_of_its_directory_is_matched(self) -> None:
        compared = 0
        for expression, path in product((*EXPRESSIONS, r"^/a/b/.*\.php$", "^/b/[x]?", "^/b/c|/x", "^/a/[a-z]"), PATHS):
            outer = directory(expression)
            if outer and re.search(expression, path):
                self.assertTrue(covers(prefix_of(outer), path), (expression, path))
                compared += 1
        self.assertGreater(compared, 5)

    def test_directories(self) -> None:
        for expression, expected in (
            (r"^/a/b/.*\.php$", "/a/b/"),
            ("^/a/b[0-9]", "/a/"),
            ("^/a/b?", "/a/"),
            ("^/a", ""),
            ("/a/b", ""),
            ("^/a/x|^/b", ""),
            ("^/(a|b)/x[0-9]", ""),
        ):
            self.assertEqual(directory(expression), expected, expression)

    def test_names_that_begin_with_a_dot(self) -> None:
        for expression, expected in (
            (r"/\.", True),
            (r"/\.ht", True),
            (r"/\.(?!well-known)", True),
            (r"/\.(git|svn|ht)", True),
            (r"(^|/)\.", True),
            (r"/\.ht|\.php$", False),
            (r"\.ht", False),
            ("/.ht", False),
            ("^/x", False),
        ):
            self.assertEqual(hidden(expression), expected, expression)
        for expression in ("/.well-known", r"/\.well-known/", r"^/\.well-known/acme-challenge/", "^/.well-known/.*"):
            self.assertTrue(well_known(expression), expression)
        for expression in ("/.well-known-x", r"^/a/\.well-known", "/well-known", "."):
            self.assertFalse(well_known(expression), expression)

    def test_what_python_cannot_read_may_match(self) -> None:
        self.assertTrue(may_match("(?|a)(", "/x"))
        self.assertTrue(may_match("/A", "/a", re.IGNORECASE))
        self.assertFalse(may_match("/A", "/a"))


class TextTests(TestCase):
    def test_host_names(self) -> None:
        for expression, expected in (
            (r"^a\.example\.com$", ("a.example.com",)),
            (r"^(A|b)\.example\.com$", ("a.example.com", "b.example.com")),
            (r"^(www\.)?example\.com$", ("www.example.com", "example.com")),
            (r"^(?<sub>.+)\.example\.com$", ("**.example.com",)),
            (r"^.+\.example\.com$", ("**.example.com",)),
            (r"^.*\.example\.com$", ()),
            (r"^[^.]+\.example\.com$", ()),
            (r"^a.example\.com$", ()),
            (r"a\.example\.com$", ()),
            (r"^a\.example\.com", ()),
            ("(prom*)", ()),
        ):
            self.assertEqual(host_names(expression), expected, expression)

    def test_one_text(self) -> None:
        for expression, expected in ((r"/a\.b", "/a.b"), ("/a.b", None), ("/(a|b)", None), ("", ""), ("/a*", None)):
            self.assertEqual(unescaped(expression), expected, expression)

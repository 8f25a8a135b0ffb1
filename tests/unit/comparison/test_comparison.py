"""The comparison with Auth-o-tron, without Auth-o-tron: its judge, its list of differences, its configurations."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
from click.testing import CliRunner
from twisted.trial.unittest import TestCase

from perimeter.cli.main import main
from tests.comparison.differences import DIFFERENCES
from tests.comparison.judge import Difference, OneOf, complaints
from tests.comparison.manual import page
from tests.comparison.requests import REQUESTS, Request
from tests.comparison.scenes import UNTRANSLATED, Scene, configuration
from tests.unit.doubles.auth import make_cheap_hashes

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "auth-o-tron.md"


class JudgeTests(TestCase):
    SAME = {"status": 200, "body": "x"}

    def judged(self, theirs: Mapping[str, Any], ours: Mapping[str, Any], *declared: Difference) -> list[str]:
        return complaints([Request("a/b")], {"a/b": theirs}, {"a/b": ours}, declared)

    def test_the_same(self) -> None:
        self.assertEqual(self.judged(self.SAME, self.SAME), [])

    def test_what_is_not_declared(self) -> None:
        self.assertIn("a/b: body: Auth-o-tron 'x', Perimeter 'y'", self.judged(self.SAME, self.SAME | {"body": "y"}))
        self.assertIn("a/b: Allow: Auth-o-tron None, Perimeter 'GET'", self.judged(self.SAME, self.SAME | {"Allow": "GET"}))
        self.assertEqual(len(self.judged(self.SAME, {"status": 404})), 1, "nothing else is compared after another status")

    def test_what_is_declared(self) -> None:
        ours = self.SAME | {"body": "y"}
        for pair in (("x", "y"), ("x", OneOf("y", None))):
            self.assertEqual(self.judged(self.SAME, ours, Difference("body", "", {"body": pair})), [])
        for pair in (("x", "z"), ("y", "y"), ("x", OneOf(None))):
            self.assertEqual(len(self.judged(self.SAME, ours, Difference("body", "", {"body": pair}))), 1, pair)

    def test_what_is_declared_and_no_longer_so(self) -> None:
        gone = Difference("body", "", {"body": ("x", "y")})
        self.assertEqual(len(self.judged(self.SAME, self.SAME, gone)), 1)
        for elsewhere in ({"requests": ("c/*",)}, {"besides": ("*/b",)}, {"path": "/token"}, {"status": 404}):
            found = self.judged(self.SAME, self.SAME, attrs.evolve(gone, **elsewhere))
            self.assertEqual(found, ["'body' applies to no request"], elsewhere)

    def test_what_is_declared_twice(self) -> None:
        ours = self.SAME | {"body": "y"}
        one = Difference("body", "", {"body": ("x", "y")})
        self.assertIn("declared twice", self.judged(self.SAME, ours, one, attrs.evolve(one, title="again"))[0])


class DeclaredTests(TestCase):
    def test_names_are_unique(self) -> None:
        names = [request.name for request in REQUESTS]
        self.assertEqual(len(names), len(set(names)))

    def test_each_difference_is_one_and_has_its_reason(self) -> None:
        for one in DIFFERENCES:
            self.assertTrue(one.why.endswith("."), one.title)
            self.assertNotEqual(one.facets, {}, one.title)
            for facet, (theirs, ours) in one.facets.items():
                self.assertTrue(isinstance(ours, OneOf) or theirs != ours, (one.title, facet))

    def test_each_pattern_fits_a_request(self) -> None:
        for one in DIFFERENCES:
            for pattern in one.requests:
                alone = attrs.evolve(one, requests=(pattern,), besides=(), status=None)
                of_scene = (request for request in REQUESTS if request.scene == one.scene)
                self.assertTrue(any(alone.fits(request, {}, {}) for request in of_scene), (one.title, pattern))

    def test_the_manual_lists_them(self) -> None:
        self.assertEqual(
            PAGE.read_text(), page(), "write it again: python -m tests.comparison.manual docs/reference/auth-o-tron.md"
        )


class ConfigurationTests(TestCase):
    def test_the_importer_leaves_out_what_it_is_known_to_leave_out(self) -> None:
        make_cheap_hashes(self)
        for scene, expected in UNTRANSLATED.items():
            directory = Path(self.mktemp())
            directory.mkdir()
            (directory / "config.yaml").write_text(
                configuration(scene, Scene(8080, "http://127.0.0.1:8081", 389, 1, "mongodb://127.0.0.1"))
            )
            made = CliRunner().invoke(main, ["import", str(directory / "config.yaml"), "-o", str(directory / "site.ini")])
            self.assertEqual(re.findall(r"^not translated: .*config\.yaml:\d+: (.*)$", made.output, re.M), expected, scene)
            checked = CliRunner().invoke(main, ["check", str(directory / "site.ini")])
            self.assertEqual(checked.exit_code, 0, checked.output)

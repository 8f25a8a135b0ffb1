"""The benchmark of the in-memory path: what it drives, what it refuses to count, and its statistics."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from pathlib import Path

from twisted.trial.unittest import TestCase

from bench import catalogue
from bench.__main__ import main
from bench.errors import BenchError
from bench.figures import Measurement
from bench.logic import alternation
from bench.logic.alternation import Child, compare, core
from bench.peers.perimeter import CHECKOUT
from bench.scenarios import logic

BOTH = Measurement(
    "same-head",
    logic.UNIT,
    {"perimeter": (9.0, 8.0, 12.0, 11.0), "perimeter-before": (10.0, 10.0, 10.0, 10.0)},
    "perimeter",
)


class ChildTests(TestCase):
    def test_every_scenario_is_answered_by_this_checkout(self) -> None:
        with Child("perimeter", CHECKOUT, core()) as child:
            names = child.scenarios()
            self.assertEqual(len(names), 10)
            for name in names:
                self.assertGreater(child.batch(name, 3), 0.0, name)

    def test_what_another_checkout_costs_more_shows(self) -> None:
        slower = self.checkout()
        with (slower / "perimeter" / "__init__.py").open("a") as package:
            # each audit line is a write
            package.write("import os\n_write = os.write\nos.write = lambda *args: (sum(range(50_000)), _write(*args))[1]\n")
        with Child("slower", slower, core()) as other, Child("perimeter", CHECKOUT, core()) as ours:
            for child in (other, ours):
                self.assertIn("same-head", child.scenarios())
            self.assertGreater(other.batch("same-head", 20), 2 * ours.batch("same-head", 20))

    def test_a_checkout_that_answers_otherwise_is_not_measured(self) -> None:
        other = self.checkout()
        for module in (other / "perimeter").rglob("*.py"):
            module.write_text(module.read_text().replace("status = 401", "status = 403"))
        with Child("other", other, core()) as child:
            child.scenarios()
            error = self.assertRaises(BenchError, child.batch, "no-credentials", 3)
            self.assertIn("no-credentials: the audit log says", str(error))
            self.assertGreater(child.batch("same-head", 3), 0.0)

    def test_a_checkout_that_does_not_start_is_named(self) -> None:
        other = self.checkout()
        (other / "perimeter" / "__init__.py").write_text("raise RuntimeError('broken on purpose')\n")
        with Child("other", other, core()) as child:
            error = self.assertRaises(BenchError, child.scenarios)
            self.assertIn("broken on purpose", str(error))

    def test_a_directory_without_the_gateway_is_not_measured_as_this_checkout(self) -> None:
        empty = Path(self.mktemp()).absolute()
        empty.mkdir()
        with Child("empty", empty, core()) as child:
            self.assertRaises(BenchError, child.scenarios)

    def checkout(self) -> Path:
        """A copy of this checkout's code."""
        copy = Path(self.mktemp()).absolute()
        for name in ("perimeter", "twisted"):
            shutil.copytree(CHECKOUT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "dropin.cache"))
        return copy


class CompareTests(TestCase):
    def test_the_order_changes_and_positions_correspond(self) -> None:
        order: list[str] = []

        class Counting(Child):
            def __init__(self, name: str, checkout: Path, core: int) -> None:
                self.name = name

            def __exit__(self, *error: object) -> None:
                pass

            def scenarios(self) -> list[str]:
                return ["one"]

            def batch(self, scenario: str, count: int) -> float:
                order.append(self.name)
                return 1000.0 + len(order)

        self.patch(alternation, "Child", Counting)
        found = compare({"a": Path("a"), "b": Path("b")}, 2, lambda text: None, batches=2)
        # the first ten batches of each pair are warm-up
        self.assertEqual("".join(order[10:14]), "abba")
        self.assertEqual("".join(order[24:28]), "baab")
        self.assertEqual(found, {"one": {"a": [1011.0, 1014.0, 1026.0, 1027.0], "b": [1012.0, 1013.0, 1025.0, 1028.0]}})


class FiguresTests(TestCase):
    def test_bests_are_compared_for_each_pair_of_processes(self) -> None:
        self.assertAlmostEqual(logic.ratio_of_bests(BOTH, "perimeter-before", 2), (0.8 + 1.1) / 2)
        self.assertAlmostEqual(logic.ratio_of_bests(BOTH, "perimeter-before", 1), 0.8)

    def test_a_row_has_best_and_median_of_both_and_two_ratios(self) -> None:
        self.assertEqual(
            logic.rows([BOTH], 2),
            [
                ["", "best", "median", "before: best", "median", "bests", "medians"],
                ["same-head", "8.00", "10.0", "10.0", "10.0", "0.950", "1.000"],
            ],
        )

    def test_one_checkout_has_no_ratio(self) -> None:
        alone = Measurement("same-head", logic.UNIT, {"perimeter": (9.0, 8.0)}, "perimeter")
        self.assertEqual(logic.rows([alone], 1), [["", "best", "median"], ["same-head", "8.00", "8.50"]])


class CommandTests(TestCase):
    def test_it_runs_by_name_against_another_checkout(self) -> None:
        self.patch(alternation, "BATCH", 0.0001)
        file = Path(self.mktemp())
        with contextlib.redirect_stdout(io.StringIO()) as output, contextlib.redirect_stderr(io.StringIO()):
            status = main(["--only", "logic", "--repeat", "1", "--against", str(CHECKOUT), "--json", str(file)])
        self.assertEqual(status, 0)
        lines = output.getvalue().splitlines()
        self.assertEqual(lines[1].split(), ["best", "median", "before:", "best", "median", "bests", "medians"])
        self.assertIn("PGO", output.getvalue())
        read = json.loads(file.read_text())
        self.assertEqual([one["scenario"] for one in read["measurements"]], [line.split()[0] for line in lines[2:12]])
        self.assertEqual(len(read["measurements"][0]["peers"]["perimeter-before"]["samples"]), alternation.BATCHES)

    def refused(self, *arguments: str) -> str:
        with contextlib.redirect_stderr(io.StringIO()) as errors:
            self.assertEqual(main(arguments), 1)
        return errors.getvalue()

    def test_it_takes_no_part_in_other_runs(self) -> None:
        self.assertIn("measured alone", self.refused("--only", "logic", "--only", "bearer"))
        self.assertIn("--docs", self.refused("--only", "logic", "--docs"))
        for short in (True, False):
            self.assertNotIn("logic", [one.name for one in catalogue.scenarios([], short=short)])

"""The benchmark's output (tables, the chart, the page of the manual, JSON) and its options."""

from __future__ import annotations

import contextlib
import io
import json
import xml.etree.ElementTree as ET
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import TestCase

from bench import catalogue, chart, manual, table
from bench.__main__ import main
from bench.errors import BenchError
from bench.figures import Measurement
from bench.report import Report
from bench.run import CPU
from bench.scenarios.latency import thinking

BEARER = Measurement(
    "bearer", CPU, {"perimeter": (60.0, 62.0), "nginx-plain": (30.0, 31.0), "haproxy": ()}, "perimeter", "a note"
)
UPLOAD = Measurement("upload-1m", CPU, {"perimeter": (1500.0,), "haproxy": (1000.0,)}, "perimeter", "a note")
MEMORY = Measurement("memory", "MiB", {"perimeter": (41.03,)}, "perimeter")
ROUTES = Measurement("routes", CPU, {"10": (60.0,), "1,000": (61.2,)}, "10", growth=True)
ALL = (BEARER, UPLOAD, MEMORY, ROUTES)
SVG = "{http://www.w3.org/2000/svg}"


def report() -> Report:
    return Report(
        measurements=ALL,
        left_out={"nginx-tuned": "not built"},
        failed={"idle": "too few files"},
        versions={"nginx": "1.22.1"},
        machine={"cores": "2"},
        date="2026-11-22",
        seconds=2.0,
        rounds=5,
    )


class TableTests(TestCase):
    def test_a_row_for_each_measurement_and_a_column_for_each_peer(self) -> None:
        self.assertEqual(
            table.rows([BEARER, UPLOAD]),
            [
                ["", "unit", "perimeter", "nginx-plain", "haproxy"],
                ["bearer", CPU, "61.0", "30.5 (2.00)", ""],
                ["upload-1m", CPU, "1,500", "", "1,000 (1.50)"],
            ],
        )

    def test_growth_has_a_table_of_its_own(self) -> None:
        (_, peers), (legend, growth) = table.parts(ALL)
        self.assertEqual([line[0] for line in peers], ["", "bearer", "upload-1m", "memory"])
        self.assertEqual(growth, [["", "unit", "10", "1,000"], ["routes", CPU, "60.0", "61.2 (1.02)"]])
        self.assertEqual(legend, table.GROWTH)

    def test_without_growth_there_is_one_table(self) -> None:
        self.assertEqual(len(table.parts([BEARER])), 1)

    def test_columns_line_up(self) -> None:
        lines = table.as_text([BEARER, UPLOAD]).splitlines()
        starts = {line.index(text) for line, text in zip(lines, ("haproxy", "", "1,000 ("), strict=False) if text}
        self.assertEqual(len(starts), 1)

    def test_markdown_has_as_many_cells_in_every_line(self) -> None:
        lines = [line for line in table.as_markdown([BEARER, UPLOAD]).splitlines() if line.startswith("|")]
        self.assertEqual([line.count("|") for line in lines], [6, 6, 6, 6])

    def test_three_digits(self) -> None:
        told = [table.figure(value) for value in (0.123, 1.0, 12.34, 123.4, 1234567.0)]
        self.assertEqual(told, ["0.12", "1.00", "12.3", "123", "1,234,567"])


class ChartTests(TestCase):
    def bars(self, *measurements: Measurement) -> list[ET.Element]:
        root = ET.fromstring(chart.draw(measurements, "CPU", CPU))
        return [bar for bar in root.iter(f"{SVG}rect") if bar.get("class")]

    def test_a_bar_for_each_figure_of_the_unit(self) -> None:
        self.assertEqual([bar.get("class") for bar in self.bars(*ALL)], ["ours", "theirs", "ours", "theirs"])

    def test_bars_are_in_proportion_within_a_panel(self) -> None:
        ours, theirs = (float(bar.get("width", "0")) for bar in self.bars(BEARER))
        self.assertAlmostEqual(ours, theirs * 2, places=0)

    def test_names_cannot_break_out(self) -> None:
        odd = Measurement("<script>&", CPU, {'"a"<b>': (1.0,)}, "x")
        root = ET.fromstring(chart.draw([odd], "</title>", CPU))
        self.assertEqual([text.text for text in root.iter(f"{SVG}text")], [f"<script>&, {CPU}", '"a"<b>', "1.00"])

    @given(st.lists(st.lists(st.floats(0, 1e9), min_size=1, max_size=6), max_size=9))
    def test_everything_is_within_the_picture(self, figures: list[list[float]]) -> None:
        measurements = [
            Measurement(f"s{number}", CPU, {f"p{peer}": (value,) for peer, value in enumerate(values)}, "p0")
            for number, values in enumerate(figures)
        ]
        root = ET.fromstring(chart.draw(measurements, "CPU", CPU))
        width, height = float(root.get("width", "0")), float(root.get("height", "0"))
        for bar in root.iter(f"{SVG}rect"):
            self.assertLessEqual(float(bar.get("x", "0")) + float(bar.get("width", "0")), width)
            self.assertLessEqual(float(bar.get("y", "0")) + float(bar.get("height", "0")), height)


class ManualTests(TestCase):
    def page(self, between: str = "") -> str:
        return f"before\n{manual.BEGIN}{between}{manual.END}\nafter\n"

    def test_what_is_around_the_marks_stays(self) -> None:
        once = manual.replaced(self.page("old figures"), "new figures")
        self.assertEqual(once, self.page("\n\nnew figures\n\n"))
        self.assertEqual(manual.replaced(once, "new figures"), once)

    def test_a_page_without_its_marks_is_left_alone(self) -> None:
        for page in ("", manual.BEGIN, manual.END, manual.END + manual.BEGIN, self.page() + self.page(), self.page(manual.BEGIN)):
            self.assertRaises(BenchError, manual.replaced, page, "figures")

    def test_the_manual_has_the_marks(self) -> None:
        page = (Path(manual.__file__).parents[1] / "docs" / "performance.md").read_text()
        self.assertIn("figures", manual.replaced(page, "figures"))

    def test_page_and_picture_are_written(self) -> None:
        docs = Path(self.mktemp())
        docs.mkdir()
        (docs / "performance.md").write_text(self.page())
        manual.write(report(), docs)
        page = (docs / "performance.md").read_text()
        told = ("61.0", "(1.02)", "5 rounds of 2 s", "](performance.svg)", "nginx 1.22.1")
        for text in (*told, "Left out: nginx-tuned: not built.", "Failed: idle: too few files."):
            self.assertIn(text, page)
        self.assertEqual(page.count("Note: a note."), 1)
        self.assertIn("2026-11-22", (docs / "performance.svg").read_text())


class JsonTests(TestCase):
    def test_every_round_is_there(self) -> None:
        read = json.loads(report().as_json())
        bearer = read["measurements"][0]
        self.assertEqual(bearer["peers"]["nginx-plain"], {"median": 30.5, "best": 30.0, "ratio": 2.0, "samples": [30.0, 31.0]})
        self.assertNotIn("haproxy", bearer["peers"])
        self.assertEqual(read["left_out"], {"nginx-tuned": "not built"})
        self.assertEqual(read["versions"], {"nginx": "1.22.1"})


class CatalogueTests(TestCase):
    def test_names_are_names_of_one_thing(self) -> None:
        for names in ([one.name for one in catalogue.SCENARIOS], [peer.name for peer in catalogue.peers(Path())]):
            self.assertEqual(len(names), len(set(names)))

    def test_the_peers_of_the_scenarios_exist(self) -> None:
        known = {peer.name for peer in catalogue.peers(Path())}
        for scenario in catalogue.SCENARIOS:
            self.assertLessEqual(set(scenario.peers), known)
            self.assertEqual(scenario.peers[0], "perimeter")
        self.assertLessEqual(set(catalogue.SHORT_PEERS), known)

    def test_the_short_form_is_a_part_of_the_long(self) -> None:
        short, long = catalogue.scenarios([], short=True), catalogue.scenarios([], short=False)
        self.assertEqual([one.name for one in short], ["bearer", "refused", "download-1m"])
        self.assertEqual(long, list(catalogue.SCENARIOS))

    def test_names_choose_from_all_of_them(self) -> None:
        chosen = catalogue.scenarios(["idle", "bearer", "idle"], short=True)
        self.assertEqual([one.name for one in chosen], ["idle", "bearer"])
        self.assertRaises(BenchError, catalogue.scenarios, ["bearer", "no such"], short=False)

    def test_the_list_names_every_scenario(self) -> None:
        with contextlib.redirect_stdout(io.StringIO()) as output:
            self.assertEqual(main(["--list"]), 0)
        told = [line.split()[0] for line in output.getvalue().splitlines()]
        self.assertEqual(told, [*(one.name for one in catalogue.SCENARIOS), *catalogue.BY_NAME_ONLY])

    def test_an_unknown_name_ends_the_command(self) -> None:
        with contextlib.redirect_stderr(io.StringIO()) as errors:
            self.assertEqual(main(["--only", "no such"]), 1)
        self.assertIn("no such", errors.getvalue())

    def test_thinking_clients_make_the_rate(self) -> None:
        self.assertIn("-12.8 *", thinking(5000.0, 64))

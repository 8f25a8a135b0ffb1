"""Charts without script, and the names of the vendored library."""

from __future__ import annotations

import hashlib
from importlib.resources import files

import attrs
from twisted.trial.unittest import TestCase

from perimeter.metrics.samples import Sample
from perimeter.web.endpoints.operator.charts import CHARTS, HEIGHT, WIDTH, draw, scale_top, series, shown
from perimeter.web.endpoints.operator.section import duration, moment

SAMPLE = Sample(
    time=1_800_000_000.0,
    seconds=2.0,
    requests=(1, 2, 100, 4, 8, 16),
    quantiles=(0.001, 0.01, None),
    refusals={},
    sent=2 * 1024 * 1024,
    received=1024 * 1024,
    connections=5,
    in_flight=3,
    sessions=1,
    audit_failing=False,
    servers=(),
    authenticators=(),
)

HASHES = {
    "uPlot.LICENSE": "8f989229699b4fe2f1a0432d0e9edc338a8a911e250e2d1b01ecd770a5f5b1bd",
    "uPlot.iife.min.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
    "uPlot.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
}
"""SHA-256 of the files of uPlot 1.6.32, as npm's registry has them."""


class SeriesTests(TestCase):
    def test_values_per_second(self) -> None:
        self.assertEqual(series(SAMPLE), [[53.0, 4.0, 8.5], [1.0, 10.0, None], [1.0, 0.5], [5, 3]])

    def test_texts(self) -> None:
        requests, latency, data, connections = CHARTS
        self.assertEqual(shown(requests, 1234.4), "1,234/s")
        self.assertEqual(shown(latency, 1.26), "1.3 ms")
        self.assertEqual(shown(latency, None), "-")
        self.assertEqual(shown(data, 0.5), "0.50 MiB/s")
        self.assertEqual(shown(connections, 5), "5")

    def test_scales(self) -> None:
        for highest, top in (
            (0.0, 0.01),
            (0.01, 0.01),
            (0.011, 0.02),
            (1.0, 1.0),
            (1.01, 2.0),
            (4.9, 5.0),
            (5.1, 10.0),
            (999, 1000),
        ):
            self.assertAlmostEqual(scale_top(highest), top)


class DrawTests(TestCase):
    def test_nothing_yet(self) -> None:
        drawn = draw(CHARTS[0], ())
        self.assertEqual((drawn.runs, drawn.rows, drawn.latest), (((), (), ()), (), ("-", "-", "-")))

    def test_the_latest_is_at_the_right_edge(self) -> None:
        drawn = draw(CHARTS[0], [SAMPLE] * 300)
        points = drawn.runs[0][0].split(" ")
        self.assertEqual(len(points), 300)
        self.assertEqual(points[0].split(",")[0], "0.0")
        self.assertEqual(points[-1], f"{WIDTH:.1f},{HEIGHT - 53 / 100 * HEIGHT:.1f}")
        self.assertEqual((drawn.top, drawn.latest), ("100/s", ("53/s", "4/s", "8/s")))
        self.assertEqual(len(drawn.rows), 12)

    def test_a_gap_where_there_is_no_value(self) -> None:
        missing = attrs.evolve(SAMPLE, quantiles=(None, None, None))
        drawn = draw(CHARTS[1], [SAMPLE, SAMPLE, missing, SAMPLE])
        self.assertEqual([len(run.split(" ")) for run in drawn.runs[0]], [2, 2])
        self.assertEqual(drawn.runs[2], ())
        self.assertEqual([row[1][0] for row in drawn.rows], ["1.0 ms", "-", "1.0 ms", "1.0 ms"])


class WordsTests(TestCase):
    def test_durations(self) -> None:
        for seconds, text in ((0, "0 s"), (59, "59 s"), (60, "1 min"), (61, "1 min 1 s"), (3600, "1 h"), (3661, "1 h 1 min"),
                              (90000, "1 d 1 h"), (86400, "1 d"), (86460, "1 d"), (-1, "0 s")):  # fmt: skip
            self.assertEqual(duration(seconds), text)

    def test_moments(self) -> None:
        self.assertEqual((moment(0.0), moment(float("inf")), moment(1_800_000_000)), ("-", "-", "2027-01-15 08:00:00"))


class VendoredTests(TestCase):
    def test_uplot_is_the_file_of_its_release(self) -> None:
        vendor = files("perimeter.web").joinpath("assets", "vendor")
        found = {one.name: hashlib.sha256(one.read_bytes()).hexdigest() for one in vendor.iterdir() if one.name != "SHA256SUMS"}
        self.assertEqual(found, HASHES)
        sums = dict(line.split("  ")[::-1] for line in vendor.joinpath("SHA256SUMS").read_text().splitlines())
        self.assertEqual(sums, HASHES)

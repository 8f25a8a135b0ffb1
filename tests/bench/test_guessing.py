"""The benchmark's guesser: the figures of its rounds."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from bench.errors import BenchError
from bench.scenarios import guessing


class GuessingTests(TestCase):
    def test_each_kind_has_the_figures_of_its_place(self) -> None:
        found = guessing.measurements(
            {"perimeter": [[1, 2, 3, 4, 0], [5, 6, 7, 8, 1]], "perimeter-before": [[9, 10, 11, 12, 13]]}
        )
        self.assertEqual(len(found), 5)
        file_beside, refused = found[1], found[4]
        self.assertEqual((file_beside.scenario, file_beside.unit), ("guessing: a file beside a guesser", "ms"))
        self.assertEqual(file_beside.samples, {"perimeter": [2, 6], "perimeter-before": [10]})
        self.assertEqual((refused.unit, refused.samples["perimeter"]), ("requests", [0, 1]))

    def test_a_gateway_that_lets_a_guess_in_is_no_result(self) -> None:
        for statuses in ([401, 200], [503, 503], []):
            with self.assertRaises(BenchError):
                guessing._check("perimeter", statuses)
        guessing._check("perimeter", [401, 503])

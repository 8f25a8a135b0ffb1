"""Scenarios that a run of the benchmark leaves out, and reports as left out."""

from __future__ import annotations

import contextlib
import io
from typing import Any

from twisted.trial.unittest import TestCase

from bench import __main__ as command
from bench import catalogue
from bench.peers.base import Peer
from bench.run import Options
from bench.scenarios.base import Scenario


class FakeContext:
    """Stands in for a whole run that starts nothing."""

    def __init__(self, options: Options) -> None:
        self.peers: list[Peer] = []
        self.left_out: dict[str, str] = {}
        self.failed: dict[str, str] = {}
        self.said: list[str] = []

    def __enter__(self) -> FakeContext:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def admit(self, peers: object) -> None:
        pass

    def say(self, text: str) -> None:
        self.said.append(text)


class LeftOutTests(TestCase):
    def output(self, *arguments: str) -> str:
        """The output of a run with two scenarios: one that cannot be measured here, and one without figures."""

        def never(*_: Any) -> Any:
            raise AssertionError("measured what cannot be measured")

        scenarios = (
            Scenario("impossible", "", ("perimeter",), never, missing=lambda: "no such program"),
            Scenario("possible", "", ("perimeter",), lambda run, peers: [], short=True),
        )
        self.patch(catalogue, "SCENARIOS", scenarios)
        self.patch(command, "Run", FakeContext)
        with contextlib.redirect_stdout(io.StringIO()) as output:
            self.assertEqual(command.main(arguments), 0)
        return output.getvalue()

    def test_a_scenario_that_cannot_be_measured_is_left_out_by_name(self) -> None:
        self.assertIn("Left out: impossible: no such program.", self.output())

"""The load at which the benchmark measures latency."""

from __future__ import annotations

from typing import cast

import attrs
from twisted.trial.unittest import TestCase

from bench import wrk
from bench.peers.base import Peer
from bench.peers.perimeter import Perimeter
from bench.run import Load, Options, Run
from bench.scenarios import latency


@attrs.define
class FakeRun:
    """Stands in for a run: it answers with the given rates, one after the other."""

    rates: dict[str, list[int]]
    bearer: str = "Authorization: Bearer x"
    options: Options = attrs.field(factory=lambda: Options(1.0, 3))
    asked: list[str] = attrs.field(factory=list)

    def send(self, peer: Peer, load: Load, seconds: float) -> wrk.Outcome:
        self.asked.append(peer.name)
        return wrk.Outcome(self.rates[peer.name].pop(0), seconds)


class SaturationTests(TestCase):
    def test_one_bad_round_does_not_decide(self) -> None:
        run = FakeRun({"ours": [5000, 100, 4000], "theirs": [1, 2, 3]})
        found = latency.saturation(cast(Run, run), [Perimeter("ours"), Perimeter("theirs")])
        self.assertEqual(found, {"ours": 4000.0, "theirs": 2.0})
        self.assertEqual(run.asked, ["ours", "theirs"] * 3)

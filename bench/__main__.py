"""``python -m bench``: what to measure, and where to put what was found."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import auth_o_tron, catalogue, manual, report, table
from bench.errors import BenchError
from bench.figures import Measurement
from bench.report import Report
from bench.run import Options, Run
from bench.scenarios.base import Scenario

DEFAULT = Options(seconds=2.0, rounds=5)
SHORT = Options(seconds=1.0, rounds=3)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and tell. Returns the exit status."""
    parser = _parser()
    chosen = parser.parse_args(arguments)
    if chosen.list:
        for scenario in catalogue.SCENARIOS:
            print(f"{scenario.name:16} {scenario.title}{' (short)' if scenario.short else ''}")
        return 0
    # ends like Ctrl-C does: with everything stopped that was started
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        if chosen.build:
            auth_o_tron.build()
            return 0
        found = _run(chosen)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    _tell(found)
    if chosen.json is not None:
        chosen.json.write_text(found.as_json() + "\n")
    if chosen.docs:
        manual.write(found)
    return int(bool(found.failed))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="CPU per request, beside the peers, in one run.")
    parser.add_argument("--short", action="store_true", help="what matters most, in less than a minute")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="this scenario; may be given several times")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME", help="this peer beside perimeter; likewise")
    parser.add_argument("--against", type=Path, metavar="DIR", help="another checkout, which takes part as perimeter-before")
    parser.add_argument("--seconds", type=float, metavar="N", help="that each load lasts (whole ones)")
    parser.add_argument("--repeat", type=int, metavar="N", help="rounds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there")
    parser.add_argument("--docs", action="store_true", help="put the figures and a chart into docs/performance.md")
    parser.add_argument("--build", action="store_true", help="build Auth-o-tron from its crate, once, and do nothing else")
    parser.add_argument("--list", action="store_true", help="name the scenarios, and do nothing")
    return parser


def _run(chosen: argparse.Namespace) -> Report:
    selected = catalogue.scenarios(chosen.only, short=chosen.short)
    defaults = SHORT if chosen.short else DEFAULT
    options = Options(chosen.seconds or defaults.seconds, chosen.repeat or defaults.rounds)
    wanted = _wanted(selected, chosen)
    measurements: list[Measurement] = []
    with Run(options) as run:
        run.admit([peer for peer in catalogue.peers(chosen.against) if peer.name in wanted])
        running = list(run.peers)
        for scenario in selected:
            reason = scenario.missing()
            if reason is not None:
                run.left_out[scenario.name] = reason
                run.say(f"left out: {scenario.name}: {reason}")
                continue
            taking_part = [peer for peer in running if peer.name in (*scenario.peers, "perimeter-before")]
            try:
                measurements += scenario.measure(run, taking_part)
            except BenchError as error:
                # an hour's figures are not thrown away for one that could not be had
                run.failed[scenario.name] = str(error)
                run.say(f"{scenario.name} failed: {error}")
        versions = report.versions(running)
        return Report(
            measurements=measurements,
            left_out=run.left_out,
            failed=run.failed,
            versions=versions,
            machine=report.machine(),
            date=report.today(),
            seconds=options.seconds,
            rounds=options.rounds,
        )


def _wanted(selected: Sequence[Scenario], chosen: argparse.Namespace) -> set[str]:
    """The peers that somebody asked for, of those that the scenarios have a use for."""
    useful = {name for scenario in selected for name in scenario.peers} | {"perimeter-before"}
    asked = {"perimeter", "perimeter-before", *chosen.peer}
    if chosen.peer:
        return useful & asked
    return useful & set(catalogue.SHORT_PEERS) if chosen.short else useful


def _tell(found: Report) -> None:
    print()
    print(table.as_text(found.measurements))
    print()
    for note in found.notes:
        print(f"Note: {note}.")
    for name, reason in found.left_out.items():
        print(f"Left out: {name}: {reason}.")
    for name, reason in found.failed.items():
        print(f"Failed: {name}: {reason}.")
    print("; ".join(f"{name} {version}" for name, version in found.versions.items()))


if __name__ == "__main__":
    sys.exit(main())

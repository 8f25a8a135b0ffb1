"""``python -m bench``: chooses the scenarios, and where the figures are written."""

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
from bench.scenarios import logic
from bench.scenarios.base import Scenario

DEFAULT = Options(seconds=2.0, rounds=5)
SHORT = Options(seconds=1.0, rounds=3)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print the figures. Returns the exit status."""
    parser = _parser()
    chosen = parser.parse_args(arguments)
    if chosen.list:
        for scenario in catalogue.SCENARIOS:
            print(f"{scenario.name:16} {scenario.title}{' (short)' if scenario.short else ''}")
        for name, title in catalogue.BY_NAME_ONLY.items():
            print(f"{name:16} {title} (by name only)")
        return 0
    # SIGTERM must stop every started process, as Ctrl-C does
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        if chosen.build:
            auth_o_tron.build()
            return 0
        found, text = _logic(chosen) if chosen.only == [logic.NAME] else _all(chosen)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    _print(found, text)
    if chosen.json is not None:
        chosen.json.write_text(found.as_json() + "\n")
    if chosen.docs:
        manual.write(found)
    return int(bool(found.failed))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="CPU time per request, of the gateway and its peers.")
    parser.add_argument("--short", action="store_true", help="only the most important scenarios, in less than a minute")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="NAME",
        help="measure this scenario; may be given several times. logic (Python alone, in memory) needs no other program",
    )
    parser.add_argument(
        "--peer",
        action="append",
        default=[],
        metavar="NAME",
        help="measure this peer in addition to perimeter; may be given several times",
    )
    parser.add_argument("--against", type=Path, metavar="DIR", help="another checkout, measured as perimeter-before")
    parser.add_argument(
        "--seconds", type=float, metavar="N", help="duration of each load in whole seconds; logic does not use it"
    )
    parser.add_argument("--repeat", type=int, metavar="N", help="rounds; of logic: processes for each checkout")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure to FILE")
    parser.add_argument("--docs", action="store_true", help="write the figures and a chart into docs/performance.md")
    parser.add_argument("--build", action="store_true", help="only build Auth-o-tron from its crate")
    parser.add_argument("--list", action="store_true", help="only list the scenarios")
    return parser


def _logic(chosen: argparse.Namespace) -> tuple[Report, str]:
    """Measure the in-memory path, which needs no peers and no load generator. Returns the report and its table."""
    if chosen.docs:
        raise BenchError(f"--docs replaces the figures of all scenarios, and {logic.NAME} is not one of them")
    pairs = chosen.repeat or (logic.SHORT_PAIRS if chosen.short else logic.PAIRS)
    found = logic.run(chosen.against, pairs, lambda text: print(text, file=sys.stderr, flush=True))
    return found, logic.as_text(found.measurements, pairs)


def _all(chosen: argparse.Namespace) -> tuple[Report, str]:
    """Measure the chosen scenarios with the peers. Returns the report and its table."""
    found = _run(chosen)
    return found, table.as_text(found.measurements)


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
                # the figures of the other scenarios are still valid
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
    """The peers that were asked for and that the scenarios use."""
    useful = {name for scenario in selected for name in scenario.peers} | {"perimeter-before"}
    asked = {"perimeter", "perimeter-before", *chosen.peer}
    if chosen.peer:
        return useful & asked
    return useful & set(catalogue.SHORT_PEERS) if chosen.short else useful


def _print(found: Report, text: str) -> None:
    print()
    print(text)
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

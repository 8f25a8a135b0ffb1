"""``python -m bench.cluster``: simulates many machines that share their state over one Redis, and prints tables.

The same ``--seed`` gives the same tables. ``--quick`` takes some seconds, all of it some minutes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import attrs

from bench.cluster import capacity, scenarios
from bench.cluster.scenarios import REQUESTS


@attrs.frozen
class Plan:
    """What is simulated. ``spreads``: machines, revocations a second, and how many of them. ``failovers``: machines and seconds
    without a primary. ``restarts``: machines, revocations that there are, and whether the machines have kept their stores."""

    spreads: Sequence[tuple[int, int, int]]
    failovers: Sequence[tuple[int, float]]
    restarts: Sequence[tuple[int, int, bool]]
    active: Sequence[int]
    requests: int


QUICK: Final = Plan([(10, 10, 50), (20, 100, 100)], [(10, 5.0)], [(10, 2000, True), (10, 1000, False)], [1000], 5000)
WHOLE: Final = Plan(
    [
        *((nodes, rate, count) for nodes, count in ((10, 1000), (100, 500)) for rate in (1, 10, 100, 1000)),
        *((1000, rate, count) for rate, count in ((1, 30), (10, 100), (100, 200), (1000, 1000))),
    ],
    [(100, 5.0), (100, 30.0), (100, 120.0)],
    [(100, 0, True), (1000, 0, True), (100, 20_000, False)],
    [100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000],
    400_000,
)

TOKENS: Final = (10**5, 10**6, 10**7, 10**8)
SHARES: Final = (0.001, 0.01, 0.1)


def tables(plan: Plan, seed: int, say: Callable[[str], Any]) -> Iterator[str]:
    """All lines, as they are known."""
    yield from _table("Revocations: milliseconds until every machine refuses the token", _spreads(plan, seed, say))
    yield from _table("The primary fails", _failovers(plan, seed, say))
    yield from _table("All machines start at the same moment", _restarts(plan, seed, say))
    size, most = capacity.bytes_of_token(), capacity.most_kept()
    found = {one: capacity.hits(seed, one, plan.requests) for one in plan.active}
    yield from _table("API tokens in use: what a worker finds in memory, and what Redis is asked", _hits(found))
    yield from _table(f"API tokens in the memory of a worker ({size:.0f} bytes each, {most} at most)", _memory(size, most))


def _table(title: str, rows: Iterator[Sequence[str]]) -> Iterator[str]:
    yield f"**{title}**"
    yield ""
    head = next(rows)
    yield "| " + " | ".join(head) + " |"
    yield "|" + " ---: |" * len(head)
    for row in rows:
        yield "| " + " | ".join(row) + " |"
    yield ""


def _spreads(plan: Plan, seed: int, say: Callable[[str], Any]) -> Iterator[Sequence[str]]:
    yield (
        *("machines", "revocations/s", "revocations", "median", "p99", "longest", "longest after the answer"),
        *("deliveries/s", "commands/s", "Redis CPU"),
    )
    for nodes, rate, count in plan.spreads:
        say(f"{nodes} machines, {rate} revocations/s")
        one = scenarios.spread(seed, nodes, rate, count)
        times = (f"{value * 1e3:.1f}" for value in (one.p50, one.p99, one.longest, one.after_answer))
        yield (
            *(f"{one.nodes:,}", f"{one.rate:,}", str(one.revocations), *times),
            *(f"{one.deliveries:,.0f}", f"{one.reads:,.0f}", f"{one.cpu:.1%}"),
        )


def _failovers(plan: Plan, seed: int, say: Callable[[str], Any]) -> Iterator[Sequence[str]]:
    yield (
        *("machines", "away (s)", "removals are added again", "answered", "503", "lost", "oldest knowledge in use (s)"),
        *("served on it", "refused with 503", "all know again after (s)"),
    )
    for nodes, away in plan.failovers:
        for again in (True, False):
            say(f"{nodes} machines without a primary for {away:.0f} s")
            one = scenarios.fail_over(seed, nodes, away, 10.0, again=again)
            yield (
                *(f"{one.nodes:,}", f"{one.away:.0f}", "yes" if again else "no", str(one.answered), str(one.unanswered)),
                *(str(one.lost), f"{one.stale_seconds:.1f}", f"{one.stale:,.0f}", f"{one.refused:,.0f}", f"{one.recovered:.2f}"),
            )


def _restarts(plan: Plan, seed: int, say: Callable[[str], Any]) -> Iterator[Sequence[str]]:
    yield (
        "machines",
        "their stores",
        "revocations to read",
        "ready: median (s)",
        "ready: last (s)",
        "commands",
        "MB",
        "Redis CPU (s)",
    )
    for nodes, revocations, keeps in plan.restarts:
        say(f"{nodes} machines start")
        one = scenarios.restart(seed, nodes, revocations, keeps=keeps)
        yield (
            *(f"{one.nodes:,}", "kept" if keeps else "lost", "1,000 of the log" if keeps else f"{one.revocations:,} of the base"),
            *(f"{one.median:.2f}", f"{one.longest:.2f}", f"{one.commands:,}", f"{one.megabytes:.1f}", f"{one.cpu:.2f}"),
        )


def _hits(found: dict[int, capacity.Hits]) -> Iterator[Sequence[str]]:
    yield "in use", "found (Zipf)", "found (uniform)", "GET/s of 1,000 machines (Zipf)", "GET/s of 1,000 machines (uniform)"
    for one in found.values():
        asked = (f"{1000 * REQUESTS * (1 - rate):,.0f}" for rate in (one.zipf, one.uniform))
        yield f"{one.active:,}", f"{one.zipf:.2%}", f"{one.uniform:.2%}", *asked


def _memory(size: float, most: int) -> Iterator[Sequence[str]]:
    yield "API tokens", *(f"{share:.1%} in use" for share in SHARES), "all in memory (not done)"
    for tokens in TOKENS:
        kept = (f"{min(int(tokens * share), most) * size / 1e6:,.1f} MB" for share in SHARES)
        yield f"{tokens:,}", *kept, f"{tokens * size / 1e6:,.0f} MB"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.cluster", description=str(__doc__).split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="few machines, in some seconds")
    parser.add_argument("--seed", type=int, default=15)
    chosen = parser.parse_args(arguments)
    for line in tables(QUICK if chosen.quick else WHOLE, chosen.seed, lambda text: print(text, file=sys.stderr, flush=True)):
        print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

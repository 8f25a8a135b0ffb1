"""``python -m bench.cluster_run``: real gateways, Redis servers and Sentinels; the primary is killed once in a while.

Prints what the clients have seen. Ends with 1 if anything has happened that must not.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from bench.cluster_run.load import Found, Load
from bench.cluster_run.stage import Stage
from bench.errors import BenchError


async def run(chosen: argparse.Namespace) -> tuple[Found, list[float]]:
    """What the clients have found, and the seconds of the run at which a primary was killed."""
    stage = Stage(chosen.gateways, chosen.stale_limit, chosen.folder)
    try:
        await stage.start()
        load = Load(stage.gateways, chosen.clients, chosen.pause, chosen.seed)
        await load.prepare(chosen.users)
        load.start()
        kills = await _kill(stage, load.found, chosen)
        return await load.stop(), kills
    finally:
        await stage.close()


async def _kill(stage: Stage, found: Found, chosen: argparse.Namespace) -> list[float]:
    kills: list[float] = []
    while found.at < chosen.seconds:
        await asyncio.sleep(min(chosen.every, chosen.seconds - found.at))
        if chosen.seconds - found.at < chosen.every / 2:
            break
        primary = await asyncio.to_thread(stage.redis.primary)
        kills.append(found.at)
        print(
            f"{found.at:.1f} s: kill -9 of the primary on port {primary.port}; {len(found.breaches)} breaches",
            file=sys.stderr,
            flush=True,
        )
        primary.kill()
        await asyncio.sleep(chosen.down)
        await asyncio.to_thread(primary.start)
    return kills


def by_second(found: Found, kills: Sequence[float], most: int = 15) -> list[str]:
    """Rows of a table: the statuses by the whole seconds since a kill, over all kills."""
    rows = ["| seconds after a kill | answers | 503 | other 5xx | no answer |", "|---|---|---|---|---|"]
    for second in range(most):
        sums: Counter[int] = sum((found.seconds[int(kill) + second] for kill in kills), Counter())
        other = sum(count for status, count in sums.items() if status >= 500 and status != 503)
        rows.append(f"| {second} | {sums.total()} | {sums[503]} | {other} | {sums[0]} |")
    return rows


def report(found: Found, kills: Sequence[float]) -> str:
    """All that is printed."""
    total: Counter[int] = sum(found.seconds.values(), Counter())
    cuts = statistics.quantiles(found.took, n=100, method="inclusive") if len(found.took) > 1 else [0.0] * 99
    slowest = max(found.took, default=0.0)
    lines = [f"{found.at:.0f} s, {len(kills)} primaries killed, {total.total()} answers", ""]
    lines += ["| what | number |", "|---|---|"]
    lines += [f"| {name} | {count} |" for name, count in sorted(found.counts.items())]
    lines += [f"| status {status or 'none'} | {count} |" for status, count in sorted(total.items())]
    lines += [
        f"| a revocation was answered after (median, p99, longest) | {cuts[49]:.3f}, {cuts[98]:.3f}, {slowest:.3f} s |",
        f"| accepted after that answer | {len(found.late)}, at most {max(found.late, default=0.0):.3f} s later |",
        f"| must never happen, and has | {len(found.breaches)} |",
        "",
        *by_second(found, kills),
        "",
        *found.breaches[:20],
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, and print. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.cluster_run", description=str(__doc__).split("\n", 1)[0])
    parser.add_argument("--gateways", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=600.0, help="duration")
    parser.add_argument("--every", type=float, default=60.0, help="seconds from the start of a Redis to the next kill")
    parser.add_argument("--down", type=float, default=10.0, help="seconds until a killed Redis is started again")
    parser.add_argument("--clients", type=int, default=2, help="clients of each of the five kinds")
    parser.add_argument("--pause", type=float, default=0.5, help="mean seconds between two works of a client")
    parser.add_argument("--users", type=int, default=60, help="users with ten one-time codes each")
    parser.add_argument("--stale-limit", default="60s")
    parser.add_argument("--folder", type=Path, help="a new folder for the files of all processes, which stay there")
    parser.add_argument("--seed", type=int, default=15)
    chosen = parser.parse_args(arguments)
    try:
        found, kills = asyncio.run(run(chosen))
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    print(report(found, kills))
    return int(bool(found.breaches) or not found.counts["revocations"])


if __name__ == "__main__":
    sys.exit(main())

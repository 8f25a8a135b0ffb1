"""``python -m bench.chaos.soak``: many lasting connections for minutes; the memory of the gateway must stay flat.

Each connection sends a request every five seconds; one in twenty connections sends five a second. A line for each minute: memory,
descriptors, answers. Memory is the proportional set size, which counts pages that processes share once.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import attrs

from bench.chaos import cases
from bench.chaos.__main__ import sorts
from bench.chaos.cases import CASES
from bench.chaos.gateway import Gateway
from bench.chaos.load import Load
from bench.chaos.records import judge
from bench.ports import free_port
from bench.processes import family

FLAT = 1.05
"""The memory at the end may be this many times that after the first fifth of the time."""


@attrs.frozen
class Minute:
    """The state at a time (seconds since the start). Memory is in MiB."""

    at: float
    memory: float
    largest: float
    descriptors: int
    answers: int


def look(gateway: Gateway, answers: int, at: float) -> Minute:
    """The gateway's memory and open descriptors now."""
    sizes, descriptors = [], 0
    for pid in family([gateway.pid]):
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            sizes.append(sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024)
            descriptors += sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    return Minute(at, sum(sizes), max(sizes, default=0.0), descriptors, answers)


async def soak(workers: int, connections: int, minutes: float) -> bool:
    """Print the table. Returns whether there is no problem."""
    folder = Path(tempfile.mkdtemp(prefix="perimeter-soak."))
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        port = free_port()
        service = cases.service(port, folder)
        stack.callback(service.wait)
        stack.callback(service.kill)
        gateway = Gateway(folder, workers, port)
        stack.push_async_callback(gateway.stop)
        await gateway.start()
        found = await sorts(gateway, CASES[0])
        short, lasting = connections // 20, connections - connections // 20
        marks = [secrets.token_hex(4) for _ in range(2)]
        loads = [
            Load(gateway.port, found, lasting // len(found), marks[0], think=5.0),
            Load(gateway.port, found, max(1, short // len(found)), marks[1], think=0.2),
        ]
        print("| minute | memory (MiB) | largest process (MiB) | descriptors | answers |\n|---|---|---|---|---|", flush=True)
        rows: list[Minute] = []
        began = time.monotonic()
        while time.monotonic() - began < minutes * 60:
            await asyncio.sleep(min(60.0, max(1.0, minutes * 6)))
            row = look(gateway, sum(len(load.outcome.answered) for load in loads), time.monotonic() - began)
            rows.append(row)
            print(f"| {row.at / 60:.1f} | {row.memory:.1f} | {row.largest:.1f} | {row.descriptors} | {row.answers} |", flush=True)
        outcomes = [await load.stop() for load in loads]
        await gateway.stop()
        problems = [breach for outcome in outcomes for breach in outcome.breaches[:3]]
        for outcome, mark in zip(outcomes, marks, strict=True):
            judgement = judge(gateway.audit, outcome.answered, mark)
            if judgement.missing or judgement.torn:
                problems.append(f"{judgement.missing} answers without a record, {judgement.torn} torn lines")
            if outcome.cut or outcome.refused:
                problems.append(f"{outcome.cut} requests cut, {outcome.refused} connections refused")
        first = rows[len(rows) // 5].memory
        if rows[-1].memory > first * FLAT:
            problems.append(f"memory grew from {first:.1f} to {rows[-1].memory:.1f} MiB")
        print("\n".join(problems) or "no problems")
        return not problems
    raise AssertionError("unreachable")


def main(arguments: Sequence[str] | None = None) -> int:
    """Ends with 1 if something went wrong or memory grew."""
    parser = argparse.ArgumentParser(prog="python -m bench.chaos.soak", description=str(__doc__).split("\n", 1)[0])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--connections", type=int, default=2000)
    parser.add_argument("--minutes", type=float, default=10.0)
    chosen = parser.parse_args(arguments)
    return int(not asyncio.run(soak(chosen.workers, chosen.connections, chosen.minutes)))


if __name__ == "__main__":
    sys.exit(main())

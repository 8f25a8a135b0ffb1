"""``python -m bench.chaos``: runs the cases one after the other, and prints a table."""

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
from bench.chaos.cases import CALM, CASES, Case, Scene
from bench.chaos.gateway import Gateway, basic
from bench.chaos.load import Load, Outcome, Sort
from bench.chaos.records import Judgement, judge
from bench.directory import Directory
from bench.errors import BenchError
from bench.material import PASSWORD, USER
from bench.ports import free_port

RECOVERY = 15.0
"""Seconds after the end of a fault within which everything must be as before."""


@attrs.frozen
class Result:
    """The result of a case. ``recovered`` is the time from the end of the fault to the last unusual answer (seconds)."""

    case: Case
    outcome: Outcome
    judgement: Judgement
    recovered: float
    notes: tuple[str, ...]

    @property
    def problems(self) -> list[str]:
        """The problems of a case, in words."""
        outcome, judgement = self.outcome, self.judgement
        found = [*outcome.breaches[:3]]
        if judgement.missing:
            found.append(f"{judgement.missing} answers have no audit record, such as {judgement.example}")
        if judgement.differing:
            found.append(f"{judgement.differing} audit records have another status than the answer, such as {judgement.example}")
        found += [f"unexpected: {name} ({count})" for name, count in outcome.unexpected.items()]
        if self.recovered > RECOVERY:
            found.append(f"not as before {RECOVERY:.0f} s after the fault")
        return found


async def run(case: Case, workers: int, clients: int) -> Result:
    """Run one case in a folder of its own, which is removed."""
    folder = Path(tempfile.mkdtemp(prefix="perimeter-chaos."))
    mark = secrets.token_hex(4)
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        stack.callback(case.tidy, folder)
        port = free_port()
        service = cases.service(port, folder)
        stack.callback(service.wait)
        stack.callback(service.kill)
        more, known = case.prepare(folder), None
        if case.directory:
            known = Directory(cases.surroundings(folder), [USER])
            known.__enter__()
            stack.callback(known.stop)
            more = cases.directory_section(known.port)
        environ = {"LD_PRELOAD": str(folder / "clock.so"), "CLOCK_OFFSET": str(folder / "clock")} if case.clock else {}
        gateway = Gateway(folder, workers, port, more, environ)
        stack.push_async_callback(gateway.stop)
        await gateway.start()
        scene = Scene(gateway, service, folder, known)
        load = Load(gateway.port, await sorts(gateway, case), clients, mark)
        try:
            await asyncio.sleep(CALM)
            await case.disturb(scene)
            over = time.monotonic()
            await _calm(load, over)
        finally:
            outcome = await load.stop()
        await gateway.stop()
        answers = {target: status for target, status in outcome.answered.items() if status != 503 or not case.unrecorded}
        judgement = judge(gateway.audit, answers, mark)
        return Result(case, outcome, judgement, max(0.0, outcome.last_trouble - over), tuple(scene.notes))
    raise AssertionError("unreachable")


async def _calm(load: Load, over: float) -> None:
    """Wait until every answer has been as usual for `CALM` seconds, for `RECOVERY` at most."""
    while time.monotonic() - over < RECOVERY + CALM:
        if time.monotonic() - max(over, load.outcome.last_trouble) > CALM:
            return
        await asyncio.sleep(0.1)


async def sorts(gateway: Gateway, case: Case) -> tuple[Sort, ...]:
    """The sorts of clients: a user, a holder of an API token, a stranger, the holder of a revoked token."""
    token, _ = await gateway.api_token("bob", "builder")
    gone, id = await gateway.api_token("bob", "builder")
    status = await gateway.revoke("bob", "builder", id)
    if status not in (200, 204):
        raise BenchError(f"the token was not revoked: {status}")
    found: tuple[Sort, ...] = (
        Sort("user", f"Authorization: {basic('alice', 'wonderland')}\r\n", frozenset({200}), "alice"),
        Sort("token", f"Authorization: Bearer {token}\r\n", frozenset({200}), "bob"),
        Sort("stranger", "", frozenset({401})),
        Sort("revoked", f"Authorization: Bearer {gone}\r\n", frozenset({401})),
    )
    if case.directory:
        found += (Sort("directory", f"Authorization: {basic(USER, PASSWORD)}\r\n", frozenset({200}), USER),)
    return found


def row(result: Result) -> tuple[str, ...]:
    """A line of the table."""
    outcome, judgement = result.outcome, result.judgement
    refusals = sum(count for status, count in outcome.statuses.items() if status >= 500)
    return (
        result.case.title,
        str(len(outcome.answered)),
        str(refusals),
        str(outcome.cut + outcome.refused),
        str(judgement.missing),
        str(judgement.torn),
        str(len(outcome.breaches)),
        f"{result.recovered:.1f}",
        "; ".join(result.notes),
    )


HEAD = ("fault", "answers", "5xx", "cut or refused", "without record", "torn lines", "breaches", "recovered after (s)", "")


def table(rows: Sequence[Sequence[str]]) -> str:
    """``rows`` as a Markdown table."""
    return "\n".join(f"| {' | '.join(one)} |" for one in (HEAD, ["---"] * len(HEAD), *rows))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the cases. Ends with 1 if one of them shows a problem."""
    parser = argparse.ArgumentParser(prog="python -m bench.chaos", description="Faults under load.")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--clients", type=int, default=4, metavar="N", help="connections of each sort of client")
    parser.add_argument("--only", action="append", default=[], choices=[case.name for case in CASES])
    chosen = parser.parse_args(arguments)
    rows, bad = [], False
    for case in CASES:
        if (chosen.only and case.name not in chosen.only) or case.workers > chosen.workers:
            continue
        print(f"{case.name}: {case.title}", file=sys.stderr, flush=True)
        try:
            result = asyncio.run(run(case, chosen.workers, chosen.clients))
        except BenchError as error:
            print(f"bench: {case.name}: {error}", file=sys.stderr)
            bad = True
            continue
        rows.append(row(result))
        for problem in result.problems:
            bad = True
            print(f"  problem: {problem}", file=sys.stderr, flush=True)
    print(table(rows))
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())

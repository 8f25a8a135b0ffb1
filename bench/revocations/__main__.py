"""``python -m bench.revocations``: revokes tokens at one worker and uses them at all, and prints a table.

First a whole gateway over HTTP: each access token is revoked at one worker, and after the answer used at every worker.
Then the state alone, to measure how long an answer waits for the other workers, without the time of the disk.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import psutil

from bench.chaos.gateway import Gateway
from bench.errors import BenchError
from bench.ports import free_port
from bench.revocations.worker import StateWorkers
from perimeter.cli.site import WallClock
from perimeter.config.site.token import TokenSettings
from perimeter.model import Principal
from perimeter.tokens.issuer import TokenIssuer
from perimeter.tokens.keyring import Keyring

AIM = 5.0
"""The most milliseconds that 99 of 100 answers wait for the other workers, on a machine with a core for each."""


class Connection:
    """A connection to one worker that lasts."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 10)
        self._file = self.socket.makefile("rb")

    def ask(self, method: str, target: str, *lines: str, body: bytes = b"") -> tuple[int, bytes]:
        """Status and body of the answer."""
        head = [f"{method} {target} HTTP/1.1", "Host: gateway", f"Content-Length: {len(body)}", *lines]
        self.socket.sendall("\r\n".join((*head, "", "")).encode() + body)
        status, length = int(self._file.readline().split()[1]), 0
        while (line := self._file.readline().strip().lower()) != b"":
            if line.startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        return status, self._file.read(length)


def one_for_each(port: int, count: int) -> list[Connection]:
    """A connection to each worker of the gateway on ``port``. Raises `BenchError`."""
    found: dict[int, Connection] = {}
    for _ in range(500):
        connection = Connection(port)
        connection.ask("GET", "/health")
        ours = connection.socket.getsockname()[1]
        for one in psutil.net_connections("tcp"):
            if one.laddr and one.laddr.port == port and one.raddr and one.raddr.port == ours and one.pid is not None:
                found.setdefault(one.pid, connection)
        if len(found) == count:
            return list(found.values())
    raise BenchError("a worker gets no connection")


def over_http(workers: int, tries: int) -> tuple[int, list[float]]:
    """Revoke ``tries`` tokens. Returns how often any worker has let a revoked token in, and the seconds of each revocation."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="perimeter-revocations.")))
        gateway = Gateway(folder, workers, free_port(), "[metrics]\n")
        loop = asyncio.new_event_loop()
        stack.callback(loop.close)
        stack.callback(lambda: loop.run_until_complete(gateway.stop()))
        loop.run_until_complete(gateway.start())
        keyring = Keyring.read(gateway.state, TokenSettings(), WallClock())
        return _revoke(one_for_each(gateway.port, workers), TokenIssuer(keyring, TokenSettings(), WallClock()), tries)


def _revoke(connections: Sequence[Connection], issuer: TokenIssuer, tries: int) -> tuple[int, list[float]]:
    admitted, took = 0, []
    form = "Content-Type: application/x-www-form-urlencoded"
    for number in range(tries):
        revoker = connections[number % len(connections)]
        token = issuer.issue(Principal("alice", "local"), 3600.0).access_token
        line = f"Authorization: Bearer {token}"
        # The service does not exist: 502 means that the gateway has let the request in.
        if [one.ask("GET", "/x", line)[0] for one in connections] != [502] * len(connections):
            raise BenchError("a new token is not valid everywhere")
        began = time.perf_counter()
        status, _ = revoker.ask("POST", "/revoke", form, body=f"token={token}".encode())
        took.append(time.perf_counter() - began)
        if status != 200:
            raise BenchError(f"not revoked: {status}")
        admitted += sum(one.ask("GET", "/x", line)[0] != 401 for one in connections)
    return admitted, took


def of_the_state(workers: int, tries: int) -> tuple[int, list[float], list[float]]:
    """Revoke with the state alone. Returns how often a worker did not know, the seconds of revocations, and of their waits."""
    with tempfile.TemporaryDirectory(prefix="perimeter-revocations.") as folder:
        processes = StateWorkers(Path(folder), workers)
        try:
            unknown, took, waits = 0, [], []
            for number in range(tries):
                committed, seconds, wait = processes.ask(number % workers, do="revoke", jti=f"jti-{number}")
                unknown += sum(slot.applied < committed for slot in processes.page.slots[:workers])
                took.append(seconds)
                waits.append(wait)
            return unknown, took, waits
        finally:
            processes.close()


def row(name: str, wrong: int, seconds: Sequence[float]) -> str:
    """A row of the table: times in milliseconds."""
    cuts = statistics.quantiles(seconds, n=1000)
    figures = (statistics.median(seconds), cuts[989], max(seconds))
    return f"{name:34} {len(seconds):7} {wrong:9}" + "".join(f" {figure * 1e3:9.2f}" for figure in figures)


def main() -> int:
    """Print the table. Returns the exit status: 1 if a revoked token was let in, or the waits are longer than the aim."""
    parser = argparse.ArgumentParser(prog="python -m bench.revocations", description=__doc__)
    parser.add_argument("--tries", type=int, default=10_000, help="revocations (default: 10000)")
    parser.add_argument("--workers", type=int, default=2, help="worker processes (default: 2)")
    chosen = parser.parse_args()
    try:
        print(f"{'revocations':34} {'count':>7} {'let in':>9} {'median':>9} {'p99':>9} {'longest':>9}  (ms)", flush=True)
        alone, took = over_http(1, max(100, chosen.tries // 10))
        print(row("HTTP, 1 worker", alone, took), flush=True)
        admitted, took = over_http(chosen.workers, chosen.tries)
        print(row(f"HTTP, {chosen.workers} workers", admitted, took), flush=True)
        unknown, took, waits = of_the_state(chosen.workers, chosen.tries)
        print(row(f"state alone, {chosen.workers} workers", unknown, took), flush=True)
        print(row("of that, the wait for the others", unknown, waits), flush=True)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return int(bool(alone or admitted or unknown) or statistics.quantiles(waits, n=100)[98] * 1e3 > AIM)


if __name__ == "__main__":
    sys.exit(main())

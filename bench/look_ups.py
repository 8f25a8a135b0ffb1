"""How long a state with many API tokens takes to load, and what it takes of memory: ``python -m bench.look_ups [TOKENS ...]``.

For each number of tokens, a process of its own opens ``state.db`` and loads it: all of it in memory, and with what is in use
only (`[perimeter] whole_up_to`). Then it looks up tokens one after the other, as requests that come to an empty memory do.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from math import inf
from pathlib import Path
from typing import Any

from perimeter.model import Principal
from perimeter.run.build.state_kinds import STATE_KINDS
from perimeter.state.direct import DirectState
from perimeter.state.sqlite import SqliteStore
from perimeter.tokens.api_token import mint
from perimeter.tokens.stored import TOKENS
from perimeter.tokens.tables import TokenTable

_NUMBERS = (10_000, 100_000, 1_000_000)
_WHOLE_UP_TO = 200_000
_AT_ONCE = 10_000
_LOOK_UPS = 10_000


def fill(directory: Path, number: int) -> None:
    """Make ``state.db`` in ``directory`` with that many API tokens, of ten users for each hundred."""
    store = SqliteStore(directory, STATE_KINDS)
    table = TokenTable()
    for first in range(0, number, _AT_ONCE):
        with store._transaction():
            for one in range(first, min(first + _AT_ONCE, number)):
                owner = Principal(f"user{one // 10}", "local", ("dev",), "users")
                table.write(store._db.execute, mint("ci", owner, float(one), inf)[1])
    store.close()


def _peak() -> float:
    """MiB of memory that the process has taken at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(directory: Path, whole_up_to: int) -> dict[str, Any]:
    """Load ``state.db``, and look tokens up."""
    before = _peak()
    began = time.perf_counter()
    store = SqliteStore(directory, STATE_KINDS, whole_up_to=whole_up_to)
    state = DirectState(store, STATE_KINDS, lambda: 0.0)
    started = time.perf_counter() - began
    tokens, loaded = state.view(TOKENS), _peak()
    digests = [digest for (digest,) in store._db.execute("SELECT digest FROM api_token ORDER BY random() LIMIT ?", (_LOOK_UPS,))]
    began = time.perf_counter()
    for digest in digests:
        if tokens.find(digest) is None:
            tokens.learn(("digest", digest.hex()))
            assert tokens.find(digest) is not None
    took = (time.perf_counter() - began) / len(digests)
    return {
        "whole": tokens.complete,
        "start": started,
        "memory": loaded - before,
        "look_up": took * 1e6,
        "after": _peak() - before,
    }


def main(arguments: Sequence[str]) -> None:
    """Print the table, or measure one directory in this process (``measure DIRECTORY WHOLE_UP_TO``)."""
    if arguments and arguments[0] == "measure":
        print(json.dumps(measure(Path(arguments[1]), int(arguments[2]))))
        return
    print("| API tokens | in memory | start | memory at the start | one look-up | memory after 10,000 look-ups |")
    print("| ---: | --- | ---: | ---: | ---: | ---: |")
    for number in map(int, arguments) if arguments else _NUMBERS:
        with tempfile.TemporaryDirectory() as name:
            fill(Path(name), number)
            for whole_up_to in (number, min(_WHOLE_UP_TO, number - 1)):
                command = [sys.executable, "-m", "bench.look_ups", "measure", name, str(whole_up_to)]
                one = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
                kept = "all" if one["whole"] else "those in use"
                print(
                    f"| {number:,} | {kept} | {one['start']:.2f} s | {one['memory']:.0f} MiB "
                    f"| {one['look_up']:.1f} µs | {one['after']:.0f} MiB |",
                    flush=True,
                )


if __name__ == "__main__":
    main(sys.argv[1:])

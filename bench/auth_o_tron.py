"""Builds Auth-o-tron from its crate with cargo, once, into a cache. The benchmark and the comparison of answers use it.

The crate is ``authotron``. (The crate ``auth-o-tron`` is an unrelated program for one-time passwords.)
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

from bench.errors import BenchError
from bench.programs import have

CRATE, VERSION = "authotron", "0.3.7"


def _root() -> Path:
    cache = os.environ.get("PERIMETER_BENCH_CACHE")
    return (Path(cache) if cache else Path.home() / ".cache" / "perimeter-bench") / f"{CRATE}-{VERSION}"


def binary() -> Path:
    """The path of the program after it is built."""
    return _root() / "bin" / CRATE


def missing() -> str | None:
    """The reason why Auth-o-tron cannot be used now, or None."""
    if binary().exists():
        return None
    if not have("cargo"):
        return f"Auth-o-tron is built from its crate, and cargo is not installed (install Rust, or put a binary at {binary()})"
    return "Auth-o-tron is not built yet (python -m bench --build builds it once)"


def build() -> None:
    """Build the program if it is not built yet. This takes a quarter of an hour on a small machine. Raises `BenchError`."""
    if not binary().exists() and not have("cargo"):
        raise BenchError(str(missing()))
    root = _root()
    root.mkdir(parents=True, exist_ok=True)
    with (root / "lock").open("w") as lock:
        # another run may be building it
        fcntl.flock(lock, fcntl.LOCK_EX)
        if binary().exists():
            return
        log = root / "build.log"
        print(f"building {CRATE} {VERSION}, once; the log is {log}", file=sys.stderr, flush=True)
        command = ["nice", "cargo", "install", "--locked", "--root", str(root), f"{CRATE}@{VERSION}"]
        with log.open("wb") as output:
            status = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False).returncode
    if status:
        raise BenchError(f"Auth-o-tron could not be built, see {log}")

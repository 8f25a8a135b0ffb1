"""Finds external programs, runs them, and reads their versions."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from collections.abc import Sequence

from bench.errors import BenchError

# on Debian, an ordinary user's path does not contain the directories of servers
SEARCH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
"""The search path for programs."""


def have(program: str) -> bool:
    """Whether the program is installed."""
    return shutil.which(program, path=SEARCH) is not None


def not_installed(program: str) -> str | None:
    """The reason why the program cannot be used, or None."""
    return None if have(program) else f"{program} is not installed (scripts/install-bench-peers)"


def run(command: Sequence[str], seconds: float = 60.0) -> None:
    """Run a program, for at most ``seconds``. Raises `BenchError` if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    if done.returncode:
        raise BenchError(f"{command[0]} ended with {done.returncode}: {done.stderr.strip()[-1000:]}")


@functools.cache
def version(command: Sequence[str], pattern: str) -> str:
    """The first group of ``pattern`` in the output of ``command``, or ``unknown``."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except OSError:
        return "unknown"
    found = re.search(pattern, done.stdout + done.stderr)
    return found[1] if found else "unknown"


def slapd_version() -> str:
    """The version of slapd."""
    return version((str(shutil.which("slapd", path=SEARCH)), "-VV"), r"slapd (\S+)")


def nginx_version() -> str:
    """The version of nginx."""
    return version(("nginx", "-v"), r"nginx/(\S+)")

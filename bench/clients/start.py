"""Starts the programs of this package on the core for loads, and reads what they print."""

from __future__ import annotations

import json
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.peers.base import Surroundings
from bench.processes import pinned

_ROOT = Path(__file__).parents[2]


class Client:
    """One running program; ``arguments`` are its own. A context manager that ends the program on exit."""

    def __init__(self, around: Surroundings, name: str, *arguments: str) -> None:
        self._name = name
        command = [sys.executable, "-m", f"bench.clients.{name}", *arguments]
        self._popen = subprocess.Popen(
            pinned(command, around.cores.load),
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: object) -> None:
        self._popen.terminate()
        self._popen.communicate()

    def go(self) -> None:
        """Send a line to a program that waits for it."""
        assert self._popen.stdin is not None
        self._popen.stdin.write("\n")
        self._popen.stdin.flush()

    def line(self, timeout: float) -> dict[str, Any]:
        """The line that the program prints while it runs, within ``timeout`` seconds. Raises `BenchError`."""
        assert self._popen.stdout is not None
        readable, _, _ = select.select([self._popen.stdout], [], [], timeout)
        if not readable:
            raise BenchError(f"{self._name} printed no line in time")
        return self._read(self._popen.stdout.readline())

    def result(self, timeout: float) -> dict[str, Any]:
        """The line that the program prints at its end, within ``timeout`` seconds. Raises `BenchError`."""
        try:
            output, errors = self._popen.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.communicate()
            raise BenchError(f"{self._name} did not end in time") from None
        if self._popen.returncode:
            raise BenchError(f"{self._name} ended with {self._popen.returncode}: {errors.strip()[-1000:]}")
        return self._read(output)

    def _read(self, text: str) -> dict[str, Any]:
        try:
            read = json.loads(text)
        except ValueError:
            errors = self._popen.communicate()[1]
            raise BenchError(f"{self._name} printed {text!r}: {errors.strip()[-1000:]}") from None
        assert isinstance(read, dict)
        return read

"""Starts processes on fixed cores, and reads their CPU time from the kernel.

CPU time is user and system time from ``/proc/PID/stat`` (proc(5)) of a process, its threads and its descendants. The kernel
counts nanoseconds and reports hundredths of a second, so the precision for a run of one second is 1 %.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import attrs

from bench.errors import BenchError

_TICKS = os.sysconf("SC_CLK_TCK")
START_TIMEOUT = 60.0
"""Seconds within which a server must listen on its port."""
STOP_TIMEOUT = 15.0


@attrs.frozen
class Cores:
    """The cores: one for the gateway that is measured, the others for everything else."""

    gateway: int
    load: int
    upstream: int

    @classmethod
    def of_this_machine(cls) -> Cores:
        """With at least three cores the upstream has its own. Raises `BenchError` if there is only one core."""
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) < 2:
            raise BenchError("a run needs two cores: one for the gateway, one for the load generator")
        return cls(cores[0], cores[1], cores[min(2, len(cores) - 1)])


def pinned(command: Sequence[str], core: int) -> list[str]:
    """Return ``command`` so that it runs on one core and ends with this process, even if this process is killed."""
    return ["setpriv", "--pdeathsig", "TERM", "taskset", "--cpu-list", str(core), *command]


class Process:
    """A server that runs until it is stopped. Its output goes to a file."""

    def __init__(
        self, name: str, command: Sequence[str], core: int, directory: Path, environ: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.log = directory / f"{name}.log"
        with self.log.open("wb") as log:
            self._popen = subprocess.Popen(
                pinned(command, core),
                cwd=directory,
                env={**os.environ, **(environ or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @property
    def pid(self) -> int:
        """The process id."""
        return self._popen.pid

    def wait_for_port(self, port: int, host: str = "127.0.0.1") -> None:
        """Return as soon as ``port`` accepts connections. Raises `BenchError` if the process ends before, or takes too long."""
        end = time.monotonic() + START_TIMEOUT
        while True:
            with socket.socket() as probe:
                if probe.connect_ex((host, port)) == 0:
                    return
            if self._popen.poll() is not None:
                raise BenchError(f"{self.name} ended with {self._popen.returncode}: {self.last_words()}")
            if time.monotonic() > end:
                raise BenchError(f"{self.name} does not listen on port {port}: {self.last_words()}")
            time.sleep(0.02)

    def last_words(self) -> str:
        """The last part of its output."""
        return self.log.read_text(errors="replace")[-2000:].strip()

    def stop(self) -> None:
        """Send SIGTERM, then SIGKILL if the process does not end."""
        if self._popen.poll() is None:
            self._popen.send_signal(signal.SIGTERM)
            try:
                self._popen.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                for pid in family([self.pid]):
                    os.kill(pid, signal.SIGKILL)
        self._popen.wait()


def family(roots: Iterable[int]) -> list[int]:
    """These processes and their descendants that are running."""
    found: list[int] = []
    waiting = list(roots)
    while waiting:
        pid = waiting.pop()
        try:
            threads = list(Path(f"/proc/{pid}/task").iterdir())
            for thread in threads:
                waiting += [int(child) for child in (thread / "children").read_text().split()]
        except OSError:
            continue
        found.append(pid)
    return found


def parse_stat(text: str) -> int:
    """The CPU ticks in a ``/proc/PID/stat``: those of the process, and those of children that it has waited for."""
    # the name, in parentheses, may contain spaces and parentheses; field 3 is the first after the name, and utime is field 14
    fields = text.rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15])


def cpu_seconds(processes: Iterable[Process]) -> float:
    """User and system time of ``processes`` and all their descendants."""
    ticks = 0
    for pid in family(process.pid for process in processes):
        try:
            ticks += parse_stat(Path(f"/proc/{pid}/stat").read_text())
        except OSError:
            continue
    return ticks / _TICKS


def memory(processes: Iterable[Process]) -> int:
    """Bytes of memory: the proportional set size, which counts shared pages once."""
    total = 0
    for pid in family(process.pid for process in processes):
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total

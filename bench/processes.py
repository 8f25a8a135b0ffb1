"""Processes on their cores, and what the kernel says that they took.

CPU is user and system time from ``/proc/PID/stat`` (proc(5)), of a process, all its threads and its descendants. The kernel
counts by the nanosecond and tells hundredths of a second: a run of a second is known to 1 %.
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
"""Seconds until a port must be listening."""
STOP_TIMEOUT = 15.0


@attrs.frozen
class Cores:
    """Where things run: the gateways on a core of their own, everything that is not measured beside it."""

    gateway: int
    load: int
    upstream: int

    @classmethod
    def of_this_machine(cls) -> Cores:
        """With three cores or more the upstream has its own. Raises `BenchError` where there is only one."""
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) < 2:
            raise BenchError("a run needs two cores: one for the gateway, one for what loads it")
        return cls(cores[0], cores[1], cores[min(2, len(cores) - 1)])


def pinned(command: Sequence[str], core: int) -> list[str]:
    """``command`` on one core, to end with this process even where that is killed."""
    return ["setpriv", "--pdeathsig", "TERM", "taskset", "--cpu-list", str(core), *command]


class Process:
    """A server that runs until it is stopped, with its output in a file."""

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
        """Its id."""
        return self._popen.pid

    def wait_for_port(self, port: int, host: str = "127.0.0.1") -> None:
        """Return once ``port`` accepts connections. Raises `BenchError` where the process ends before, or takes too long."""
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
        """The end of its output."""
        return self.log.read_text(errors="replace")[-2000:].strip()

    def stop(self) -> None:
        """SIGTERM, and SIGKILL for what does not listen."""
        if self._popen.poll() is None:
            self._popen.send_signal(signal.SIGTERM)
            try:
                self._popen.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                for pid in family([self.pid]):
                    os.kill(pid, signal.SIGKILL)
        self._popen.wait()


def family(roots: Iterable[int]) -> list[int]:
    """These processes and their descendants, as far as they live."""
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
    """The ticks of CPU in a ``/proc/PID/stat``: its own, and those of children that it has waited for."""
    # the name, in parentheses, may hold spaces and parentheses; utime is field 14, and what follows the name begins with 3
    fields = text.rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15])


def cpu_seconds(processes: Iterable[Process]) -> float:
    """User and system time of ``processes`` and all that they started."""
    ticks = 0
    for pid in family(process.pid for process in processes):
        try:
            ticks += parse_stat(Path(f"/proc/{pid}/stat").read_text())
        except OSError:
            continue
    return ticks / _TICKS


def memory(processes: Iterable[Process]) -> int:
    """Octets of memory that are theirs: the proportional set size, which counts shared pages once."""
    total = 0
    for pid in family(process.pid for process in processes):
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total

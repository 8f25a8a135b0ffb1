"""Runs processes with only the state of a worker (`bench.revocations.process`)."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, Any, cast

from perimeter.workers.page import SharedPage, SlotState


class StateWorkers:
    """``count`` processes with one state.db in ``directory`` and one page."""

    def __init__(self, directory: Path, count: int) -> None:
        self.directory = directory
        self.page = SharedPage.create()
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        for number in range(count):
            self.start(number)

    def start(self, number: int) -> None:
        """Start the worker of a slot."""
        self.page.clear(number, SlotState.STARTING)
        descriptors = (self.page.descriptor, *self.page.wakers)
        self.processes[number] = subprocess.Popen(
            [sys.executable, "-m", "bench.revocations.process", str(self.directory), str(number), *map(str, descriptors)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=descriptors,
        )
        assert self.answer(number) == "ready"
        self.page.slots[number].state = SlotState.SERVING

    def send(self, number: int, **question: Any) -> None:
        """Ask a worker."""
        stdin = cast("IO[bytes]", self.processes[number].stdin)
        stdin.write(json.dumps(question).encode() + b"\n")
        stdin.flush()

    def answer(self, number: int) -> Any:
        """The next answer of a worker. EOFError if it has ended."""
        line = cast("IO[bytes]", self.processes[number].stdout).readline()
        if not line:
            raise EOFError
        return json.loads(line)

    def ask(self, number: int, **question: Any) -> Any:
        """Ask, and wait for the answer."""
        self.send(number, **question)
        return self.answer(number)

    def close(self) -> None:
        """End all of them."""
        for process in self.processes.values():
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                cast("IO[bytes]", pipe).close()
        self.page.close()

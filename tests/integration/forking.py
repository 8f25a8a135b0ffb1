"""Starts ``twistd`` without another start of the interpreter, which takes most of the time of a start.

A process that has imported what a gateway imports (`tests.integration.forked_twistd`) forks itself each time. The new process
is a child of the test's process, has the environment, directory and limits that it would have otherwise, and no descriptors
besides the standard ones.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import Any

_PROGRAM = Path(__file__).with_name("forked_twistd.py")

_LIMITS = [getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")]

_EARLY = ("PYTHON", "LC_", "LANG", "OPENSSL", "LD_", "MALLOC_")
"""The variables that the interpreter and libraries read when they are loaded begin with these. Each set needs its own process."""

_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


class Forked:
    """A child process, with those methods of ``subprocess.Popen`` that tests use."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._reaping = Lock()

    def poll(self) -> int | None:
        """The exit status, minus the signal that ended it; None while it runs."""
        return self._reap(os.WNOHANG)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end. Raises ``subprocess.TimeoutExpired``."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):  # another thread was faster
                descriptor = os.pidfd_open(self.pid)
                try:
                    if not select.select([descriptor], [], [], timeout)[0]:
                        raise subprocess.TimeoutExpired(["twistd"], timeout or 0)
                finally:
                    os.close(descriptor)
        status = self._reap(0)
        assert status is not None
        return status

    def _reap(self, options: int) -> int | None:
        with self._reaping:
            if self.returncode is None:
                pid, status = os.waitpid(self.pid, options)
                if pid:
                    self.returncode = os.waitstatus_to_exitcode(status)
            return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


class _Forker:
    """The process that forks. It ends with this one."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._channel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        with theirs:
            descriptor = theirs.fileno()
            command = [sys.executable, "-c", _PROGRAM.read_text(), str(descriptor)]
            self._process = subprocess.Popen(command, cwd="/", env=environ, pass_fds=[descriptor], stdin=subprocess.DEVNULL)
        atexit.register(self.close)

    def fork(self, request: dict[str, Any], descriptors: list[int]) -> int:
        """The process id of a new child."""
        # between the end of its first parent and the end of this call, it becomes a child of this process
        _inherit_orphans(True)
        try:
            socket.send_fds(self._channel, [json.dumps(request).encode()], descriptors)
            answer = self._channel.recv(32)
        finally:
            _inherit_orphans(False)
        assert answer, f"{_PROGRAM.name} has ended with {self._process.wait()}"
        return int(answer)

    def close(self) -> None:
        """Let the process end."""
        self._channel.close()
        self._process.wait()


_forkers: dict[frozenset[tuple[str, str]], _Forker] = {}
_forking = Lock()


def _inherit_orphans(inherit: bool) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(_SET_CHILD_SUBREAPER, int(inherit), 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def start_twistd(arguments: list[str], directory: Path, environ: Mapping[str, str], log: int) -> Forked:
    """A process that runs ``twistd ARGUMENTS``, with the descriptor ``log`` as standard output and standard error."""
    early = frozenset(item for item in environ.items() if item[0].startswith(_EARLY))
    request = {
        "arguments": ["twistd", *arguments],
        "directory": str(directory),
        "environ": dict(environ),
        "limits": {number: resource.getrlimit(number) for number in _LIMITS},
    }
    with _forking, open(os.devnull, "rb") as null:
        if early not in _forkers:
            _forkers[early] = _Forker(environ)
        return Forked(_forkers[early].fork(request, [null.fileno(), log, log]))

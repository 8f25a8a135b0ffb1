"""Upgrade: the process executes the program that is installed now, which starts new workers and lets the present ones finish.

The process id stays, so a service manager notices nothing. So do the listening sockets, the shared page and the connections to
the workers. No client is refused: the present workers serve until all new ones do.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from perimeter.errors import StartupError
from perimeter.manager.child import Child
from perimeter.manager.handover import environment, python

TIMEOUT: Final = 20.0
"""Seconds in which the new program must show that it can be loaded."""

FLUSHED: Final = 2.0
"""Seconds to wait until all messages to the workers have left."""

SIGNALS: Final = frozenset({signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGINT, signal.SIGCHLD})
"""Blocked while one program replaces the other: without a handler they would end the process."""


class _Check(ProcessProtocol):
    def __init__(self) -> None:
        self.ended: Deferred[int] = Deferred(lambda _: self.transport.signalProcess("KILL"))  # type: ignore[union-attr]

    def processEnded(self, reason: Failure) -> None:
        if not self.ended.called:
            value: Any = reason.value
            self.ended.callback(1 if value.exitCode is None else value.exitCode)


async def check_program(reactor: Any, executable: str) -> None:
    """Let the interpreter ``executable`` load the manager's program, as it is installed now. Raises `StartupError`."""
    if not (os.path.isabs(executable) and os.path.isfile(executable) and os.access(executable, os.X_OK)):
        raise StartupError(f"{executable}: not a program that can be executed")
    check = _Check()
    command = python("perimeter.manager", "check", executable=executable)
    reactor.spawnProcess(check, command[0], command, env=environment(os.environ, executable), childFDs={0: 0, 1: 1, 2: 2})
    status = await check.ended.addTimeout(TIMEOUT, reactor, _late)
    if status:
        raise StartupError("the new program cannot be loaded; the log says why")


def _late(_: Any, timeout: float) -> Any:
    raise StartupError(f"the new program was not loaded within {timeout:.0f} s")


async def flushed(children: Sequence[Child], reactor: Any) -> None:
    """Wait until all messages to ``children`` have left. Raises `StartupError` after `FLUSHED` seconds."""
    end = reactor.seconds() + FLUSHED
    while waiting := [child for child in children if not child.channel.flushed]:
        if reactor.seconds() > end:
            raise StartupError(f"worker {waiting[0].number} does not read its messages; try again")
        await deferLater(reactor, 0.01)


def hold_signals() -> None:
    """Block signals from now on, also in the next program."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


def take_signals() -> None:
    """Handle the signals that were blocked."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

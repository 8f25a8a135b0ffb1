"""Upgrade: the process executes the program that is installed now, which starts new workers and lets the present ones finish.

The process id stays, so a service manager notices nothing. So do the listening sockets, the shared page and the connections to
the workers. No client is refused: the present workers serve until all new ones do.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from perimeter.descriptors import system_reason
from perimeter.errors import StartupError
from perimeter.manager.adopted import reaped
from perimeter.manager.child import Generation
from perimeter.manager.fleet import Fleet
from perimeter.manager.handover import Handover, Present, environment, python
from perimeter.manager.listening import close_sockets, open_sockets
from perimeter.manager.planning import plan_file
from perimeter.run.reloads import STOPPING
from perimeter.workers.page import SharedPage
from perimeter.workers.plan import sealed

_log = Logger()

TIMEOUT: Final = 20.0
"""Seconds in which the new program must show that it can be loaded."""

FLUSHED: Final = 2.0
"""Seconds to wait until all messages to the workers have left."""

ANSWER_LEAVES: Final = 0.1
"""Seconds between the answer to a command and the end of the process that the command has asked for: the answer is sent first."""

SIGNALS: Final = frozenset({signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGINT, signal.SIGCHLD})
"""Blocked while one program replaces the other: without a handler they would end the process."""


class Upgrade:
    """Upgrades of the gateway whose workers are ``fleet``, on ``page``. ``handed`` is what this program began with.

    ``leave`` is called before the next program is executed, and ``stay`` with the reason if that is not possible.
    ``under_way`` is set meanwhile.
    """

    def __init__(
        self,
        handed: Handover,
        fleet: Fleet,
        page: SharedPage,
        reactor: Any,
        leave: Callable[[], None],
        stay: Callable[[str], None],
    ) -> None:
        self.under_way = False
        self._handed = handed
        self._fleet = fleet
        self._page = page
        self._reactor = reactor
        self._leave = leave
        self._stay = stay
        self._stopped = False
        self._fault = ""
        #: processes that the program before has ended: Twisted does not know them
        self._ending = set(handed.present.ending if handed.present is not None else ())

    def begin(self) -> None:
        """Go on with the workers of the program before, if there was one, and take the signals that have waited."""
        present = self._handed.present
        if present is not None:
            self._fleet.shares.tally.ended = present.counts
            self._fleet.shares.since = present.since
            self._fleet.adopt(present.workers)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    async def prepare(self, executable: str) -> None:
        """Check the program that is installed now with the interpreter ``executable``, and execute it a moment later.

        Raises `StartupError`, and has changed nothing then.
        """
        self.under_way, self._fault = True, ""
        try:
            new = await self._checked(executable)
        except (StartupError, OSError) as error:
            self.under_way, self._fault = False, fault_of(error)
            raise StartupError(self._fault) from None
        except BaseException:
            self.under_way = False
            raise
        self._reactor.callLater(ANSWER_LEAVES, lambda: Deferred.fromCoroutine(self._give_way(new, executable)))

    async def _checked(self, executable: str) -> Generation:
        """What the new program will serve by. Raises `StartupError`."""
        if not (os.path.isabs(executable) and os.path.isfile(executable) and os.access(executable, os.X_OK)):
            raise StartupError(f"{executable}: not a program that can be executed")
        before = self._fleet.generation
        plan, text = await plan_file(self._handed.file, self._reactor, executable)
        sockets = before.sockets
        try:
            if plan.workers == 1:
                raise StartupError("site.ini has workers = 1: a gateway with a single process has no manager; restart it")
            sockets = open_sockets(plan.listeners, before.sockets)
            new = Generation(before.number + 1, text, plan, sockets)
            await check_program(self._handover(new), executable, self._reactor)
            await self._flushed()
        except BaseException:
            os.close(text)
            close_sockets(sockets, before.sockets)
            raise
        return new

    async def _flushed(self) -> None:
        """Wait until all messages to the workers have left. Raises `StartupError` after `FLUSHED` seconds."""
        end = self._reactor.seconds() + FLUSHED
        while waiting := [child for child in self._fleet.all_children() if not child.channel.flushed]:
            if self._reactor.seconds() > end:
                raise StartupError(f"worker {waiting[0].number} does not read its messages; try again")
            await deferLater(self._reactor, 0.01)

    def _handover(self, new: Generation) -> Handover:
        shares, page = self._fleet.shares, self._page
        present = Present(
            generation=new.number,
            page=page.descriptor,
            wakers=tuple(page.wakers),
            workers=self._fleet.kept(),
            since=shares.since,
            counts=shares.tally.ended,
            ending=tuple(self._ending),
        )
        return attrs.evolve(self._handed, plan=new.plan, text=new.text, sockets=new.sockets, waiting=None, present=present)

    async def _give_way(self, new: Generation, executable: str) -> None:
        """Execute the new program, unless that is not possible, or the gateway is to stop by now."""
        killed: set[int] = set()
        try:
            await self._flushed()
            signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
            await deferLater(self._reactor, 0)  # a signal that has arrived before is taken now
            await self._flushed()
            if self._stopped or self._reactor.stopping:
                raise StartupError(STOPPING)
            _log.info("upgrading: another program takes over")
            self._leave()
            killed = {child.pid for child in self._fleet.starting()}
            for child in self._fleet.starting():
                child.signal(signal.SIGKILL)
            self._ending |= killed
            self._handover(new).execute(executable)
        except (StartupError, OSError) as error:
            self._ending -= killed  # Twisted waits for them
            os.close(new.text)
            close_sockets(new.sockets, self._fleet.generation.sockets)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            self.under_way, self._fault = False, fault_of(error, executable)
            self._stay(self._fault)

    def stop(self) -> None:
        """The gateway stops: execute no other program."""
        self._stopped = True

    def watch(self) -> None:
        """To be called once a second: waits for processes that the program before has ended."""
        self._ending = {pid for pid in self._ending if reaped(pid) is None}

    def state(self) -> dict[str, Any]:
        """Whether an upgrade is under way, and why the last one has failed, or its workers do not start."""
        failing = self._fleet.before and all(slot.backoff.failures and not slot.serves for slot in self._fleet.slots)
        fault = self._fleet.fault if failing else self._fault
        return {"upgrading": self.under_way or bool(self._fleet.before), "upgrade_fault": fault}


def fault_of(error: StartupError | OSError, program: str = "") -> str:
    """The text of ``error`` for the operator; an OSError is one of the execution of ``program``, or of the present one."""
    if isinstance(error, OSError):
        return f"{program or 'a process of the gateway'} cannot be executed: {system_reason(error)}"
    return str(error)


class _Check(ProcessProtocol):
    def __init__(self) -> None:
        self.ended: Deferred[int] = Deferred(lambda _: self.transport.signalProcess("KILL"))  # type: ignore[union-attr]

    def processEnded(self, reason: Failure) -> None:
        if not self.ended.called:
            value: Any = reason.value
            self.ended.callback(1 if value.exitCode is None else value.exitCode)


async def check_program(handed: Handover, executable: str, reactor: Any) -> None:
    """Let the interpreter ``executable`` load the manager's program, as it is installed now, and read ``handed``.

    Raises `StartupError`.
    """
    check = _Check()
    command = python("perimeter.manager", "check", executable=executable)
    description = sealed(handed.described())
    try:
        descriptors = {0: description, 1: 1, 2: 2}
        reactor.spawnProcess(check, command[0], command, env=environment(os.environ, executable), childFDs=descriptors)
    finally:
        os.close(description)
    status = await check.ended.addTimeout(TIMEOUT, reactor, _late)
    if status:
        raise StartupError("the new program cannot take over; the log says why")


def _late(_: Any, timeout: float) -> Any:
    raise StartupError(f"the new program was not loaded within {timeout:.0f} s")

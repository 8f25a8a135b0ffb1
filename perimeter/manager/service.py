"""The manager as a daemon: signals, systemd, the control socket, reloads."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from perimeter.config.site.logging import LogFormat, LoggingSettings, LogLevel
from perimeter.errors import StartupError
from perimeter.manager.child import Generation
from perimeter.manager.fleet import TRIES, Fleet
from perimeter.manager.handover import Handover
from perimeter.manager.reload import reload
from perimeter.manager.upgrade import ANSWER_LEAVES, Upgrade, fault_of
from perimeter.run.control import ControlPort
from perimeter.run.launch import Launch
from perimeter.run.logs import DaemonLog
from perimeter.run.notify import Notifier
from perimeter.run.reloads import STOPPING, Reloads
from perimeter.workers.page import SharedPage

_log = Logger()

WATCH: Final = 1.0
"""Seconds between two checks of the workers."""


class Service:
    """Manages the workers of a gateway. ``fault`` is the reason if the gateway could not be started."""

    def __init__(self, handed: Handover, reactor: Any, notifier: Notifier, log: DaemonLog, launch: Launch) -> None:
        self.fault = ""
        self._file = handed.file
        self._reactor = reactor
        self._notifier = notifier
        self._log = log
        self._launch = launch
        present = handed.present
        page = SharedPage.create() if present is None else SharedPage(present.page, list(present.wakers))
        first = Generation(1 if present is None else present.generation, handed.text, handed.plan, handed.sockets)
        self._fleet = Fleet(reactor, page, handed.file, handed.log, first)
        self._fleet.changed = self._changed
        self._fleet.relay.renewed = self._renewed
        self._ready = self._stopping = False
        self._control: ControlPort | None = None
        self._reloads = Reloads(self._reload)
        self._upgrades = Upgrade(handed, self._fleet, page, reactor, self._leave, self._stay)
        self._watching = LoopingCall(self._watch)
        self._watching.clock = reactor

    # -- start

    def start(self) -> None:
        """Start the workers. Ends the reactor with ``fault`` if none can be started."""
        signal.signal(signal.SIGHUP, lambda *_: self._reactor.callFromThread(self._reloads.ask, True))
        signal.signal(signal.SIGUSR1, lambda *_: self._reactor.callFromThread(self._reopen))
        signal.signal(signal.SIGUSR2, lambda *_: self._reactor.callFromThread(self._upgrade_asked))
        self._upgrades.begin()
        self._apply()
        self._watching.start(WATCH)
        self._fleet.resize()

    def _changed(self) -> None:
        """A worker serves, or could not be started."""
        slots = self._fleet.slots
        if self._ready or self._stopping:
            return
        if not any(slot.serves for slot in slots):
            if all(slot.backoff.failures for slot in slots) or (self._fleet.hopeless and not self._fleet.before):
                self._none_starts()
        elif all(slot.serves or slot.backoff.failures >= TRIES for slot in slots):
            self._ready = True
            self._fleet.retire()
            status = self._status()
            self._notifier.ready(status)
            _log.info("ready: {status}", status=status)
            self._launch.ready()

    @property
    def _serves(self) -> bool:
        """Whether the gateway was ready once: with these workers, or with those of the earlier program."""
        return self._ready or bool(self._fleet.before)

    def _none_starts(self) -> None:
        if self._fleet.before:
            self._notifier.ready(f"not upgraded: {self._fleet.fault}")
            _log.error("the workers of the new program do not start; the earlier ones continue to serve", counted=True)
        else:
            self.fault = self._fleet.fault
            self._stop()  # other workers may fail at the same time

    def _status(self) -> str:
        serving = self._fleet.serving()
        return f"{serving[0].status}; {len(serving)} workers" if serving else "no worker serves"

    def _apply(self) -> None:
        """Follow the configuration in force."""
        plan = self._fleet.generation.plan
        self._log.configure(LoggingSettings(level=LogLevel(plan.level), format=LogFormat(plan.format)), plan.redact)
        for warning in plan.warnings:
            _log.warn("{finding}", finding=warning, counted=True)
        directory = Path(plan.state_dir)
        if self._control is not None:
            if self._control.directory == directory:
                return
            self._control.close()
        self._control = ControlPort(directory, self._answer, self._reactor)
        self._control.open()

    # -- reload

    def _renewed(self, generation: int, paths: list[str]) -> None:
        """A worker has found that these files have changed, which the configuration in force names."""
        if generation == self._fleet.generation.number:
            _log.info("changed: {paths}; reading the files again", paths=", ".join(paths))
            self._reloads.ask(False)

    async def _reload(self, whole: bool) -> str:
        """Put a configuration in force in all workers, or in none. Returns "", or the reason why it is not in force."""
        if self._upgrades.under_way or not self._serves:
            return self._refused("the gateway starts, or is upgraded; try again")
        self._notifier.reloading("reading the configuration")
        try:
            await reload(self._fleet, self._file if whole else None, self._reactor)
        except CancelledError:
            return STOPPING
        except (StartupError, OSError) as error:
            return self._refused(fault_of(error))
        except Exception:
            _log.failure("not reloaded", counted=True)
            return self._refused("the gateway failed to reload; its log says why")
        self._apply()
        status = self._status()
        _log.info("reloaded: {status}", status=status)
        self._notifier.ready(status)
        return ""

    def _refused(self, reason: str) -> str:
        first, *_ = lines = reason.splitlines()
        for line in lines:
            _log.error("not reloaded: {error}", error=line, counted=True)
        self._fleet.tell("not_reloaded", reason=first)
        if self._serves:
            self._notifier.ready(f"not reloaded: {first}")
        return reason

    # -- upgrade

    def _upgrade_asked(self) -> None:
        def refused(failure: Failure) -> None:
            if not failure.check(StartupError):
                _log.failure("not upgraded", failure, counted=True)

        Deferred.fromCoroutine(self._upgrade(sys.executable)).addErrback(refused)

    async def _upgrade(self, executable: str) -> None:
        """See `Upgrade.prepare`."""
        if self._upgrades.under_way or self._stopping or self._reloads.busy or not self._serves:
            fault = "the gateway starts, stops, is reloaded or is upgraded already; try again"
            _log.error("not upgraded: {error}", error=fault, counted=True)
            raise StartupError(fault)
        self._notifier.reloading("upgrading")
        try:
            await self._upgrades.prepare(executable)
        except StartupError as error:
            raise self._not_upgraded(str(error)) from None

    def _not_upgraded(self, reason: str) -> StartupError:
        for line in reason.splitlines():
            _log.error("not upgraded: {error}", error=line, counted=True)
        if not self._stopping:
            self._notifier.ready(f"not upgraded: {reason.splitlines()[0]}")
        return StartupError(reason)

    def _leave(self) -> None:
        """Another program takes over."""
        if self._control is not None:
            self._control.close()

    def _stay(self, reason: str) -> None:
        """No other program takes over."""
        if self._control is not None and not self._stopping:
            self._control.close()
            self._control.open()
        self._not_upgraded(reason)

    def _reopen(self) -> None:
        self._fleet.tell("reopen")

    # -- while it runs

    def _watch(self) -> None:
        self._fleet.watch()
        self._upgrades.watch()
        self._log.report()
        if self._notifier.watchdog is not None:
            self._notifier.alive()

    async def _answer(self, question: Mapping[str, Any]) -> Mapping[str, Any]:
        command = question.get("command")
        if command == "reload":
            refused = await self._reloads.ask(True)
            if refused:
                raise ValueError(refused)
            return {"generation": self._fleet.generation.number, "status": self._status()}
        if command == "upgrade":
            await self._upgrade(str(question.get("python") or sys.executable))
            return {"pid": os.getpid()}
        if command == "stop":
            self._upgrades.stop()  # an upgrade that is under way is given up
            self._reactor.callLater(ANSWER_LEAVES, self._stop)
            return {}
        answer = await self._fleet.relay.control(question)
        if command == "status":
            return {**answer, "pid": os.getpid(), **self._upgrades.state()}
        return answer

    def _stop(self) -> None:
        if not self._stopping:
            self._reactor.stop()

    # -- stop

    def stop(self) -> Deferred[None]:
        """Accept no more, let requests in flight finish, end all workers."""
        self._stopping = True
        self._notifier.stopping("requests in flight finish")
        self._reloads.stop()
        self._upgrades.stop()
        if self._control is not None:
            self._control.close()
        return Deferred.fromCoroutine(self._fleet.stop()).addBoth(self._stopped)

    def _stopped(self, result: Any) -> Any:
        self._watching.stop()
        self._log.finish()
        return result

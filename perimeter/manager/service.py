"""The manager as a daemon: signals, systemd, the control socket, reloads."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from perimeter.config.site.logging import LogFormat, LoggingSettings, LogLevel
from perimeter.errors import StartupError
from perimeter.manager.child import Generation
from perimeter.manager.fleet import TRIES, Fleet
from perimeter.manager.handover import Handover
from perimeter.manager.listening import close_sockets, open_sockets
from perimeter.manager.planning import plan_file
from perimeter.run.control import ControlPort
from perimeter.run.launch import Launch
from perimeter.run.logs import DaemonLog
from perimeter.run.notify import Notifier
from perimeter.workers.page import SharedPage, SlotState
from perimeter.workers.plan import Plan

_log = Logger()

WATCH: Final = 1.0
"""Seconds between two looks at the workers."""


class Service:
    """Manages the workers of a gateway. ``fault`` says why it could not be started, in the end."""

    def __init__(self, handed: Handover, reactor: Any, notifier: Notifier, log: DaemonLog, launch: Launch) -> None:
        self.fault = ""
        self._file = handed.file
        self._reactor = reactor
        self._notifier = notifier
        self._log = log
        self._launch = launch
        self._page = SharedPage.create()
        first = Generation(1, handed.text, handed.plan, handed.sockets)
        self._fleet = Fleet(reactor, self._page, handed.file, handed.log.path, first)
        self._fleet.changed = self._changed
        self._fleet.relay.renewed = self._renewed
        self._ready = self._stopping = False
        self._control: ControlPort | None = None
        self._reloading: Deferred[None] | None = None
        self._reload_next: Callable[[], Deferred[tuple[Plan, int]]] | None = None
        self._watching = LoopingCall(self._watch)
        self._watching.clock = reactor

    # -- start

    def start(self) -> None:
        """Start the workers. Ends the reactor with ``fault`` if none can be started."""
        signal.signal(signal.SIGHUP, lambda *_: self._reactor.callFromThread(self.reload))
        signal.signal(signal.SIGUSR1, lambda *_: self._reactor.callFromThread(self._reopen))
        self._apply()
        self._watching.start(WATCH)
        self._fleet.resize()

    def _changed(self) -> None:
        """A worker serves, or could not be started."""
        slots, serving = self._fleet.slots, self._fleet.serving()
        if self._ready or self._stopping:
            return
        if not serving and all(slot.backoff.failures for slot in slots):
            self.fault = self._fleet.fault
            self._reactor.stop()
        elif serving and all((slot.child and slot.child.serving) or slot.backoff.failures >= TRIES for slot in slots):
            self._ready = True
            self._notifier.ready(self._status())
            _log.info("ready: {status}", status=self._status())
            self._launch.ready()

    def _status(self) -> str:
        serving = self._fleet.serving()
        listening = serving[0].status if serving else "no worker serves"
        return f"{len(serving)} workers, {listening}"

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

    def reload(self) -> None:
        """Read the configuration again and put it in force in all workers, or in none."""
        self._reload(self._read)

    def _read(self) -> Deferred[tuple[Plan, int]]:
        return Deferred.fromCoroutine(plan_file(self._file, self._reactor))

    def _in_force(self) -> Deferred[tuple[Plan, int]]:
        present = self._fleet.generation
        found: Deferred[tuple[Plan, int]] = Deferred()
        found.callback((attrs.evolve(present.plan, warnings=()), os.dup(present.text)))
        return found

    def _renewed(self, generation: int, paths: list[str]) -> None:
        if generation == self._fleet.generation.number:
            _log.info("changed: {paths}; reading the files again", paths=", ".join(paths))
            self._reload(self._in_force)

    def _reload(self, read: Callable[[], Deferred[tuple[Plan, int]]]) -> None:
        if self._stopping or not self._ready:
            return
        if self._reloading is not None:
            if self._reload_next is None or read == self._read:
                self._reload_next = read
            return
        self._reload_next = None
        self._notifier.reloading("reading the configuration")
        self._reloading = Deferred()
        reloading = Deferred.fromCoroutine(self._put_in_force(read))
        if not reloading.called:
            self._reloading = reloading
        reloading.addBoth(self._reloaded)

    def _reloaded(self, _: object) -> None:
        self._reloading = None
        if self._reload_next is not None:
            self._reload(self._reload_next)

    async def _put_in_force(self, read: Callable[[], Deferred[tuple[Plan, int]]]) -> None:
        fleet = self._fleet
        before = fleet.generation
        try:
            plan, text = await read()
            try:
                sockets = open_sockets(plan.listeners, before.sockets)
                try:
                    await fleet.put_in_force(Generation(before.number + 1, text, plan, sockets))
                except BaseException:
                    close_sockets(sockets, before.sockets)
                    raise
            except BaseException:
                os.close(text)
                raise
        except StartupError as error:
            self._refused(str(error))
            return
        except Exception:
            _log.failure("not reloaded", counted=True)
            self._refused("see the log")
            return
        os.close(before.text)
        self._apply()
        _log.info("reloaded: {status}", status=self._status())
        self._notifier.ready(self._status())

    def _refused(self, reason: str) -> None:
        first, *_ = lines = reason.splitlines()
        for line in lines:
            _log.error("not reloaded: {error}", error=line, counted=True)
        self._fleet.tell("not_reloaded", self._fleet.serving(), reason=first)
        self._notifier.ready(f"not reloaded: {first}")

    def _reopen(self) -> None:
        self._fleet.tell("reopen", self._fleet.all_children())

    # -- while it runs

    def _watch(self) -> None:
        self._fleet.watch()
        self._log.report()
        if self._notifier.watchdog is not None:
            self._notifier.alive()

    async def _answer(self, question: Mapping[str, Any]) -> Mapping[str, Any]:
        answer = await self._fleet.relay.control(question)
        if question.get("command") == "status":
            answer |= {"pid": os.getpid(), "workers": self._workers()}
        return answer

    def _workers(self) -> list[dict[str, Any]]:
        """What is known of each worker."""
        found = []
        for slot in self._fleet.slots:
            child, row = slot.child, self._page.slots[slot.number]
            state = SlotState.EMPTY if child is None else row.state
            found.append(
                {
                    "slot": slot.number,
                    "pid": child.pid if child is not None else 0,
                    "state": state.name.lower(),
                    "connections": row.held,
                    "since": 0 if child is None else int(self._reactor.seconds() - child.since),
                    "restarts": slot.starts - 1,
                    "generation": row.generation,
                    "slow": False,
                }
            )
        return found

    # -- stop

    def stop(self) -> Deferred[None]:
        """Accept no more, let requests in flight finish, end all workers."""
        self._stopping = True
        self._reload_next = None
        self._notifier.stopping("requests in flight finish")
        if self._control is not None:
            self._control.close()
        return Deferred.fromCoroutine(self._fleet.stop()).addBoth(partial(self._stopped))

    def _stopped(self, result: Any) -> Any:
        self._watching.stop()
        self._log.finish()
        return result

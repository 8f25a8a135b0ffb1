"""The daemon part: the configuration file, signals, systemd, the control socket and the daemon's own log.

Start: everything that can fail does so before the first client is accepted. Reload (SIGHUP): the new configuration is read in a
thread and put in force as a whole, or not at all. Stop (SIGTERM): requests in flight have time to finish. How clients are served
is `perimeter.run.worker`'s.
"""

from __future__ import annotations

import gc
import signal
import socket
from collections.abc import Awaitable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from perimeter.auth.registry import installed_kinds
from perimeter.config.site.config import SiteConfig
from perimeter.config.site.load import load_site
from perimeter.errors import StartupError
from perimeter.run.build.prepared import Prepared
from perimeter.run.build.user import DaemonUser
from perimeter.run.control import ControlPort
from perimeter.run.file_watch import FileWatch
from perimeter.run.launch import Launch
from perimeter.run.logs import DaemonLog
from perimeter.run.notify import Notifier, Watchdog
from perimeter.run.operations import answer
from perimeter.run.reloads import STOPPING, Reloads
from perimeter.run.sockets import BoundSockets
from perimeter.run.steps import run_all
from perimeter.run.worker import Worker
from perimeter.workers.plan import Address

_log = Logger()

#: Seconds between two looks at the counts of messages that repeat.
_REPORT = 1.0

_NO_UPGRADE = (
    "an upgrade without a pause needs several workers: set workers = 2 or auto in [perimeter], or let systemd open the sockets "
    "and restart; see docs/how-to/operate.md"
)

#: Seconds between the answer to the command that stops the gateway and the stop: the answer leaves first.
_ANSWER_LEAVES = 0.1


class Daemon(Service):
    """The gateway as a Twisted service. ``config_file`` is read again at each reload; ``log`` follows its ``[logging]``.

    ``launch`` reports how the start ends. ``user`` is the user that twistd makes of the process between `privilegedStartService`
    and `startService`; None if it stays what it is. ``activated`` are listening sockets from systemd.
    """

    def __init__(
        self,
        config_file: Path,
        config: SiteConfig,
        reactor: Any,
        notifier: Notifier,
        log: DaemonLog | None = None,
        launch: Launch | None = None,
        user: DaemonUser | None = None,
        activated: Mapping[Address, socket.socket] | None = None,
    ) -> None:
        self._config_file = config_file
        self._config = config
        self._reactor = reactor
        self._notifier = notifier
        self._log = log
        self._launch = launch or Launch()
        self._user = user
        self._watchdog = Watchdog(notifier, reactor)
        self._counting = LoopingCall(self._report)
        self._counting.clock = reactor
        self._worker = Worker(reactor, config.limits, BoundSockets(activated, user), user, renewed=self._renewed)
        self._bound = False
        self._control: ControlPort | None = None
        self._reloads = Reloads(self._put_in_force)
        #: how many configurations have been put in force
        self._generation = 0
        self._files = FileWatch(reactor, self._renewed)

    # -- start

    def privilegedStartService(self) -> None:
        """Bind the listeners and read the files, while the process may still use low ports and read every key.

        Blocks: the reactor does not turn yet. A fault ends the process, with one line that says what is wrong.
        """
        try:
            if self._user is not None:
                self._user.refuse_unwritable(self._config)
            prepared = self._worker.prepare_now(lambda: self._config)
            self._worker.put_in_force(prepared)
        except StartupError as error:
            self._launch.failed(str(error))
        self._bound = True
        self._apply(prepared)
        if self._user is not None:
            for path in self._user.unreadable(self._config):
                _log.warn("{path}: user {user} may not read it, which a reload needs", path=str(path), user=self._user.name)

    def startService(self) -> None:
        """Serve."""
        if not self._bound:
            self.privilegedStartService()
        try:
            self._worker.start()
        except StartupError as error:
            self._launch.failed(str(error))
        super().startService()  # type: ignore[no-untyped-call]
        # twistd starts services before the reactor runs, and only a running reactor knows whether it handles signals.
        self._reactor.callWhenRunning(self._settle)

    def _settle(self) -> None:
        if self.running:
            self._worker.settled().addCallback(lambda _: self._ready())

    def _ready(self) -> None:
        if not self.running:
            return
        self._catch_signals()
        self._open_control(self._config.perimeter.state_dir)
        # What exists by now stays: the collector need not look through it again and again.
        gc.collect()
        gc.freeze()
        self._watchdog.startService()
        self._files.start()
        self._counting.start(_REPORT, now=False)
        self._notifier.ready(str(self._worker))
        _log.info("ready: {status}", status=self._worker)
        self._launch.ready()

    def _catch_signals(self) -> None:
        if not getattr(self._reactor, "_installSignalHandlers", True):
            return
        signal.signal(signal.SIGHUP, lambda *_: self._reactor.callFromThread(self.reload))
        signal.signal(signal.SIGUSR1, lambda *_: self._reactor.callFromThread(self._worker.reopen_logs))
        # without a handler it would end the process
        signal.signal(signal.SIGUSR2, lambda *_: self._reactor.callFromThread(_log.error, "not upgraded: {why}", why=_NO_UPGRADE))

    def _report(self) -> None:
        """Log how often messages have repeated."""
        self._worker.report_repeats()
        if self._log is not None:
            self._log.report()

    def _open_control(self, state_dir: Path) -> None:
        if self._control is not None:
            if self._control.directory == state_dir:
                return
            self._control.close()
        self._control = ControlPort(state_dir, self._answer, self._reactor)
        self._control.open()

    def _apply(self, prepared: Prepared) -> None:
        """Put the daemon's part of a configuration in force."""
        config = self._config = prepared.config
        self._generation += 1
        self._files.watch(prepared.versions)
        if self._log is not None:
            self._log.configure(config.logging, config.audit.redact)
        if config.perimeter.workers > 1:
            _log.warn("workers = {count}: this takes a restart; one process serves until then", count=config.perimeter.workers)
        for warning in config.warnings:
            _log.warn("{finding}", finding=warning, counted=True)  # an event with "warning" in it is Python's own to Twisted

    # -- questions of the operator

    def _answer(self, question: Mapping[str, Any]) -> Mapping[str, Any] | Awaitable[Mapping[str, Any]]:
        """The answer to a question about the process; the worker answers all other questions. Raises ValueError."""
        command = question.get("command")
        if command == "reload":
            return self._reload_and_report()
        if command == "stop":
            self._reactor.callLater(_ANSWER_LEAVES, self._stop)
            return {}
        if command == "upgrade":
            raise ValueError(_NO_UPGRADE)
        return answer(self._worker, question)

    async def _reload_and_report(self) -> Mapping[str, Any]:
        refused = await self.reload()
        if refused:
            raise ValueError(refused)
        return {"generation": self._generation, "status": str(self._worker)}

    def _stop(self) -> None:
        if self.running:
            self._reactor.stop()

    # -- reload

    def reload(self) -> Deferred[str]:
        """Read the configuration again and put it in force, as a whole or not at all. The result is "", or the fault."""
        return self._reloads.ask(True)

    def _renewed(self, paths: list[Path]) -> None:
        """Files have changed that the configuration in force names: read these again. site.ini may be half edited, and waits."""
        _log.info("changed: {paths}; reading the files again", paths=", ".join(map(str, paths)))
        self._reloads.ask(False)

    async def _put_in_force(self, whole: bool) -> str:
        """Nothing (""), or why the configuration is not in force."""
        self._notifier.reloading("reading the configuration")
        try:
            prepared = await self._worker.prepare(self._read if whole else self._in_force)
            self._worker.put_in_force(prepared)
        except CancelledError:
            return STOPPING
        except StartupError as error:
            for line in str(error).splitlines():
                _log.error("not reloaded: {error}", error=line, counted=True)
            self._refused(str(error).splitlines()[0])
            return str(error)
        except Exception:
            _log.failure("not reloaded", counted=True)
            self._refused("see the log")
            return "the gateway failed to reload; its log says why"
        config = prepared.config
        run_all(
            "a part of the new configuration is not in force",
            partial(self._open_control, config.perimeter.state_dir),
            partial(self._apply, prepared),
            partial(self._worker.count_reload, True),
        )
        _log.info("reloaded: {status}", status=self._worker)
        self._notifier.ready(str(self._worker))
        return ""

    def _read(self) -> SiteConfig:
        return load_site(self._config_file, kinds=installed_kinds())

    def _in_force(self) -> SiteConfig:
        return self._config

    def _refused(self, reason: str) -> None:
        self._worker.count_reload(False, reason)
        self._notifier.ready(f"not reloaded: {reason}")

    # -- stop

    def stopService(self) -> Deferred[None]:
        """Stop accepting, let requests in flight finish, then cut what is left. A reload under way is given up."""
        super().stopService()  # type: ignore[no-untyped-call]
        self._notifier.stopping("requests in flight finish")
        self._reloads.stop()
        self._files.stop()
        if self._control is not None:
            self._control.close()
        if self._counting.running:
            self._counting.stop()
        return self._worker.stop().addCallback(self._stopped)

    def _stopped(self, _: object) -> None:
        if self._log is not None:
            self._log.finish()
        self._watchdog.stopService()

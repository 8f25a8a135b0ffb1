"""The start of a gateway with several workers, within twistd. Afterwards the process executes the manager."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, Final

from twisted.application.service import Service

from perimeter.config.site.config import SiteConfig
from perimeter.descriptors import descriptor_limit
from perimeter.errors import StartupError
from perimeter.manager.handover import Handover
from perimeter.manager.listening import Sockets, open_sockets
from perimeter.run.build.state_dir import prepare_state_dir
from perimeter.run.build.user import DaemonUser
from perimeter.run.launch import Launch
from perimeter.run.log_target import LogTarget
from perimeter.run.plan import plan_of
from perimeter.workers.page import SLOTS
from perimeter.workers.plan import sealed

LEAST: Final = 2 * SLOTS
"""File descriptors that each process needs, besides two for each worker: each slot has one."""


def _refuse_few_descriptors(workers: int) -> None:
    limit, least = descriptor_limit(), LEAST + 2 * workers
    if limit is not None and limit < least:
        raise StartupError(
            f"{workers} workers need {least} file descriptors in each process, and the limit is {limit}: raise it (LimitNOFILE= "
            "of the service, ulimit -n), or set [perimeter] workers = 1"
        )


class Start(Service):
    """Binds the listeners of ``config``, whose text is ``data``. twistd then makes ``user`` of the process.

    ``activated`` are sockets from systemd, which need not be bound.
    """

    def __init__(
        self,
        file: Path,
        config: SiteConfig,
        data: bytes,
        launch: Launch,
        log: LogTarget,
        user: DaemonUser | None = None,
        activated: Sockets | None = None,
    ) -> None:
        self._file = file
        self._config = config
        self._data = data
        self._launch = launch
        self._log = log
        self._user = user
        self._activated: Sockets = activated or {}
        self._sockets: Sockets | None = None

    def privilegedStartService(self) -> None:
        """Do what may need root: bind the listeners, and make ``state_dir``. A fault ends the process, with one line."""
        plan = plan_of(self._config)
        try:
            if self._user is not None:
                self._refuse_unreadable(self._user)
            _refuse_few_descriptors(plan.workers)
            prepare_state_dir(Path(plan.state_dir), self._user)
            self._sockets = open_sockets(plan.listeners, self._activated, self._user)
        except StartupError as error:
            self._launch.failed(str(error))

    def _refuse_unreadable(self, user: DaemonUser) -> None:
        """Workers read all files as their own user, and never run as root."""
        user.refuse_unwritable(self._config)
        unreadable = ", ".join(str(path) for path in user.unreadable(self._config) if path != self._config.file)
        if unreadable:
            raise StartupError(f"user {user.name} may not read {unreadable}; with several workers, root reads nothing for them")

    def startService(self) -> None:
        """Execute the manager."""
        if self._sockets is None:
            self.privilegedStartService()
        sockets: Any = self._sockets
        plan, text = plan_of(self._config), sealed(self._data)
        waiting, pidfile = self._launch.waiting, self._launch.pidfile
        try:
            Handover(self._file, plan, text, sockets, self._log, waiting, pidfile).execute()
        except OSError as error:
            # typically an interpreter below /root, and --uid
            self._launch.failed(f"user {os.geteuid()} cannot execute {sys.executable}, which workers need: {error.strerror}")

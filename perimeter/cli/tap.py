"""``twistd perimeter``: its options, and the service that twistd runs. A command, so that the daemon depends on none."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, NoReturn, TextIO

from twisted.application.service import IService, MultiService
from twisted.logger import ILogObserver
from twisted.python import usage
from twisted.python.logfile import LogFile

from perimeter.auth.registry import installed_kinds
from perimeter.config.site.load import load_site
from perimeter.errors import StartupError
from perimeter.run.logs import DaemonLog
from perimeter.run.notify import Notifier


class Options(usage.Options):
    """The options of ``twistd perimeter``."""

    synopsis = "[twistd options] perimeter --config FILE [--check]"
    longdesc = "A perimeter-security gateway: ends TLS, authenticates, authorises, forwards and audits."
    optParameters = [["config", "c", None, "The gateway's site.ini."]]
    optFlags = [["check", None, "Check the configuration, print the routes or every problem, and bind nothing."]]

    def postOptions(self) -> None:
        """Refuse to go on without a configuration."""
        if not self["config"]:
            raise usage.UsageError("--config FILE is needed: the gateway's site.ini (etc/site.ini is an example)")


class _Application(MultiService):
    """Gives the application its log observer, which twistd asks for once the service is its child."""

    def __init__(self, log: DaemonLog | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._log = log

    def setServiceParent(self, parent: Any) -> None:
        """Join twistd's application."""
        if self._log is not None and hasattr(parent, "setComponent"):
            parent.setComponent(ILogObserver, self._log)
        super().setServiceParent(parent)  # type: ignore[no-untyped-call]


def makeService(options: Options) -> IService:
    """The gateway that ``options`` describe. If it cannot be built, prints the reason and exits with status 1."""
    file = Path(options["config"])
    if options["check"]:
        # Here, so that the daemon does not import what only commands need.
        from perimeter.cli.check import run_check

        status, text = run_check(file)
        _exit(status, text)
    try:
        config = load_site(file, kinds=installed_kinds())
    except StartupError as error:
        _exit(1, str(error))
    # Late, so that --help and --check need no reactor.
    from perimeter.net.reactor import install

    install()
    from twisted.internet import reactor

    from perimeter.run.daemon import Daemon

    outfile = _log_file(options.parent or {})
    log = None if outfile is None else DaemonLog(config.logging, outfile)
    application = _Application(log)
    gateway = Daemon(file, config, reactor, Notifier.from_environment(os.environ, os.getpid()), log)
    gateway.setServiceParent(application)  # type: ignore[no-untyped-call]
    return application


def _exit(status: int, text: str) -> NoReturn:
    print(text, file=sys.stderr if status else sys.stdout)
    sys.exit(status)


def _log_file(twistd: Any) -> TextIO | None:
    """The file that twistd is to log to; None if twistd logs itself (syslog)."""
    if twistd.get("syslog"):
        return None
    name = twistd.get("logfile")
    if name == "-" or (name is None and twistd.get("nodaemon")):
        return sys.stdout
    return LogFile.fromFullPath(name or "twistd.log")  # type: ignore[no-any-return]

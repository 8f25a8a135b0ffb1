"""``twistd perimeter``: its options, and the service that twistd runs. A command, so that the daemon depends on none."""

from __future__ import annotations

import getopt
import os
import pwd
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn, TextIO

from twisted.application.service import IService, MultiService
from twisted.logger import ILogObserver
from twisted.python import usage
from twisted.python.logfile import LogFile

from perimeter.errors import StartupError
from perimeter.manager.handover import LogTarget
from perimeter.net.activation import activated, matched
from perimeter.run.build.user import DaemonUser
from perimeter.run.launch import Launch, detach, forget_own_pid
from perimeter.run.logs import DaemonLog
from perimeter.run.notify import Notifier
from perimeter.run.plan import addresses_of, read_site


class Options(usage.Options):
    """The options of ``twistd perimeter``."""

    synopsis = "[twistd options] perimeter --config FILE [--check]"
    longdesc = "A perimeter-security gateway: ends TLS, authenticates, authorises, forwards and audits."
    optParameters = [["config", "c", None, "The gateway's site.ini."]]
    optFlags = [["check", None, "Check the configuration, print the routes or every problem, and bind nothing."]]

    def postOptions(self) -> None:
        """Refuse to go on without a configuration. There is a pid file only if it is asked for."""
        if not self["config"]:
            raise usage.UsageError("--config FILE is needed: the gateway's site.ini (etc/site.ini is an example)")
        twistd = self.parent
        if twistd is None:
            return
        if not _asked_for(twistd, "pidfile"):
            twistd["pidfile"] = ""
        elif twistd["pidfile"]:
            forget_own_pid(Path(twistd["pidfile"]))


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
    file = Path(options["config"]).absolute()  # twistd --rundir changes the directory before a reload reads it again
    if options["check"]:
        # Here, so that the daemon does not import what only commands need.
        from perimeter.cli.check import run_check

        status, text = run_check(file)
        _exit(status, text)
    twistd: Any = options.parent or {}
    try:
        config, data = read_site(file)
        given = matched(addresses_of(config), activated(os.environ, os.getpid()))
        user = _daemon_user(twistd)
        _check_paths(twistd)
        outfile = _log_file(twistd, user)
    except StartupError as error:
        _exit(1, str(error))
    launch = Launch(pidfile=twistd.get("pidfile") or "")
    if twistd and not (twistd["nodaemon"] or twistd["debug"]):  # without twistd's options, another program runs the service
        launch = detach(twistd.get("pidfile") or "", getattr(outfile, "path", ""))
        # What twistd itself would do besides.
        twistd["nodaemon"] = True
        if twistd.get("umask") is None:
            twistd["umask"] = 0o077
    log = None if outfile is None else DaemonLog(config.logging, outfile)
    application = _Application(log)
    if config.perimeter.workers > 1:
        from perimeter.manager.start import Start

        target = LogTarget(getattr(outfile, "path", ""))
        Start(file, config, data, launch, target, user, given).setServiceParent(application)  # type: ignore[no-untyped-call]
        return application
    # Late, so that --help and --check need no reactor.
    from perimeter.net.reactor import install

    install()
    from twisted.internet import reactor

    from perimeter.run.daemon import Daemon

    notifier = Notifier.from_environment(os.environ, os.getpid())
    gateway = Daemon(file, config, reactor, notifier, log, launch, user, given)
    gateway.setServiceParent(application)  # type: ignore[no-untyped-call]
    return application


def _exit(status: int, text: str) -> NoReturn:
    print(text, file=sys.stderr if status else sys.stdout)
    sys.exit(status)


def _asked_for(twistd: Any, option: str) -> bool:
    """Whether an option of twistd was given, and is not its default."""
    try:
        given, _ = getopt.getopt(sys.argv[1:], twistd.shortOpt, twistd.longOpt)
    except getopt.GetoptError:
        given = []
    return twistd[option] != twistd.defaults[option] or f"--{option}" in dict(given)


def _daemon_user(twistd: Any) -> DaemonUser | None:
    """The user that twistd is to make of this process; None if it stays root, or what it is. Raises `StartupError`."""
    uid, gid = twistd.get("uid"), twistd.get("gid")
    present = os.geteuid()
    if present and ((uid is not None and uid != present) or (gid is not None and gid != os.getegid())):
        raise StartupError("--uid and --gid: only root can start the gateway as another user")
    if not uid or uid == present:
        return None
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        raise StartupError(f"--uid {uid}: there is no such user on this system") from None
    return DaemonUser(uid, entry.pw_gid if gid is None else gid, entry.pw_name)


def _check_paths(twistd: Any) -> None:
    """Refuse directories and files of twistd's own that it would fail to use with a traceback. Raises `StartupError`."""
    rundir = twistd.get("rundir")
    if rundir and not (os.path.isdir(rundir) and os.access(rundir, os.X_OK)):
        raise StartupError(f"--rundir {rundir}: not a directory that can be entered")
    pidfile = twistd.get("pidfile")
    if pidfile and not os.access(pidfile if os.path.exists(pidfile) else os.path.dirname(os.path.abspath(pidfile)), os.W_OK):
        raise StartupError(f"--pidfile {pidfile}: cannot be written")


def _log_file(twistd: Any, user: DaemonUser | None) -> TextIO | None:
    """The file that twistd is to log to; None if twistd logs itself (syslog). Raises `StartupError`."""
    if twistd.get("syslog"):
        return None
    name = twistd.get("logfile")
    in_foreground = twistd.get("nodaemon") or twistd.get("debug")
    if name == "-" and not in_foreground:
        raise StartupError("--logfile -: in the background there is no standard output; name a file, or use --nodaemon")
    if name == "-" or (name is None and in_foreground):
        return sys.stdout
    path = os.path.abspath(name or "twistd.log")  # a full file is renamed when the directory may be another one
    try:
        if user is not None:
            with user.acting(), suppress(PermissionError):
                return LogFile.fromFullPath(path)  # type: ignore[no-any-return]
        opened = LogFile.fromFullPath(path)
        if user is not None:
            os.chown(path, user.uid, user.gid, follow_symlinks=False)
    except OSError as error:
        raise StartupError(f"{path}: the log cannot be written ({error.strerror}); name another file with --logfile") from error
    return opened  # type: ignore[no-any-return]

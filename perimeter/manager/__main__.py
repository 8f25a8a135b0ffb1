"""The program of the manager: ``python -m perimeter.manager DESCRIPTOR FILE``, executed by `perimeter.manager.handover`."""

from __future__ import annotations

import faulthandler
import os
import signal
import socket
import sys
from contextlib import suppress
from typing import Any

# Twisted imports TLS if it is installed, which takes 15 MB of memory. The manager has no connection with TLS.
sys.modules["OpenSSL"] = sys.modules["ssl"] = None  # type: ignore[assignment]

from twisted.logger import globalLogBeginner  # noqa: E402

from perimeter.descriptors import system_reason  # noqa: E402
from perimeter.manager.handover import Handover  # noqa: E402
from perimeter.net.reactor import install  # noqa: E402
from perimeter.run.launch import Launch  # noqa: E402
from perimeter.run.notify import Notifier  # noqa: E402
from perimeter.workers.plan import content  # noqa: E402


def main(descriptor: int) -> None:
    """Manage the workers until the end; exits with status 1 if they cannot be started."""
    handed = Handover.received(descriptor)
    install()
    from twisted.internet import reactor as installed

    from perimeter.manager.service import Service

    reactor: Any = installed
    faulthandler.enable()  # systemd's watchdog sends SIGABRT
    log = handed.log.open()
    globalLogBeginner.beginLoggingTo([log], redirectStandardIO=False)
    launch = Launch(handed.waiting, handed.pidfile)
    notifier = Notifier.from_environment(os.environ, os.getpid())
    try:
        service = Service(handed, reactor, notifier, log, launch)
    except OSError as error:
        launch.failed(f"the manager of several workers cannot start: {system_reason(error)}")
    reactor.callWhenRunning(service.start)
    reactor.addSystemEventTrigger("before", "shutdown", service.stop)
    reactor.run()
    if service.fault:
        launch.failed(service.fault)
    if handed.pidfile:
        with suppress(OSError):
            os.unlink(handed.pidfile)
    ended_by = reactor._exitSignal
    if ended_by is not None:  # as twistd: the parent process sees the signal
        signal.signal(ended_by, signal.SIG_DFL)
        os.kill(os.getpid(), ended_by)


if __name__ == "__main__":
    if sys.argv[1] == "check":  # before an upgrade: the program can be loaded, and understands what it will get
        import perimeter.manager.service  # noqa: F401

        with socket.socket() as any_socket:
            Handover.understood(content(sys.stdin.fileno()), lambda _: any_socket)
    else:
        main(int(sys.argv[1]))

"""The program of the manager: ``python -m perimeter.manager DESCRIPTOR FILE``, executed by `perimeter.manager.handover`."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Any

# Twisted imports pyOpenSSL if it is installed, which takes 13 MB of memory. The manager has no connection with TLS.
sys.modules["OpenSSL"] = None  # type: ignore[assignment]

from twisted.logger import globalLogBeginner  # noqa: E402

from perimeter.config.site.logging import LoggingSettings  # noqa: E402
from perimeter.manager.handover import Handover  # noqa: E402
from perimeter.net.reactor import install  # noqa: E402
from perimeter.run.launch import Launch  # noqa: E402
from perimeter.run.logs import DaemonLog  # noqa: E402
from perimeter.run.notify import Notifier  # noqa: E402


def main(descriptor: int) -> None:
    """Manage the workers until the end; exits with status 1 if they cannot be started."""
    handed = Handover.received(descriptor)
    install()
    from twisted.internet import reactor as installed

    from perimeter.manager.service import Service

    reactor: Any = installed
    outfile = open(handed.log.path, "a") if handed.log.path else sys.stdout  # noqa: SIM115
    log = DaemonLog(LoggingSettings(), outfile)
    globalLogBeginner.beginLoggingTo([log], redirectStandardIO=False)
    launch = Launch(handed.waiting, handed.pidfile)
    notifier = Notifier.from_environment(os.environ, os.getpid())
    service = Service(handed, reactor, notifier, log, launch)
    reactor.callWhenRunning(service.start)
    reactor.addSystemEventTrigger("before", "shutdown", service.stop)
    reactor.run()
    if service.fault:
        launch.failed(service.fault)
    if handed.pidfile:
        with suppress(OSError):
            os.unlink(handed.pidfile)


if __name__ == "__main__":
    main(int(sys.argv[1]))

"""Lets a short-lived process read a site.ini and make its plan (`perimeter.run.plan`)."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from perimeter.errors import StartupError
from perimeter.manager.handover import environment, python
from perimeter.workers.plan import Plan, content

TIMEOUT = 20.0
"""Seconds to read and check a site.ini."""


class _Planner(ProcessProtocol):
    def __init__(self) -> None:
        self.ended: Deferred[None] = Deferred(lambda _: self.kill())

    def kill(self) -> None:
        if self.transport is not None and self.transport.pid:
            self.transport.signalProcess("KILL")

    def processEnded(self, reason: Failure) -> None:
        if not self.ended.called:
            self.ended.callback(None)


async def plan_file(file: Path, reactor: Any, executable: str = sys.executable) -> tuple[Plan, int]:
    """The plan of a file, and a descriptor with its text. Raises `StartupError` with every fault of the file.

    ``executable`` is the interpreter that reads it.
    """
    text = os.memfd_create("perimeter-site", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    result = os.memfd_create("perimeter-plan", os.MFD_CLOEXEC)
    try:
        planner = _Planner()
        command = python("perimeter.run.plan", str(file), executable=executable)
        descriptors = {0: 0, 1: result, 2: 2, 3: text}
        reactor.spawnProcess(planner, command[0], command, env=environment(os.environ, executable), childFDs=descriptors)
        await planner.ended.addTimeout(TIMEOUT, reactor, _late)
        try:
            found = json.loads(content(result))
        except ValueError:
            raise StartupError(f"{file}: the process that reads it has failed; the log says why") from None
        if "fault" in found:
            raise StartupError(found["fault"])
        return Plan.from_json(found["plan"]), text
    except BaseException:
        os.close(text)
        raise
    finally:
        os.close(result)


def _late(_: Any, timeout: float) -> Any:
    raise StartupError(f"reading the configuration took more than {timeout:.0f} seconds")

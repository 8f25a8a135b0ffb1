"""Prepares configurations in a thread, one at a time, and closes those that are no longer wanted when they are ready."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred, TimeoutError
from twisted.python.failure import Failure

from perimeter.config.site.config import SiteConfig
from perimeter.errors import Overloaded, StartupError
from perimeter.offload import Offload
from perimeter.run.build.prepared import Prepared, prepare
from perimeter.run.build.runtime import Runtime

TIMEOUT: Final = 60.0
"""Seconds to read everything that a configuration names. A thread that hangs longer is left behind, and the reload is refused."""


class Preparation:
    """`perimeter.run.build.prepared.prepare` in a thread of its own, so that no flood of logins delays a reload."""

    def __init__(self, runtime: Runtime, thread: Offload | None = None) -> None:
        self._runtime = runtime
        self._reactor: Any = runtime.reactor
        self._thread = thread or Offload(runtime.reactor, threads=1, queue=1)

    def start(self) -> None:
        """Take work."""
        self._thread.start()

    def stop(self) -> None:
        """Take no more work. What is being prepared is closed when it is ready."""
        self._thread.stop()

    def prepare(self, read: Callable[[], SiteConfig]) -> Deferred[Prepared]:
        """What ``read`` reads and names. Fails with `StartupError`, also after `TIMEOUT`; may be cancelled."""
        wanted: Deferred[Prepared] = Deferred()

        def ready(result: Prepared | Failure) -> None:
            if not wanted.called:
                wanted.callback(result)
            elif isinstance(result, Prepared):
                self.discard(result)

        self._thread.run(prepare, read, self._runtime).addBoth(ready)
        return wanted.addTimeout(TIMEOUT, self._reactor).addErrback(_as_refusal)

    def discard(self, prepared: Prepared) -> None:
        """Close what was prepared, in the thread if it still takes work."""
        self._thread.proceed(prepared.discard).addErrback(lambda _: prepared.discard())


def _as_refusal(failure: Failure) -> Failure:
    if failure.check(TimeoutError):
        return Failure(StartupError(f"reading the configuration and its files took more than {TIMEOUT:.0f} seconds"))
    if failure.check(Overloaded):
        return Failure(StartupError("the files of an earlier configuration are still being read"))
    return failure

"""Notices when a certificate, a key or a CA file has been renewed.

A renewal writes several files, one after the other: a change counts when two looks in a row find the same. Then
`perimeter.run.daemon` reads the files of the configuration in force again, which checks them before they are used.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from perimeter.config.site.renewed import Versions, versions
from perimeter.offload import Offload

_log = Logger()

INTERVAL = 5.0
"""Seconds between two looks. A renewed file is in use after at most twice that, and the time of a reload."""


class FileWatch:
    """Calls ``renewed`` with the paths that have changed. Looks are made in a thread of its own: a file system may hang.

    ``wanted`` is called before each look, so that only one of several workers looks.
    """

    def __init__(
        self,
        reactor: Any,
        renewed: Callable[[list[Path]], None],
        thread: Offload | None = None,
        wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        self._renewed = renewed
        self._wanted = wanted
        self._thread = thread or Offload(reactor, threads=1, queue=1)
        self._known: Versions = {}
        self._seen: Versions = {}
        self._loop = LoopingCall(self._look)
        self._loop.clock = reactor

    def watch(self, known: Versions) -> None:
        """Watch these files from now on. ``known`` are their versions when they were read, or before."""
        self._known = self._seen = known

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()
        self._loop.start(INTERVAL, now=False)

    def stop(self) -> Deferred[None]:
        """Look no more; fires when the thread has ended."""
        if self._loop.running:
            self._loop.stop()
        return self._thread.stop()

    def _look(self) -> Deferred[None]:
        if not self._wanted():
            return succeed(None)
        known = self._known
        looked = self._thread.run(versions, tuple(known))
        return looked.addCallback(self._compare, known).addErrback(
            lambda failure: _log.error("files were not checked for a renewal: {error}", error=failure.getErrorMessage())
        )

    def _compare(self, seen: Versions, known: Versions) -> None:
        if known is not self._known:  # other files are watched since the look began
            return
        before, self._seen = self._seen, seen
        if seen != known and seen == before:
            self._known = seen  # whether or not they can be used: they are not read again until they change again
            self._renewed(sorted(path for path, version in seen.items() if version != known[path]))

"""The progress of long work: a line on standard error, and only on a terminal."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Final, TextIO

PATIENCE: Final = 0.5
"""Seconds before the line appears: short work shows none."""

INTERVAL: Final = 0.2
"""Seconds between two changes of the line."""

_WIDTH = 24
_CLEAR = "\r\x1b[K"


class Progress:
    """How much of ``total`` is done, for ``what``: a bar, the percentage, and the time that is left.

    Use it as a context: at its end the line disappears. ``total`` may be 0 if it is not known. Nothing is written if ``stream``
    is not a terminal that can clear a line.
    """

    def __init__(
        self, what: str, total: int, stream: TextIO | None = None, seconds: Callable[[], float] = time.monotonic
    ) -> None:
        self._what = what
        self._total = total
        self._stream = sys.stderr if stream is None else stream
        self._seconds = seconds
        self._began = seconds()
        self._next = self._began + PATIENCE
        self._shown = False
        self._visible = self._stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.clear()

    def at(self, done: int) -> None:
        """Set how much of ``total`` is done. May be called often: the line changes a few times a second."""
        if not self._visible:
            return
        now = self._seconds()
        if now < self._next:
            return
        self._next = now + INTERVAL
        self._stream.write(_CLEAR + self._line(done, now - self._began))
        self._stream.flush()
        self._shown = True

    @contextmanager
    def ticking(self) -> Iterator[None]:
        """Show the elapsed time of work whose progress is unknown."""
        over = threading.Event()

        def tick() -> None:
            while not over.wait(INTERVAL):
                self.at(0)

        thread = threading.Thread(target=tick, daemon=True)
        if self._visible:
            thread.start()
        try:
            yield
        finally:
            over.set()
            if self._visible:
                thread.join()

    def clear(self) -> None:
        """Remove the line, so that something else can be printed. It comes back with the next change."""
        if self._shown:
            self._stream.write(_CLEAR)
            self._stream.flush()
            self._shown = False

    def _line(self, done: int, taken: float) -> str:
        if self._total <= 0:
            return f"{self._what}: {taken:.0f} s"
        part = min(1.0, done / self._total)
        full = int(part * _WIDTH)
        left = f", {_time(taken / part - taken)} left" if part > 0.01 else ""
        return f"{self._what} [{'#' * full}{'.' * (_WIDTH - full)}] {part:4.0%}{left}"


def _time(seconds: float) -> str:
    minutes, rest = divmod(int(seconds + 0.5), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"

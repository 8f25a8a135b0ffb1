"""The old files of an audit log: their names, and the number of files to keep. See `perimeter.audit.rolling`."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

from twisted.logger import Logger

_log = Logger(namespace="perimeter.audit")


def day_bounds(moment: float) -> tuple[float, float]:
    """Return the first second of the local day that contains ``moment``, and of the next day (seconds since the epoch)."""
    year, month, day = time.localtime(moment)[:3]
    # mktime knows that the 32nd of a month is the 1st of the next, and which days have 23 or 25 hours
    return time.mktime((year, month, day, 0, 0, 0, 0, 0, -1)), time.mktime((year, month, day + 1, 0, 0, 0, 0, 0, -1))


class OldFiles:
    """The old files of ``path``: the newest ``keep`` days, or numbers if ``by_size``. A ``keep`` of 0 keeps all."""

    def __init__(self, path: Path, by_size: bool, keep: int) -> None:
        self._path = path
        self._name = os.fspath(path)
        self._by_size = by_size
        self._keep = keep

    def move_aside(self, day: tuple[float, float]) -> None:
        """Rename the file, whose lines are of ``day`` (see `day_bounds`). Never replaces another file. Raises OSError."""
        if self._by_size:
            self._shift()
            self._move_to(iter([f"{self._name}.1"]))
        else:
            self._move_to(self._dated_names(day))

    def _dated_names(self, day: tuple[float, float]) -> Iterator[str]:
        # noon, because not every day has a midnight
        name = time.strftime("%Y-%m-%d", time.localtime((day[0] + day[1]) / 2))
        yield f"{self._name}.{name}"
        for number in range(1, 10000):
            yield f"{self._name}.{name}.{number}"

    def _move_to(self, names: Iterator[str]) -> None:
        """Rename the file to the first of ``names`` that is free. Never replaces another file."""
        for name in names:
            try:
                # link and unlink, because rename would replace a file that another process has made in the meantime
                os.link(self._name, name, follow_symlinks=False)
            except FileExistsError:
                # a crash between link and unlink leaves one file with both names
                if not os.path.samefile(self._name, name):
                    continue
            except OSError:
                if os.path.lexists(name):
                    continue
                os.rename(self._name, name)
                return
            os.unlink(self._name)
            return
        raise FileExistsError(errno.EEXIST, "no free name to roll to", self._name)

    def _shift(self) -> None:
        """Free ``.1``: increase each number up to the first gap by one, and drop the file numbered ``keep``."""
        free = 1
        while os.path.lexists(f"{self._name}.{free}") and (not self._keep or free < self._keep):
            free += 1
        for number in range(free, 1, -1):
            os.replace(f"{self._name}.{number - 1}", f"{self._name}.{number}")
        if self._keep == 1:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{self._name}.1")

    def prune(self) -> None:
        """Remove files older than the newest ``keep`` days, or numbered above ``keep``. Compressed files too."""
        if not self._keep:
            return
        kind = r"([0-9]+)" if self._by_size else r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:\.[0-9]+)?"
        pattern = re.compile(re.escape(self._path.name) + r"\." + kind + r"(?:\.(?:gz|bz2|xz|zst))?")
        try:
            found = [(match[1], name) for name in os.listdir(self._path.parent) if (match := pattern.fullmatch(name))]
            if self._by_size:
                old = [name for number, name in found if int(number) > self._keep]
            else:
                kept = sorted({day for day, _ in found})[-self._keep :]
                old = [name for day, name in found if day not in kept]
            for name in old:
                (self._path.parent / name).unlink(missing_ok=True)  # another writer removes them, too
        except OSError as error:
            _log.warn("old files of {path} cannot be removed: {error}", path=self._name, error=error)

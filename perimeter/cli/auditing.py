"""Shared parts of the subcommands of ``perimeter audit``: the files to read, their lines, and the output of lines."""

from __future__ import annotations

import json
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from perimeter.audit.escaping import escape_line
from perimeter.audit.files import UNREADABLE, is_compressed, log_files, why_unreadable
from perimeter.audit.forward import Forward
from perimeter.audit.reading import Line, parse_line
from perimeter.audit.search import StaleCursor, search_files
from perimeter.audit.wanted import Wanted, candidates
from perimeter.cli.progress import Progress
from perimeter.cli.site import explained, read_site

Found = tuple[Line, bytes]
"""A line: its parts, and its text without the newline."""


def configured_logs(file: Path) -> list[Path]:
    """The audit logs of the configuration ``file``."""
    with explained():
        config = read_site(file)
    paths = (config.audit.path, *(route.audit for route in config.routes))
    found = list(dict.fromkeys(path for path in paths if path is not None))
    if not found:
        raise click.ClickException(f"{config.file} has no audit log: name FILEs")
    return found


def with_old_files(log: Path) -> list[Path]:
    """A log and its old files, the oldest first."""
    try:
        return log_files(log)[::-1]
    except OSError as error:
        raise click.ClickException(f"{log.parent}: {error.strerror}") from None


def files_to_read(files: Sequence[Path], file: Path, since: float | None) -> list[Path]:
    """``files``, or those of the configuration. Old files that were last written before ``since`` are skipped."""
    if files:
        return list(files)
    found = [path for log in configured_logs(file) for path in with_old_files(log)]
    return [path for path in found if since is None or path.stat().st_mtime >= since]


def size_of(path: Path) -> int:
    """The size on the disk; 0 if the file is gone."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


class Matching:
    """The lines of ``paths`` that match ``wanted``, one file after the other. ``what`` names the work, for the progress.

    ``unknown`` counts lines of an unknown format. ``whole`` is False if a file could not be read to its end; the reason is
    printed.
    """

    def __init__(self, what: str, paths: Sequence[Path], wanted: Wanted) -> None:
        self._paths = paths
        self._wanted = wanted
        self.progress = Progress(what, sum(map(size_of, paths)))
        self.unknown = 0
        self.whole = True

    def __iter__(self) -> Iterator[Found]:
        before = 0
        with self.progress:
            for path in self._paths:
                yield from self._file(path, before)
                before += size_of(path)

    def _file(self, path: Path, before: int) -> Iterator[Found]:
        reader, needles = Forward(path), self._wanted.needles()
        try:
            for block in reader.blocks():
                self.progress.at(before + reader.done)
                if not block.strip(b"\n"):
                    continue  # many empty lines take no longer than a few
                for _, text in candidates(block, needles):
                    line = parse_line(text)
                    if line is None:
                        self.unknown += 1
                    elif self._wanted.matches(line):
                        yield line, text
        except UNREADABLE as error:
            self.whole = False
            self.progress.clear()
            complain(f"{path}: {why_unreadable(error)}")
        self.unknown += reader.too_long

    def conclude(self) -> None:
        """Print how many lines were skipped."""
        if self.unknown:
            complain(f"{self.unknown} lines have an unknown format and were left out")


def last_lines(path: Path, cursor: str, wanted: Wanted, count: int) -> list[Found]:
    """The last ``count`` lines of a log and its old files that match, the oldest first.

    ``cursor`` is the end of the searched part, as `perimeter.audit.follow.Followed.begin` returns it.
    """
    found: list[Found] = []  # the newest first
    files = with_old_files(path)[::-1]
    with Progress("searching", sum(map(size_of, files))) as progress:
        read = 0
        for file in files:
            if len(found) >= count:
                break
            place = ""
            if cursor:
                if cursor.partition(":")[0] != str(file.stat().st_ino):
                    continue  # begun since, after a roll
                place, cursor = cursor, ""
            if is_compressed(file):
                found += reversed(deque(Matching("searching", [file], wanted), maxlen=count - len(found)))
                continue
            try:
                while len(found) < count:
                    answer = search_files([file], wanted, place)
                    found += [(hit.line, hit.text.encode("utf-8", "surrogateescape")) for hit in answer.hits]
                    place, read = answer.cursor, read + answer.read
                    progress.at(read)
                    if not place:
                        break
            except StaleCursor:
                continue  # rolled in between: the lines are in the next file
    return found[:count][::-1]


class Out:
    """Standard output for lines: as they are, or as JSON. On a terminal, control characters are escaped."""

    def __init__(self, as_json: bool) -> None:
        self._json = as_json
        self._terminal = sys.stdout.isatty()

    def write(self, found: Found) -> None:
        """Print a line."""
        line, text = found
        if self._json:
            click.echo(json.dumps(_members(line)))
        elif self._terminal:
            click.echo(escape_line(text.decode("utf-8", "surrogateescape")))
        else:
            sys.stdout.buffer.write(text + b"\n")


def complain(text: str) -> None:
    """Print a sentence to standard error. It may contain names of files."""
    click.echo(escape_line(text), err=True)


def _members(line: Line) -> dict[str, object]:
    return {
        "time": line.time.isoformat(),
        "address": line.address,
        "user": None if line.user == b"-" else line.user.decode("utf-8", "backslashreplace"),
        "method": line.method,
        "target": line.target,
        "status": int(line.status),
        "sent": line.sent,
        "reason": line.reason,
        "attempted_user": line.attempted.decode("utf-8", "backslashreplace") or None,
        "event": line.event or None,
        "route": line.route,
        "duration": line.duration,
        "request_id": line.request_id or None,
    }

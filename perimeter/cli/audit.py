"""``perimeter audit``: look into audit logs, which may be in any of the formats, rolled and compressed.

Lines are printed as they are in the file. On a terminal, control characters are escaped: the gateway escapes its own lines, but
another program may have written to the file (attack 95).
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from perimeter.cli.exits import Exit
from perimeter.cli.site import Nested, config_option, json_option

if TYPE_CHECKING:
    from perimeter.audit.follow import Followed
    from perimeter.audit.wanted import Wanted
    from perimeter.cli.auditing import Out

POLL: Final = 0.2
"""Seconds between two reads of a log that is followed."""

_AGO = re.compile(r"[0-9]+[smhd]")


def _moment(_context: click.Context, _parameter: click.Parameter, value: str | None) -> float | None:
    """Epoch seconds of a time (local time unless it has a zone), or of a duration before now."""
    if value is None:
        return None
    if _AGO.fullmatch(value):
        from perimeter.config.language.datatypes import duration

        return time.time() - duration().convert(value, Path())
    try:
        return datetime.fromisoformat(value).astimezone().timestamp()
    except (ValueError, OverflowError) as error:
        expected = "expected a time like 2026-11-22 or 2026-11-22T13:30 or 2026-11-22T13:30+01:00, or a duration like 2h"
        raise click.BadParameter(expected) from error


def _status(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"0|[1-5](?:[0-9]{2}|xx)", value):
        raise click.BadParameter("expected a status like 401, 4xx, or 0 for requests that were never answered")
    return value


_FILTERS = (
    click.option("--user", default="", help="Only requests of this user, or of failed logins with it; - for no user."),
    click.option("--path", default="", help="Only requests whose target begins with this text."),
    click.option("--status", callback=_status, help="Only this status: 401, or 4xx for a whole class."),
    click.option("--reason", default="", help="Only refusals with this reason code (format json)."),
    click.option("--id", "request_id", default="", help="Only the request with this id."),
    click.option(
        "--since", callback=_moment, help="Only requests from this time on, or within a duration before now, such as 2h."
    ),
    click.option("--until", callback=_moment, help="Only requests before this time."),
)
_files = click.argument(
    "files", metavar="[FILE]…", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path, allow_dash=False)
)


def _filtered(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that select lines, as the argument ``wanted``; and FILEs or the configuration, as ``files``."""

    @wraps(command)
    def called(
        user: str,
        path: str,
        status: str | None,
        reason: str,
        request_id: str,
        since: float | None,
        until: float | None,
        **others: Any,
    ) -> None:
        from perimeter.audit.wanted import Wanted

        command(wanted=Wanted(user, path, status or "", reason, since, until, request_id), **others)

    decorated: Callable[..., Any] = called
    for option in (*reversed(_FILTERS), config_option, _files):
        decorated = option(decorated)
    return decorated


@click.group("audit", cls=Nested)
def command() -> None:
    """Look into audit logs: those of the configuration with their old files, or the FILEs that are named.

    All formats are read, and files that are compressed with gzip, bzip2 or xz.
    """


@command.command("tail")
@_filtered
@click.option(
    "-n", "--lines", "count", type=click.IntRange(0, 100_000), default=10, show_default=True, help="Lines to begin with."
)
@click.option("-f", "--follow", is_flag=True, help="Print new lines too, also after rolls, until the command is interrupted.")
@json_option
def tail(files: tuple[Path, ...], file: Path, wanted: Wanted, count: int, follow: bool, as_json: bool) -> None:
    """Print the last lines that match all options. Lines of several logs are sorted by time."""
    from perimeter.audit.follow import Followed
    from perimeter.cli.auditing import Out, configured_logs, last_lines

    followed = [Followed(path) for path in files or configured_logs(file)]
    out = Out(as_json)
    try:
        found = [one for each in followed for one in last_lines(each.path, each.begin(), wanted, count)]
        if len(followed) > 1:
            found.sort(key=lambda one: one[0].time)
        for one in found[-count:] if count else ():
            out.write(one)
        while follow:
            sys.stdout.flush()
            time.sleep(POLL)
            _go_on(followed, wanted, out)
    except KeyboardInterrupt:
        pass  # the usual end of -f
    finally:
        for each in followed:
            each.close()


def _go_on(followed: Iterable[Followed], wanted: Wanted, out: Out) -> None:
    """Print the new lines of logs that match."""
    from perimeter.audit.reading import parse_line

    for each in followed:
        for text in each.lines(time.monotonic()):
            line = parse_line(text)
            if line is not None and wanted.matches(line):
                out.write((line, text.rstrip(b"\n")))


@command.command("search")
@_filtered
@json_option
def search(files: tuple[Path, ...], file: Path, wanted: Wanted, as_json: bool) -> None:
    """Print all lines that match all options, the oldest file first.

    The exit status is 1 if there is none, and 3 if a file could not be read.
    """
    found, whole = _print_matching(files, file, wanted, as_json)
    sys.exit(Exit.PARTLY if not whole else Exit.DONE if found else Exit.NO)


@command.command("show", hidden=True)
@_filtered
def show(files: tuple[Path, ...], file: Path, wanted: Wanted) -> None:
    """The earlier name of search. The exit status is 0 without a match."""
    _, whole = _print_matching(files, file, wanted, as_json=False)
    sys.exit(Exit.DONE if whole else Exit.PARTLY)


def _print_matching(files: tuple[Path, ...], file: Path, wanted: Wanted, as_json: bool) -> tuple[int, bool]:
    """The number of printed lines, and whether all files could be read."""
    from perimeter.cli.auditing import Matching, Out, files_to_read

    matching, out, count = Matching("searching", files_to_read(files, file, wanted.since), wanted), Out(as_json), 0
    for found in matching:
        matching.progress.clear()
        out.write(found)
        count += 1
    matching.conclude()
    return count, matching.whole


@command.command("report")
@_filtered
@click.option("--top", type=click.IntRange(1, 1000), default=10, show_default=True, help="Entries in each list.")
@json_option
def report(files: tuple[Path, ...], file: Path, wanted: Wanted, top: int, as_json: bool) -> None:
    """Count the requests that match all options: by status, user, address, path, reason, and which took longest.

    The exit status is 3 if a file could not be read.
    """
    from perimeter.audit.report import Report
    from perimeter.cli.audit_texts import report_lines, report_members
    from perimeter.cli.auditing import Matching, files_to_read

    counted = Report()
    matching = Matching("counting", files_to_read(files, file, wanted.since), wanted)
    for line, _ in matching:
        counted.add(line)
    if as_json:
        click.echo(json.dumps(report_members(counted, matching.unknown, top), indent=2))
    else:
        _print(report_lines(counted, top))
        matching.conclude()
    sys.exit(Exit.DONE if matching.whole else Exit.PARTLY)


@command.command("verify")
@_files
@config_option
@json_option
def verify(files: tuple[Path, ...], file: Path, as_json: bool) -> None:
    """Check that the gateway has written each line as a whole: count torn, empty, too long and foreign lines.

    The exit status is 1 if there is such a line, except empty ones, or a file that cannot be read.
    """
    from perimeter.audit.verify import verify
    from perimeter.cli.audit_texts import verdict_lines, verdict_members
    from perimeter.cli.auditing import configured_logs, size_of, with_old_files
    from perimeter.cli.progress import Progress

    current = list(files) or configured_logs(file)
    paths = list(files) or [path for log in current for path in with_old_files(log)]
    verdicts = []
    before = 0
    with Progress("verifying", sum(map(size_of, paths))) as progress:
        for path in paths:
            verdicts.append(verify(path, lambda done: progress.at(before + done), last=path in current))  # noqa: B023  # called at once
            before += size_of(path)
    if as_json:
        click.echo(json.dumps([verdict_members(one) for one in verdicts], indent=2))
    else:
        for verdict in verdicts:
            _print(verdict_lines(verdict))
    sys.exit(Exit.DONE if all(one.clean for one in verdicts) else Exit.NO)


def _print(lines: Iterable[str]) -> None:
    from perimeter.audit.escaping import escape_line

    for line in lines:
        # names come from clients
        click.echo(escape_line(line))

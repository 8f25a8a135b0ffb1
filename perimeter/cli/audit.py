"""``perimeter audit show FILE…``: print matching lines of audit logs, whose formats may be mixed.

Lines are printed as they are in the file. They are escaped there, so they cannot control a terminal.
"""

from __future__ import annotations

import gzip
import re
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import click

from perimeter.audit.formats import user_column
from perimeter.audit.reading import parse_line


def _lines(path: Path) -> Iterator[bytes]:
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        yield from file


def _since(_context: click.Context, _parameter: click.Parameter, value: str | None) -> datetime | None:
    if value is None:
        return None
    try:
        return datetime.fromisoformat(value).astimezone()
    except ValueError as error:
        raise click.BadParameter("expected a time like 2026-11-22 or 2026-11-22T13:30 or 2026-11-22T13:30+01:00") from error


def _status(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"0|[1-5](?:[0-9]{2}|xx)", value):
        raise click.BadParameter("expected a status like 401, 4xx, or 0 for requests that were never answered")
    return value


@click.group("audit")
def command() -> None:
    """Look into audit logs."""


@command.command("show")
@click.argument("files", metavar="FILE…", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--user", help="Only requests of this user; - for requests without a user.")
@click.option("--status", callback=_status, help="Only this status: 401, or 4xx for a whole class.")
@click.option("--since", callback=_since, help="Only requests from this time on; local time unless it has a zone.")
def show(files: tuple[Path, ...], user: str | None, status: str | None, since: datetime | None) -> None:
    """Print the lines of each FILE (.gz too) that match all options."""
    wanted = None if user is None else user_column(None if user == "-" else user)
    out = sys.stdout.buffer
    unknown = 0
    for path in files:
        for line in _lines(path):
            parsed = parse_line(line)
            if parsed is None:
                unknown += 1
            elif (
                wanted in (None, parsed.user)
                and (since is None or parsed.time >= since)
                and (status in (None, parsed.status) or (str(status).endswith("xx") and parsed.status[0] == str(status)[0]))
            ):
                out.write(line)
    if unknown:
        click.echo(f"{unknown} lines have an unknown format and were left out", err=True)

"""``perimeter doctor``: what is wrong, or will be, with the configuration, this machine, and the services around the gateway."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from perimeter.cli.exits import Exit
from perimeter.cli.site import config_option, json_option

if TYPE_CHECKING:
    from perimeter.doctor.examination import Report
    from perimeter.doctor.finding import Finding

_RESOLVER = "timeout:2 attempts:1"
"""resolv.conf(5): a name server that is gone must not keep the command from ending."""


@click.command("doctor")
@config_option
@json_option
@click.option("--ignore", metavar="NAME", multiple=True, help="Leave out the findings with this name. Repeatable.")
def command(file: Path, as_json: bool, ignore: tuple[str, ...]) -> None:
    """Examine files, certificates, names, the clock, services, secrets and this machine, and print findings, the worst first.

    The command changes nothing. It reports what check and status report, and more. It works whether the gateway runs or not, and
    takes some seconds. Run it as root or as the gateway's user: other users may not read everything.

    The exit status is 0 if there is at most advice, 3 if something may fail later, and 1 if something is open or fails.
    """
    from perimeter.doctor.finding import Name

    unknown = [name for name in ignore if name not in set(Name)]
    if unknown:
        raise click.BadParameter(f"there is no finding {unknown[0]!r}; they are {', '.join(sorted(Name))}", param_hint="--ignore")
    os.environ.setdefault("RES_OPTIONS", _RESOLVER)
    from perimeter.doctor.examination import examine

    report = examine(file)
    findings = [one for one in report.findings if one.name not in ignore]
    if as_json:
        click.echo(json.dumps(_members(report, ignore), indent=2))
    else:
        from perimeter.audit.escaping import escape_line

        for line in _lines(report, ignore):
            # names come from files, certificates and users
            click.echo(escape_line(line))
    sys.exit(exit_status(findings))


def exit_status(findings: list[Finding]) -> Exit:
    """The status for the worst finding."""
    from perimeter.doctor.finding import Grade

    worst = min((one.grade for one in findings), default=Grade.ADVICE)
    return Exit.NO if worst <= Grade.FAILS else Exit.PARTLY if worst is Grade.SOON else Exit.DONE


def _members(report: Report, ignore: tuple[str, ...]) -> dict[str, object]:
    return {
        "findings": [
            {"name": one.name, "grade": one.grade.word, "subject": one.subject, "message": one.message, "remedy": one.remedy}
            for one in report.findings
            if one.name not in ignore
        ],
        "ignored": sorted({one.name for one in report.findings if one.name in ignore}),
        "looks": [
            {"name": one.look.name, "subject": one.look.subject, "seconds": round(one.seconds, 3), "findings": len(one.findings)}
            for one in report.looks
        ],
    }


def _lines(report: Report, ignore: tuple[str, ...]) -> Iterator[str]:
    shown = [one for one in report.findings if one.name not in ignore]
    for one in shown:
        yield f"{one.grade.word}: {one.name}: {one.subject}: {one.message}"
        yield f"    to do: {one.remedy}"
    left = len(report.findings) - len(shown)
    looks = f"{len(report.looks)} looks"
    yield f"{looks}, {len(shown)} findings" + (f", {left} ignored" if left else "")

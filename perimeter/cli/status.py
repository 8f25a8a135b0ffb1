"""``perimeter status``: show the running gateway."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from perimeter.cli.exits import Exit
from perimeter.cli.site import Site, explained, gateway_options, json_option, print_json


@click.command("status")
@gateway_options
@json_option
def command(file: Path, state_dir: Path | None, as_json: bool) -> None:
    """Show the running gateway: problems, the worst first; listeners, authenticators, and who has to wait after wrong passwords.

    Directories and services are asked whether they answer. The exit status is 1 if there is a problem.
    """
    from perimeter.audit.escaping import escape_line

    with explained():
        answer = Site(file, state_dir).ask({"command": "status"})
    if as_json:
        print_json(answer)
    else:
        for line in _lines(answer):
            # names come from clients
            click.echo(escape_line(line))
    sys.exit(Exit.NO if answer.get("problems") else Exit.DONE)


def _lines(answer: dict[str, Any]) -> list[str]:
    lines = [f"problem: {one['subject']} {one['name']}: {one['message']}" for one in answer.get("problems", ())]
    lines += [f"perimeter {answer['version']}, process {answer['pid']}, up for {answer['uptime']} s with {answer['config']}"]
    if answer.get("sessions"):
        lines.append(f"sessions of browsers: {answer['sessions']}")
    for place in answer["listeners"]:
        lines.append(f"listener {place['name']}: port {place['port']}, {place['connections']} connections")
    for one in answer["authenticators"]:
        state = "in use"
        if one["down"]:
            state = f"down, next try in {one['next_try']} s"
        elif one.get("fault"):
            state = "cannot be used at the moment"
        lines.append(f"authenticator {one['name']} ({one['type']}, realm {one['realm']}): {state}")
    for one in answer["waiting"]:
        who = f"name {one['value']!r} of realm {one['realm']}" if one["kind"] == "name" else f"address {one['value']}"
        state = f"refused for {one['seconds']} s" if one["seconds"] else "may try once more"
        lines.append(f"{who}: {one['wrong_passwords']} wrong passwords, {state}")
    return lines

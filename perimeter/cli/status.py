"""``perimeter status``, ``perimeter reload`` and ``perimeter unban``: ask the running gateway, through the socket in its state
directory."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import click

from perimeter.audit.escaping import escape_line
from perimeter.cli.site import config_option, explained, gateway_of, gateway_options, read_site
from perimeter.run.control import ask


@click.command("status")
@gateway_options
@click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
def command(file: Path | None, state_dir: Path | None, as_json: bool) -> None:
    """Show the running gateway: problems, the worst first; listeners, authenticators, and who has to wait after wrong passwords.

    Directories and services are asked whether they answer. Ends with 1 if there is a problem.
    """
    with explained():
        answer = ask(gateway_of(file, state_dir)[0], {"command": "status"})
    if as_json:
        click.echo(json.dumps(answer, indent=2))
    else:
        for line in _lines(answer):
            # names come from clients
            click.echo(escape_line(line))
    sys.exit(1 if answer.get("problems") else 0)


def _lines(answer: dict[str, Any]) -> list[str]:
    lines = [f"problem: {one['subject']} {one['name']}: {one['message']}" for one in answer.get("problems", ())]
    lines += [f"perimeter {answer['version']}, process {answer['pid']}, up for {answer['uptime']} s with {answer['config']}"]
    if answer.get("sessions"):
        lines.append(f"sessions of browsers: {answer['sessions']}")
    for place in answer["listeners"]:
        lines.append(f"listener {place['name']}: port {place['port']}, {place['connections']} connections")
    for upstream in answer.get("upstreams", ()):
        waiting = f", {upstream['waiting']} requests wait" if upstream["waiting"] else ""
        for one in upstream["servers"]:
            kind = ", backup" if one["backup"] else ""
            fault = f" ({one['fault']})" if one["fault"] else ""
            lines.append(
                f"upstream {upstream['name']}: {one['url']}{kind}: {one['state']}{fault}, {one['active']} requests{waiting}"
            )
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


@click.command("unban")
@gateway_options
@click.argument("what", metavar="NAME|ADDRESS")
def unban(file: Path | None, state_dir: Path | None, what: str) -> None:
    """Forget the wrong passwords for a user name, in any of its spellings, or from an address."""
    with explained():
        released = ask(gateway_of(file, state_dir)[0], {"command": "unban", "what": what})["released"]
    if not released:
        raise click.ClickException(f"there were no wrong passwords for {what!r}")
    for one in released:
        click.echo(escape_line(f"{one} may try again"))


@click.command("reload")
@config_option
def reload(file: Path) -> None:
    """Check FILE, and make the running gateway load it. Open connections and requests go on.

    Ends with 1, and changes nothing, if FILE has a fault or no gateway runs with it. The gateway reports in its log what it did.
    """
    with explained():
        running = ask(read_site(file).perimeter.state_dir, {"command": "status", "brief": True})
    if Path(running["config"]).resolve() != file.resolve():
        raise click.ClickException(f"the gateway that runs in this state_dir has another configuration: {running['config']}")
    try:
        os.kill(running["pid"], signal.SIGHUP)
    except OSError as error:
        raise click.ClickException(f"process {running['pid']} cannot be signalled: {error.strerror}") from None
    click.echo(f"process {running['pid']} loads {file}")

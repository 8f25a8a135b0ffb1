"""``perimeter status``: show the running gateway (`perimeter.cli.showing`)."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import click

from perimeter.cli.exits import Exit
from perimeter.cli.site import Site, explained, gateway_options, json_option, print_json


@click.command("status")
@gateway_options
@json_option
@click.option("--watch", is_flag=True, help="Repeat the output, until Ctrl-C.")
@click.option(
    "--every",
    type=click.FloatRange(min=0.5),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="With --watch: the time between two outputs.",
)
@click.option("--alive", is_flag=True, help="Check only whether the gateway answers: for the health check of a container.")
def command(file: Path, state_dir: Path | None, as_json: bool, watch: bool, every: float, alive: bool) -> None:
    """Show the state of the running gateway: its problems first, the worst at the top.

    Then the nodes that share the state, the workers, the last reload, requests, listeners, upstreams, authenticators,
    certificates, and the users and addresses that have to wait after wrong passwords. The gateway checks whether directories and
    services answer, which takes at most three seconds. The exit status is 1 if there is a problem.
    """
    site = Site(file, state_dir)
    if alive:
        with explained():
            answer = site.ask({"command": "status", "brief": True})
        if as_json:
            print_json(answer)
        else:
            click.echo(f"process {answer['pid']} answers")
        return
    if watch:
        _watch(site, every, as_json)
    with explained():
        answer = site.ask({"command": "status"})
    if as_json:
        print_json(answer)
    else:
        from perimeter.cli.showing import lines

        _print(lines(answer, time.time()))
    sys.exit(Exit.NO if answer.get("problems") else Exit.DONE)


def _watch(site: Site, every: float, as_json: bool) -> None:
    """Show the gateway every ``every`` seconds, also while it does not run. Ends with Ctrl-C."""
    from perimeter.cli.showing import lines
    from perimeter.errors import StartupError

    before: dict[str, Any] | None = None
    answer: dict[str, Any] | None
    try:
        while True:
            began = time.monotonic()
            try:
                answer = site.ask({"command": "status"})
                fault, shown = "", lines(answer, time.time(), before)
            except StartupError as error:
                answer, fault, shown = None, str(error), [f"problem: {error}"]
            if as_json:
                click.echo(json.dumps(answer if answer is not None else {"problems": [{"message": fault}]}))
            else:
                click.clear()
                _print(shown, shutil.get_terminal_size().lines - 1 if sys.stdout.isatty() else None)
            before = answer
            time.sleep(max(0.0, began + every - time.monotonic()))
    except KeyboardInterrupt:
        sys.exit(Exit.DONE)


def _print(shown: list[str], most: int | None = None) -> None:
    """Print lines, ``most`` at most. Problems are red on a terminal."""
    from perimeter.audit.escaping import escape_line

    if most is not None and len(shown) > most:
        shown = [*shown[: most - 1], f"… {len(shown) - most + 1} more lines"]
    for line in shown:
        # names come from clients
        text = escape_line(line)
        click.echo(click.style(text, fg="red") if line.startswith("problem: ") and "NO_COLOR" not in os.environ else text)

"""``perimeter reload``, ``stop`` and ``upgrade``: send the request to the running gateway, and wait for its end."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import click

from perimeter.cli.site import Site, explained, gateway_options, json_option, print_json
from perimeter.errors import StartupError

_AFTER_DRAIN: Final = 10.0
"""Seconds that a process may take to end after `drain_timeout`."""

_UPGRADED: Final = 100.0
"""Seconds within which the workers of a new program must serve."""

_STOPS: Final = 0.5
"""Seconds within which a process begins to stop after the request."""


def _other_file(running: dict[str, Any], file: Path) -> None:
    """Refuse to work on a gateway that runs with another configuration."""
    if Path(running["config"]).resolve() != file.resolve():
        raise click.ClickException(f"the gateway that runs in this state_dir has another configuration: {running['config']}")


@click.command("reload")
@gateway_options
@json_option
def reload(file: Path, state_dir: Path | None, as_json: bool) -> None:
    """Make the running gateway load its configuration, and wait until the new one is in force.

    Open connections and requests continue. If the file has a fault, nothing changes, and the exit status is 1.
    """
    site = Site(file, state_dir)
    with explained():
        running = site.ask({"command": "status", "brief": True})
        if state_dir is None:
            _other_file(running, file)
        answer = site.ask({"command": "reload"}, long=True)
    if as_json:
        print_json(answer)
    else:
        click.echo(f"process {running['pid']} has loaded {running['config']}")


@click.command("stop")
@gateway_options
@json_option
@click.option("--now", is_flag=True, help="Do not wait for open requests.")
def stop(file: Path, state_dir: Path | None, as_json: bool, now: bool) -> None:
    """Stop the running gateway, and wait until it has ended.

    It accepts no new connections, and open requests have drain_timeout to finish. Under systemd, use "systemctl stop": systemd
    restarts a service that ends in another way.
    """
    site = Site(file, state_dir)
    with explained():
        running = site.ask({"command": "status", "brief": True})
        pid = int(running["pid"])
        with suppress(ProcessLookupError):  # it has ended since
            process = os.pidfd_open(pid)
            try:
                site.ask({"command": "stop"})
                _await_end(process, pid, _STOPS + _AFTER_DRAIN if now else float(running["drain_timeout"]) + _AFTER_DRAIN, now)
            finally:
                os.close(process)
    if as_json:
        print_json({"pid": pid})
    else:
        click.echo(f"stopped: process {pid}")


def _await_end(process: int, pid: int, seconds: float, now: bool) -> None:
    """Wait until the process behind the descriptor ``process`` has ended."""
    if now and not _ended(process, _STOPS):
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(process, signal.SIGTERM)  # the second request to stop: at once
    if not _ended(process, seconds):
        raise click.ClickException(f"process {pid} has not ended after {seconds:.0f} s; to end it: kill -KILL {pid}")


def _ended(process: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(process, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def _await_upgrade(site: Site, pid: int) -> None:
    """Wait until all workers of the gateway, whose process is ``pid``, are of the new program."""
    deadline = time.monotonic() + _UPGRADED
    fault = "see the log"
    while time.monotonic() < deadline:
        time.sleep(0.2)
        if not os.path.exists(f"/proc/{pid}"):
            raise StartupError("the gateway has ended; its log says why")
        try:
            answer = site.ask({"command": "status", "brief": True})
        except StartupError:  # the one program has gone, and the other does not answer yet
            continue
        if answer.get("upgrade_fault"):
            fault = str(answer["upgrade_fault"])
            break
        if not answer.get("upgrading"):
            return
    raise StartupError(f"the workers of the new program do not serve, and those before go on: {fault}")


@click.command("upgrade")
@gateway_options
@json_option
def upgrade(file: Path, state_dir: Path | None, as_json: bool) -> None:
    """Replace the running gateway by the program that is installed now, without refusing a request.

    Needs several workers. The gateway starts new workers; when all of them serve, the earlier workers finish their requests. If
    the new workers cannot start, the earlier ones continue, and the exit status is 1.
    """
    site = Site(file, state_dir)
    with explained():
        answer = site.ask({"command": "upgrade", "python": sys.executable}, long=True)
        _await_upgrade(site, int(answer["pid"]))
    if as_json:
        print_json(answer)
    else:
        click.echo(f"upgraded: process {answer['pid']}")

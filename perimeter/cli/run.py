"""``perimeter run``: the gateway, as ``twistd perimeter`` runs it."""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from typing import Final

import click

from perimeter.cli.site import config_option, existing, explained

_THRESHOLD: Final = (700, 10, 10)
"""Python's own."""


@click.command("run")
@config_option
@click.option("--background", is_flag=True, help="Return when the gateway serves; the gateway continues to run.")
@click.option("--logfile", metavar="FILE", help="Log to this file, not to standard output.")
@click.option("--pidfile", metavar="FILE", help="Write the number of the process to this file.")
@click.option("--uid", metavar="USER", help="As root: open the ports and read the files, then go on as this user.")
@click.option("--gid", metavar="GROUP", help="With --uid: the group; by default the user's own.")
def command(file: Path, background: bool, logfile: str | None, pidfile: str | None, uid: str | None, gid: str | None) -> None:
    """Run the gateway in the foreground, or with --background in the background.

    The same as "twistd --nodaemon perimeter --config FILE", which takes further options of Twisted. If the start fails, the
    command prints why, and the exit status is 1.
    """
    with explained():
        existing(file)
    if background and logfile is None:
        raise click.UsageError("--background needs --logfile FILE: there is no standard output")
    options = {"logfile": logfile, "pidfile": pidfile, "uid": uid, "gid": gid}
    sys.argv[:] = [
        "twistd",
        *(() if background else ("--nodaemon",)),
        *(f"--{name}={value}" for name, value in options.items() if value is not None),
        "perimeter",
        f"--config={file}",
    ]
    from twisted.scripts.twistd import run

    gc.set_threshold(*_THRESHOLD)  # a daemon is not a short command
    run()

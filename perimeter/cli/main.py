"""The ``perimeter`` command, for operators. Its subcommands are modules of `perimeter.cli`."""

from __future__ import annotations

import click

import perimeter
from perimeter.cli import audit, check, doctor, ecflowrc, emit, explain, import_, keys, login, password, session, status, token


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(perimeter.__version__, prog_name="perimeter")
def main() -> None:
    """Manage a Perimeter gateway."""


main.add_command(check.command)
main.add_command(explain.command)
main.add_command(doctor.command)
main.add_command(audit.command)
main.add_command(password.command)
main.add_command(keys.command)
main.add_command(token.command)
main.add_command(session.command)
main.add_command(login.command)
main.add_command(ecflowrc.command)
main.add_command(import_.command)
main.add_command(emit.command)
main.add_command(status.command)
main.add_command(status.reload)
main.add_command(status.unban)

"""``perimeter keys``: show the signing keys of a gateway, and rotate them early.

A running gateway uses a change the next time it reads its keyring.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from perimeter.cli.site import WallClock, config_option, explained, read_site

if TYPE_CHECKING:
    from perimeter.tokens.keyring import Keyring

_COLUMNS = ("STATE", "ALGORITHM", "KID", "CREATED", "SIGNS SINCE", "VERIFIES UNTIL")


@click.group("keys")
def command() -> None:
    """Show or rotate the keys that sign tokens."""


@command.command("list")
@config_option
def list_keys(file: Path) -> None:
    """Show names and times of the keys, never the keys themselves."""
    from perimeter.config.site.token import Algorithm
    from perimeter.tokens.keyring import Keyring

    with explained():
        site = read_site(file)
        keyring = Keyring.read(site.perimeter.state_dir, site.token, WallClock())
        click.echo("\n".join(table(keyring)))
        if site.token.algorithm is Algorithm.HS256:
            click.echo("HS256: tokens are signed with the secret of the configuration.")


@command.command("rotate")
@config_option
@click.option("--discard", is_flag=True, help="Delete all keys so far, for example after a theft: all tokens become invalid.")
def rotate(file: Path, discard: bool) -> None:
    """Sign with the next key from now on. Older tokens stay valid, unless --discard is given."""
    from perimeter.tokens.keyring import Keyring

    with explained():
        site = read_site(file)
        keyring = Keyring.open(site.perimeter.state_dir, site.token, WallClock())
        keyring.rotate(discard=discard)
        click.echo(f"{keyring.signing_key.kid} signs now.")


def table(keyring: Keyring) -> list[str]:
    """The keys in columns, the one that signs first."""
    rows = [_COLUMNS]
    for entry in keyring.entries:
        key = keyring.verification_key(entry.jwk.kid)
        until = key.until if key is not None else 0.0
        rows.append(
            (
                entry.state,
                entry.jwk.algorithm,
                entry.jwk.kid,
                _written(entry.created),
                "-" if entry.activated is None else _written(entry.activated),
                "over" if key is None else "-" if until == math.inf else _written(until),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _written(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

"""``perimeter keys``: show the signing keys of a gateway, and rotate them early.

A running gateway uses a change the next time it reads its keyring.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from perimeter.cli.site import Nested, Site, WallClock, config_option, explained, json_option, print_json, read_site
from perimeter.cli.table import columns

if TYPE_CHECKING:
    from perimeter.config.site.config import SiteConfig
    from perimeter.tokens.keyring import Keyring

_HEADING = ("STATE", "ALGORITHM", "KID", "CREATED", "SIGNS SINCE", "VERIFIES UNTIL")
_MEMBERS = ("state", "algorithm", "kid", "created", "signs_since", "verifies_until")


@click.group("keys", cls=Nested)
def command() -> None:
    """Show or rotate the keys that sign tokens."""


@command.command("list")
@config_option
@json_option
def list_keys(file: Path, as_json: bool) -> None:
    """Show names and times of the keys, never the keys themselves. The key that signs comes first."""
    from perimeter.config.site.token import Algorithm
    from perimeter.tokens.keyring import Keyring

    with explained():
        site = read_site(file)
        keyring = Keyring.read(site.perimeter.state_dir, site.token, WallClock())
    if as_json:
        print_json([dict(zip(_MEMBERS, row, strict=True)) for row in rows(keyring)])
        return
    click.echo("\n".join(columns([_HEADING, *rows(keyring)])))
    if site.token.algorithm is Algorithm.HS256:
        click.echo("HS256: tokens are signed with the secret of the configuration.")


@command.command("rotate")
@config_option
@json_option
@click.option("--discard", is_flag=True, help="Delete all keys so far, for example after a theft: all tokens become invalid.")
def rotate(file: Path, as_json: bool, discard: bool) -> None:
    """Sign with the next key from now on. Older tokens stay valid, unless --discard is given.

    A running gateway uses the change within seconds. With `state = redis` the running gateway of this machine rotates the keys of
    all machines.
    """
    with explained():
        site = read_site(file)
        kid = _rotated_by_gateway(file, discard) if site.perimeter.shares_state else _rotated_here(site, discard)
    if as_json:
        print_json({"kid": kid})
    else:
        click.echo(f"{kid} signs now.")


def _rotated_by_gateway(file: Path, discard: bool) -> str:
    return str(Site(file).ask({"command": "rotate_keys", "discard": discard}, long=True)["kid"])


def _rotated_here(site: SiteConfig, discard: bool) -> str:
    from perimeter.tokens.keyring import Keyring

    keyring = Keyring.open(site.perimeter.state_dir, site.token, WallClock())
    keyring.rotate(discard=discard)
    return keyring.signing_key.kid


def rows(keyring: Keyring) -> list[tuple[str, ...]]:
    """The cells of the keys, the one that signs first."""
    found: list[tuple[str, ...]] = []
    for entry in keyring.entries:
        key = keyring.verification_key(entry.jwk.kid)
        until = key.until if key is not None else 0.0
        found.append(
            (
                str(entry.state),
                entry.jwk.algorithm,
                entry.jwk.kid,
                _written(entry.created),
                "-" if entry.activated is None else _written(entry.activated),
                "over" if key is None else "-" if until == math.inf else _written(until),
            )
        )
    return found


def _written(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

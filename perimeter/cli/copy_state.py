"""``perimeter copy-state``: the tokens and sessions of a machine that had no Redis go on when it has one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from perimeter.cli.on_reactor import on_reactor
from perimeter.cli.site import config_option, explained, read_site

if TYPE_CHECKING:
    from perimeter.cluster.moving import Copied
    from perimeter.config.site.perimeter import PerimeterSettings
    from perimeter.state.changes import Held


@click.command("copy-state")
@config_option
@click.argument("directory", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path))
def command(file: Path, directory: Path | None) -> None:
    """Copy all of the file state.db to Redis.

    DIRECTORY is where state.db is; without it, the state_dir of the configuration, which has state = redis. Stop the gateway that
    writes to the file before. The file stays as it is. If the command fails, start it again: what is in Redis already is not
    copied twice. The key secrets.key beside the file has to be a line of cluster_secret; the command prints how to add it.
    """
    from perimeter.config.site.perimeter import StateKind
    from perimeter.errors import StartupError
    from perimeter.run.build.state_kinds import STATE_KINDS
    from perimeter.state.sqlite import NAME, SqliteStore

    with explained():
        settings = read_site(file).perimeter
        if settings.state is not StateKind.REDIS:
            raise StartupError(f"state = {settings.state.value}: to copy to Redis, the configuration needs state = redis")
        source = directory or settings.state_dir
        if not (source / NAME).exists():
            raise StartupError(f"{source / NAME}: there is no such file")
        _check_key(source, settings.cluster_secret)
        store = SqliteStore(source, STATE_KINDS)
        try:
            held, _ = store.load()
        finally:
            store.close()
        failed: Copied | str = "not all of it is copied"
        copied = on_reactor(lambda reactor: _copied(reactor, settings, held), failed)
        if isinstance(copied, str):
            raise StartupError(copied)
    click.echo(f"copied: {copied.records} API tokens and sessions, {copied.others} revocations and others")


def _check_key(source: Path, cluster_secret: str) -> None:
    """Raise `StartupError` if the machines would not recognize what was made with the key beside the file."""
    from perimeter.errors import StartupError
    from perimeter.secrets_key import NAME, SecretsKey, cluster_keys

    path = source / NAME
    if not path.exists():
        return
    own, common = SecretsKey.open(source), SecretsKey(*cluster_keys(cluster_secret))
    if own.derive(b"compared") not in common.derive_all(b"compared"):
        raise StartupError(
            f"tokens and second factors that were made with {path} are good on other machines only if cluster_secret has this "
            f"key, as a line more on all machines: echo {NAME}:$(od -An -vtx1 {path} | tr -d ' \\n') >> FILE"
        )


async def _copied(reactor: Any, settings: PerimeterSettings, held: Held) -> Copied | str:
    """What was copied, or why not all of it was."""
    from perimeter.cluster.local import with_followed
    from perimeter.cluster.opened import engine_of
    from perimeter.errors import StartupError, Unavailable
    from perimeter.run.build.state_kinds import STATE_KINDS

    try:
        engine = engine_of(reactor, settings, with_followed(STATE_KINDS))
    except StartupError as error:
        return str(error)
    engine.start()
    try:
        return await engine.copy(held)
    except Unavailable as error:
        return str(error)
    finally:
        await engine.stop()

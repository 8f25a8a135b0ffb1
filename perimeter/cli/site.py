"""Shared parts of commands that work on a site: ``--config``, the clock, and errors."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import click

from perimeter.config.language.datatypes import BadValue, duration
from perimeter.config.site.config import SiteConfig
from perimeter.config.site.load import load_site, state_dir_of
from perimeter.errors import StartupError
from perimeter.run.control import ask
from perimeter.run.known_realms import known_realm

config_option: Callable[[Any], Any] = click.option(
    "--config", "file", type=click.Path(path_type=Path), required=True, metavar="FILE", help="The gateway's site.ini."
)


optional_config: Callable[[Any], Any] = click.option(
    "-c",
    "--config",
    "file",
    type=click.Path(path_type=Path),
    default=None,
    envvar="PERIMETER_CONFIG",
    metavar="FILE",
    help="The configuration, for a command that can do without.",
)


def gateway_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--config`` or ``--state-dir``, for commands that ask the running gateway: arguments ``file`` and ``state_dir``."""
    file = click.option(
        "--config", "file", type=click.Path(path_type=Path), default=None, metavar="FILE", help="The gateway's site.ini."
    )
    directory = click.option(
        "--state-dir",
        type=click.Path(path_type=Path, file_okay=False),
        default=None,
        metavar="DIR",
        help="Instead of --config: the gateway's state_dir. Works while site.ini has a fault.",
    )
    return file(directory(command))


def gateway_of(file: Path | None, state_dir: Path | None) -> tuple[Path, SiteConfig | None]:
    """The ``state_dir`` that the options name, and the configuration.

    The configuration is None with ``--state-dir``, and if the file has a fault but a gateway runs with an earlier version of it.
    Raises `StartupError`.
    """
    if (file is None) == (state_dir is None):
        raise click.UsageError("one of these is needed: --config, --state-dir")
    if state_dir is not None:
        return state_dir, None
    assert file is not None
    try:
        site = read_site(file)
    except StartupError as error:
        running = _running_with(file)
        if running is None:
            raise StartupError(f"{error}\n(--state-dir DIR asks the running gateway without site.ini)") from None
        click.echo(f"{file.name} has a fault; asking the gateway that runs with an earlier version of it:\n{error}", err=True)
        return running, None
    return site.perimeter.state_dir, site


def _running_with(file: Path) -> Path | None:
    """The ``state_dir`` of the gateway that runs with an earlier version of ``file``, if the file still names it."""
    directory = state_dir_of(file)
    if directory is None:
        return None
    try:
        running = ask(directory, {"command": "status", "brief": True})
    except StartupError:
        return None
    return directory if Path(str(running.get("config"))).resolve() == file.resolve() else None


class WallClock:
    """The time, for a command without a reactor."""

    def seconds(self) -> float:
        """Seconds since the epoch."""
        return time.time()


class Duration(click.ParamType[float]):
    """A duration, written as in site.ini, in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds of ``30s``, ``1h``, ``7d``…"""
        try:
            return duration().convert(str(value), Path())
        except BadValue as bad:
            self.fail(bad.message, param, ctx)


def read_site(file: Path) -> SiteConfig:
    """The configuration. Raises `StartupError`."""
    # imported here, because finding plug-ins takes time, and only commands that read a configuration need them
    from perimeter.auth.registry import installed_kinds

    return load_site(file, kinds=installed_kinds())


def realms_exist(site: SiteConfig, realms: Iterable[str]) -> None:
    """Refuse ``--realm`` with a name that no authenticator has. Without authenticators any name is accepted."""
    configured = [one.realm for one in site.authenticators]
    for realm in realms if configured else ():
        try:
            known_realm(realm, configured)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--realm") from None


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Turn a `StartupError` into a message and exit status 1."""
    try:
        yield
    except StartupError as error:
        raise click.ClickException(str(error)) from None

"""What subcommands that work on a site have in common: ``--config``, the clock on the wall, and how a failed one ends."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from perimeter.config.language.datatypes import BadValue, duration
from perimeter.config.site.config import SiteConfig
from perimeter.config.site.load import load_site
from perimeter.errors import StartupError

config_option: Callable[[Any], Any] = click.option(
    "--config", "file", type=click.Path(path_type=Path), required=True, metavar="FILE", help="The gateway's site.ini."
)


class WallClock:
    """Time for a command that has no reactor."""

    def seconds(self) -> float:
        """Seconds since the epoch."""
        return time.time()


class Duration(click.ParamType[float]):
    """A duration as site.ini has it, in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds of ``30s``, ``1h``, ``7d``…"""
        try:
            return duration().convert(str(value), Path())
        except BadValue as bad:
            self.fail(bad.message, param, ctx)


def read_site(file: Path) -> SiteConfig:
    """The configuration. Raises `StartupError`."""
    # looking for plug-ins imports them, which only a command that reads a configuration should pay for
    from perimeter.auth.registry import installed_kinds

    return load_site(file, kinds=installed_kinds())


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """What stops a gateway from starting ends a command: with its text and status 1."""
    try:
        yield
    except StartupError as error:
        raise click.ClickException(str(error)) from None

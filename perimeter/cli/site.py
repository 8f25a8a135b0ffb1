"""Shared parts of commands that work on a site: ``--config``, the clock, and errors."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from perimeter.config.language.datatypes import BadValue, duration
from perimeter.config.site.load import load_site
from perimeter.config.site.values import SiteConfig
from perimeter.errors import StartupError

config_option: Callable[[Any], Any] = click.option(
    "--config", "file", type=click.Path(path_type=Path), required=True, metavar="FILE", help="The gateway's site.ini."
)


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


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Turn a `StartupError` into a message and exit status 1."""
    try:
        yield
    except StartupError as error:
        raise click.ClickException(str(error)) from None

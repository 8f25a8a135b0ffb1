"""Shared parts of commands that work on a site: how the configuration is named, the running gateway, the clock, and errors.

It imports little: a command imports the modules that read a whole configuration only when it needs them.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from perimeter.cli.exits import Exit

if TYPE_CHECKING:
    from perimeter.config.site.config import SiteConfig

VARIABLE: Final = "PERIMETER_CONFIG"
"""The environment variable that names the configuration."""

DEFAULT: Final = Path("/etc/perimeter/site.ini")
"""The default configuration."""

Ask = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""Sends a question to `perimeter.run.operations.answer`. Raises `perimeter.errors.StartupError`."""

_FILE = click.Path(path_type=Path, dir_okay=False)

config_option: Callable[[Any], Any] = click.option(
    "-c",
    "--config",
    "file",
    type=_FILE,
    default=DEFAULT,
    show_default=True,
    envvar=VARIABLE,
    show_envvar=True,
    metavar="FILE",
    help="The configuration.",
)

json_option: Callable[[Any], Any] = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


def gateway_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--config`` or ``--state-dir``, for commands that ask the running gateway: arguments ``file`` and ``state_dir``."""
    directory = click.option(
        "--state-dir",
        type=click.Path(path_type=Path, file_okay=False),
        default=None,
        metavar="DIR",
        help="The gateway's state_dir, instead of -c FILE.",
    )
    chosen: Callable[..., Any] = config_option(directory(command))
    return chosen


class Nested(click.Group):
    """A command with subcommands: its help has the first sentence of each, never a part of one."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in the help."""
        with formatter.section("Commands"):
            shown = [(name, one) for name, one in sorted(self.commands.items()) if not one.hidden]
            formatter.write_dl([(name, first_sentence(one.help or "")) for name, one in shown])


def first_sentence(text: str) -> str:
    """The first sentence of a help text."""
    return " ".join(text.split("\n\n")[0].split()).split(". ")[0].removesuffix(".") + "."


class Site:
    """The gateway that the options name, by its configuration or by its ``state_dir``."""

    def __init__(self, file: Path, state_dir: Path | None = None) -> None:
        """Raises `click.UsageError` if the command line has both."""
        self._file = file
        self._state_dir = state_dir
        context = click.get_current_context()
        if state_dir is not None and context.get_parameter_source("file") is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError("-c FILE and --state-dir DIR name the same thing: use one of them.")

    @property
    def directory(self) -> Path:
        """The ``state_dir``. A fault in another option of the file does not matter. Raises `StartupError`."""
        if self._state_dir is not None:
            return self._state_dir
        from perimeter.config.site.state_dir import state_dir_of
        from perimeter.errors import StartupError

        file = existing(self._file)
        try:
            return state_dir_of(file)
        except StartupError as error:
            raise StartupError(f"{error}\n--state-dir DIR asks the running gateway without this file") from None

    def ask(self, question: Mapping[str, Any], *, long: bool = False) -> dict[str, Any]:
        """The answer of the running gateway; ``long`` for a question that changes it as a whole. Raises `StartupError`."""
        from perimeter.run.asking import LONG_TIMEOUT, TIMEOUT, ask

        return ask(self.directory, question, LONG_TIMEOUT if long else TIMEOUT)

    def whole(self) -> SiteConfig | None:
        """The configuration, None if only the directory is known. Raises `StartupError`."""
        return None if self._state_dir is not None else read_site(self._file)


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
        from perimeter.config.language.datatypes import BadValue, duration

        try:
            return duration().convert(str(value), Path())
        except BadValue as bad:
            self.fail(bad.message, param, ctx)


def existing(file: Path) -> Path:
    """``file``. Raises `StartupError` if none was named and there is none at the usual place."""
    from perimeter.errors import StartupError

    if file == DEFAULT and not file.exists():
        raise StartupError(f"there is no {DEFAULT}: name the configuration with -c FILE, or with {VARIABLE} in the environment")
    return file


def read_site(file: Path) -> SiteConfig:
    """The configuration. Raises `StartupError`."""
    # finding plug-ins takes time, and only commands that read a whole configuration need them
    from perimeter.auth.registry import installed_kinds
    from perimeter.config.site.load import load_site

    return load_site(existing(file), kinds=installed_kinds())


def realms_exist(site: SiteConfig, realms: Iterable[str]) -> None:
    """Refuse ``--realm`` with a name that no authenticator has. A site without authenticators has no realms to misspell."""
    from perimeter.run.known_realms import known_realm

    configured = [one.realm for one in site.authenticators]
    for realm in realms if configured else ():
        try:
            known_realm(realm, configured)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--realm") from None


def check_names(*named: tuple[str, str | None]) -> None:
    """Refuse option values that cannot be names of users, realms or roles. Each item is an option and its value."""
    from perimeter.auth.text import unfit_for_name

    for option, value in named:
        if value is not None and (not value or unfit_for_name(value)):
            raise click.BadParameter("expected a name without control characters", param_hint=option)


class NoGatewayRuns(click.ClickException):
    """No gateway is running."""

    exit_code = Exit.NO_GATEWAY


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Turn a `StartupError` into a message and an exit status."""
    from perimeter.errors import StartupError
    from perimeter.run.asking import NoGateway

    try:
        yield
    except NoGateway as error:
        raise NoGatewayRuns(str(error)) from None
    except StartupError as error:
        raise click.ClickException(str(error)) from None


def print_text(text: str) -> None:
    """Print lines that contain names of files and users, with control characters escaped."""
    from perimeter.audit.escaping import escape_line

    click.echo("\n".join(map(escape_line, text.split("\n"))))


def print_json(value: Any) -> None:
    """Print one JSON document."""
    click.echo(json.dumps(value, indent=2))

"""``perimeter password``: a password's stored form, alone or as a whole line of a realm file."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import click

from perimeter.auth.passwords.formats import SCHEMES, PasswordFormatError, make
from perimeter.auth.passwords.properties import escape_key, escape_value
from perimeter.auth.passwords.users import RealmFileError, read_users
from perimeter.auth.text import trim, unfit_for_name


def realm_line(username: str, hashed: str, roles: tuple[str, ...]) -> str:
    """The line ``username: hash[,role ...]``, escaped for a .properties file.

    Raises ValueError for a name or a role that is not possible in the line or in a login.
    """
    if not username or ":" in username or unfit_for_name(username):
        raise ValueError("a user name cannot be empty or hold a colon or control characters")
    for role in roles:
        if not role or "," in role or role != trim(role) or unfit_for_name(role):
            raise ValueError("a role cannot be empty or hold a comma, control characters or blanks at its ends")
    return f"{escape_key(username)}: {escape_value(','.join((hashed, *roles)))}"


def _from_stdin() -> str:
    """The first line of standard input, without its line end."""
    return sys.stdin.readline().rstrip("\r\n")


@click.command("password")
@click.option("--scheme", type=click.Choice(SCHEMES), default="argon2id", show_default=True, help="How to hash it.")
@click.option("--user", metavar="NAME", help="Print a whole line of a realm file for this user.")
@click.option("--roles", metavar="A,B", default="", help="The user's roles, separated by commas.")
@click.option("--stdin", "from_stdin", is_flag=True, help="Read the password from the first line of standard input.")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Add the line to this realm file; without it, print it. Nothing is written if the command is interrupted.",
)
def command(scheme: str, user: str | None, roles: str, from_stdin: bool, output: Path | None) -> None:
    """Hash a password for a realm file."""
    if user is None and (roles or output):
        raise click.UsageError(f"{'--roles' if roles else '--output'} goes with --user")
    if output is not None and user is not None:
        _existing(output, user)
    names = tuple(role.strip() for role in roles.split(",") if role.strip())
    if user is not None:
        _checked_line(user, "", names)  # before the password is asked for
    password = _from_stdin() if from_stdin else click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    try:
        hashed = make(password, scheme)
    except PasswordFormatError as error:
        raise click.ClickException(str(error)) from None
    text = hashed if user is None else _checked_line(user, hashed, names)
    if output is None:
        click.echo(text)
    else:
        _add(output, str(user), text)


def _existing(path: Path, user: str) -> bytes:
    """The realm file as it is, empty if there is none. Ends the command if it is not one, or has the user."""
    try:
        data = path.read_bytes() if path.exists() else b""
        known = read_users(data, str(path)).by_name
    except RealmFileError as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"{path} cannot be read: {error.strerror}") from None
    if user in known:
        raise click.ClickException(f"{path}:{known[user].line}: user {user!r} exists")
    return data


def _add(path: Path, user: str, line: str) -> None:
    """Add ``line`` to a realm file, which other processes see as it was or whole. A new one is for its owner only (0600)."""
    data = _existing(path, user)
    if data and not data.endswith(b"\n"):
        data += b"\n"
    try:
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o600
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data + line.encode() + b"\n")
                os.fchmod(file.fileno(), mode)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as error:
        raise click.ClickException(f"{path} cannot be written: {error.strerror}") from None
    click.echo(f"added {user!r} to {path}", err=True)


def _checked_line(user: str, hashed: str, roles: tuple[str, ...]) -> str:
    try:
        return realm_line(user, hashed, roles)
    except ValueError as error:
        raise click.UsageError(str(error)) from None

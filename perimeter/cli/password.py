"""``perimeter password``: a password's stored form, alone or as a whole line of a realm file."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import click

from perimeter.auth.passwords.formats import PasswordFormatError
from perimeter.auth.passwords.making import SCHEMES, make
from perimeter.auth.passwords.rewriting import NotRewritten, rewrite
from perimeter.auth.passwords.users import RealmFileError, read_users, realm_line, with_passwords


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
@click.option("--replace", is_flag=True, help="With --output: change the password of a user who is in the file. Roles stay.")
def command(scheme: str, user: str | None, roles: str, from_stdin: bool, output: Path | None, replace: bool) -> None:
    """Hash a password for a realm file."""
    if user is None and (roles or output):
        raise click.UsageError(f"{'--roles' if roles else '--output'} goes with --user")
    if replace and (output is None or roles):
        raise click.UsageError("--replace goes with --user and --output, and without --roles")
    if output is not None and user is not None:
        _existing(output, user, replace)
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
    elif replace:
        _replace(output, str(user), hashed)
    else:
        _add(output, str(user), text)


def _existing(path: Path, user: str, wanted: bool = False) -> bytes:
    """The realm file as it is, empty if there is none. Ends the command if it is not one, or has the user (not: ``wanted``)."""
    try:
        data = path.read_bytes() if path.exists() else b""
        known = read_users(data, str(path)).by_name
    except RealmFileError as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"{path} cannot be read: {error.strerror}") from None
    if wanted and user not in known:
        raise click.ClickException(f"{path} has no user {user!r}")
    if user in known and not wanted:
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


def _replace(path: Path, user: str, hashed: str) -> None:
    """Change the password of ``user`` in a realm file, and nothing else."""
    try:
        rewrite(path, lambda data: with_passwords(data, str(path), {user: hashed}))
    except (NotRewritten, RealmFileError) as error:
        raise click.ClickException(str(error)) from None
    except (KeyError, ValueError):
        raise click.ClickException(f"{path}: the line of user {user!r} cannot be replaced") from None
    click.echo(f"changed the password of {user!r} in {path}", err=True)


def _checked_line(user: str, hashed: str, roles: tuple[str, ...]) -> str:
    try:
        return realm_line(user, hashed, roles)
    except ValueError as error:
        raise click.UsageError(str(error)) from None

"""``perimeter password``: a password's stored form, alone or as a whole line of a realm file."""

from __future__ import annotations

import sys

import click

from perimeter.auth.passwords.formats import SCHEMES, PasswordFormatError, make
from perimeter.auth.passwords.properties import escape_key, escape_value
from perimeter.auth.text import trim, unfit_for_name


def realm_line(username: str, hashed: str, roles: tuple[str, ...]) -> str:
    """The line ``username: hash[,role ...]``, escaped as a .properties file wants it.

    Raises ValueError for a name or a role that the line, or a login, could not hold.
    """
    if not username or ":" in username or unfit_for_name(username):
        raise ValueError("a user name cannot be empty or hold a colon or control characters")
    for role in roles:
        if not role or "," in role or role != trim(role) or unfit_for_name(role):
            raise ValueError("a role cannot be empty or hold a comma, control characters or blanks at its ends")
    return f"{escape_key(username)}: {escape_value(','.join((hashed, *roles)))}"


def _from_stdin() -> str:
    """The first line of standard input, its end taken off."""
    return sys.stdin.readline().rstrip("\r\n")


@click.command("password")
@click.option("--scheme", type=click.Choice(SCHEMES), default="argon2id", show_default=True, help="How to hash it.")
@click.option("--user", metavar="NAME", help="Print a whole line of a realm file for this user.")
@click.option("--roles", metavar="A,B", default="", help="The user's roles, separated by commas.")
@click.option(
    "--stdin", "from_stdin", is_flag=True, help="Read the password from the first line of standard input, and ask nothing."
)
def command(scheme: str, user: str | None, roles: str, from_stdin: bool) -> None:
    """Hash a password for a realm file."""
    if roles and user is None:
        raise click.UsageError("--roles goes with --user")
    names = tuple(role.strip() for role in roles.split(",") if role.strip())
    if user is not None:
        _checked_line(user, "", names)  # before a password is typed for nothing
    password = _from_stdin() if from_stdin else click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    try:
        hashed = make(password, scheme)
    except PasswordFormatError as error:
        raise click.ClickException(str(error)) from None
    click.echo(hashed if user is None else _checked_line(user, hashed, names))


def _checked_line(user: str, hashed: str, roles: tuple[str, ...]) -> str:
    try:
        return realm_line(user, hashed, roles)
    except ValueError as error:
        raise click.UsageError(str(error)) from None

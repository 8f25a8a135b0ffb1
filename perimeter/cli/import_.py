"""``perimeter import SOURCE…``: convert the configuration of a replaced program to a site.ini.

`perimeter.cli.importing` reads the sources; this module writes files, and hashes passwords.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from perimeter.cli.exits import Exit
from perimeter.cli.site import json_option, print_json

if TYPE_CHECKING:
    from perimeter.importers.draft import Draft, RealmUser

_NAMES = ("authotron", "reactor", "logback", "htpasswd", "nginx")


@click.command("import")
@click.argument(
    "sources", metavar="SOURCE…", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option("--as", "kind", type=click.Choice(_NAMES), help="The kind of the SOURCEs; by default it is detected.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write a site.ini here; default: print it.")
@click.option(
    "--user-file",
    "user_files",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="An htpasswd file that an nginx configuration names, if it is not where the configuration says. Repeatable.",
)
@json_option
@click.option("--force", is_flag=True, help="Overwrite files that exist.")
def command(
    sources: tuple[Path, ...], kind: str | None, output: Path | None, user_files: tuple[Path, ...], as_json: bool, force: bool
) -> None:
    """Convert SOURCEs that belong together to one site.ini.

    They are Auth-o-tron's YAML (also in Helm values or a ConfigMap, with its environment files), continuuity-site.xml,
    cdap-site.xml, cdap-security.xml and logback.xml of Reactor, htpasswd files, and nginx configurations.

    What could not be translated is listed with its line, and the exit status is 3. A route is open only if the importer
    understands every directive that applies to it. Other routes are closed to all clients, and listed.
    """
    from perimeter.cli.importing import made
    from perimeter.cli.progress import Progress

    base = output.parent if output is not None else Path()
    with Progress("reading", 0) as progress, progress.ticking():
        draft = made(sources, kind, user_files)
        draft.settle(lambda path, needs: _there(base / path, needs))
    if output is None and not as_json:
        click.echo(draft.text(), nl=False)
        for name in (*draft.realms, *draft.files):
            click.echo(f"{name} belongs to it, and is written only with -o", err=True)
    elif output is not None:
        _write(draft, output, force)
    if as_json:
        remarks, left = [str(one) for one in draft.remarks], [str(one) for one in draft.remainder]
        print_json({"remarks": remarks, "not_translated": left, "closed": draft.closed, "site": draft.text()})
    else:
        _tell(draft)
    sys.exit(Exit.PARTLY if draft.remainder or draft.closed else Exit.DONE)


def _there(path: Path, needs: str) -> bool:
    try:
        if needs == "parent":
            return path.parent.is_dir()
        if needs == "beginning":
            return any(one.name.startswith(path.name) and one.name != path.name for one in path.parent.iterdir())
        return path.is_dir() if needs == "directory" else path.is_file()
    except FileNotFoundError:
        return False
    except OSError:
        return needs == "beginning"  # a directory that cannot be read may have such a file


def _write(draft: Draft, output: Path, force: bool) -> None:
    """Write the site.ini, and beside it the files that it names; files with secrets have mode 0600."""
    paths = [output, *(output.parent / name for name in (*draft.files, *draft.realms))]
    if not force and (there := [str(path) for path in paths if path.exists()]):
        raise click.ClickException(f"{', '.join(there)} exist already: --force overwrites them")
    texts = {output: (draft.text(), 0o644)}
    for name, secret in draft.files.items():
        texts[output.parent / name] = (secret + "\n", 0o600)
    for name, lines in _realms(draft).items():
        texts[output.parent / name] = (lines, 0o600)
    for path, (text, mode) in texts.items():
        try:
            _replace(path, text, mode)
        except OSError as error:
            raise click.ClickException(f"{path} cannot be written: {error.strerror}") from None
        click.echo(f"wrote {path}", err=True)


def _replace(path: Path, text: str, mode: int) -> None:
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def _realms(draft: Draft) -> dict[str, str]:
    """The realm files, by their names. The hash of each plain password takes a tenth of a second or more."""
    from perimeter.cli.progress import Progress

    found, done = {}, 0
    with Progress(
        "hashing passwords", sum(user.password is not None for users in draft.realms.values() for user in users)
    ) as progress:
        for name, users in draft.realms.items():
            lines = []
            for user in users:
                lines.append(_line(user))
                done += user.password is not None
                progress.at(done)
            found[name] = "".join(lines)
    return found


def _line(user: RealmUser) -> str:
    from perimeter.auth.passwords.formats import PasswordFormatError
    from perimeter.auth.passwords.making import make
    from perimeter.auth.passwords.users import realm_line

    try:
        hashed = user.hashed if user.password is None else make(user.password, "argon2id")
        assert hashed is not None
        return realm_line(user.name, hashed, user.roles) + "\n"
    except (PasswordFormatError, ValueError) as error:
        raise click.ClickException(f"user {user.name!r}: {error}") from None


def _tell(draft: Draft) -> None:
    for note in draft.remarks:
        click.echo(f"remark: {note}", err=True)
    for note in draft.remainder:
        click.echo(f"not translated: {note}", err=True)
    for text in draft.closed:
        click.echo(f"closed to all clients: {text}", err=True)

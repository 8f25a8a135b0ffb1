"""``perimeter import SOURCE…``: convert the configuration of a replaced program to a site.ini.

`perimeter.importers` reads the sources; this module opens and writes files, and hashes passwords.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from glob import glob, has_magic
from pathlib import Path

import click

from perimeter.errors import StartupError
from perimeter.importers import combine, htpasswd, logback
from perimeter.importers.authotron import source as authotron
from perimeter.importers.authotron.file import Abilities
from perimeter.importers.draft import Draft, ImportFault, RealmUser
from perimeter.importers.judgement import judge_by
from perimeter.importers.nginx import source as nginx
from perimeter.importers.nginx import tree
from perimeter.importers.reactor import source as reactor
from perimeter.plugin.augmenter import IAugmenterFactory
from perimeter.plugin.authenticator import IAuthenticatorFactory

LEFT = 3
"""Exit status if something was not translated."""

_LARGEST = 8 << 20
_DIRECTORIES = ("/etc/nginx/", "/usr/local/nginx/conf/", "/usr/local/etc/nginx/", "/opt/homebrew/etc/nginx/")
"""Where packages of nginx keep nginx.conf."""

_NAMES = ("authotron", "reactor", "logback", "htpasswd", "nginx")


def recognise(text: str) -> str | None:
    """The kind of source that ``text`` is, or None."""
    if reactor.looks_like(text):
        return "reactor"
    if logback.looks_like(text):
        return "logback"
    if htpasswd.looks_like(text):
        return "htpasswd"
    if nginx.looks_like(text):
        return "nginx"
    return "authotron" if authotron.looks_like(text) else None


def convert(kind: str, sources: Sequence[tuple[Path, str]], draft: Draft, abilities: Abilities) -> None:
    """Add ``sources``, which are all of one kind, to ``draft``. Raises `ImportFault`."""
    if kind == "reactor":
        reactor.convert_all([(text, str(path)) for path, text in sources], draft, abilities.judge)
    elif kind == "authotron":
        authotron.convert_all([(text, str(path)) for path, text in sources], draft, abilities)
    else:
        for path, text in sources:
            {"logback": logback, "htpasswd": htpasswd}[kind].convert(text, str(path), draft)


def _convert_nginx(sources: Sequence[tuple[Path, str]], given: dict[Path, str], draft: Draft) -> None:
    """Add nginx configurations to ``draft``. ``given`` are password files; those that the configurations name are taken out."""
    trees = [tree.read(text, str(path), _including(path)) for path, text in sources]

    def passwords(name: str) -> tuple[str, str] | None:
        named = next((path for path in given if path.name == name.rpartition("/")[2]), None)
        if named is not None:
            return given.pop(named), str(named)
        if given or "$" in name:
            return None
        for path in (found for source, _ in sources for found in _candidates(_base(source), name)):
            if path.is_file():
                return _read(path), str(path)
        return None

    nginx.convert_all(trees, str(sources[0][0]), draft, passwords)


def _base(source: Path) -> Path:
    """The directory of nginx.conf, which relative names are relative to."""
    base = source.parent
    return base.parent if not (base / "nginx.conf").is_file() and (base.parent / "nginx.conf").is_file() else base


def _candidates(base: Path, name: str) -> list[Path]:
    """Where a file may be that a configuration names. The configuration may be a copy from another machine, so its own directory
    comes first."""
    copied = [base / name.removeprefix(one) for one in _DIRECTORIES if name.startswith(one)]
    return [*copied, base / name]


def _including(source: Path) -> tree.Find:
    """A function that opens the files that ``source`` includes."""
    base = _base(source)

    def find(pattern: str) -> list[tuple[str, str]] | None:
        for path in _candidates(base, pattern):
            found = sorted(glob(str(path)))
            if found or (has_magic(pattern) and path.parent.is_dir()):
                return [(_read(Path(name)), name) for name in found]
        return None

    return find


def abilities() -> Abilities:
    """What this gateway supports."""
    from perimeter.auth.registry import installed_kinds

    kinds = installed_kinds()
    augmenters = _options(kinds.augmenters, "type", "realm")
    return Abilities(_options(kinds.authenticators), augmenters, metrics=True, state=True, judge=judge_by(kinds))


def _options(factories: Mapping[str, IAuthenticatorFactory | IAugmenterFactory], *common: str) -> dict[str, frozenset[str]]:
    """The names of the options of each kind, with those that all of them have in ``common``."""
    return {kind: frozenset((*common, *(option.name for option in factory.options))) for kind, factory in factories.items()}


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
@click.option("--force", is_flag=True, help="Overwrite files that exist.")
def command(sources: tuple[Path, ...], kind: str | None, output: Path | None, user_files: tuple[Path, ...], force: bool) -> None:
    """Convert SOURCEs that belong together to one site.ini.

    They are Auth-o-tron's YAML, Helm values or manifests with their environment files, Reactor's continuuity-site.xml and
    logback.xml (CDAP's cdap-site.xml and cdap-security.xml),
    htpasswd files, and nginx configurations.

    What could not be translated is listed with its line, and the exit status is 3. A route is open only if the importer
    understands every directive that applies to it; other routes are closed to all clients, and listed.
    """
    draft = Draft()
    try:
        known = abilities()
        kinds: dict[str, list[tuple[Path, str]]] = {}
        for source in sources:
            text = _read(source)
            found = kind or recognise(text)
            if found is None:
                raise click.ClickException(f"{source}: unknown kind of configuration; --as names the kind")
            kinds.setdefault(found, []).append((source, text))
        users = {path: _read(path) for path in user_files} | dict(kinds.pop("htpasswd", []))
        if "nginx" in kinds:
            _convert_nginx(kinds.pop("nginx"), users, draft)
        kinds["htpasswd"] = list(users.items())
        for found, texts in kinds.items():
            convert(found, texts, draft, known)
        combine.complete(draft)
    except (ImportFault, StartupError) as fault:
        raise click.ClickException(str(fault)) from None
    base = output.parent if output is not None else Path()
    draft.settle(lambda path, needs: _there(base / path, needs))
    if output is None:
        click.echo(draft.text(), nl=False)
        for name in (*draft.realms, *draft.files):
            click.echo(f"{name} belongs to it, and is written only with -o", err=True)
    else:
        _write(draft, output, force)
    _tell(draft)
    sys.exit(LEFT if draft.remainder or draft.closed else 0)


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
    except OSError as error:
        raise click.ClickException(f"{path} cannot be read: {error.strerror}") from None
    if len(data) > _LARGEST:
        raise click.ClickException(f"{path} is larger than {_LARGEST >> 20} MiB")
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError:
        raise click.ClickException(f"{path} is not UTF-8 text") from None


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
    texts = {output: (draft.text(), 0o644)}
    for name, secret in draft.files.items():
        texts[output.parent / name] = (secret + "\n", 0o600)
    for name, users in draft.realms.items():
        texts[output.parent / name] = ("".join(_line(user) for user in users), 0o600)
    if not force and (there := [str(path) for path in texts if path.exists()]):
        raise click.ClickException(f"{', '.join(there)} exist already: --force overwrites them")
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

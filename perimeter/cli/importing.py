"""Makes a draft of a site.ini from configurations of other programs, for ``perimeter import``.

`perimeter.importers` reads the sources; this module finds and opens files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from glob import glob, has_magic
from pathlib import Path

import click

from perimeter.errors import StartupError
from perimeter.importers import combine, htpasswd, logback
from perimeter.importers.authotron import source as authotron
from perimeter.importers.authotron.file import Abilities
from perimeter.importers.draft import Draft, ImportFault
from perimeter.importers.judgement import judge_by
from perimeter.importers.nginx import source as nginx
from perimeter.importers.nginx import tree
from perimeter.importers.reactor import source as reactor
from perimeter.plugin.augmenter import IAugmenterFactory
from perimeter.plugin.authenticator import IAuthenticatorFactory

_LARGEST = 8 << 20
_DIRECTORIES = ("/etc/nginx/", "/usr/local/nginx/conf/", "/usr/local/etc/nginx/", "/opt/homebrew/etc/nginx/")
"""Where packages of nginx keep nginx.conf."""


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
    """The possible paths of a file that a configuration names. Paths beside a copied configuration come first."""
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
    """The features that this gateway supports."""
    from perimeter.auth.registry import installed_kinds

    kinds = installed_kinds()
    augmenters = _options(kinds.augmenters, "type", "realm")
    return Abilities(_options(kinds.authenticators), augmenters, metrics=True, state=True, judge=judge_by(kinds))


def _options(factories: Mapping[str, IAuthenticatorFactory | IAugmenterFactory], *common: str) -> dict[str, frozenset[str]]:
    """The names of the options of each kind; all kinds also have the options in ``common``."""
    return {kind: frozenset((*common, *(option.name for option in factory.options))) for kind, factory in factories.items()}


def made(sources: Sequence[Path], kind: str | None, user_files: Sequence[Path]) -> Draft:
    """The draft of ``sources``, which are of ``kind``, or of the kinds that they look like. Raises `click.ClickException`."""
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
    return draft


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

"""The files of a configuration that other programs replace while the gateway runs: certificates, keys, CA files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import attrs

from perimeter.config.language.option import declared
from perimeter.config.site.acme import certificate_file
from perimeter.config.site.config import SiteConfig

Versions = Mapping[Path, tuple[int, ...]]
"""What tells the versions of a file apart; empty for a file that cannot be looked at."""


def versions(paths: Iterable[Path]) -> Versions:
    """The versions of files now. Follows symbolic links, which renewals often replace. Blocks."""
    return {path: _version(path) for path in paths}


def _version(path: Path) -> tuple[int, ...]:
    try:
        status = os.stat(path)
    except OSError:
        return ()
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def renewed_files(config: SiteConfig) -> frozenset[Path]:
    """Every file that an option with ``renewed`` names, in built-in sections and in those of plug-ins.

    Also the certificates that the gateway renews by itself, which need not exist yet.
    """
    ordered = (certificate_file(config.perimeter.state_dir, one.acme_names) for one in config.listeners if one.acme_names)
    return frozenset((*_files(config), *ordered))


def _files(value: object) -> Iterator[Path]:
    if isinstance(value, tuple):
        for one in value:
            yield from _files(one)
    elif attrs.has(cls := type(value)):
        for attribute in attrs.fields(cls):
            option, held = declared(attribute), getattr(value, attribute.name)
            if option is None:
                yield from _files(held)
            elif option.renewed:
                yield from (one for one in (held if isinstance(held, tuple) else (held,)) if isinstance(one, Path))

"""Checks what the distributions contain: ``contents.py ARCHIVE.tar.gz WHEEL.whl``, called by ``scripts/package`` in the checkout.

The wheel has every module and asset of the checkout and nothing that belongs to another distribution; the archive has what is
needed to test and build it.
"""

from __future__ import annotations

import sys
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

SOURCES = (
    "perimeter/**/*.py",
    "perimeter/py.typed",
    "perimeter/web/assets/**/*",
    "perimeter/web/templates/*.html",
    "twisted/plugins/perimeter_*.py",
)
SHARED = (("etc/**/*", "etc/", "share/perimeter/"), ("docs/man/*.1", "docs/man/", "share/man/man1/"))
"""What the wheel puts beside the code: the files of the checkout, their folder, and where that is in the prefix."""

ARCHIVED = (
    *("tests/**/*.py", "tests/data/*", "bench/**/*.py", "bench/chaos/clock.c", "docs/**/*.md", "docs/man/*", "etc/**/*"),
    *(
        "newsfragments/*.md",
        "requirements/*.txt",
        "scripts/*",
        "scripts/lib/*",
        ".ci/run",
        "pyproject.toml",
        "setup.py",
        "tox.ini",
    ),
    *("LICENSE", "*.md", "Dockerfile", ".dockerignore"),
)


def expected(patterns: tuple[str, ...]) -> set[str]:
    """The files of the checkout that ``patterns`` match."""
    files = (file for pattern in patterns for file in Path().glob(pattern) if file.is_file())
    return {file.as_posix() for file in files if "__pycache__" not in file.parts}


def main(archive: str, wheel: str) -> int:
    """Compare, and print each difference."""
    with zipfile.ZipFile(wheel) as opened:
        names = [name for name in opened.namelist() if not PurePosixPath(name).parts[0].endswith(".dist-info")]
    shipped = {name for name in names if ".data/data/" not in name}
    beside = {name.partition(".data/data/")[2] for name in names} - {""}
    with tarfile.open(archive) as opened:
        archived = {str(PurePosixPath(*PurePosixPath(name).parts[1:])) for name in opened.getnames()}
    sources = expected(SOURCES)
    problems = [f"{wheel}: {name} is missing" for name in sorted(sources - shipped)]
    problems += [f"{wheel}: {name} does not belong there" for name in sorted(shipped - sources)]
    wanted = {name.replace(place, prefix, 1) for pattern, place, prefix in SHARED for name in expected((pattern,))}
    problems += [f"{wheel}: {name} is missing" for name in sorted(wanted - beside)]
    problems += [f"{wheel}: {name} does not belong there" for name in sorted(beside - wanted)]
    problems += [f"{archive}: {name} is missing" for name in sorted((sources | expected(ARCHIVED)) - archived)]
    print("\n".join(problems), end="\n" if problems else "")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

"""The lock files in ``requirements/``: makes them with uv, or checks that they belong to pyproject.toml.

``lock.py UV`` writes them, ``lock.py --check`` needs no network: the first line of each file holds a digest of every requirement
in pyproject.toml.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
DIRECTORY = ROOT / "requirements"

LOCKS = {"ci": ("dev", "docs"), "run": (), "full": ("acme", "compression", "mfa", "redis", "regex"), "kerberos": ("kerberos",)}
"""The lock files, and the extras that each has beside the dependencies of the gateway. The first constrains the others; "full" is
what the image has: each extra that needs no compiler."""

RESOLVE = ("--universal", "--generate-hashes", "--no-emit-index-url", "--no-annotate", "--no-header", "--quiet", "--upgrade")


def header() -> str:
    """The first line of each lock file."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    metadata = project["project"]
    wanted = [metadata[name] for name in ("requires-python", "dependencies", "optional-dependencies")]
    text = json.dumps([*wanted, build_requirements()], sort_keys=True)
    return f"# made by scripts/lock from the requirements in pyproject.toml, sha256 {hashlib.sha256(text.encode()).hexdigest()}\n"


def build_requirements() -> list[str]:
    """What building needs. It is locked too, so that an installation from a checkout needs no other requirement."""
    return list(tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"])


def stale() -> list[str]:
    """The names of the lock files that do not belong to pyproject.toml, or are missing."""
    wanted = header()
    files = [DIRECTORY / f"{name}.txt" for name in LOCKS]
    return [file.name for file in files if not file.exists() or not file.read_text().startswith(wanted)]


def write(uv: str) -> None:
    """Resolve and write every lock file."""
    DIRECTORY.mkdir(exist_ok=True)
    constraints: list[str] = []
    for name, extras in LOCKS.items():
        command = [uv, "pip", "compile", *RESOLVE, *constraints, *(f"--extra={extra}" for extra in extras), "pyproject.toml", "-"]
        wanted = "\n".join(build_requirements())
        done = subprocess.run(command, cwd=ROOT, input=wanted, stdout=subprocess.PIPE, text=True, check=True)
        (DIRECTORY / f"{name}.txt").write_text(header() + done.stdout)
        constraints = [f"--constraints={DIRECTORY / 'ci.txt'}"]


def main() -> int:
    """Write, or check."""
    if sys.argv[1:] != ["--check"]:
        write(*sys.argv[1:])
        return 0
    files = stale()
    for name in files:
        print(f"requirements/{name} was not made from this pyproject.toml: run scripts/lock", file=sys.stderr)
    return int(bool(files))


if __name__ == "__main__":
    sys.exit(main())

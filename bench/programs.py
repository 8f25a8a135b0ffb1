"""Programs of other people: where they are, and which version."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from collections.abc import Sequence

# Debian keeps servers out of an ordinary user's path
_SEARCH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


def have(program: str) -> bool:
    """Whether it is installed."""
    return shutil.which(program, path=_SEARCH) is not None


def not_installed(program: str) -> str | None:
    """Why it cannot be used, or None."""
    return None if have(program) else f"{program} is not installed (scripts/install-bench-peers)"


@functools.cache
def version(command: Sequence[str], pattern: str) -> str:
    """The first group of ``pattern`` in what ``command`` prints, or ``unknown``."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except OSError:
        return "unknown"
    found = re.search(pattern, done.stdout + done.stderr)
    return found[1] if found else "unknown"


def nginx_version() -> str:
    """Of nginx."""
    return version(("nginx", "-v"), r"nginx/(\S+)")

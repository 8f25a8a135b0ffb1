"""The directory of keys, state and the control socket."""

from __future__ import annotations

import os
from pathlib import Path

from perimeter.descriptors import system_reason
from perimeter.errors import StartupError


def prepare_state_dir(path: Path) -> None:
    """Create the state directory, for the daemon's user only. Raises `StartupError` if it cannot be written."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as problem:
        raise StartupError(f"state_dir {path}: {system_reason(problem).lower()}") from problem
    if not os.access(path, os.W_OK | os.X_OK):
        raise StartupError(f"state_dir {path}: not writable")

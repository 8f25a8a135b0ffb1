"""The directory of keys, state and the control socket."""

from __future__ import annotations

import os
from pathlib import Path

from perimeter.descriptors import system_reason
from perimeter.errors import StartupError
from perimeter.run.build.user import DaemonUser


def prepare_state_dir(path: Path, user: DaemonUser | None = None) -> None:
    """Create the state directory, for the daemon's user only. Raises `StartupError` if it cannot be written.

    ``user`` is the user that the daemon becomes, if it is another one.
    """
    try:
        if user is None:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        else:
            user.make_state_dir(path)
    except FileExistsError as problem:
        raise StartupError(
            f"state_dir {path}: this is a file: name a directory, which is created if it does not exist"
        ) from problem
    except OSError as problem:
        raise StartupError(f"state_dir {path}: {system_reason(problem).lower()}") from problem
    if not os.access(path, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
        raise StartupError(f"state_dir {path}: not writable for user {os.geteuid()}: change its owner, or name another directory")

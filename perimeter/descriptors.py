"""File descriptors: how many the process may have, who may use them, and what to say when there are none left.

Each connection of a client needs one, and so does each connection to a service, each file that is served, and each log. If
clients could use all of them, connections that send nothing would keep the gateway from serving anyone (attack 58).
"""

from __future__ import annotations

import os
import resource
from errno import EMFILE, ENFILE

_EXHAUSTED = (EMFILE, ENFILE)


def descriptor_limit() -> int | None:
    """How many descriptors the process may have (RLIMIT_NOFILE), or None for any number."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def clients_share(wanted: int) -> int:
    """How many connections clients may have, who may have ``wanted`` at most."""
    return share_of(descriptor_limit(), wanted)


def share_of(limit: int | None, wanted: int) -> int:
    """The share of clients in ``limit`` descriptors: half of them, one at least, and ``wanted`` at most."""
    return wanted if limit is None else max(1, min(wanted, limit // 2))


def system_reason(problem: Exception) -> str:
    """What went wrong, as one line. A lack of descriptors is named, because "unable to open" would not tell what to change."""
    number = problem.errno if isinstance(problem, OSError) else None
    if number is None and not isinstance(problem, OSError) and not _one_is_free():
        number = EMFILE  # SQLite hides the system's error
    if number == EMFILE:
        return f"no file descriptor is free: the limit is {descriptor_limit()}; raise it (LimitNOFILE= of the service, ulimit -n)"
    if number == ENFILE:
        return "no file descriptor is free in the whole system (fs.file-max)"
    return (problem.strerror if isinstance(problem, OSError) else None) or str(problem) or type(problem).__name__


def _one_is_free() -> bool:
    try:
        os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as problem:
        return problem.errno not in _EXHAUSTED
    return True

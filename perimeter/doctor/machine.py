"""The machine and the interpreter: descriptors, the clock, how Python was built."""

from __future__ import annotations

import ctypes
import resource
import struct
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from perimeter.descriptors import descriptor_limit, share_of
from perimeter.doctor.finding import Finding, Grade, Name
from perimeter.doctor.subject import Subject
from perimeter.interpreter import built_with_pgo

DIFFERENCE: Final = 60.0
"""Seconds by which the time of a gateway's file may be in the future."""

_TIME_ERROR = 5
_UNSYNCHRONISED = 0x40


def descriptors(subject: Subject) -> list[Finding]:
    """Whether there are enough file descriptors for the connections of ``[limits]``."""
    wanted = subject.config.limits.connections
    limit = _limit_of(subject.pid)
    if limit is None:
        return []
    share = share_of(limit, wanted)
    if share >= wanted:
        return []
    whose = "the running gateway" if subject.pid else "this shell, and what it starts,"
    message = (
        f"{whose} may have {limit} file descriptors, of which half are for clients: at most {share} can be connected, not "
        f"{wanted} as [limits] connections says"
    )
    remedy = f"LimitNOFILE={2 * wanted} in the unit of systemd, or ulimit -n {2 * wanted}; or connections = {share}"
    return [Finding(Name.DESCRIPTORS_FEW, Grade.SOON, "[limits]", message, remedy)]


def _limit_of(pid: int) -> int | None:
    """The limit of the process ``pid``, or of this process without ``pid`` or if it cannot be read."""
    try:
        soft, _ = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    except OSError:
        return descriptor_limit()
    return None if soft == resource.RLIM_INFINITY else soft


def interpreter() -> list[Finding]:
    """Whether the interpreter is slower than it could be."""
    version = ".".join(map(str, sys.version_info[:3]))
    found = []
    if hasattr(sys, "gettotalrefcount"):
        message = f"Python {version} ({sys.executable}) is a debug build, which takes several times the CPU"
        found.append(Finding(Name.INTERPRETER_SLOW, Grade.SOON, "python", message, "use a release build of Python"))
    elif not built_with_pgo():
        message = (
            f"Python {version} ({sys.executable}) was built without profile-guided optimisation (PGO), as far as it says: "
            "requests take about 15 % more CPU"
        )
        remedy = "use the interpreter of the distribution, or build Python with ./configure --enable-optimizations"
        found.append(Finding(Name.INTERPRETER_SLOW, Grade.ADVICE, "python", message, remedy))
    return found


def synchronised() -> bool | None:
    """Whether the clock is synchronised according to the kernel (adjtimex(2)); None if unknown."""
    buffer = ctypes.create_string_buffer(256)  # struct timex, all zero: nothing is changed
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(buffer)
    except (OSError, AttributeError):
        return None
    if state < 0:
        return None
    # modes, offset, frequency, maximal error, estimated error, status
    status = struct.unpack_from("@Illlli", buffer.raw)[5]
    return state != _TIME_ERROR and not status & _UNSYNCHRONISED


def clock(subject: Subject, kernel: bool | None = None) -> Iterable[Finding]:
    """Whether the clock is synchronised, and whether it is earlier than the times of the gateway's files."""
    if kernel is False or (kernel is None and synchronised() is False):
        message = "the clock of this machine is not synchronised: tokens are refused too early or too late when it drifts"
        if any(one.kind == "kerberos" for one in subject.config.authenticators):
            message += ", and all Kerberos tickets when it differs by five minutes"
        yield Finding(Name.CLOCK_FREE, Grade.SOON, "clock", message, "run chrony, ntpd or systemd-timesyncd (timedatectl status)")
    now = time.time()
    newest = max(_times(subject), default=(0.0, Path()))
    if newest[0] > now + DIFFERENCE:
        message = f"{newest[1]} was written {newest[0] - now:.0f} s in the future: the clock was set back, or is wrong"
        remedy = "set the clock; tokens issued meanwhile are refused until their time has come"
        yield Finding(Name.CLOCK_BEHIND, Grade.FAILS, "clock", message, remedy)


def _times(subject: Subject) -> Iterable[tuple[float, Path]]:
    directory = subject.config.perimeter.state_dir
    try:
        inside = list(directory.iterdir())
    except OSError:
        inside = []  # none yet, or this user may not look
    for path in (*inside, *subject.audit_logs):
        try:
            yield path.stat().st_mtime, path
        except OSError:
            continue

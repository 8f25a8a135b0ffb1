"""The plan: the manager's part of a configuration. A short-lived process reads site.ini and makes it (`perimeter.run.plan`).

The text of site.ini may contain secrets, so the manager does not read it either. It is passed from that process to the workers in
a sealed file in memory, and so all of them read the same bytes.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping
from typing import Any

import attrs


@attrs.frozen
class Address:
    """Where a listener listens. ``interface`` is an IP address, ``unix:PATH``, or "" for all; ``port`` 0 is any free one.

    ``mode`` has the permissions of the unix socket, which may change while it is in use.
    """

    name: str
    interface: str
    port: int
    mode: int = attrs.field(default=0o660, eq=False)

    @property
    def path(self) -> str:
        """The path of the unix socket, "" if it is none."""
        return self.interface.removeprefix("unix:") if self.interface.startswith("unix:") else ""

    @property
    def place(self) -> tuple[str, int] | None:
        """What only one socket can have; None if it may be any free port."""
        return (self.interface, self.port) if self.port or self.path else None

    def __str__(self) -> str:
        if self.path:
            return self.interface
        return f"{f'[{self.interface}]' if ':' in self.interface else self.interface or '*'}:{self.port}"


@attrs.frozen
class Plan:
    """``state_dir`` is absolute; ``drain_timeout`` is in seconds. ``level``, ``format``, ``redact`` are for the daemon's log."""

    workers: int
    pin: bool
    listeners: tuple[Address, ...]
    state_dir: str
    drain_timeout: float
    level: str
    format: str
    redact: tuple[str, ...]
    warnings: tuple[str, ...]

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Plan:
        """Make a plan from the JSON value of `attrs.asdict`."""
        lists = {name: tuple(found[name]) for name in ("redact", "warnings")}
        return cls(**{**found, **lists, "listeners": tuple(Address(**one) for one in found["listeners"])})


def sealed(data: bytes) -> int:
    """A file in memory with this content, which no process can change any more. The caller closes it."""
    descriptor = os.memfd_create("perimeter-site", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    seal(descriptor, data)
    return descriptor


def seal(descriptor: int, data: bytes) -> None:
    """Write ``data`` into an empty file in memory, which no process can change any more afterwards."""
    with open(descriptor, "wb", closefd=False) as file:
        file.write(data)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)


def content(descriptor: int) -> bytes:
    """All bytes of a file in memory, wherever its offset is."""
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0)

"""Data that a process hands over to the program that replaces it: the manager, which has the same process id.

The manager is a program of its own. `perimeter.manager.start` binds the listeners within twistd, which then changes the user of
the process; afterwards the process executes the manager. So the memory of the manager contains nothing of twistd and of the
configuration, and the manager never was root.
"""

from __future__ import annotations

import json
import os
import site
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import attrs

import perimeter
from perimeter.manager.listening import Sockets
from perimeter.net.binding import inherited_socket
from perimeter.run.log_target import LogTarget
from perimeter.workers.plan import Address, Plan, content, sealed
from perimeter.workers.sums import Counts


@attrs.frozen
class InheritedWorker:
    """The data of a worker: its ``slot`` and ``pid``; when it was started (epoch seconds); whether it is to end.

    ``channel`` is the descriptor of the connection to it, and ``unread`` (in hexadecimal) the incomplete message that was read
    from it; ``asked`` is the number of the last question, ``counts`` the last counts that it has sent.
    """

    slot: int
    pid: int
    since: float
    status: str
    leaving: bool
    channel: int
    unread: str
    asked: int
    counts: Counts


@attrs.frozen
class Present:
    """The workers at an upgrade, the number of their configuration, and the descriptors of the shared page.

    ``since`` is the start of the gateway. ``counts`` are the counts of workers that have ended; ``ending`` are processes that are
    about to end.
    """

    generation: int
    page: int
    wakers: tuple[int, ...]
    workers: tuple[InheritedWorker, ...]
    since: float
    counts: Counts
    ending: tuple[int, ...]

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Present:
        """The value that `attrs.asdict` has turned into JSON."""
        workers = tuple(InheritedWorker(**one) for one in found["workers"])
        return cls(**{**found, "wakers": tuple(found["wakers"]), "workers": workers, "ending": tuple(found["ending"])})


@attrs.frozen(eq=False)
class Handover:
    """``file`` is site.ini, ``text`` the descriptor of its content. `Launch` has ``waiting`` and ``pidfile``.

    At an upgrade, ``present`` has the running workers.
    """

    file: Path
    plan: Plan
    text: int
    sockets: Sockets
    log: LogTarget
    waiting: int | None
    pidfile: str
    present: Present | None = None

    def described(self) -> bytes:
        """Return the text that the next program reads."""
        told = {
            "file": str(self.file),
            "plan": attrs.asdict(self.plan),
            "text": self.text,
            "listeners": [[*attrs.astuple(address), one.fileno()] for address, one in self.sockets.items()],
            "log": attrs.asdict(self.log),
            "waiting": self.waiting,
            "pidfile": self.pidfile,
            "present": None if self.present is None else attrs.asdict(self.present),
        }
        return json.dumps(told).encode()

    def execute(self, executable: str = sys.executable) -> NoReturn:
        """Go on as the manager, run by the interpreter ``executable``. Raises OSError if that is not possible."""
        descriptor = sealed(self.described())
        for inherited in (descriptor, *self._descriptors()):
            os.set_inheritable(inherited, True)
        sys.stdout.flush()
        sys.stderr.flush()
        program = python("perimeter.manager", str(descriptor), str(self.file), executable=executable)
        os.execve(program[0], program, environment(os.environ, executable))  # noqa: S606

    def _descriptors(self) -> list[int]:
        """All descriptors that the next program needs."""
        found = [self.text, *(one.fileno() for one in self.sockets.values())]
        if self.waiting is not None:
            found.append(self.waiting)
        if self.present is not None:
            found += [self.present.page, *self.present.wakers, *(one.channel for one in self.present.workers)]
        return found

    @classmethod
    def received(cls, descriptor: int) -> Handover:
        """Return the data from the process before. Its descriptors are not inherited by other processes."""
        told = content(descriptor)
        os.close(descriptor)
        handed = cls.understood(told)
        for inherited in handed._descriptors():
            os.set_inheritable(inherited, False)
        return handed

    @classmethod
    def understood(cls, told: bytes, socket_of: Callable[[int], socket.socket] = inherited_socket) -> Handover:
        """Return what another program has described. Raises an exception of any kind if this version does not understand it.

        ``socket_of`` returns the socket behind a descriptor.
        """
        found: dict[str, Any] = json.loads(told)
        return cls(
            file=Path(found["file"]),
            plan=Plan.from_json(found["plan"]),
            text=found["text"],
            sockets={Address(*address): socket_of(inherited) for *address, inherited in found["listeners"]},
            log=LogTarget(**found["log"]),
            waiting=found["waiting"],
            pidfile=found["pidfile"],
            present=None if found["present"] is None else Present.from_json(found["present"]),
        )


def python(module: str, *arguments: str, executable: str = sys.executable) -> list[str]:
    """The command that runs a module of this program. ``-P``: nothing is imported from the present directory."""
    return [executable, "-P", "-m", module, *arguments]


def environment(present: Mapping[str, str], executable: str = sys.executable) -> dict[str, str]:
    """The environment for another process of this program, in which it finds the same code, even if that is not installed.

    Another interpreter than this one finds the code that is installed with it.
    """
    if executable != sys.executable:
        return dict(present)
    own = str(Path(perimeter.__file__).parent.parent)
    paths = [path for path in present.get("PYTHONPATH", "").split(os.pathsep) if path]
    if own in site.getsitepackages() or own in paths:
        return dict(present)
    return {**present, "PYTHONPATH": os.pathsep.join([own, *paths])}

"""Data that a process hands over to the program that replaces it: the manager, which has the same process id.

The manager is a program of its own. `perimeter.manager.start` binds the listeners within twistd, which then changes the user of
the process; afterwards the process executes the manager. So the memory of the manager contains nothing of twistd and of the
configuration, and the manager never was root.
"""

from __future__ import annotations

import json
import os
import site
import sys
from collections.abc import Mapping
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

    def execute(self, executable: str = sys.executable) -> NoReturn:
        """Execute the manager with the interpreter ``executable``. Raises OSError if that is not possible."""
        listeners = [[*attrs.astuple(address), one.fileno()] for address, one in self.sockets.items()]
        told = {
            "file": str(self.file),
            "plan": attrs.asdict(self.plan),
            "text": self.text,
            "listeners": listeners,
            "log": attrs.asdict(self.log),
            "waiting": self.waiting,
            "pidfile": self.pidfile,
            "present": None if self.present is None else attrs.asdict(self.present),
        }
        descriptor = sealed(json.dumps(told).encode())
        kept = () if self.present is None else (self.present.page, *self.present.wakers)
        for inherited in (descriptor, self.text, *kept, *(one.fileno() for one in self.sockets.values())):
            os.set_inheritable(inherited, True)
        if self.waiting is not None:
            os.set_inheritable(self.waiting, True)
        sys.stdout.flush()
        sys.stderr.flush()
        program = python("perimeter.manager", str(descriptor), str(self.file), executable=executable)
        os.execve(program[0], program, environment(os.environ, executable))  # noqa: S606

    @classmethod
    def received(cls, descriptor: int) -> Handover:
        """The data from the process before. Its descriptors are not inherited by other processes."""
        told: dict[str, Any] = json.loads(content(descriptor))
        os.close(descriptor)
        sockets = {}
        for name, interface, port, inherited in told["listeners"]:
            sockets[Address(name, interface, port)] = inherited_socket(inherited)
        for inherited in (told["text"], told["waiting"], *(one.fileno() for one in sockets.values())):
            if inherited is not None:
                os.set_inheritable(inherited, False)
        present = None if told.get("present") is None else Present.from_json(told["present"])
        if present is not None:
            for inherited in (present.page, *present.wakers, *(one.channel for one in present.workers)):
                os.set_inheritable(inherited, False)
        return cls(
            file=Path(told["file"]),
            plan=Plan.from_json(told["plan"]),
            text=told["text"],
            sockets=sockets,
            log=LogTarget(**told["log"]),
            waiting=told["waiting"],
            pidfile=told["pidfile"],
            present=present,
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

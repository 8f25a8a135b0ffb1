"""What a process hands over to the program that takes its place: the manager, which is executed with the same process id.

The manager is a program of its own. `perimeter.manager.start` binds the listeners within twistd, which then changes the user of
the process; afterwards the process executes the manager. So the manager has nothing of twistd and of the configuration in its
memory, and never was root.
"""

from __future__ import annotations

import json
import os
import site
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import attrs

import perimeter
from perimeter.manager.listening import Sockets
from perimeter.workers.plan import Address, Plan, content, sealed


@attrs.frozen
class LogTarget:
    """Where the daemon's log goes: the file ``path``, or standard output if it is empty."""

    path: str = ""


@attrs.frozen(eq=False)
class Handover:
    """``file`` is site.ini, ``text`` the descriptor of what was read from it. `Launch` has ``waiting`` and ``pidfile``."""

    file: Path
    plan: Plan
    text: int
    sockets: Sockets
    log: LogTarget
    waiting: int | None
    pidfile: str

    def execute(self) -> NoReturn:
        """Go on as the manager. Raises OSError if that is not possible."""
        listeners = [[*attrs.astuple(address), one.fileno()] for address, one in self.sockets.items()]
        told = {
            "file": str(self.file),
            "plan": attrs.asdict(self.plan),
            "text": self.text,
            "listeners": listeners,
            "log": attrs.asdict(self.log),
            "waiting": self.waiting,
            "pidfile": self.pidfile,
        }
        descriptor = sealed(json.dumps(told).encode())
        for inherited in (descriptor, self.text, *(one.fileno() for one in self.sockets.values())):
            os.set_inheritable(inherited, True)
        if self.waiting is not None:
            os.set_inheritable(self.waiting, True)
        sys.stdout.flush()
        sys.stderr.flush()
        program = python("perimeter.manager", str(descriptor), str(self.file))
        os.execve(program[0], program, environment(os.environ))  # noqa: S606

    @classmethod
    def received(cls, descriptor: int) -> Handover:
        """What the process before has handed over. Its descriptors are not inherited any further."""
        told: dict[str, Any] = json.loads(content(descriptor))
        os.close(descriptor)
        sockets = {}
        for name, interface, port, inherited in told["listeners"]:
            sockets[Address(name, interface, port)] = socket.socket(fileno=inherited)
        for inherited in (told["text"], told["waiting"], *(one.fileno() for one in sockets.values())):
            if inherited is not None:
                os.set_inheritable(inherited, False)
        return cls(
            file=Path(told["file"]),
            plan=Plan.from_json(told["plan"]),
            text=told["text"],
            sockets=sockets,
            log=LogTarget(**told["log"]),
            waiting=told["waiting"],
            pidfile=told["pidfile"],
        )


def python(module: str, *arguments: str) -> list[str]:
    """The command that runs a module of this program. ``-P``: nothing is imported from the present directory."""
    return [sys.executable, "-P", "-m", module, *arguments]


def environment(present: Mapping[str, str]) -> dict[str, str]:
    """The environment for another process of this program, in which it finds the same code: also if that is not installed."""
    own = str(Path(perimeter.__file__).parent.parent)
    paths = [path for path in present.get("PYTHONPATH", "").split(os.pathsep) if path]
    if own in site.getsitepackages() or own in paths:
        return dict(present)
    return {**present, "PYTHONPATH": os.pathsep.join([own, *paths])}

"""The problems that only the running gateway knows. The control socket answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import perimeter
from perimeter.doctor.finding import Finding, Grade, Name
from perimeter.doctor.subject import Subject
from perimeter.errors import StartupError
from perimeter.run import problems
from perimeter.run.asking import ask

_OWN: Final = (problems.Subject.AUDIT, problems.Subject.STATE, problems.Subject.RELOAD, problems.Subject.WORKER)
"""Problems that other looks do not find."""

_REMEDIES: Final = {
    problems.Subject.AUDIT: "make room, or let the gateway's user write there; it tries again each second",
    problems.Subject.STATE: "make room in state_dir, or make Redis answer; the gateway tries again by itself",
    problems.Subject.RELOAD: "correct site.ini (perimeter check shows all faults), then perimeter reload",
    problems.Subject.WORKER: "the manager replaces a worker that ends or hangs; its log says why",
}


def running(state_dir: Path) -> Mapping[str, Any] | None:
    """The short status of the gateway that runs in ``state_dir``; None if there is none, or this user may not ask it. Blocks."""
    try:
        return ask(state_dir, {"command": "status", "brief": True})
    except StartupError:
        return None


def see(subject: Subject) -> Iterator[Finding]:
    """The problems that the running gateway reports, and whether there is one. Blocks."""
    directory = subject.config.perimeter.state_dir
    if subject.running is None:
        message = f"no gateway runs in {directory}, or this user may not ask it"
        yield Finding(Name.NOT_RUNNING, Grade.ADVICE, "gateway", message, "start it, or run the command as its user or as root")
        return
    version = subject.running.get("version")
    if version != perimeter.__version__:
        message = f"the gateway runs version {version}; {perimeter.__version__} is installed"
        yield Finding(Name.RUNNING_VERSION, Grade.SOON, "gateway", message, "restart or upgrade the gateway")
    try:
        answer = ask(directory, {"command": "status"})
    except StartupError as error:
        message = f"the running gateway does not answer: {error}"
        remedy = "read its log, and examine its process; if it hangs, restart it"
        yield Finding(Name.RUNNING_PROBLEM, Grade.FAILS, "gateway", message, remedy)
        return
    for one in answer.get("problems", ()):
        kind = one.get("subject")
        if kind in _OWN:
            grade = Grade.DOWN if one.get("severity") == problems.Severity.NOTHING_IS_SERVED else Grade.SOON
            yield Finding(Name.RUNNING_PROBLEM, grade, f"{kind} {one.get('name')}", str(one.get("message")), _REMEDIES[kind])

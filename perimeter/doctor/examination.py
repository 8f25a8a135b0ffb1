"""An examination: the configuration first, then all other looks side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred

from perimeter.auth.registry import installed_kinds
from perimeter.doctor import around, certificates, files, machine, names, running, secrets, services
from perimeter.doctor.finding import Finding, Grade, Name
from perimeter.doctor.looks import TIMEOUT, Look, Seen, SideBySide
from perimeter.doctor.subject import Subject, gateway_user, servers_of
from perimeter.errors import ConfigError, StartupError
from perimeter.run.build.inspection import Inspected, inspected

MOST_SERVERS: Final = 100
"""Servers that are asked."""

_CORRECT: Final = "correct it: perimeter check prints all faults"


@attrs.frozen
class Report:
    """What was found, the worst first, and the looks with the seconds that each has taken."""

    findings: tuple[Finding, ...]
    looks: tuple[Seen, ...]


def examine(file: Path, timeout: float = TIMEOUT) -> Report:
    """Examine the configuration in ``file`` and what it needs. Runs the reactor, so it works once in a process.

    Takes twice ``timeout`` at most, in seconds. Changes nothing.
    """
    from twisted.internet import reactor

    read: list[Subject] = []
    seen = SideBySide([Look("configuration", str(file), partial(_configuration, file, reactor, read))], timeout).finish()
    if not read:
        seen += SideBySide([Look("interpreter", "", machine.interpreter)], timeout).finish()
        return report(seen)
    looks = looks_of(read[0])
    side_by_side = SideBySide(looks, timeout)
    asked = _on_reactor(partial(services.see, read[0].config), reactor, timeout)
    return report([*seen, *side_by_side.finish(), asked])


def report(seen: Sequence[Seen]) -> Report:
    """All findings, sorted and each once."""
    findings = dict.fromkeys(finding for one in seen for finding in one.findings)
    return Report(tuple(sorted(findings, key=lambda one: (one.grade, one.name, one.subject))), tuple(seen))


def _configuration(file: Path, reactor: Any, read: list[Subject]) -> Iterable[Finding]:
    """Read it as ``perimeter check`` does. What can be examined further is added to ``read``."""
    try:
        found = inspected(file, installed_kinds(), reactor)
    except ConfigError as error:
        remedy = _CORRECT
        return [Finding(Name.CONFIGURATION_FAULT, Grade.DOWN, str(file), str(one), remedy) for one in error.problems]
    except StartupError as error:
        return [Finding(Name.CONFIGURATION_FAULT, Grade.DOWN, str(file), str(error), _CORRECT)]
    read.append(subject_of(found))
    remedy = "change what the sentence names, or leave it if it is meant so"
    return [Finding(Name.CONFIGURATION_WARNING, _grade(one), str(file), one, remedy) for one in _further(found)]


def _grade(warning: str) -> Grade:
    return Grade.OPEN if warning.startswith("[perimeter] enabled = no") else Grade.SOON


def _further(found: Inspected) -> Iterable[str]:
    """The warnings, without those that other looks report: dates of certificates, and file systems of audit logs."""
    return [one for one in found.warnings if ": the certificate of " not in one and ": this audit log is on " not in one]


def subject_of(found: Inspected) -> Subject:
    """What is examined, with the running gateway. Blocks."""
    directory = found.config.perimeter.state_dir
    answer = running.running(directory)
    subject = Subject(found.config, found.document, gateway_user(directory), answer)
    return attrs.evolve(subject, user=gateway_user(directory, subject.pid))


def looks_of(subject: Subject) -> list[Look]:
    """All looks that block, for threads."""
    config = subject.config
    servers = servers_of(config)[:MOST_SERVERS]
    named = {server.host: server for server in servers if not _is_address(server.host)}
    listeners = [one for one in config.listeners if one.certificate is not None or one.keystore is not None]
    whole: list[tuple[str, str, Callable[[Subject], Iterable[Finding]]]] = [
        ("permissions", "state_dir", files.state),
        ("permissions", "secrets", files.secrets),
        ("permissions", "others", files.changeable),
        ("permissions", "the gateway's user", files.unusable),
        ("file-systems", "", files.file_systems),
        ("clock", "", machine.clock),
        ("descriptors", "", machine.descriptors),
        ("secrets", "", secrets.configured),
        ("passwords", "", secrets.of_users),
        ("authorities", "", certificates.of_authorities),
        ("running", "", running.see),
    ]
    return [
        Look("interpreter", "", machine.interpreter),
        *(Look(name, part, partial(see, subject)) for name, part, see in whole),
        *(Look("certificates", one.name, partial(certificates.of_listener, subject, one)) for one in listeners),
        *(Look("names", host, partial(names.see, server)) for host, server in named.items()),
        *(Look("server-certificates", one.host, partial(certificates.of_server, one)) for one in servers if one.tls),
        *(Look("around", one.server.url, partial(around.see, one)) for one in around.protected_services(config)[:MOST_SERVERS]),
    ]


def _is_address(host: str) -> bool:
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def _on_reactor(see: Callable[[Any], Any], reactor: Any, timeout: float) -> Seen:
    """What a coroutine sees, on a reactor that runs until it is over."""
    look = Look("services", "", tuple)
    began = reactor.seconds()
    found: list[Finding] = []

    def failed(failure: Any) -> None:
        message = f"the services could not be asked: {failure.type.__name__}"
        found.append(Finding(Name.LOOK_FAILED, Grade.FAILS, "services", message, "perimeter check and perimeter login say more"))

    def begin() -> None:
        asked = Deferred.fromCoroutine(see(reactor))
        asked.addTimeout(timeout, reactor)
        asked.addCallbacks(found.extend, failed)
        asked.addBoth(lambda _: reactor.callLater(0, reactor.stop))

    reactor.callWhenRunning(begin)
    reactor.run()
    return Seen(look, tuple(found), reactor.seconds() - began)

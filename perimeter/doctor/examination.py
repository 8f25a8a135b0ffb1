"""An examination: first the configuration, then all other looks at the same time."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred

from perimeter.auth.registry import installed_kinds
from perimeter.config.site.state_dir import state_dir_of
from perimeter.doctor import around, authority, certificates, files, machine, names, redis, running, secrets, services
from perimeter.doctor.finding import Finding, Grade, Name
from perimeter.doctor.looks import TIMEOUT, Look, Seen, SideBySide
from perimeter.doctor.subject import Subject, environment_of, gateway_user, pid_of, servers_of
from perimeter.errors import ConfigError, StartupError
from perimeter.run.build.inspection import Inspected, inspected

MOST_SERVERS: Final = 100
"""The most servers that are contacted."""

_CORRECT: Final = "correct it: perimeter check prints all faults"


@attrs.frozen
class Report:
    """The findings, the worst first, and the looks with the seconds that each has taken."""

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
    subject = read[0]
    begun: list[SideBySide] = []

    async def see(reactor: Any) -> list[Finding]:
        addresses, missing = await services.look_up(subject.config, reactor)
        begun.append(SideBySide(looks_of(subject, addresses), timeout))
        shared = Deferred.fromCoroutine(redis.see(subject.config, reactor))
        return [*missing, *await services.see(subject.config, reactor, addresses), *await shared]

    asked = _on_reactor(see, reactor, timeout + services.NAMES_TIME)
    return report([*seen, *(one for looks in begun for one in looks.finish()), asked])


def report(seen: Sequence[Seen]) -> Report:
    """All findings, sorted and without duplicates."""
    findings = dict.fromkeys(finding for one in seen for finding in one.findings)
    return Report(tuple(sorted(findings, key=lambda one: (one.grade, one.name, one.subject))), tuple(seen))


def _configuration(file: Path, reactor: Any, read: list[Subject]) -> Iterable[Finding]:
    """Read it as ``perimeter check`` does. The configuration is added to ``read`` if it can be examined further.

    The secrets of a running gateway may exist only in its environment, so its environment is used as well.
    """
    answer = None
    with suppress(StartupError):  # the faults are reported below, all of them
        answer = running.running(state_dir_of(file))
    try:
        environ = {**os.environ, **environment_of(pid_of(answer))}
        found = inspected(file, installed_kinds(), reactor, environ)
    except ConfigError as error:
        return [_fault(file, str(one)) for one in error.problems]
    except StartupError as error:
        return [_fault(file, str(error))]
    read.append(subject_of(found, answer))
    remedy = "change the setting that the sentence names, unless you want it"
    return [Finding(Name.CONFIGURATION_WARNING, _grade(one), str(file), one, remedy) for one in _further(found)]


def _grade(warning: str) -> Grade:
    return Grade.OPEN if warning.startswith("[perimeter] enabled = no") else Grade.SOON


def _further(found: Inspected) -> Iterable[str]:
    """The warnings, without those that other looks report: dates of certificates, and file systems of audit logs."""
    return [one for one in found.warnings if ": the certificate of " not in one and ": this audit log is on " not in one]


def _fault(file: Path, message: str) -> Finding:
    remedy, grade = _CORRECT, Grade.DOWN
    if os.strerror(errno.EACCES) in message:
        remedy, grade = "run the command as the gateway's user, or as root", Grade.FAILS
    elif "environment variable" in message or "CREDENTIALS_DIRECTORY" in message:
        remedy = "set it as the gateway's service does; while the gateway runs, the command uses its environment"
    return Finding(Name.CONFIGURATION_FAULT, grade, str(file), message, remedy)


def subject_of(found: Inspected, answer: Mapping[str, Any] | None) -> Subject:
    """The subject of the examination; ``answer`` is the answer of the running gateway. Blocks."""
    user = gateway_user(found.config.perimeter.state_dir, pid_of(answer))
    return Subject(found.config, found.document, user, answer)


def looks_of(subject: Subject, addresses: services.Addresses) -> list[Look]:
    """All looks that block, for threads. ``addresses`` are those of names that the gateway has looked up by itself."""
    config = subject.config
    servers = servers_of(config)[:MOST_SERVERS]
    named = {server.host: server for server in servers if server.by_system and not _is_address(server.host)}
    upstreams = [one for one in config.upstreams if one.client_certificate is not None]
    listeners = [one for one in config.listeners if one.certificate or one.keystore or one.acme_names]
    whole: list[tuple[str, str, Callable[[Subject], Iterable[Finding]]]] = [
        ("permissions", "state_dir", files.state),
        ("permissions", "secrets", files.secrets),
        ("permissions", "others", files.changeable),
        ("permissions", "the gateway's user", files.unusable),
        ("permissions", "sockets of services", files.sockets),
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
        *(Look("certificates", one.name, partial(certificates.of_upstream, one)) for one in upstreams),
        *([Look("authority", config.acme.directory, partial(authority.see, subject))] if config.orders_certificates else []),
        *(Look("names", host, partial(names.see, server)) for host, server in named.items()),
        *(Look("server-certificates", one.host, partial(certificates.of_server, one)) for one in servers if one.tls),
        *(
            Look("around", one.server.url, partial(around.see, one))
            for one in around.protected_services(config, addresses)[:MOST_SERVERS]
        ),
    ]


def _is_address(host: str) -> bool:
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def _on_reactor(see: Callable[[Any], Any], reactor: Any, timeout: float) -> Seen:
    """The findings of a coroutine, on a reactor that runs until the coroutine ends."""
    look = Look("services", "", tuple)
    began = reactor.seconds()
    found: list[Finding] = []

    def failed(failure: Any) -> None:
        message = f"the services could not be checked: {failure.type.__name__}"
        found.append(Finding(Name.LOOK_FAILED, Grade.FAILS, "services", message, "perimeter check and perimeter login say more"))

    def begin() -> None:
        asked = Deferred.fromCoroutine(see(reactor))
        asked.addTimeout(timeout, reactor)
        asked.addCallbacks(found.extend, failed)
        asked.addBoth(lambda _: reactor.callLater(0, reactor.stop))

    reactor.callWhenRunning(begin)
    reactor.run()
    return Seen(look, tuple(found), reactor.seconds() - began)

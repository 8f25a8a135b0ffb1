"""What is wrong with the running gateway, the worst first, for ``perimeter status``.

Directories and services are asked when the operator asks: what no request has used since it died is shown as well.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs
from twisted.internet.defer import Deferred, DeferredList, TimeoutError

from perimeter.acme.orders import Order, orders
from perimeter.auth.chain.asking import GuardedAuthenticator
from perimeter.config.site.config import SiteConfig
from perimeter.config.site.server import ServerScheme
from perimeter.errors import Refusal
from perimeter.file_systems import space_at
from perimeter.net.certificates import date_findings
from perimeter.net.contexts import ServerIdentity
from perimeter.plugin.authenticator import IProbe
from perimeter.proxy.health import ServerState
from perimeter.proxy.pool import PooledServer, UpstreamPool
from perimeter.run.nodes import node_faults

if TYPE_CHECKING:  # perimeter doctor has no assembly
    from perimeter.run.build.assembly import Assembly
    from perimeter.run.build.runtime import Runtime

TIMEOUT: Final = 3.0
"""Seconds for all checks together. It is less than `perimeter.run.asking.TIMEOUT`."""

MOST_SERVERS: Final = 100
"""Servers of upstreams that are asked."""


class Severity(IntEnum):
    """The effect of a problem on users, the worst first."""

    NOTHING_IS_SERVED = 0
    SOME_REQUESTS_FAIL = 1
    WORKS_FOR_NOW = 2


class Subject(StrEnum):
    """What has a problem."""

    AUDIT = "audit"
    CERTIFICATE = "certificate"
    AUTHENTICATOR = "authenticator"
    UPSTREAM = "upstream"
    STATE = "state"
    RELOAD = "reload"
    WORKER = "worker"
    NODE = "node"


@attrs.frozen
class Problem:
    """A problem. ``name`` is that of the section, or the path of the file."""

    severity: int
    subject: str
    name: str
    message: str


@attrs.frozen
class Examination:
    """What is examined: the ``assembly`` in force, the certificates of listeners by name, why the last reload was refused, and
    what is wrong with the record of this node.
    """

    assembly: Assembly
    runtime: Runtime
    identities: Mapping[str, tuple[ServerIdentity, ...]]
    refused_reload: str = ""
    own_record: str = ""


async def problems(subject: Examination) -> list[Problem]:
    """Every problem, the worst first. Takes `TIMEOUT` at most. Never raises."""
    assembly = subject.assembly
    asked = [
        *(ask_authenticator(one, subject.runtime) for one in assembly.chain.guarded),
        *(ask_upstream(pool, subject.runtime) for pool in assembly.pools),
        _disks(assembly.audit.paths, subject.runtime),
        _refused_orders(assembly.config, subject.runtime),
        _nodes(assembly, subject.runtime),
    ]
    answers = await DeferredList([Deferred.fromCoroutine(one) for one in asked], consumeErrors=True)
    found = [problem for success, answer in answers if success for problem in answer]
    return sorted([*found, *_seen(subject)], key=lambda one: one.severity)


def noticed(subject: Examination) -> list[Problem]:
    """Problems that this process knows without checking other programs. Another worker may have other problems."""
    assembly = subject.assembly
    return [
        *(problem for one in assembly.chain.guarded for problem in _open_breaker(one)),
        *(problem for pool in assembly.pools for problem in _faulty(pool, [(one, "") for one in pool.servers])),
        *_seen(subject),
    ]


def _seen(subject: Examination) -> list[Problem]:
    assembly = subject.assembly
    found = [
        Problem(Severity.WORKS_FOR_NOW, Subject.UPSTREAM, one.pool.name, f"{lookup.host} cannot be looked up: {lookup.fault}")
        for one in assembly.upkeep
        for lookup in one.lookups.values()
        if lookup.fault
    ]
    strict = assembly.config.audit.strict
    for text in assembly.audit.problems():
        worst = Severity.NOTHING_IS_SERVED if strict else Severity.WORKS_FOR_NOW
        effect = "no request is served until it can be written" if strict else "requests are not recorded"
        path, _, reason = text.rpartition(": ")
        found.append(Problem(worst, Subject.AUDIT, path, f"the audit log cannot be written ({reason}): {effect}"))
    found += _certificates(subject.identities)
    state = assembly.state.problem()
    if state:
        severity = Severity.SOME_REQUESTS_FAIL if assembly.state.stale else Severity.WORKS_FOR_NOW
        found.append(Problem(severity, Subject.STATE, str(assembly.config.perimeter.state_dir), state))
    if subject.refused_reload:
        message = f"the last reload was refused, the earlier configuration is in force: {subject.refused_reload}"
        found.append(Problem(Severity.WORKS_FOR_NOW, Subject.RELOAD, str(assembly.config.file), message))
    if subject.own_record:
        found.append(Problem(Severity.WORKS_FOR_NOW, Subject.NODE, assembly.config.perimeter.node_name, subject.own_record))
    return found


async def _nodes(assembly: Assembly, runtime: Runtime) -> list[Problem]:
    """What is wrong among the machines that share the state."""
    return [
        Problem(Severity.SOME_REQUESTS_FAIL if one.refuses else Severity.WORKS_FOR_NOW, Subject.NODE, one.name, one.message)
        for one in await node_faults(assembly, runtime.reactor)
    ]


def _certificates(identities: Mapping[str, tuple[ServerIdentity, ...]]) -> Iterable[Problem]:
    now = datetime.now(UTC)
    for listener, several in identities.items():
        for identity in several:
            for finding in date_findings(identity.chain, now):
                severity = Severity.SOME_REQUESTS_FAIL if finding.unusable else Severity.WORKS_FOR_NOW
                yield Problem(severity, Subject.CERTIFICATE, listener, f"{identity.source}: {finding.text}")


async def ask_authenticator(one: GuardedAuthenticator, runtime: Runtime) -> list[Problem]:
    """The problem of an authenticator. Checks its backend, for at most `TIMEOUT`."""
    fault = ""
    authenticator = one.authenticator
    if IProbe.providedBy(authenticator):
        fault = await _fault(authenticator.probe(), runtime)
    return [Problem(Severity.SOME_REQUESTS_FAIL, Subject.AUTHENTICATOR, one.name, fault)] if fault else _open_breaker(one)


def _open_breaker(one: GuardedAuthenticator) -> list[Problem]:
    if not one.breaker.open:
        return []
    fault = f"it failed, and is not asked for {one.breaker.remaining:.0f} s"
    return [Problem(Severity.SOME_REQUESTS_FAIL, Subject.AUTHENTICATOR, one.name, fault)]


async def _fault(probe: Awaitable[None], runtime: Runtime) -> str:
    async def asked() -> None:
        await probe

    try:
        await Deferred.fromCoroutine(asked()).addTimeout(TIMEOUT, runtime.reactor)
    except TimeoutError:
        return f"no answer within {TIMEOUT:g} s"
    except Refusal as error:
        return error.detail or error.phrase
    except Exception as error:
        return f"it failed with {type(error).__name__}"
    return ""


#: The problem of a server that accepts connections.
_FAULTS = {
    ServerState.DOWN: "it does not pass its checks: %(fault)s",
    ServerState.EJECTED: "it gets no requests for some time: %(fault)s",
}


async def ask_upstream(pool: UpstreamPool, runtime: Runtime) -> list[Problem]:
    """The problems of the servers of an upstream. Connects to each server, for at most `TIMEOUT`."""
    servers = [server for server in pool.servers if server.settings.scheme is not ServerScheme.SAMPLE][:MOST_SERVERS]
    answers = await DeferredList(
        [Deferred.fromCoroutine(pool.probe(server, TIMEOUT, runtime.reactor)) for server in servers], consumeErrors=True
    )
    return _faulty(pool, [(server, str(fault or "")) for server, (_, fault) in zip(servers, answers, strict=True)])


def _faulty(pool: UpstreamPool, servers: Iterable[tuple[PooledServer, str]]) -> list[Problem]:
    """The problems of ``servers``, each with the fault of a connection, "" if there was none."""
    faults = [
        (server.place, found)
        for server, fault in servers
        if (found := fault or _FAULTS.get(server.health.state(), "") % {"fault": server.health.fault})
    ]
    severity = Severity.SOME_REQUESTS_FAIL if len(faults) == len(pool.servers) else Severity.WORKS_FOR_NOW
    return [Problem(severity, Subject.UPSTREAM, pool.name, f"{url}: {fault}") for url, fault in faults]


async def _disks(paths: Iterable[Path], runtime: Runtime) -> list[Problem]:
    """The file systems of the audit logs. In a thread, because a network file system may hang."""
    found: list[Problem] = await runtime.offload.run(_full, tuple(paths)).addTimeout(TIMEOUT, runtime.reactor)
    return found


async def ordered(config: SiteConfig, runtime: Runtime) -> Sequence[Order]:
    """The certificates that the gateway gets by itself. Read in a thread, for at most `TIMEOUT`. Raises what that raises."""
    if not config.orders_certificates:
        return ()
    found: Sequence[Order] = await runtime.offload.run(orders, config).addTimeout(TIMEOUT, runtime.reactor)
    return found


async def _refused_orders(config: SiteConfig, runtime: Runtime) -> list[Problem]:
    return [
        Problem(
            Severity.WORKS_FOR_NOW if one.there else Severity.SOME_REQUESTS_FAIL,
            Subject.CERTIFICATE,
            ", ".join(one.listeners),
            f"{', '.join(one.names)}: {one.fault}",
        )
        for one in await ordered(config, runtime)
        if one.fault
    ]


def _full(paths: Iterable[Path]) -> list[Problem]:
    found = []
    for path in paths:
        if not path.is_file():
            continue  # a terminal or a pipe
        space = space_at(path)
        if space.full:
            message = "the file system of the audit log is full: no request is served when it cannot be written"
            found.append(Problem(Severity.NOTHING_IS_SERVED, Subject.AUDIT, str(path), message))
        elif space.almost_full:
            message = f"the file system of the audit log is almost full: {space.free >> 20} MiB are free"
            found.append(Problem(Severity.WORKS_FOR_NOW, Subject.AUDIT, str(path), message))
    return found

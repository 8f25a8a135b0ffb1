"""Checks the services that logins and requests need, on a reactor, as `perimeter status` does for a running gateway."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from twisted.internet.defer import Deferred, DeferredList, TimeoutError

from perimeter.auth.chain.chain import AuthenticatorChain
from perimeter.config.site.config import SiteConfig
from perimeter.config.site.upstream import UpstreamSettings
from perimeter.doctor import providers
from perimeter.doctor.finding import Finding, Grade, Name
from perimeter.net.addresses import LookupFailed
from perimeter.net.deadlines import Deadlines
from perimeter.offload import Offload
from perimeter.plugin.services import AuthServices
from perimeter.run.build.authentication import authenticators_of, prepared_authenticators
from perimeter.run.build.runtime import Runtime
from perimeter.run.build.upstream_tls import client_contexts
from perimeter.run.build.upstreams import upstream_pools
from perimeter.run.problems import Problem, Severity, Subject, ask_authenticator, ask_upstream

NAMES_TIME: Final = 3.0
"""Seconds for the look-up of a name."""

_NAMES = {Subject.AUTHENTICATOR: Name.AUTHENTICATOR_DOWN, Subject.UPSTREAM: Name.UPSTREAM_DOWN}
_REMEDIES = {
    Subject.AUTHENTICATOR: "start the directory or service, or correct its address; perimeter login shows each step of a login",
    Subject.UPSTREAM: "start the service, or correct servers of the upstream",
}


Addresses = Mapping[str, tuple[str, ...]]
"""The addresses of names that the gateway looks up by itself (``resolve = dns``)."""


async def look_up(config: SiteConfig, reactor: Any) -> tuple[Addresses, list[Finding]]:
    """Looks up the names that the gateway looks up by itself, in the same way, and reports names without an answer."""
    offload = Offload(reactor)
    offload.start()
    found: dict[str, tuple[str, ...]] = {}
    missing: list[Finding] = []

    async def ask(upstream: UpstreamSettings, host: str) -> None:
        from perimeter.net.dns import Names  # takes 0.1 s

        names = Names(reactor, upstream.nameservers, offload.run)
        try:
            answer = await Deferred.fromCoroutine(names.look_up(host)).addTimeout(NAMES_TIME, reactor)
        except (LookupFailed, TimeoutError) as failed:
            fault = str(failed) if isinstance(failed, LookupFailed) else f"no answer within {NAMES_TIME:g} s"
            message = f"the name {host} cannot be looked up at the DNS servers of the upstream: {fault}"
            remedy = "correct the name, nameservers of the upstream, or /etc/resolv.conf of this machine"
            missing.append(Finding(Name.NAME_UNKNOWN, Grade.FAILS, f"[upstream {upstream.name}]", message, remedy))
        else:
            found[host] = answer.addresses

    asked = [ask(upstream, host) for upstream in config.upstreams if upstream.looks_up for host in dict.fromkeys(upstream.names)]
    try:
        await DeferredList([Deferred.fromCoroutine(one) for one in asked], consumeErrors=True)
    finally:
        offload.stop()
    return found, missing


async def see(config: SiteConfig, reactor: Any, addresses: Addresses) -> list[Finding]:
    """Authenticators that cannot decide about a login now, and unreachable servers of upstreams."""
    offload = Offload(reactor)
    offload.start()
    runtime = Runtime(reactor, offload, Deadlines(reactor))
    try:
        prepared = prepared_authenticators(config, AuthServices(reactor, offload))
        chain = AuthenticatorChain(authenticators_of(config, prepared), config.authentication.timeout, 0, reactor)
        pools = upstream_pools(config, {one.name: client_contexts(one) for one in config.upstreams}, runtime)
        for pool in pools.values():
            for host in pool.settings.names if pool.settings.looks_up else ():
                if host in addresses:
                    pool.renew(host, addresses[host])
        asked = [
            *(ask_authenticator(one, runtime) for one in chain.guarded),
            *(ask_upstream(pool, runtime) for pool in pools.values()),
        ]
        answers = DeferredList([Deferred.fromCoroutine(one) for one in asked], consumeErrors=True)
        of_providers = await providers.see(config, AuthServices(reactor, offload))
        problems = [problem for success, several in await answers if success for problem in several]
    finally:
        offload.stop()
    return [*findings(problems), *of_providers]


def findings(problems: Iterable[Problem]) -> list[Finding]:
    """What `perimeter status` would call problems, as findings."""
    return [
        Finding(
            _NAMES[Subject(one.subject)],
            Grade.SOON if one.severity is Severity.WORKS_FOR_NOW else Grade.FAILS,
            f"[{one.subject} {one.name}]",
            one.message,
            _REMEDIES[Subject(one.subject)],
        )
        for one in problems
    ]

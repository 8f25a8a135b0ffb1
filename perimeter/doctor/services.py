"""The services that logins and requests need: asked on a reactor, as `perimeter status` asks those of a running gateway."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.internet.defer import Deferred, DeferredList

from perimeter.auth.chain.chain import AuthenticatorChain
from perimeter.config.site.config import SiteConfig
from perimeter.doctor.finding import Finding, Grade, Name
from perimeter.net.deadlines import Deadlines
from perimeter.offload import Offload
from perimeter.plugin.services import AuthServices
from perimeter.run.build.authentication import authenticators_of, prepared_authenticators
from perimeter.run.build.runtime import Runtime
from perimeter.run.build.upstreams import client_contexts, upstream_pools
from perimeter.run.problems import Problem, Severity, Subject, ask_authenticator, ask_upstream

_NAMES = {Subject.AUTHENTICATOR: Name.AUTHENTICATOR_DOWN, Subject.UPSTREAM: Name.UPSTREAM_DOWN}
_REMEDIES = {
    Subject.AUTHENTICATOR: "start the directory or service, or correct its address; perimeter login shows each step of a login",
    Subject.UPSTREAM: "start the service, or correct servers of the upstream",
}


async def see(config: SiteConfig, reactor: Any) -> list[Finding]:
    """Authenticators that cannot decide about a login now, and servers of upstreams that cannot be reached."""
    offload = Offload(reactor)
    offload.start()
    runtime = Runtime(reactor, offload, Deadlines(reactor))
    try:
        prepared = prepared_authenticators(config, AuthServices(reactor, offload))
        chain = AuthenticatorChain(authenticators_of(config, prepared), config.authentication.timeout, 0, reactor)
        pools = upstream_pools(config, {one.name: client_contexts(one) for one in config.upstreams}, runtime)
        asked = [
            *(ask_authenticator(one, runtime) for one in chain.guarded),
            *(ask_upstream(pool, runtime) for pool in pools.values()),
        ]
        answers = await DeferredList([Deferred.fromCoroutine(one) for one in asked], consumeErrors=True)
    finally:
        offload.stop()
    return findings(problem for success, several in answers if success for problem in several)


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

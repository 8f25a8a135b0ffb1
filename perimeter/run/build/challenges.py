"""Answers a CA before everything else (`perimeter.acme`): a request for a challenge that is pending, and no other request."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import attrs

from perimeter.audit.sink import IAuditSink
from perimeter.config.site.acme import ChallengeKind
from perimeter.config.site.config import SiteConfig
from perimeter.config.site.listener import Serve
from perimeter.gate.gate import Gate
from perimeter.http.exchange import Exchange
from perimeter.run.build.builtin import builtin
from perimeter.run.build.gates import GateOf
from perimeter.run.build.runtime import Runtime
from perimeter.targets.acme_challenge import ChallengeTarget

Dispatch = Callable[[Exchange], None]


@attrs.frozen(eq=False)
class ChallengeGate:
    """The gate of requests for challenges. ``bodies`` are the pending ones by target; ``listeners`` answer them."""

    gate: Gate
    bodies: Mapping[bytes, bytes]
    listeners: frozenset[str]

    def before(self, listener: str, dispatch: Dispatch) -> Dispatch:
        """``dispatch`` for all requests except those for a pending challenge, on a listener that answers them."""
        if listener not in self.listeners:
            return dispatch
        bodies, answer = self.bodies, self.gate.dispatch

        def first(exchange: Exchange) -> None:
            # the very target that the CA asks for: no other reading of a path leads here (attack 145)
            if bodies and exchange.head.target in bodies:
                answer(exchange)
            else:
                dispatch(exchange)

        return first


def challenge_gate(config: SiteConfig, runtime: Runtime, gate: GateOf, sink: IAuditSink) -> ChallengeGate | None:
    """The gate of challenges by http-01; None if the configuration has none."""
    if not config.orders_certificates or config.acme.challenge is not ChallengeKind.HTTP_01:
        return None
    bodies = runtime.challenges.bodies
    target = ChallengeTarget(bodies)
    listeners = frozenset(one.name for one in config.listeners if one.serve is not Serve.METRICS)
    return ChallengeGate(gate([builtin(target.name, target, sink)]), bodies, listeners)

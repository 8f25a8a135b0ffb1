"""The gate of each listener: all of them judge by the same rules, and differ in what they lead to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from perimeter.audit.sink import IAuditSink
from perimeter.config.site.config import SiteConfig
from perimeter.config.site.listener import ListenerSettings
from perimeter.gate.gate import Gate
from perimeter.gate.routes import Route
from perimeter.run.build.builtin import builtin, endpoint_routes, forward_auth_route, metrics_routes, redirect_routes
from perimeter.run.build.surroundings import Surroundings
from perimeter.targets.forward_auth import ForwardAuthTarget
from perimeter.web.bridge import SiteTarget
from perimeter.web.endpoints.tree import Endpoints, token_resources

GateOf = Callable[[Iterable[Route]], Gate]
"""Makes the gate that leads to some routes."""


def listener_gates(
    config: SiteConfig,
    around: Surroundings,
    gate: GateOf,
    routes: Sequence[Route],
    endpoints: Endpoints,
    sink: IAuditSink,
) -> dict[str, Gate]:
    """The gates by the name of their listener; ``routes`` are the configured ones."""
    authenticate = forward_auth_route(config, ForwardAuthTarget(gate(routes), sink, rules=bool(routes)), sink)
    resources = SiteTarget("perimeter", token_resources(endpoints, standalone=False), around.reactor)

    def gate_for(listener: ListenerSettings) -> Gate:
        if listener.serve == "redirect":
            return gate(redirect_routes(listener, sink))
        if listener.serve == "metrics":
            return gate(metrics_routes(config, around, sink))
        if listener.serve == "tokens":
            tokens = SiteTarget("perimeter", token_resources(endpoints, standalone=True), around.reactor)
            return gate([authenticate, builtin("tokens", tokens, sink)])
        return gate([*routes, authenticate, *endpoint_routes(resources, sink)])

    return {listener.name: gate_for(listener) for listener in config.listeners}

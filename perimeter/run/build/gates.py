"""The gate of each listener: all gates judge by the same rules, and differ in their routes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import assert_never

from perimeter.audit.sink import IAuditSink
from perimeter.config.site.config import SiteConfig
from perimeter.config.site.listener import ListenerSettings, Serve
from perimeter.gate.factors import FactorDemand
from perimeter.gate.gate import Gate
from perimeter.gate.routes import Route
from perimeter.run.build.builtin import forward_auth_route, metrics_routes, redirect_routes
from perimeter.run.build.endpoints import EndpointParts, endpoint_routes
from perimeter.run.build.hand_over import page_routes
from perimeter.run.build.pages import PageParts
from perimeter.run.build.runtime import Runtime
from perimeter.targets.forward_auth import ForwardAuthTarget
from perimeter.web.bridge import SiteTarget
from perimeter.web.endpoints.hand_over import HandOvers

GateOf = Callable[[Iterable[Route]], Gate]
"""Makes a gate with these routes."""


def listener_gates(
    config: SiteConfig,
    runtime: Runtime,
    gate: GateOf,
    routes: Sequence[Route],
    endpoints: EndpointParts,
    pages: PageParts,
    hand_overs: HandOvers | None,
    sink: IAuditSink,
    demand: FactorDemand | None,
) -> dict[str, Gate]:
    """The gates by the name of their listener; ``routes`` are the configured ones. ``demand`` says who needs a second factor
    for the gateway's own endpoints."""
    own_path = config.login.path.encode("ascii") if config.signs_people_in else b""
    judge = ForwardAuthTarget(gate(routes), sink, rules=bool(routes), pages=own_path, demand=demand)
    authenticate = forward_auth_route(config, judge, sink)
    target_of = partial(SiteTarget, "perimeter", clock=runtime.reactor)

    def gate_for(listener: ListenerSettings) -> Gate:
        match listener.serve:
            case Serve.GATEWAY:
                own = [
                    *endpoint_routes(endpoints.gateway(), sink, target_of, demand=demand),
                    *page_routes(pages, hand_overs, sink, target_of, demand),
                ]
                return gate([*routes, authenticate, *own])
            case Serve.TOKENS:
                return gate([authenticate, *endpoint_routes(endpoints.standalone(), sink, target_of, demand=demand)])
            case Serve.REDIRECT:
                return gate(redirect_routes(listener, sink))
            case Serve.METRICS:
                return gate(metrics_routes(config, runtime, sink))
            case _:
                assert_never(listener.serve)

    return {listener.name: gate_for(listener) for listener in config.listeners}

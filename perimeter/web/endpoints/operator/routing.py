"""Routes in the order in which they are matched, and what would happen to a request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from perimeter.auth.chain.looking_up import look_up
from perimeter.config.site.listener import Serve
from perimeter.config.site.route import RouteSettings
from perimeter.config.site.route_requests import in_order
from perimeter.gate.explain import Question, explain
from perimeter.model import Principal
from perimeter.web.endpoints.operator.section import Asked, Section

_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_LONGEST: Final = 4096


async def _routes(asked: Asked) -> Mapping[str, Any]:
    config = asked.gateway.assembly.config
    found = [_route(host, route, config.auth_in_words(route)) for host, route in in_order(config.routes)]
    return {"routes": found, "file": config.file.name}


def _route(host: str, route: RouteSettings, auth: str) -> dict[str, Any]:
    return {
        "name": route.name,
        "line": route.line,
        "host": host,
        "path": route.requests,
        "target": route.answer or str(route.static or route.upstream),
        "rewrite": route.rewrite or "",
        "auth": auth,
        "allow": ", ".join(map(str, route.allow)) if route.allow is not None else "",
        "deny": ", ".join(map(str, route.deny)),
        "networks": ", ".join(map(str, route.networks)),
        "cors": ", ".join(route.cors),
        "limits": ", ".join(route.limits_in_words),
        "maintenance": route.maintenance_in_words,
        "compression": ", ".join(route.compression),
        "identity": route.identity_in_words,
    }


async def _explain(asked: Asked) -> Mapping[str, Any]:
    assembly = asked.gateway.assembly
    listeners = [one.name for one in assembly.config.listeners if one.serve in (Serve.GATEWAY, Serve.TOKENS)]
    given = {name: asked.field(name)[:_LONGEST] for name in ("method", "url", "user", "realm", "address", "listener")}
    values: dict[str, Any] = {
        "given": given,
        "methods": _METHODS,
        "listeners": listeners,
        "realms": sorted(set(assembly.config.realms)),
        "explanations": [],
        "notes": [],
    }
    if not given["url"]:
        return values
    listener = given["listener"] if given["listener"] in listeners else (listeners or [""])[0]
    gate = assembly.gates.get(listener)
    if gate is None:
        values["notes"] = ["There is no listener for clients."]
        return values
    users: list[Principal | None] = [None]
    if given["user"]:
        found, values["notes"] = await look_up(assembly.chain, given["user"], given["realm"])
        users = [*found] or [None]
    for principal in users:
        question = Question(given["method"] or "GET", given["url"], principal, given["user"], given["address"], listener)
        values["explanations"].append(explain(gate, assembly.config, question))
    return values


ROUTES: Final = Section("routes", "Routes", "operator_routes.html", _routes)
EXPLAIN: Final = Section("explain", "What would happen", "operator_explain.html", _explain, "explain")

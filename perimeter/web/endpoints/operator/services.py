"""Services and authenticators: the servers of each upstream, and who vouches for users."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from perimeter.config.site.upstream import UpstreamSettings
from perimeter.proxy.health import ServerState
from perimeter.web.endpoints.operator.section import Asked, Section, duration


async def _services(asked: Asked) -> Mapping[str, Any]:
    figures = await asked.gateway.figures()
    found = [one for one in await asked.gateway.troubles() if one.subject == "upstream"]
    return {
        "upstreams": [
            {
                "name": pool.name,
                "line": pool.settings.line,
                "servers": [
                    {
                        "url": server.url,
                        "fault": _fault(found, pool.name, server.url) or server.fault,
                        "up": server.usable and not _fault(found, pool.name, server.url),
                        "word": state_word(server.state),
                        "weight": server.weight,
                        "backup": server.backup,
                        "active": server.active,
                        "busy": server.busy,
                        "idle": server.idle,
                    }
                    for server in figures.now.servers
                    if server.upstream == pool.name
                ],
                "dialling": ", ".join(pool.settings.dialling_in_words),
                "balance": str(pool.settings.balance) if len(pool.servers) > 1 else "",
                "places": _places(pool.settings),
                "waiting": figures.now.waiting.get(pool.name, 0),
                "timeouts": [
                    ("connect_timeout", duration(pool.settings.connect_timeout)),
                    ("read_timeout", duration(pool.settings.read_timeout)),
                ],
                "routes": [one.name for one in asked.gateway.assembly.config.routes if one.upstream == pool.name],
            }
            for pool in asked.gateway.assembly.pools
        ]
    }


def state_word(state: str) -> str:
    """The state of a server (`ServerState`) as the pages show it."""
    return "unreachable" if state == ServerState.RESTING else str(state)


def _places(settings: UpstreamSettings) -> str:
    if settings.max_requests is None:
        return ""
    shares = ", of which each client has its share" if settings.fair else ""
    return f"A server gets at most {settings.max_requests} requests at a time{shares}"


def _fault(found: list[Any], name: str, url: str) -> str:
    return next(
        (one.message.removeprefix(f"{url}: ") for one in found if one.name == name and one.message.startswith(f"{url}: ")), ""
    )


async def _authenticators(asked: Asked) -> Mapping[str, Any]:
    assembly = asked.gateway.assembly
    config = assembly.config
    kinds = {one.name: one for one in config.user_sources}
    troubles = {one.name: one.message for one in await asked.gateway.troubles() if one.subject == "authenticator"}
    figures, counts = await asked.gateway.figures(), await asked.gateway.attempts()
    next_try = {one.name: one.next_try for one in figures.now.authenticators if one.down}
    return {
        "authenticators": [
            {
                "name": one.name,
                "kind": kinds[one.name].kind if one.name in kinds else "",
                "line": kinds[one.name].line if one.name in kinds else 0,
                "realm": one.realm,
                "schemes": ", ".join(sorted(one.schemes)) or "sign-in page",
                "timeout": duration(one.timeout) if one.timeout >= 1 else f"{one.timeout:g} s",
                "down": one.name in next_try,
                "next_try": next_try.get(one.name, 0),
                "fault": troubles.get(one.name, ""),
                "attempts": [
                    (result, count) for (name, _, _, result), count in sorted(counts.items()) if name == one.name and count
                ],
            }
            for one in assembly.chain.guarded
        ],
        "augmenters": [{"name": one.name, "kind": one.kind, "realm": one.realm} for one in assembly.config.augmenters],
    }


SERVICES: Final = Section("services", "Services", "operator_services.html", _services)
AUTHENTICATORS: Final = Section("authenticators", "Authenticators", "operator_authenticators.html", _authenticators)

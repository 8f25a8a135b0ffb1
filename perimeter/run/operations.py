"""What the operator may ask of the running gateway (`perimeter.run.control`), and the answers: state, and who is made to wait."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Mapping, Sequence
from math import ceil
from typing import Any, Protocol

import attrs

import perimeter
from perimeter.auth.chain.chain import AuthenticatorChain
from perimeter.config.site.config import SiteConfig


@attrs.frozen
class Place:
    """A listener: its name and port, and how many connections it has."""

    name: str
    port: int
    connections: int


class Running(Protocol):
    """What is asked of `perimeter.run.gateway.Gateway`."""

    def places(self) -> Sequence[Place]:
        """The listeners."""

    def in_force(self) -> tuple[SiteConfig, AuthenticatorChain]:
        """The configuration, and the chain that was made from it."""

    def uptime(self) -> float:
        """Seconds since the start."""

    def look_at_state(self) -> Awaitable[None]:
        """See what somebody else has written to the state, and fire when it is in force."""


def answer(running: Running, question: Mapping[str, Any]) -> Mapping[str, Any] | Awaitable[Mapping[str, Any]]:
    """The answer to ``{"command": "status"}``, ``{"command": "unban", "what": …}`` or ``{"command": "look"}``.

    Raises ValueError for anything else.
    """
    command = question.get("command")
    if command == "status":
        return status(running)
    if command == "look":
        return _look(running)
    what = question.get("what")
    if command == "unban" and isinstance(what, str) and what:
        _, chain = running.in_force()
        return {"released": [str(key) for key in chain.release(what)]}
    raise ValueError("this gateway does not know the command")


async def _look(running: Running) -> Mapping[str, Any]:
    await running.look_at_state()
    return {}


def status(running: Running) -> dict[str, Any]:
    """How the gateway is. Seconds are whole and rounded up."""
    config, chain = running.in_force()
    kinds = {one.name: one.kind for one in config.authenticators}
    return {
        "version": perimeter.__version__,
        "pid": os.getpid(),
        "uptime": int(running.uptime()),
        "config": str(config.file),
        "listeners": [attrs.asdict(place) for place in running.places()],
        "authenticators": [
            {
                "name": one.name,
                "type": kinds.get(one.name, ""),
                "realm": one.realm,
                "down": one.breaker.open,
                "next_try": ceil(one.breaker.remaining),
            }
            for one in chain.asked
        ],
        "waiting": [
            {
                "kind": key.kind,
                "value": key.value,
                "realm": key.realm,
                "wrong_passwords": attempts.failures,
                "seconds": seconds,
            }
            for key, attempts, seconds in chain.refused()
        ],
    }

"""Gateways with several workers for the tests: their processes, and what they say of them."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import psutil

from perimeter.run.asking import ask
from tests.integration.harness import USERS, Gateway, GatewayCase, site
from tests.integration.ports import eventually

ROUTES = """
[upstream service]
servers = {url}

[route all]
path = /
upstream = service
auth = none

[route private]
path = /private
upstream = service
"""


def planning(gateway: Gateway) -> bool:
    """Whether a process reads site.ini for the manager."""
    for process in psutil.Process(gateway.pid).children():
        with suppress(psutil.Error):
            if "perimeter.run.plan" in process.cmdline():
                return True
    return False


def workers(gateway: Gateway) -> list[psutil.Process]:
    """The worker processes, by their slots."""
    found = {}
    for process in psutil.Process(gateway.pid).children():
        with suppress(psutil.Error):  # it has just ended
            command = process.cmdline()
            if "perimeter.run.worker_process" in command:
                found[int(command[4])] = process
    return [process for _, process in sorted(found.items())]


def asked(gateway: Gateway, command: str, **more: Any) -> dict[str, Any]:
    """The answer of the gateway to the operator."""
    return ask(gateway.directory / "state", {"command": command, **more})


def described(gateway: Gateway) -> list[dict[str, Any]]:
    """The workers as ``status`` shows them."""
    found: list[dict[str, Any]] = asked(gateway, "status", brief=True)["workers"]
    return found


def await_serving(gateway: Gateway, count: int, timeout: float = 20.0) -> None:
    """Wait until so many workers serve, and there are no others."""

    def all_serve() -> bool:
        states = [one["state"] for one in described(gateway)]
        return states == ["serving"] * count and len(workers(gateway)) == count

    eventually(all_serve, f"{count} workers that serve; the log:\n{gateway.log}", timeout)


class FleetCase(GatewayCase):
    """Tests with several workers."""

    def config(self, count: int = 2, extra: str = "", **options: str) -> str:
        """A site.ini with so many workers."""
        url = options.pop("url", "") or self.upstream().url
        return site(ROUTES.format(url=url), perimeter=f"workers = {count}\n{extra}")

    def fleet(self, count: int = 2, extra: str = "") -> Gateway:
        """A running gateway with so many workers."""
        return self.gateway(self.config(count, extra), USERS)

    def status_of(self, gateway: Gateway, target: str = "/x") -> int:
        """The status of a request on a connection of its own."""
        with gateway.connect("http") as wire:
            return wire.get(target).status

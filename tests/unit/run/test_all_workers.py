"""The status of several workers as one: what is added up, and what is the worst of all."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import TestCase

from perimeter.run.all_workers import merged_status
from perimeter.workers.gathered import Gathered


def server(url: str, state: str = "up", fault: str = "", active: int = 0, busy: int = 0, idle: int = 0) -> dict[str, Any]:
    figures = {"active": active, "busy": busy, "idle": idle}
    return {"url": url, "state": state, "fault": fault, "weight": 1, "backup": False, **figures}


def status(waiting: int, *servers: dict[str, Any]) -> dict[str, Any]:
    upstream = {"name": "app", "balance": "round-robin", "waiting": waiting, "servers": list(servers)}
    rest: dict[str, Any] = {name: [] for name in ("listeners", "authenticators", "waiting")}
    return {"last_reload": None, "uptime": 1, "sessions": 0, "upstreams": [upstream], **rest}


class UpstreamTests(TestCase):
    def test_servers_in_their_worst_state(self) -> None:
        own = status(1, server("a", active=1, busy=2, idle=3), server("b", "starting"))
        other = status(2, server("b", "ejected", "it answered 503", 4, 5, 6), server("a", active=7), server("new", "down", "no"))
        found = merged_status(own, Gathered({1: {"status": other}}, (), {}))
        (app,) = found["upstreams"]
        self.assertEqual((app["name"], app["waiting"]), ("app", 3))
        self.assertEqual(
            app["servers"],
            [
                server("a", active=8, busy=2, idle=3),
                server("b", "ejected", "it answered 503", 4, 5, 6),
                server("new", "down", "no"),
            ],
        )

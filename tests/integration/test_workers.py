"""A gateway with several workers, from start to end."""

from __future__ import annotations

import psutil

from tests.integration.harness import USERS, Gateway, GatewayCase, site
from tests.integration.wire import basic

ALICE = basic("alice", "secret")

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


def workers(gateway: Gateway) -> list[psutil.Process]:
    """The worker processes, in the order of their start."""
    found = psutil.Process(gateway.pid).children()
    return [one for one in found if "perimeter.run.worker_process" in one.cmdline()]


class WorkersCase(GatewayCase):
    def fleet(self, count: int = 2, extra: str = "") -> Gateway:
        """A running gateway with so many workers."""
        text = site(ROUTES.format(url=self.upstream().url), perimeter=f"workers = {count}\n{extra}")
        return self.gateway(text, USERS)


class StartTests(WorkersCase):
    def test_workers_serve_and_stop(self) -> None:
        gateway = self.fleet(2)
        processes = workers(gateway)
        self.assertEqual(len(processes), 2)
        for _ in range(20):
            self.assertEqual(self.connect(gateway, "http").get("/x").status, 200)
        self.assertEqual(self.connect(gateway, "http").get("/private").status, 401)
        self.assertEqual(self.connect(gateway, "http").get("/private", ALICE).status, 200)
        gateway.stop()
        self.assertEqual([one for one in processes if one.is_running()], [])
        self.assertEqual(len(gateway.audit()), 22)

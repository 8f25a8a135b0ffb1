"""A gateway with several workers, and a connection to each of them that lasts."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import psutil

from tests.integration.harness import SOURCE, USERS, Gateway, GatewayCase, site
from tests.integration.upstreams import OK, Connection
from tests.integration.wire import Response, Wire, basic

ALICE, BOB = basic("alice", "secret"), basic("bob", "hunter2")
JSON = "Content-Type: application/json"
FORM = "Content-Type: application/x-www-form-urlencoded"

ROUTES = """
[upstream service]
servers = <service>

[route all]
path = /
upstream = service
browser_login = yes
"""


def worker_processes(gateway: Gateway) -> dict[int, psutil.Process]:
    """The worker processes by their slot."""
    found = {}
    for one in psutil.Process(gateway.pid).children():
        try:
            command = one.cmdline()
        except psutil.Error:  # it has just ended
            continue
        if "perimeter.run.worker_process" in command:
            found[int(command[command.index("perimeter.run.worker_process") + 1])] = one
    return found


def slot_of(wire: Wire, processes: Mapping[int, psutil.Process]) -> int | None:
    """The slot of the worker that has accepted a connection."""
    port = wire.socket.getsockname()[1]
    for slot, process in processes.items():
        if any(one.raddr and one.raddr.port == port for one in process.net_connections("tcp")):
            return slot
    return None


class EachWorkerCase(GatewayCase):
    """``count`` workers over TLS; ``self.wires`` has a connection to each of them, by its slot."""

    count = 3
    perimeter = ""
    extra = ""

    def setUp(self) -> None:
        self.app = self.upstream(self.answer)
        text = site(
            ROUTES.replace("<service>", self.app.url),
            tls=True,
            perimeter=f"workers = {self.count}\n{self.perimeter}",
            extra=self.extra,
        )
        self.served = self.gateway(text, USERS)
        self.wires: dict[int, Wire] = {}
        self.reach_all()

    def answer(self, connection: Connection) -> None:
        while True:
            try:
                connection.request()
            except EOFError:
                return
            connection.send(OK)

    def reach_all(self) -> None:
        """Connect until each worker has a connection."""
        processes = worker_processes(self.served)
        for slot in list(self.wires):
            if slot_of(self.wires[slot], processes) != slot:
                self.wires.pop(slot).close()
        spare = []
        while len(self.wires) < self.count:
            self.assertLess(len(spare), 500, "a worker gets no connection")
            wire = self.connect(self.served)
            wire.get("/x")
            slot = slot_of(wire, processes)
            if slot is None or slot in self.wires:
                spare.append(wire)
            else:
                self.wires[slot] = wire
        for wire in spare:
            wire.close()

    def ask(self, slot: int, target: str, *lines: str, method: str = "GET", body: bytes = b"") -> Response:
        """Ask one worker."""
        return self.wires[slot].get(target, *lines, method=method, body=body)

    def statuses(self, *lines: str) -> list[int]:
        """What each worker answers to a request with these credentials."""
        return [self.ask(slot, "/x", *lines).status for slot in sorted(self.wires)]

    def made(self, slot: int, credentials: str = ALICE) -> dict[str, Any]:
        """A new API token: its ``id`` and the ``token``."""
        found = self.ask(slot, "/tokens", credentials, JSON, method="POST", body=b'{"name": "ci"}')
        self.assertEqual(found.status, 201, found)
        return dict(json.loads(found.body))

    def access_token(self, slot: int, credentials: str = ALICE) -> str:
        """A new access token."""
        return str(json.loads(self.ask(slot, "/token", credentials).body)["access_token"])

    def sign_in(self, slot: int, name: str = "alice", password: str = "secret") -> str:
        """The line with the cookie of a new session."""
        body = f"username={name}&password={password}".encode()
        found = self.ask(slot, "/.perimeter/login", FORM, method="POST", body=body)
        self.assertEqual(found.status, 303, found)
        (cookie,) = (line for line in found.get_all("set-cookie") if line.startswith("__Host-perimeter="))
        return f"Cookie: {cookie.partition(';')[0]}"

    def command(self, *arguments: str) -> str:
        """Run ``perimeter``, which asks the running gateway."""
        done = subprocess.run(
            [sys.executable, "-c", "from perimeter.cli.main import main; main()", *arguments, "-c", str(self.served.config)],
            cwd=self.served.directory,
            env={"PYTHONPATH": str(SOURCE), "PATH": ""},
            capture_output=True,
            text=True,
            timeout=60,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

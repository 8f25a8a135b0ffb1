"""The gateway under test. As systemd does, it starts a process again that has ended."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.ports import free_port
from bench.processes import family
from perimeter.errors import StartupError
from perimeter.run.asking import ask

ROOT = Path(__file__).parents[2]
_TWISTD = [sys.executable, "-c", "import sys; sys.argv[0] = 'twistd'; from twisted.scripts.twistd import run; run()"]
RESTART = 0.5
"""Seconds until a process that has ended is started again (RestartSec= of the unit is 1)."""
START = 60.0

SITE = """\
[perimeter]
realm = example
state_dir = state
workers = {workers}
drain_timeout = 5s

[limits]
connections_per_address = 50000
connections = 50000

[listener http]
port = {port}
interface = 127.0.0.1

[authenticator local]
type = realmfile
path = users.realm

[authentication]
timeout = 2s
remember_password = 0

{more}

[upstream service]
servers = http://127.0.0.1:{service}
read_timeout = 3s

[route service]
path = /
upstream = service

[audit]
path = audit/access.log
format = reactor
"""


class Gateway:
    """A gateway in ``directory`` with that many workers; ``more`` sections go into its site.ini."""

    def __init__(
        self, directory: Path, workers: int, service: int, more: str = "", environ: Mapping[str, str] | None = None
    ) -> None:
        self.port = free_port()
        self.directory = directory
        self.audit = directory / "audit"
        self.state = directory / "state"
        self.site = directory / "site.ini"
        self.starts = 0
        self.workers = workers
        self._environ = {**os.environ, "PYTHONPATH": str(ROOT), **(environ or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self._wanted = False
        self._watch: asyncio.Task[None] | None = None
        self.audit.mkdir(parents=True, exist_ok=True)
        (directory / "users.realm").write_text("alice: wonderland\nbob: builder\n")
        self.site.write_text(SITE.format(workers=workers, port=self.port, service=service, more=more))

    async def start(self) -> None:
        """Start it, and again whenever it ends. Returns when it serves."""
        self._wanted = True
        self._launch()
        self._watch = asyncio.create_task(self._keep())
        await self.serving()

    def _launch(self) -> None:
        self.starts += 1
        with (self.directory / "daemon.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*_TWISTD, "--nodaemon", "--pidfile=", "perimeter", "--config", str(self.site)],
                cwd=self.directory,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    async def _keep(self) -> None:
        while self._wanted:
            if self._process is not None and self._process.poll() is not None:
                await asyncio.sleep(RESTART)
                if self._wanted:
                    self._launch()
            await asyncio.sleep(0.05)

    async def serving(self) -> float:
        """Wait until all of its workers serve. Returns the seconds that took. Raises `BenchError`."""
        began = time.monotonic()
        while time.monotonic() - began < START:
            with contextlib.suppress(OSError, EOFError, TimeoutError, StartupError):
                await self.request("GET", "/health")
                if self.workers == 1 or len(await self.workers_that_serve()) == self.workers:
                    return time.monotonic() - began
            await asyncio.sleep(0.05)
        raise BenchError(f"the gateway does not answer: {self.last_words()}")

    async def request(self, method: str, target: str, body: bytes = b"", *headers: str) -> tuple[int, bytes]:
        """The status and body of a request on a connection of its own."""
        reader, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", self.port), 5)
        try:
            lines = [
                f"{method} {target} HTTP/1.1",
                "Host: gateway",
                "Connection: close",
                f"Content-Length: {len(body)}",
                *headers,
            ]
            writer.write(("\r\n".join(lines) + "\r\n\r\n").encode() + body)
            answer = await asyncio.wait_for(reader.read(), 10)
        finally:
            writer.close()
        head, _, rest = answer.partition(b"\r\n\r\n")
        if not head:
            raise EOFError("no answer")
        return int(head[9:12]), rest

    async def api_token(self, user: str, password: str) -> tuple[str, str]:
        """A new API token and its id."""
        status, answer = await self.request(
            "POST", "/tokens", b'{"name": "bench"}', "Content-Type: application/json", f"Authorization: {basic(user, password)}"
        )
        if status not in (200, 201):
            raise BenchError(f"no API token: {status} {answer[:200]!r}")
        made: Mapping[str, Any] = json.loads(answer)
        return str(made["token"]), str(made["id"])

    async def revoke(self, user: str, password: str, id: str) -> int:
        """Revoke an API token; returns the status."""
        status, _ = await self.request("DELETE", f"/token/{id}", b"", f"Authorization: {basic(user, password)}")
        return status

    @property
    def pid(self) -> int:
        """The process that was started: the manager, if there are several workers."""
        assert self._process is not None
        return self._process.pid

    async def workers_that_serve(self) -> list[int]:
        """The processes of the workers that serve; with one worker, the process itself. Raises `StartupError`."""
        if self.workers == 1:
            return [self.pid]
        answer = await asyncio.to_thread(ask, self.state, {"command": "status", "brief": True})
        return [int(one["pid"]) for one in answer["workers"] if one["state"] == "serving"]

    def signal(self, number: signal.Signals, pid: int | None = None) -> None:
        """Send a signal to the process that was started, or to ``pid``."""
        os.kill(self.pid if pid is None else pid, number)

    async def stop(self) -> None:
        """Stop it for good."""
        self._wanted = False
        if self._watch is not None:
            await self._watch
        process = self._process
        if process is None or process.poll() is not None:
            return
        members = family([process.pid])
        process.send_signal(signal.SIGTERM)
        try:
            await asyncio.to_thread(process.wait, 15)
        except subprocess.TimeoutExpired:
            for pid in members:
                os.kill(pid, signal.SIGKILL)
            await asyncio.to_thread(process.wait)
            raise BenchError("the gateway does not stop") from None

    def last_words(self) -> str:
        """The last part of its log."""
        return (self.directory / "daemon.log").read_text(errors="replace")[-1500:].strip()


def basic(user: str, password: str) -> str:
    """The value of the Authorization header."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

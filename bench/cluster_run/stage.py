"""The processes of a run: Redis servers, Sentinels, gateways, each with a state of its own machine, and a service."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
import subprocess
import tempfile
from pathlib import Path

from bench.chaos import cases
from bench.chaos.gateway import Gateway
from bench.ports import free_port
from tests.integration.redispeer import SentinelSet

PASSWORD = "wonderland"
USERS = tuple(f"user{number}" for number in range(20))
"""They sign in with a password alone."""
CODED = tuple(f"coded{number}" for number in range(60))
"""They need a second factor: an app, and recovery codes."""

_FACTORS = "[second_factor]\nmethods = totp\nroles = coded\nissuer = Bench\n"
_ROUTE = "\n[route service]\npath = /\nupstream = service\nbrowser_login = yes\n"
_ROUTE_OF_OTHERS = "\n[route service]\npath = /\nupstream = service\n"


class Stage:
    """Makes all processes; `start` starts the gateways, `close` ends everything. Redis runs when it is made.

    Their files stay in ``folder`` if there is one.
    """

    def __init__(self, gateways: int, stale_limit: str, folder: Path | None = None) -> None:
        self.folder = folder or Path(tempfile.mkdtemp(prefix="perimeter-cluster."))
        self._keeps = folder is not None
        users = {"gateway": "on >secret ~perimeter:* resetchannels +@all"}
        self.redis = SentinelSet(self.folder / "redis", replicas=2, sentinels=3, users=users, min_replicas=1)
        port = free_port()
        self._service: subprocess.Popen[bytes] = cases.service(port, self.folder)
        secret = self.folder / "cluster.secret"
        secret.write_text(secrets.token_urlsafe(48) + "\n")
        secret.chmod(0o600)
        shared = (
            f"state = redis\nredis_url = {self.redis.url('gateway', 'secret')}\ncluster_secret = {secret}\n"
            f"stale_limit = {stale_limit}\ntrusted_proxies = 127.0.0.1\n"
        )
        self.gateways = [Gateway(self.folder / f"gateway-{number}", 1, port, _FACTORS) for number in range(gateways)]
        for number, gateway in enumerate(self.gateways):
            text = gateway.site.read_text().replace(_ROUTE_OF_OTHERS, _ROUTE)
            gateway.site.write_text(text.replace("state_dir = state\n", f"state_dir = state\nnode = node{number}\n{shared}", 1))
            lines = [f"{name}: {PASSWORD}\n" for name in USERS] + [f"{name}: {PASSWORD},coded\n" for name in CODED]
            (gateway.directory / "users.realm").write_text("".join(lines))

    async def start(self) -> None:
        """Start the gateways, and return when all of them serve. Raises `BenchError`."""
        await asyncio.gather(*(gateway.start() for gateway in self.gateways))

    async def close(self) -> None:
        """End all processes."""
        await asyncio.gather(*(gateway.stop() for gateway in self.gateways), return_exceptions=True)
        self._service.kill()
        self._service.wait()
        self.redis.close()
        if not self._keeps:
            with contextlib.suppress(OSError):
                shutil.rmtree(self.folder)

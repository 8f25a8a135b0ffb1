"""Two gateways that share one state over a real Redis.

All tests of a class share both, as in `tests.integration.stage`; a test that ends Redis starts it again.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import secrets
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from tests.integration.harness import TROUBLE, Gateway, GatewayCase, site
from tests.integration.ports import eventually
from tests.integration.redispeer import RedisPeer
from tests.integration.stage import answering
from tests.integration.upstreams import Upstream
from tests.integration.wire import Response, basic, bearer

USERS = {"users.realm": "alice: secret,admin\nbob: hunter2\n"}
ALICE, BOB = basic("alice", "secret"), basic("bob", "hunter2")

ROUTES = """
[upstream app]
servers = <app>

[route app]
path = /
upstream = app
"""

LISTENERS = "[listener tokens]\nport = @tokens@\ninterface = 127.0.0.1\nserve = tokens\n"


class Cluster:
    """A Redis and ``names`` of gateways, each with a directory and a state of its own machine.

    ``perimeter`` are more lines of ``[perimeter]``, ``own`` those of one gateway, by its name; ``extra`` are more sections;
    ``secret_lines`` are further lines of the cluster secret.
    """

    def __init__(
        self,
        names: Sequence[str] = ("one", "two"),
        *,
        perimeter: str = "",
        own: Mapping[str, str] | None = None,
        routes: str = ROUTES,
        extra: str = LISTENERS,
        files: Mapping[str, str | bytes] = USERS,
        redis: RedisPeer | None = None,
        url: str = "",
        secret_lines: str = "",
    ) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="perimeter-test-"))
        atexit.register(self.close)
        users = {"gateway": "on >secret ~perimeter:* resetchannels +@all"}
        self.redis = redis or RedisPeer(self.directory / "redis", users=users)
        self.app = Upstream(answering)
        secret = self.directory / "cluster.secret"
        secret.write_text(f"{secrets.token_urlsafe(48)}\n{secret_lines}")
        secret.chmod(0o600)
        self.gateways: dict[str, Gateway] = {}
        for name in names:
            lines = f"state = redis\nredis_url = {url or self.redis.url('gateway', 'secret')}\ncluster_secret = {secret}\n"
            lines = f"{lines}node = {name}\n{perimeter}{(own or {}).get(name, '')}"
            config = site(routes.replace("<app>", self.app.url), extra=extra, perimeter=lines)
            self.gateways[name] = Gateway(self.directory / name, config, files)
        for gateway in self.gateways.values():
            gateway.launch()
        for gateway in self.gateways.values():
            gateway.await_notification("READY=1", 20)

    def close(self) -> None:
        """End everything."""
        for gateway in self.gateways.values():
            gateway.kill()
        self.redis.close()
        with contextlib.suppress(AssertionError):
            self.app.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    # -- requests

    def ask(
        self, name: str, target: str, *headers: str, method: str = "GET", body: bytes = b"", listener: str = "http"
    ) -> Response:
        """The response of the gateway ``name``, on a new connection."""
        with self.gateways[name].connect(listener) as wire:
            return wire.get(target, *headers, method=method, body=body)

    def status(self, name: str, token: str, target: str = "/x") -> int:
        """The status of a request with ``token``."""
        return self.ask(name, target, bearer(token)).status

    def made(self, name: str, *credentials: str, **wanted: Any) -> dict[str, Any]:
        """A new API token of Alice's, or of the user of ``credentials``."""
        fields = (*(credentials or (ALICE,)), "Content-Type: application/json")
        response = self.ask(name, "/tokens", *fields, method="POST", body=json.dumps({"name": "ci", **wanted}).encode())
        assert response.status == 201, response
        return dict(json.loads(response.body))

    def access_token(self, name: str, credentials: str = ALICE) -> str:
        """A new access token (JWT)."""
        response = self.ask(name, "/token", credentials)
        assert response.status == 200, response
        return str(json.loads(response.body)["access_token"])

    def ended(self, name: str, which: str, *credentials: str) -> int:
        """The status of the request that ends a token."""
        return self.ask(name, f"/token/{which}", *(credentials or (ALICE,)), method="DELETE").status

    def await_serving(self) -> None:
        """Wait until all gateways accept what needs the state again."""
        for name in self.gateways:
            eventually(lambda name=name: self.ask(name, "/token", ALICE).status == 200, f"{name} serves again", 15)


class ClusterCase(GatewayCase):
    """Tests on one cluster, which the first of them starts with `start_cluster`."""

    cluster: ClassVar[Cluster]

    @classmethod
    def start_cluster(cls) -> Cluster:
        """The cluster of this class."""
        return Cluster()

    def setUp(self) -> None:
        """Use the class's cluster, or start it."""
        cls = type(self)
        if "cluster" not in cls.__dict__:
            cls.cluster = cls.start_cluster()
        logs = {name: len(gateway.log) for name, gateway in cls.cluster.gateways.items()}
        self.addCleanup(self._look_at, logs)

    def _look_at(self, logs: Mapping[str, int]) -> None:
        for name, length in logs.items():
            trouble = TROUBLE.findall(self.cluster.gateways[name].log[length:])
            self.assertEqual(trouble, [], f"the log of {name}")

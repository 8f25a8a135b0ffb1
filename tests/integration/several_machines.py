"""The example of docs/how-to/several-machines.md in `etc/cluster`: HAProxy, two gateways, three Redis, three Sentinels.

All run on this machine, so host names become 127.0.0.1, and each program gets free ports, a directory, and a certificate.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from perimeter.net.contexts import ServerIdentity
from tests.integration.harness import ETC, Gateway
from tests.integration.netkit import identity, pem
from tests.integration.ports import eventually, free_port
from tests.integration.redispeer import Peer
from tests.integration.stage import answering
from tests.integration.test_listening import Haproxy
from tests.integration.upstreams import Upstream
from tests.integration.wire import Response, Wire, insecure_context

EXAMPLE = ETC / "cluster"
HOST = "gw.example.com"
REDIS_HOSTS = ("redis-1.example.com", "redis-2.example.com", "redis-3.example.com")


def replaced(text: str, changes: Mapping[str, str]) -> str:
    """``text`` with each of ``changes``, all of which it has to contain."""
    for before, after in changes.items():
        assert before in text, f"the example has no {before!r} any more"
        text = text.replace(before, after)
    return text


class ExampleRedis(Peer):
    """A Redis with the example's redis.conf; ``primary`` is None for the first."""

    PROGRAM = "server"
    USER = "sentinel"

    def __init__(self, directory: Path, tls: tuple[Path, Path, Path], primary: ExampleRedis | None) -> None:
        directory.mkdir()
        self.directory, self.tls, self.port = directory, tls, free_port()
        shutil.copy(EXAMPLE / "users.acl", directory / "users.acl")
        changes = {
            "tls-port 6379": f"bind 127.0.0.1\ntls-port {self.port}\nrepl-diskless-sync-delay 0\nrepl-ping-replica-period 1",
            "dir /var/lib/redis": f"dir {directory}",
            "/etc/redis/users.acl": f"{directory}/users.acl",
            REDIS_HOSTS[0] + " 6379": f"127.0.0.1 {0 if primary is None else primary.port}",
            REDIS_HOSTS[0]: "127.0.0.1",
            **_tls_changes(tls),
        }
        text = replaced((EXAMPLE / "redis.conf").read_text(), changes)
        self._begin(text if primary is None else text.replace("#replicaof", "replicaof"), "SENTINEL-PASSWORD")
        if primary is not None:
            eventually(lambda: self.ask("ROLE")[3] == b"connected", "the replica has its primary's data")


class ExampleSentinel(Peer):
    """A Sentinel with the example's sentinel.conf, which decides sooner."""

    PROGRAM = "sentinel"
    USER = "sentinel"

    def __init__(self, directory: Path, tls: tuple[Path, Path, Path], primary: ExampleRedis) -> None:
        directory.mkdir()
        self.directory, self.tls, self.port = directory, tls, free_port()
        changes = {
            "tls-port 26379": f"bind 127.0.0.1\ntls-port {self.port}",
            "dir /var/lib/redis": f"dir {directory}",
            REDIS_HOSTS[0] + " 6379": f"127.0.0.1 {primary.port}",
            REDIS_HOSTS[0]: "127.0.0.1",
            "down-after-milliseconds perimeter 3000": "down-after-milliseconds perimeter 500",
            "failover-timeout perimeter 15000": "failover-timeout perimeter 3000",
            **_tls_changes(tls),
        }
        self._begin(replaced((EXAMPLE / "sentinel.conf").read_text(), changes), "SENTINEL-PASSWORD")

    def knows(self) -> tuple[int, int]:
        """How many other Sentinels and how many replicas it knows."""
        facts = self.ask("SENTINEL", "MASTER", "perimeter")
        known = dict(zip(facts[::2], facts[1::2], strict=True))
        return int(known[b"num-other-sentinels"]), int(known[b"num-slaves"])


def _tls_changes(tls: tuple[Path, Path, Path]) -> dict[str, str]:
    names = ("/etc/redis/tls/redis.crt", "/etc/redis/tls/redis.key", "/etc/redis/tls/ca.pem")
    return dict(zip(names, map(str, tls), strict=True))


class Example:
    """All programs of the example. ``balanced`` is the port of HAProxy."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._running: list[Any] = []
        try:
            self._start()
        except BaseException:
            self.kill()
            raise

    def _start(self) -> None:
        ca = identity("ca.example.com", ca=True)
        (self.directory / "ca.pem").write_bytes(pem(*ca.chain))
        self.redis_tls = self._certificate("redis", identity("127.0.0.1", issuer=ca))
        self.gateway_tls = self._certificate("gateway", identity(HOST, issuer=ca))
        self.app = self._run(Upstream(answering))
        self.servers: list[ExampleRedis] = []
        for number in range(3):
            first = self.servers[0] if self.servers else None
            self.servers.append(self._run(ExampleRedis(self.directory / f"redis-{number}", self.redis_tls, first)))
        self.sentinels = [
            self._run(ExampleSentinel(self.directory / f"sentinel-{number}", self.redis_tls, self.servers[0]))
            for number in range(3)
        ]
        eventually(lambda: {one.knows() for one in self.sentinels} == {(2, 2)}, "the Sentinels know each other and the replicas")
        secret = secrets.token_urlsafe(48)
        self.gateways = [self._gateway(name, secret) for name in ("gw-1", "gw-2")]
        for gateway in self.gateways:
            gateway.launch()
        for gateway in self.gateways:
            gateway.await_notification("READY=1", 20)
        self.balanced = free_port()
        self._haproxy()

    def _run(self, one: Any) -> Any:
        self._running.append(one)
        return one

    def kill(self) -> None:
        """End everything."""
        running, self._running = self._running, []
        for one in reversed(running):
            with contextlib.suppress(AssertionError):
                (one.kill if isinstance(one, Gateway) else one.close)()

    def _certificate(self, name: str, made: ServerIdentity) -> tuple[Path, Path, Path]:
        certificate, key = self.directory / f"{name}.pem", self.directory / f"{name}.key"
        certificate.write_bytes(pem(made.chain[0]))
        key.write_bytes(made.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        key.chmod(0o600)
        return certificate, key, self.directory / "ca.pem"

    def _gateway(self, name: str, secret: str) -> Gateway:
        text = replaced(
            (EXAMPLE / "site.ini").read_text(),
            {
                "state_dir = /var/lib/perimeter": "state_dir = state",
                "workers = auto": "workers = 2",
                ";node = gw-1": f"node = {name}",
                "port = 443": "port = @https@\ninterface = 127.0.0.1",
                "port = 9090": "port = @metrics@\ninterface = 127.0.0.1",
                "networks = 10.0.0.0/24": "networks = 127.0.0.1",
                "proxy_protocol = 10.0.0.10": "proxy_protocol = 127.0.0.1",
                "http://10.0.0.31:8080, http://10.0.0.32:8080": self.app.url,
                "/var/log/perimeter/": "",
            },
        )
        ports = ",".join(f"127.0.0.1:{one.port}" for one in self.sentinels)
        directory = self.directory / name
        gateway = Gateway(
            directory,
            text,
            {
                "redis.url": re.sub(r"redis-1.*(?=/)", ports, _documented_url(text)).replace("PASSWORD", "GATEWAY-PASSWORD"),
                "redis-ca.pem": (self.directory / "ca.pem").read_bytes(),
                "cluster.secret": f"{secret}\n",
                f"{HOST}.pem": self.gateway_tls[0].read_bytes(),
                f"{HOST}.key": self.gateway_tls[1].read_bytes(),
                "users.realm": (ETC / "users.realm").read_bytes(),
            },
        )
        for secret_file in ("redis.url", "cluster.secret", f"{HOST}.key", "users.realm"):
            (directory / secret_file).chmod(0o600)
        self._run(gateway)
        return gateway

    def _haproxy(self) -> None:
        first, second = (gateway["https"] for gateway in self.gateways)
        text = replaced(
            (EXAMPLE / "haproxy.cfg").read_text(),
            {
                "log /dev/log local0": "log stdout format raw local0",
                "maxconn 20000": "maxconn 200",
                "bind :443": f"bind 127.0.0.1:{self.balanced}",
                "10.0.0.11:443": f"127.0.0.1:{first}",
                "10.0.0.12:443": f"127.0.0.1:{second}",
                "/etc/haproxy/gateway-ca.pem": str(self.directory / "ca.pem"),
                "inter 2s": "inter 200ms",
            },
        )
        config = self.directory / "haproxy.cfg"
        config.write_text(text)
        self.haproxy = self._run(Haproxy(config))
        self.haproxy.await_listening("127.0.0.1", self.balanced)

    def ask(self, target: str, *headers: str, method: str = "GET", body: bytes = b"") -> Response:
        """The response to a request through HAProxy, on a new connection."""
        with Wire(self.balanced, tls=True, server_name=HOST) as wire:
            return wire.get(target, *headers, method=method, host=HOST, body=body)

    def ask_directly(self, number: int, target: str, *headers: str) -> Response:
        """The response of one gateway, to a client that says what HAProxy would say."""
        with Wire(self.gateways[number]["https"]) as wire:
            wire.send(b"PROXY TCP4 192.0.2.7 127.0.0.1 40000 443\r\n")
            wire.socket = insecure_context().wrap_socket(wire.socket, server_hostname=HOST)
            return wire.get(target, *headers, host=HOST)


def _documented_url(text: str) -> str:
    (url,) = re.findall(r"^; (rediss\+sentinel://\S+)$", text, re.M)
    return str(url)

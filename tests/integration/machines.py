"""One site on two machines that share their state over Redis, behind a balancer that sends each connection to the next one.

`GatewayOfMachines` takes the place of `tests.integration.harness.Gateway`, so that a test of one gateway is a test of two.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import secrets
import socket
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.integration.harness import Gateway
from tests.integration.ldapkit import shared
from tests.integration.redispeer import RedisPeer

MACHINES = ("127.0.0.2", "127.0.0.3")
_LISTENER = re.compile(r"^port = (\d+)$", re.M)


def _redis(directory: Path) -> RedisPeer:
    return RedisPeer(directory / "redis", "databases 512", users={"gateway": "on >secret ~perimeter:* resetchannels +@all"})


_databases = itertools.count()


class Balancer:
    """Passes each connection to ``port`` on to the same port of the next one of ``addresses``."""

    def __init__(self, port: int, addresses: tuple[str, ...]) -> None:
        self._next = itertools.cycle(addresses)
        self._port = port
        self._socket = socket.create_server(("127.0.0.1", port), backlog=128)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._socket.accept()
                try:
                    server = socket.create_connection((next(self._next), self._port), 5, ("127.0.0.1", 0))
                except OSError:
                    client.close()
                    continue
                server.settimeout(None)
                for ends in ((client, server), (server, client)):
                    threading.Thread(target=_pass_on, args=ends, daemon=True).start()

    def close(self) -> None:
        """Accept no more connections."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for end, how in ((sink, socket.SHUT_WR), (source, socket.SHUT_RD)):
        with contextlib.suppress(OSError):
            end.shutdown(how)


class _Machine(Gateway):
    """One of the machines: the configuration is as the other one's, except for its address."""

    def __init__(self, address: str, ports: dict[str, int], lines: str, directory: Path, *rest: Any, **more: Any) -> None:
        self._address = address
        self._ports = ports
        self._lines = lines
        super().__init__(directory, *rest, **more)

    def with_ports(self, text: str) -> str:
        """See `Gateway`: the same ports on both machines."""
        self.ports = self._ports
        return super().with_ports(text)

    def configure(self, config: str) -> None:
        """See `Gateway`."""
        config = config.replace("interface = 127.0.0.1", f"interface = {self._address}")
        super().configure(config.replace("[perimeter]\n", f"[perimeter]\n{self._lines}", 1))


class GatewayOfMachines(Gateway):
    """See the module. Both machines have the same files. Their logs are read as one; the process is the first one's."""

    def __init__(
        self, directory: Path, config: str, files: Mapping[str, str | bytes] | None = None, *rest: Any, **more: Any
    ) -> None:
        redis = shared(_redis)
        secret = directory / "cluster.secret"
        directory.mkdir(parents=True, exist_ok=True)
        secret.write_text(secrets.token_urlsafe(48) + "\n")
        secret.chmod(0o600)
        url = redis.url("gateway", "secret", next(_databases))
        lines = f"state = redis\nredis_url = {url}\ncluster_secret = {secret}\n"
        self._balancers: list[Balancer] = []
        self.machines: list[_Machine] = []
        ports: dict[str, int] = {}
        for number, address in enumerate(MACHINES):
            place = directory / f"machine{number}"
            for name in files or {}:  # a test that changes a file changes it on both machines
                (place / name).parent.mkdir(parents=True, exist_ok=True)
                (place / name).symlink_to(directory / name)
            self.machines.append(_Machine(address, ports, f"{lines}node = machine{number}\n", place, config, {}, *rest, **more))
        super().__init__(directory, config, files, *rest, **more)
        self.ports = ports
        self.config = self.machines[0].config

    def with_ports(self, text: str) -> str:
        """See `Gateway`: the ports of the machines."""
        if self.machines:
            self.ports = self.machines[0].ports
        return super().with_ports(text)

    def configure(self, config: str) -> None:
        """See `Gateway`."""
        for machine in self.machines:
            machine.configure(config)

    def launch(self) -> None:
        """See `Gateway`."""
        for machine in self.machines:
            machine.launch()

    def await_notification(self, state: str, timeout: float = 20) -> str:
        """See `Gateway`: of all machines. Then the balancer works."""
        datagram, *_ = [machine.await_notification(state, timeout) for machine in self.machines]
        if not self._balancers:
            ports = {int(port) for port in _LISTENER.findall(self.machines[0].config.read_text())}
            self._balancers = [Balancer(port, MACHINES) for port in ports]
        for made in self.machines[0].directory.iterdir():  # its state and its logs, for tests that look into them
            if not (self.directory / made.name).exists():
                (self.directory / made.name).symlink_to(made)
        return datagram

    def signal(self, number: int) -> None:
        """See `Gateway`."""
        for machine in self.machines:
            machine.signal(number)

    def wait(self, timeout: float = 20) -> int:
        """See `Gateway`."""
        return max(machine.wait(timeout) for machine in self.machines)

    def _close(self) -> None:
        while self._balancers:
            self._balancers.pop().close()

    def stop(self) -> None:
        """See `Gateway`."""
        self._close()
        for machine in self.machines:
            machine.stop()

    def kill(self) -> None:
        """See `Gateway`."""
        self._close()
        for machine in self.machines:
            machine.kill()

    @property
    def log(self) -> str:
        """See `Gateway`: of all machines."""
        return "".join(machine.log for machine in self.machines)

    def audit(self, name: str = "access.log") -> list[str]:
        """See `Gateway`: of all machines."""
        return [line for machine in self.machines for line in machine.audit(name)]

    @property
    def process(self) -> Any:
        """See `Gateway`: of the first machine."""
        return self.machines[0].process

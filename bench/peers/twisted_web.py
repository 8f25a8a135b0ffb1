"""The proxy on stock twisted.web. It shows what the gateway would cost without its own data plane."""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path

from bench.peers.base import Peer, Surroundings
from bench.processes import Process

_PROGRAM = Path(__file__).parent / "stock_twisted.py"


class TwistedWeb(Peer):
    """Runs `bench.peers.stock_twisted`, which forwards without authentication."""

    name = "twisted-web"
    authenticates = False

    def versions(self) -> dict[str, str]:
        """The version of Twisted."""
        return {"twisted": version("twisted")}

    def start(self, around: Surroundings) -> None:
        """Start one process with an access log."""
        arguments = [self.port, around.upstream, around.certificate.chain, around.certificate.key]
        log = around.directory / f"{self.name}-access.log"
        command = [sys.executable, str(_PROGRAM), *map(str, arguments), str(log)]
        process = Process(self.name, command, around.cores.gateway, around.directory)
        self.processes = [process]
        process.wait_for_port(self.port)

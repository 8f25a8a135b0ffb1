"""What a peer is to a run."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from pathlib import Path

import attrs

from bench.material import Certificate
from bench.ports import free_port
from bench.processes import Cores, Process


@attrs.frozen
class Surroundings:
    """What a peer is started in. ``state`` is the gateway's state directory; ``token_key`` (PEM) verifies what it signed."""

    directory: Path
    cores: Cores
    certificate: Certificate
    upstream: int
    state: Path
    token_key: Path


class Peer(ABC):
    """Something that ends TLS in front of the upstream. ``start`` it, then talk to ``port``."""

    name: str
    #: whether it asks who the client is
    authenticates = True

    def __init__(self) -> None:
        self.port = free_port()
        self.processes: list[Process] = []

    def missing(self) -> str | None:
        """Why it cannot take part on this machine; None where it can."""
        return None

    @abstractmethod
    def start(self, around: Surroundings) -> None:
        """Start all its processes and wait until it serves. Raises `BenchError`."""

    @abstractmethod
    def versions(self) -> dict[str, str]:
        """Of the programs that it consists of."""

    def stop(self) -> None:
        """End its processes."""
        for process in reversed(self.processes):
            process.stop()
        self.processes.clear()

    def another(self, name: str) -> Peer:
        """One more of the same kind, not started."""
        twin = copy.copy(self)
        twin.name, twin.port, twin.processes = name, free_port(), []
        return twin

    def url(self, path: str) -> str:
        """Where ``path`` of the upstream is to be had."""
        return f"https://127.0.0.1:{self.port}{path}"

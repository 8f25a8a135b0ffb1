"""The interface of a peer."""

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
    """The environment of a peer. ``state`` is the gateway's state directory; ``token_key`` (PEM) verifies its tokens."""

    directory: Path
    cores: Cores
    certificate: Certificate
    upstream: int
    state: Path
    token_key: Path


class Peer(ABC):
    """A program that terminates TLS in front of the upstream. After ``start`` it listens on ``port``."""

    name: str
    #: whether it authenticates clients
    authenticates = True

    def __init__(self) -> None:
        self.port = free_port()
        self.processes: list[Process] = []

    def missing(self) -> str | None:
        """The reason why it cannot take part on this machine, or None."""
        return None

    @abstractmethod
    def start(self, around: Surroundings) -> None:
        """Start all its processes and wait until it serves. Raises `BenchError`."""

    @abstractmethod
    def versions(self) -> dict[str, str]:
        """The versions of its programs."""

    def stop(self) -> None:
        """Stop its processes."""
        for process in reversed(self.processes):
            process.stop()
        self.processes.clear()

    def another(self, name: str) -> Peer:
        """Another peer of the same kind, not started."""
        twin = copy.copy(self)
        twin.name, twin.port, twin.processes = name, free_port(), []
        return twin

    def url(self, path: str) -> str:
        """The URL of the upstream's ``path`` through this peer."""
        return f"https://127.0.0.1:{self.port}{path}"

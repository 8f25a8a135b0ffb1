"""What it means that a server of an upstream cannot be connected to."""

from __future__ import annotations

from perimeter.connection_faults import Options, connect_fault, handshake_fault
from perimeter.net.connect import HandshakeFailed


def connection_fault(problem: BaseException | None, seconds: float) -> str:
    """What it means that a server cannot be connected to, and which option to set."""
    options = Options("set http:// in servers", name="server_name", timeout="connect_timeout", seconds=seconds)
    if isinstance(problem, HandshakeFailed):
        return handshake_fault(problem.reason, problem.code, options)
    return connect_fault(problem, options)

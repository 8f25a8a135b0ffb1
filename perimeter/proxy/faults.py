"""What it means that a server of an upstream cannot be connected to."""

from __future__ import annotations

from typing import Final

import attrs

from perimeter.connection_faults import Options, connect_fault, handshake_fault
from perimeter.net.connect import HandshakeFailed

_OPTIONS: Final = Options(
    "set http:// in servers", name="server_name", timeout="connect_timeout", certificate="client_certificate", pin="pin"
)


def connection_fault(problem: BaseException | None, seconds: float) -> str:
    """What it means that a server cannot be connected to, and which option to set."""
    options = attrs.evolve(_OPTIONS, seconds=seconds)
    if isinstance(problem, HandshakeFailed):
        return handshake_fault(problem.reason, problem.code, options)
    return connect_fault(problem, options)


def ended_fault(reason: str) -> str:
    """What it means that a server has ended TLS after the handshake, for ``reason`` in OpenSSL's words."""
    return handshake_fault(reason, 0, _OPTIONS)

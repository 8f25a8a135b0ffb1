"""What a connection to a server begins with: the client's address, in the PROXY protocol (versions 1 and 2 of HAProxy's text).

Everything that comes over such a connection is of one client for the server, so it serves one request. A connection of the
gateway's own, such as a health check, says so. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from perimeter.config.site.dialling import ProxyProtocol
from perimeter.model import UNIX_PEER, ClientConnection

Introduction = Callable[[ClientConnection, str], bytes]
"""Takes a client's connection and the address that rules see. Returns the bytes that a connection for this client begins with."""

_UNKNOWN_1: Final = b"PROXY UNKNOWN\r\n"
_SIGNATURE_2: Final = b"\r\n\r\n\x00\r\nQUIT\n"
#: version 2, command LOCAL: the sender's own connection. Command PROXY with family UNSPEC: a client without an IP address
_LOCAL_2: Final = _SIGNATURE_2 + b"\x20\x00\x00\x00"
_UNKNOWN_2: Final = _SIGNATURE_2 + b"\x21\x00\x00\x00"
#: version 2, command PROXY, and the family with STREAM
_TCP4: Final = b"\x21\x11"
_TCP6: Final = b"\x21\x21"

_Address = IPv4Address | IPv6Address


def introduction(version: ProxyProtocol | None) -> Introduction:
    """The introduction of clients in ``version``; with None, connections begin with nothing."""
    if version is None:
        return _nothing
    return _text if version is ProxyProtocol.V1 else _binary


def of_no_client(version: ProxyProtocol | None) -> bytes:
    """The beginning of a connection of the gateway's own."""
    return {None: b"", ProxyProtocol.V1: _UNKNOWN_1, ProxyProtocol.V2: _LOCAL_2}[version]


def _nothing(connection: ClientConnection, address: str) -> bytes:
    return b""


def _text(connection: ClientConnection, address: str) -> bytes:
    ends = _ends(connection, address)
    if ends is None:
        return _UNKNOWN_1
    source, destination = ends
    ports = f"{_port(connection, address)} {connection.local_port}"
    return f"PROXY TCP{source.version} {source} {destination} {ports}\r\n".encode("ascii")


def _binary(connection: ClientConnection, address: str) -> bytes:
    ends = _ends(connection, address)
    if ends is None:
        return _UNKNOWN_2
    source, destination = ends
    ports = _port(connection, address).to_bytes(2, "big") + connection.local_port.to_bytes(2, "big")
    body = source.packed + destination.packed + ports
    return b"%b%b%b%b" % (_SIGNATURE_2, _TCP4 if source.version == 4 else _TCP6, len(body).to_bytes(2, "big"), body)


def _port(connection: ClientConnection, address: str) -> int:
    """The port of the client. That of a client behind a proxy is not known."""
    return connection.port if address == connection.address else 0


def _ends(connection: ClientConnection, address: str) -> tuple[_Address, _Address] | None:
    """The addresses of the client and of the gateway, of one family; None if the client has no IP address."""
    local = connection.local()
    try:
        source = ip_address(address)
    except ValueError:
        return None
    # a gateway on a unix socket has the unspecified address
    destination = type(source)(0) if local in ("", UNIX_PEER) else ip_address(local)
    if source.version != destination.version:  # behind a proxy, the client may have an address of another family
        return _as_ipv6(source), _as_ipv6(destination)
    return source, destination


def _as_ipv6(address: _Address) -> IPv6Address:
    return IPv6Address(f"::ffff:{address}") if isinstance(address, IPv4Address) else address

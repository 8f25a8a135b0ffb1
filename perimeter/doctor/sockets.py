"""The sockets of this machine that wait for connections, and its addresses: from /proc/net. Linux only.

proc_net_tcp(5): an address is hexadecimal, in 32-bit words of the machine's byte order; state 0A is LISTEN.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Final

import attrs

Address = IPv4Address | IPv6Address

PROC: Final = Path("/proc/net")
_LISTEN = "0A"
_LARGEST = 16 << 20


@attrs.frozen
class Listening:
    """A socket that waits for connections. ``uid`` is the user that has opened it."""

    address: Address
    port: int
    uid: int

    @property
    def text(self) -> str:
        """Address and port."""
        return f"[{self.address}]:{self.port}" if self.address.version == 6 else f"{self.address}:{self.port}"

    def takes(self, address: Address) -> bool:
        """Whether a connection to ``address`` reaches this socket. A socket of IPv6 for all addresses often takes IPv4 too."""
        if self.address.is_unspecified:
            return self.address.version == 6 or address.version == 4
        return self.address == address


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="ascii", errors="replace") as file:
            text = file.read(_LARGEST)
    except OSError:
        return
    yield from text.splitlines()


def _address(text: str) -> Address:
    raw = b"".join(int(text[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(text), 8))
    address = IPv4Address(raw) if len(raw) == 4 else IPv6Address(raw)
    return (address.ipv4_mapped if isinstance(address, IPv6Address) else None) or address


def listening(proc: Path = PROC) -> list[Listening]:
    """All sockets in the state LISTEN of this network namespace, IPv4 and IPv6."""
    found = []
    for name in ("tcp", "tcp6"):
        for line in _lines(proc / name):
            columns = line.split()
            if len(columns) < 8 or columns[3] != _LISTEN:
                continue
            address, _, port = columns[1].partition(":")
            found.append(Listening(_address(address), int(port, 16), int(columns[7])))
    return found


def own_addresses(proc: Path = PROC) -> frozenset[Address]:
    """The addresses of this machine, loopback included."""
    return frozenset((*_own_4(_lines(proc / "fib_trie")), *_own_6(_lines(proc / "if_inet6"))))


def _own_4(lines: Iterable[str]) -> Iterator[Address]:
    """From the routing table: an address stands in the line above ``/32 host LOCAL``."""
    before = ""
    for line in lines:
        text = line.strip()
        if text == "/32 host LOCAL":
            yield IPv4Address(before)
        elif text.startswith("|--"):
            before = text.removeprefix("|--").strip()


def _own_6(lines: Iterable[str]) -> Iterator[Address]:
    for line in lines:
        digits = line.split(" ", 1)[0]
        if len(digits) == 32:
            yield IPv6Address(bytes.fromhex(digits))


def reachable(socket: Listening, own: Iterable[Address]) -> bool:
    """Whether other machines can connect to ``socket``, if no firewall prevents it."""
    if not socket.address.is_unspecified:
        return not socket.address.is_loopback
    return any(not one.is_loopback and not one.is_link_local and socket.takes(one) for one in own)


def is_own(address: Address, own: Iterable[Address]) -> bool:
    """Whether ``address`` is of this machine."""
    return address.is_loopback or address in frozenset(own)

"""The header of the PROXY protocol, versions 1 and 2: the client's address, which a load balancer sends in front of the data.

The specification is haproxy's proxy-protocol.txt, sections 2.1 and 2.2. Pure and strict: what it does not define is refused,
since a gateway that guesses an address decides by a wrong one. Checksums and other additions (TLVs) are skipped, but have to be
well formed.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

import attrs

from perimeter.model import UNIX_PEER, canonical_address

SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
"""The first bytes of version 2."""

LONGEST_LINE: Final = 107
"""Bytes of the longest header of version 1, with its line end."""

LONGEST: Final = 4096
"""Bytes of the longest header that is accepted. The address takes 232 at most, the additions usually less than 300."""

_FIXED: Final = len(SIGNATURE) + 4
_WORD: Final = b"PROXY "
_PORT = r"(0|[1-9][0-9]{0,4})"
_LINE = re.compile(rf"PROXY (TCP4|TCP6) ([0-9A-Fa-f:.]{{2,39}}) ([0-9A-Fa-f:.]{{2,39}}) {_PORT} {_PORT}")
_UNKNOWN = re.compile(rb"PROXY UNKNOWN(?: [\x20-\x7e]*)?")
_LOCAL, _PROXY = 0x20, 0x21
_UNSPECIFIED, _TCP4, _TCP6, _UNIX = 0x00, 0x11, 0x21, 0x31
_ADDRESSES: Final = {_UNSPECIFIED: 0, _TCP4: 12, _TCP6: 36, _UNIX: 216}


class BadProxyHeader(Exception):
    """What a connection begins with is no header of the PROXY protocol; the text says why."""


@attrs.frozen
class Source:
    """The client that a header names: canonical ``address``, or `perimeter.model.UNIX_PEER`, and ``port``."""

    address: str
    port: int


def extent(data: bytes) -> tuple[int, bool]:
    """How many of the bytes in ``data`` surely belong to the header, and whether they are all of it.

    ``data`` may be the begin of a header, and may contain what follows the header. Raises `BadProxyHeader`.
    """
    if data.startswith(SIGNATURE):
        return _extent_2(data)
    if data.startswith(_WORD):
        return _extent_1(data)
    if not data or SIGNATURE.startswith(data) or _WORD.startswith(data):
        return len(data), False
    raise BadProxyHeader("it does not begin with the PROXY protocol")


def _extent_1(data: bytes) -> tuple[int, bool]:
    end = data.find(b"\r\n", 0, LONGEST_LINE)
    if end >= 0:
        return end + 2, True
    if len(data) >= LONGEST_LINE or b"\n" in data:
        raise BadProxyHeader("the line of version 1 is too long, or does not end in CR LF")
    return len(data), False


def _extent_2(data: bytes) -> tuple[int, bool]:
    if len(data) < _FIXED:
        return len(data), False
    whole = _FIXED + int.from_bytes(data[_FIXED - 2 : _FIXED], "big")
    if whole > LONGEST:
        raise BadProxyHeader(f"the header of version 2 has {whole} bytes, and at most {LONGEST} are accepted")
    return min(len(data), whole), len(data) >= whole


def source(header: bytes) -> Source | None:
    """The client that a whole header names; None if it is the sender of the header itself, or is not known to it.

    Raises `BadProxyHeader`.
    """
    return _source_2(header) if header.startswith(SIGNATURE) else _source_1(header)


def _source_1(header: bytes) -> Source | None:
    line = header[:-2]
    if _UNKNOWN.fullmatch(line):
        return None
    found = _LINE.fullmatch(line.decode("latin-1"))
    if found is None:
        raise BadProxyHeader("the line of version 1 is malformed")
    family, client, server, port, server_port = found.groups()
    kind = IPv4Address if family == "TCP4" else IPv6Address
    try:
        addresses = ip_address(client), ip_address(server)
    except ValueError:
        raise BadProxyHeader("the line of version 1 has an invalid address") from None
    if not all(isinstance(one, kind) for one in addresses):
        raise BadProxyHeader(f"an address of version 1 does not belong to {family}")
    if max(int(port), int(server_port)) > 65535:
        raise BadProxyHeader("the line of version 1 has an invalid port")
    return Source(canonical_address(str(addresses[0])), int(port))


def _source_2(header: bytes) -> Source | None:
    command, family, rest = header[12], header[13], header[_FIXED:]
    if command not in (_LOCAL, _PROXY):
        raise BadProxyHeader(f"the command 0x{command:02x} of version 2 is not known")
    if command == _LOCAL:  # the sender's own connection, such as a health check: the address is to be ignored
        return None
    length = _ADDRESSES.get(family)
    if length is None:
        raise BadProxyHeader(f"the protocol 0x{family:02x} of version 2 is not TCP")
    if len(rest) < length:
        raise BadProxyHeader("the addresses of version 2 are incomplete")
    _check_additions(rest[length:])
    if family == _UNSPECIFIED:
        return None
    if family == _UNIX:
        return Source(UNIX_PEER, 0)
    size = 4 if family == _TCP4 else 16
    address = str(ip_address(rest[:size]))
    return Source(canonical_address(address), int.from_bytes(rest[2 * size : 2 * size + 2], "big"))


def _check_additions(data: bytes) -> None:
    """Each addition is a byte for its type, two for its length, and so many bytes. Raises `BadProxyHeader`."""
    while data:
        if len(data) < 3 or len(data) < (end := 3 + int.from_bytes(data[1:3], "big")):
            raise BadProxyHeader("the additions (TLVs) of version 2 are malformed")
        data = data[end:]

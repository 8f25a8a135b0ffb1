"""Values of options of ``[upstream NAME]`` about the addresses of its servers."""

from __future__ import annotations

import re
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path

import attrs

from perimeter.config.language.datatypes import BadValue, Datatype


class Resolve(StrEnum):
    """The way to look up the addresses of a server's name."""

    SYSTEM = "system"
    """The system looks the name up for each new connection, and uses the first address that accepts the connection."""
    DNS = "dns"
    """The gateway looks the name up when the time of the last answer is over. Each address is a server of its own."""


@attrs.frozen
class NameServer:
    """A DNS server. An IPv6 address has no brackets."""

    address: str
    port: int = 53


_NAME_SERVER = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<v4>[0-9.]+))(?::(?P<port>[0-9]{1,5}))?|(?P<bare>[0-9A-Fa-f:.]+)")


def _name_server(text: str, base: Path) -> NameServer:
    expected = "expected the address of a DNS server, such as 10.0.0.2, 10.0.0.2:5353 or [2001:db8::2]:53"
    found = _NAME_SERVER.fullmatch(text)
    if found is None:
        raise BadValue(expected)
    port = int(found["port"] or 53)
    try:
        address = ip_address(found["v6"] or found["v4"] or found["bare"])
    except ValueError:
        raise BadValue(expected) from None
    if not 1 <= port <= 65535:
        raise BadValue(expected)
    return NameServer(str(address), port)


NAME_SERVER: Datatype[NameServer] = Datatype("IP address", _name_server, NameServer("127.0.0.1"))

"""Addresses of a name: the parts of a DNS answer, the usable addresses, and the settings in resolv.conf. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, Protocol

import attrs

from perimeter.config.site.lookup import NameServer

MOST_ADDRESSES: Final = 64
"""The most addresses of one name that are used."""

_MOST_SUFFIXES = 6
_MOST_NDOTS = 15
_BROADCAST = IPv4Address("255.255.255.255")

Address = IPv4Address | IPv6Address


class LookupFailed(Exception):
    """A name has no address now; the text has the reason."""


@attrs.frozen
class Answer:
    """The addresses of a name, sorted, and the seconds for which they hold. ``refused`` has some of the unusable ones.

    ``missing`` is 4 or 6 if the question for the addresses of that IP version got no answer, otherwise 0.
    """

    addresses: tuple[str, ...]
    ttl: float
    refused: tuple[str, ...] = ()
    missing: int = 0


class LookUp(Protocol):
    """Looks up names."""

    async def look_up(self, name: str) -> Answer:
        """The addresses of ``name``. Raises `LookupFailed`."""


def refusal(address: Address) -> str:
    """The reason why an address from DNS is not used, or "".

    The address of the metadata of a cloud machine (169.254.169.254) is link-local: an answer that names it would make the gateway
    show the credentials of the machine to its clients.
    """
    inner = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    if inner is not None:
        return refusal(inner)
    if address.is_link_local:
        return "link-local"
    if address.is_multicast:
        return "multicast"
    if address.is_unspecified or address == _BROADCAST:
        return "no address of a host"
    return ""


def answer(found: Iterable[tuple[Address, float]], missing: int = 0) -> Answer:
    """An answer of addresses and their times. Raises `LookupFailed` if none of them may be used."""
    seconds: dict[Address, float] = {}
    refused = set()
    for address, ttl in found:
        fault = refusal(address)
        if fault:
            refused.add(f"{address} ({fault})")
        else:
            seconds[address] = min(ttl, seconds.get(address, ttl))
    names = tuple(sorted(refused)[:3])
    if not seconds:
        raise LookupFailed(f"none of its addresses may be used: {', '.join(names)}" if names else "it has no address")
    used = sorted(seconds, key=lambda one: (one.version, int(one)))[:MOST_ADDRESSES]
    return Answer(tuple(map(str, used)), min(seconds[address] for address in used), names, missing)


@attrs.frozen
class Questions:
    """The settings of resolv.conf(5): the DNS servers, and the suffixes of names with fewer than ``ndots`` dots."""

    servers: tuple[NameServer, ...] = ()
    suffixes: tuple[str, ...] = ()
    ndots: int = 1

    def names(self, name: str) -> Sequence[str]:
        """The names to ask for instead of ``name``, in this order."""
        longer = [f"{name}.{suffix}" for suffix in self.suffixes]
        return [name, *longer] if name.count(".") >= self.ndots else [*longer, name]


def read_questions(text: str) -> Questions:
    """The content of a resolv.conf. Unknown lines are skipped, as the system does."""
    servers: list[NameServer] = []
    suffixes: tuple[str, ...] = ()
    ndots = 1
    for line in text.splitlines():
        word, *values = line.split() or [""]
        if word == "nameserver" and values:
            try:
                servers.append(NameServer(str(ip_address(values[0]))))
            except ValueError:
                continue
        elif word in ("search", "domain"):
            suffixes = tuple(suffix for value in values if (suffix := value.strip(".")))[:_MOST_SUFFIXES]
        elif word == "options":
            for value in values:
                name, _, number = value.partition(":")
                if name == "ndots" and number.isascii() and number.isdecimal():
                    ndots = min(int(number[:3]), _MOST_NDOTS)
    return Questions(tuple(servers), suffixes, ndots)

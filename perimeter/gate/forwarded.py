"""The client's address where a trusted proxy stands in front: the only place where X-Forwarded-For is believed. Pure.

The list of trusted proxies is empty by default, and then nothing that a client sends moves its address (attacks 8, 9).
"""

from __future__ import annotations

from ipaddress import ip_address

from perimeter.config.values import Network
from perimeter.model import HeaderBlock, canonical_address


def in_networks(address: str, networks: tuple[Network, ...]) -> bool:
    """Whether a canonical address lies in one of ``networks``."""
    parsed = ip_address(address)
    return any(parsed.version == network.version and parsed in network for network in networks)


def client_address(peer: str, headers: HeaderBlock, trusted: tuple[Network, ...]) -> str:
    """The address that rules and the audit go by.

    From a trusted peer: the rightmost address of X-Forwarded-For that is not itself trusted. What is no address ends the
    walk, since nobody vouches for what stands left of it.
    """
    if not trusted or not in_networks(peer, trusted):
        return peer
    address = peer
    hops = b",".join(headers.get_all(b"x-forwarded-for")).split(b",")
    for hop in reversed(hops):
        try:
            address = canonical_address(str(ip_address(hop.strip(b" \t").decode("ascii"))))
        except ValueError:
            return address
        if not in_networks(address, trusted):
            return address
    return address

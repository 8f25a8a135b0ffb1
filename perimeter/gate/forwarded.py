"""The client's address behind a trusted proxy: the only place where X-Forwarded-For is believed. Pure.

The list of trusted proxies is empty by default, and then nothing that a client sends changes its address (attacks 8, 9).
"""

from __future__ import annotations

import re
from ipaddress import ip_address

from perimeter.config.language.net_types import PeerNetwork, in_networks
from perimeter.model import HeaderBlock, canonical_address

#: ``wss`` is what Traefik says of a WebSocket
_SECURE = frozenset((b"https", b"wss"))

#: An address as proxies write it: some add the client's port, and then put an IPv6 address in brackets. A bare IPv6 address may
#: have brackets too. The quotes of RFC 7239, section 6, are for values of Forwarded, which is not read.
_HOP = re.compile(r"\[([0-9A-Fa-f.]*:[0-9A-Fa-f:.]*(?:%[0-9A-Za-z._~-]+)?)\](?::[0-9]{1,5})?|([0-9.]+):[0-9]{1,5}")


def vouched_chain(peer: str, headers: HeaderBlock, trusted: tuple[PeerNetwork, ...]) -> tuple[str, ...]:
    """The addresses that a request came through, as far as trusted proxies vouch for them: the client's first, ``peer`` last.

    ``peer`` is trusted. X-Forwarded-For is read from its right end to the first address that is not trusted itself: the
    client's, which rules and the audit log use. A value that is not an address ends the walk, since no trusted proxy vouches for
    what is left of it.
    """
    chain = [peer]
    hops = b",".join(headers.get_all(b"x-forwarded-for")).split(b",")
    for hop in reversed(hops):
        try:
            address = canonical_address(str(ip_address(_bare(hop.strip(b" \t").decode("ascii")))))
        except ValueError:
            break
        chain.append(address)
        if not in_networks(address, trusted):
            break
    return tuple(reversed(chain))


def vouched_https(headers: HeaderBlock) -> bool | None:
    """Whether the client used https, as a trusted proxy says (X-Forwarded-Proto, X-Original-URL); None if it says nothing.

    With several proxies, the value of the first one describes the client. A proxy may pass on one of the two headers from the
    client, so the two headers must not contradict each other.
    """
    said = None
    for name, value in headers.fields:
        if name == b"x-forwarded-proto" and said is None:
            said = value.partition(b",")[0].strip().lower() in _SECURE
    address = headers.get(b"x-original-url")
    if address is not None and b"://" in address:
        said = said is not False and address.partition(b"://")[0].lower() in _SECURE
    return said


def _bare(hop: str) -> str:
    """``hop`` without its port and brackets."""
    match = _HOP.fullmatch(hop)
    return hop if match is None else match[1] or match[2]

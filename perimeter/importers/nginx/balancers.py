"""The load balancers in front of nginx that send the client's address by the PROXY protocol. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from perimeter.config.language.datatypes import BadValue
from perimeter.config.language.net_types import PEER_NETWORK
from perimeter.importers.nginx.tree import Directive

NETWORK: Final = "set_real_ip_from"
"""The directive that names a load balancer, or a network of them."""

OF_BALANCERS: Final = frozenset((NETWORK, "real_ip_header", "real_ip_recursive"))
"""The directives about the addresses of clients behind load balancers."""


def of_balancers(directives: Iterable[Directive], outer: Sequence[Directive] = ()) -> list[Directive]:
    """The directives that say which load balancers send the client's address by the PROXY protocol.

    ``outer`` are those outside of the block, which nginx ignores for a name that the block has, too. Empty if clients are known
    by something else, such as a header, or if the networks cannot be read.
    """
    inner = [one for one in directives if one.name in OF_BALANCERS]
    names = {one.name for one in inner}
    found = [*inner, *(one for one in outer if one.name not in names)]
    if [one.args for one in found if one.name == "real_ip_header"][-1:] != [("proxy_protocol",)]:
        return []
    for one in found:
        if one.name == NETWORK:
            try:
                PEER_NETWORK.convert(" ".join(one.args), Path())
            except BadValue:
                return []
    return found

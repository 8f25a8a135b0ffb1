"""The hosts of a route: names, wildcards, or any."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from perimeter.config.language.datatypes import BadValue, Datatype, list_of
from perimeter.config.language.net_types import checked_host
from perimeter.config.site.route_matching import ANY_DEPTH, ANY_HOST, ONE_LABEL, WILDCARDS

# other programs' words for "any host"; as names they would match no request
_ANY_HOST = ("_", "any", "all", "default", "default_server", "everything", "*.*", "**")
_UNSPECIFIED = (str(IPv4Address(0)), f"[{IPv6Address(0)}]")


def _route_host(text: str, base: Path) -> str:
    if text.lower() in _ANY_HOST:
        raise BadValue("expected a host name, or * for any", ANY_HOST)
    if text.startswith(WILDCARDS):
        wildcard = ANY_DEPTH if text.startswith(ANY_DEPTH) else ONE_LABEL
        name = checked_host(text.removeprefix(wildcard))
        if name.startswith("[") or name.rpartition(".")[2].isdigit():
            raise BadValue(f"expected a host name after {wildcard}, not an address")
        return wildcard + name
    host = text if text == ANY_HOST else checked_host(text)
    if host in _UNSPECIFIED:
        raise BadValue("expected a host name, or * for any", ANY_HOST)
    return host


def _hosts(hosts: tuple[str, ...]) -> tuple[str, ...]:
    """Every host is "no host in particular"."""
    if ANY_HOST in hosts and len(hosts) > 1:
        raise BadValue("* cannot be combined with other hosts: it includes them")
    if len(set(hosts)) != len(hosts):
        raise BadValue("the same host is listed twice")
    return () if hosts == (ANY_HOST,) else hosts


ROUTE_HOST: Datatype[str] = Datatype("host name", _route_host, "")
ROUTE_HOSTS: Datatype[tuple[str, ...]] = list_of(ROUTE_HOST, whole=_hosts)

"""Which route a host and a path belong to: the one implementation, for the gate and for all that reasons about routes. Pure.

The routes of the name itself decide if one of them matches, then those of its wildcards (``*.example.com``), the longest first,
then the routes for any host (``*``). Within one host the longest prefix wins. The cost of a look-up does not depend on the number
of routes: hosts and prefixes are dictionary keys, and a path is tried from its longest prefix down, no deeper than the longest
prefix that is configured. The same holds for the wildcards of a name.

A *prefix* is a path without a slash at its end, so that of ``/`` is empty.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from contextlib import suppress
from ipaddress import IPv6Address
from typing import Generic, TypeVar

from perimeter.recent import Memo

T = TypeVar("T")

ANY_HOST = "*"
WILDCARD = "*."
"""The beginning of a wildcard, which stands for every name below another one."""

_MOST_REMEMBERED = 1000
_LONGEST_REMEMBERED = 64


def prefix_of(path: str) -> str:
    """The prefix that a configured path stands for."""
    return path.rstrip("/")


def covers(prefix: str, path: str) -> bool:
    """Whether ``path`` is the path of ``prefix`` or below it."""
    return path == prefix or path.startswith(prefix + "/")


def canonical_host(host: bytes) -> str:
    """The name in a Host value as rules see it: lower case, without port or trailing dot, addresses as `ipaddress` writes them
    (attack 4)."""
    name = host.lower()
    if name.startswith(b"["):
        name = name[: name.find(b"]") + 1]
        with suppress(ValueError):
            return f"[{IPv6Address(name[1:-1].decode('ascii', 'replace'))}]"
    else:
        name = name.partition(b":")[0]
        if name.endswith(b"."):
            name = name[:-1]
    return name.decode("ascii", "replace")


class Prefixes(Generic[T]):
    """The routes of one host, by their prefixes."""

    __slots__ = ("_longest", "exact", "prefixes")

    def __init__(self) -> None:
        #: path -> what matches this path alone
        self.exact: dict[bytes, T] = {}
        #: prefix -> what matches this path and all below it
        self.prefixes: dict[bytes, T] = {}
        self._longest = 0

    def add(self, prefix: bytes, value: T) -> None:
        """``value`` matches the path of ``prefix`` and all below it, unless an earlier one has the same prefix."""
        self.prefixes.setdefault(prefix, value)
        self._longest = max(self._longest, len(prefix))

    def find(self, path: bytes) -> T | None:
        """What matches a normalised path, which begins with a slash."""
        exact = self.exact.get(path)
        if exact is not None:
            return exact
        prefixes = self.prefixes
        prefix = path[:-1] if path.endswith(b"/") else path
        if len(prefix) > self._longest:
            if not self._longest:
                return prefixes.get(b"")
            prefix = path[: self._longest + 1]
            prefix = prefix[: prefix.rfind(b"/")]
        while True:
            found = prefixes.get(prefix)
            if found is not None or not prefix:
                return found
            prefix = prefix[: prefix.rfind(b"/")]


def specificity(host: str) -> tuple[int, str]:
    """Sorts hosts of routes in the order in which they decide: names, then wildcards, the longest first, then ``*``."""
    return (2000 if host == ANY_HOST else 1000 - len(host) if host.startswith(WILDCARD) else 0), host


def matching_order(host: str, prefix: str) -> tuple[tuple[int, str], int, str]:
    """Sorts routes as they are matched: the more specific host before the other, and a longer prefix before a shorter one."""
    return specificity(host), -len(prefix), prefix


def hosts_for(host: str, known: Container[str], longest: int) -> Iterator[str]:
    """The hosts of routes that a canonical name belongs to, the most specific first, without ``*``. ``known`` are those that have
    routes; no wildcard among them has more than ``longest`` characters. A wildcard itself is a name, too."""
    if host in known:
        yield host
    below = host.removeprefix(WILDCARD)[-longest:] if longest else ""
    while "." in below:
        below = below.partition(".")[2]
        if f"{WILDCARD}{below}" in known:
            yield f"{WILDCARD}{below}"


class HostTable(Generic[T]):
    """Prefixes by host. A host is a canonical name, a wildcard (``*.example.com``), or ``*`` for any host."""

    def __init__(self) -> None:
        self._any: Prefixes[T] = Prefixes()
        self._names: dict[str, Prefixes[T]] = {}
        self._longest = 0
        #: Host value -> the prefixes that decide, one after the other
        self._remembered: Memo[bytes, tuple[Prefixes[T], ...]] = Memo(_MOST_REMEMBERED)

    def of(self, host: str) -> Prefixes[T]:
        """The prefixes of one host, to add to."""
        self._remembered.clear()
        if host == ANY_HOST:
            return self._any
        if host.startswith(WILDCARD):
            self._longest = max(self._longest, len(host))
        return self._names.setdefault(host, Prefixes())

    def find(self, host: bytes, path: bytes) -> T | None:
        """What matches a Host value and a normalised path."""
        if not self._names:
            return self._any.find(path)
        for prefixes in self._remembered[host] if host in self._remembered else self._deciding(host):
            found = prefixes.find(path)
            if found is not None:
                return found
        return None

    def effective(self, host: str) -> list[T]:
        """What requests for ``host`` can match: its own, and of what is for more hosts that which no earlier prefix covers."""
        found: dict[bytes, T] = {}
        for prefixes in self._chain(host):
            left = [one for one in prefixes.prefixes if not any(one == own or one.startswith(own + b"/") for own in found)]
            found |= {one: prefixes.prefixes[one] for one in left}
        return list(found.values())

    def _chain(self, host: str) -> tuple[Prefixes[T], ...]:
        return *(self._names[one] for one in hosts_for(host, self._names, self._longest)), self._any

    def _deciding(self, host: bytes) -> tuple[Prefixes[T], ...]:
        chain = self._chain(canonical_host(host))
        if len(host) <= _LONGEST_REMEMBERED:  # clients choose it
            self._remembered.keep(host, chain)
        return chain

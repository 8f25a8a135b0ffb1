"""Which route a host and a path belong to: the one implementation, for the gate and for all that reasons about routes. Pure.

The routes of the name itself decide if one of them matches, then the routes for any host (``*``). Within one host the longest
prefix wins. The cost of a look-up does not depend on the number of routes: hosts and prefixes are dictionary keys, and a path is
tried from its longest prefix down, no deeper than the longest prefix that is configured.

A *prefix* is a path without a slash at its end, so that of ``/`` is empty.
"""

from __future__ import annotations

from contextlib import suppress
from ipaddress import IPv6Address
from typing import Generic, TypeVar

from perimeter.recent import Memo

T = TypeVar("T")

ANY_HOST = "*"

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


class HostTable(Generic[T]):
    """Prefixes by host. A host is a canonical name, or ``*`` for any host."""

    def __init__(self) -> None:
        self._any: Prefixes[T] = Prefixes()
        self._names: dict[str, Prefixes[T]] = {}
        #: Host value -> the prefixes of its name, as far as the name has any
        self._remembered: Memo[bytes, Prefixes[T] | None] = Memo(_MOST_REMEMBERED)

    def of(self, host: str) -> Prefixes[T]:
        """The prefixes of one host, to add to."""
        self._remembered.clear()
        return self._any if host == ANY_HOST else self._names.setdefault(host, Prefixes())

    def find(self, host: bytes, path: bytes) -> T | None:
        """What matches a Host value and a normalised path."""
        if self._names:
            own = self._remembered[host] if host in self._remembered else self._own(host)
            found = None if own is None else own.find(path)
            if found is not None:
                return found
        return self._any.find(path)

    def effective(self, host: str) -> list[T]:
        """What requests for ``host`` can match: its own, and of what matches any host that which no own prefix covers."""
        general = self._any.prefixes
        if host not in self._names:
            return list(general.values())
        own = self._names[host].prefixes
        left = [one for one in general if not any(one == prefix or one.startswith(prefix + b"/") for prefix in own)]
        return [*own.values(), *(general[prefix] for prefix in left)]

    def _own(self, host: bytes) -> Prefixes[T] | None:
        own = self._names.get(canonical_host(host))
        if len(host) <= _LONGEST_REMEMBERED:  # clients choose it
            self._remembered.keep(host, own)
        return own

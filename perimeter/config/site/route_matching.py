"""Which route a host and a path belong to: the one implementation, for the gate and for all that reasons about routes. Pure.

The routes of the name itself decide if one of them matches, then those of its wildcards, the longest first (``*.example.com`` is
for one more label, ``**.example.com`` for one or more), then the routes for any host (``*``). Within one host an exact path wins,
then the longest prefix. A regular expression belongs to the prefix that all its paths are below, and comes before it. Of several
routes with the same path those with conditions come first; a request that does not meet them belongs to what comes next.

The cost of a look-up does not depend on the number of routes: hosts and prefixes are dictionary keys, and a path is tried from
its longest prefix down, no deeper than the longest prefix that is configured. Only expressions of one prefix are tried one by
one.

A *prefix* is a path without a slash at its end, so that of ``/`` is empty.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from contextlib import suppress
from ipaddress import IPv6Address
from typing import Generic, TypeVar

from perimeter.config.language.expressions import Expression
from perimeter.recent import Memo

T = TypeVar("T")

ANY_HOST = "*"
ONE_LABEL = "*."
"""The beginning of a wildcard, which stands for the names with one label more."""

ANY_DEPTH = "**."
"""The beginning of a wildcard, which stands for every name below another one."""

WILDCARDS = (ANY_DEPTH, ONE_LABEL)

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

    __slots__ = ("_before", "_before_exact", "_longest", "exact", "prefixes")

    def __init__(self) -> None:
        #: path -> what matches this path alone
        self.exact: dict[bytes, T] = {}
        #: prefix -> what matches this path and all below it
        self.prefixes: dict[bytes, T] = {}
        #: path -> what is tried before `exact`, because it has conditions
        self._before_exact: dict[bytes, list[T]] = {}
        #: prefix -> what is tried before `prefixes`: an expression or None, what it is, and whether it has conditions
        self._before: dict[bytes, list[tuple[Expression | None, T, bool]]] = {}
        self._longest = 0

    @property
    def selective(self) -> bool:
        """Whether more is compared than prefixes and whole paths: then only `collect` finds what matches."""
        return bool(self._before or self._before_exact)

    def add(self, prefix: bytes, value: T, *, expression: Expression | None = None, conditional: bool = False) -> None:
        """``value`` matches the path of ``prefix`` and all below it, or what of them ``expression`` matches.

        Without an expression and conditions, an earlier one with the same prefix counts instead.
        """
        self._longest = max(self._longest, len(prefix))
        if expression is None and not conditional:
            self.prefixes.setdefault(prefix, value)
            return
        before = self._before.setdefault(prefix, [])
        before.append((expression, value, conditional))
        before.sort(key=lambda one: one[0] is None)

    def conditional_at(self, prefix: bytes) -> list[T]:
        """What matches the path of ``prefix`` and all below it, under conditions."""
        return [value for expression, value, _ in self._before.get(prefix, ()) if expression is None]

    def add_exact(self, path: bytes, value: T, *, conditional: bool = False) -> None:
        """``value`` matches ``path`` alone. Without conditions, an earlier one counts instead."""
        if conditional:
            self._before_exact.setdefault(path, []).append(value)
        else:
            self.exact.setdefault(path, value)

    def find(self, path: bytes) -> T | None:
        """What matches a normalised path, which begins with a slash, unless the table is `selective`."""
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

    def collect(self, path: bytes, found: list[T]) -> bool:
        """Append to ``found`` what matches a normalised path, up to the first one without conditions. Whether there is one."""
        found += self._before_exact.get(path, ())
        exact = self.exact.get(path)
        if exact is not None:
            found.append(exact)
            return True
        prefix = path[:-1] if path.endswith(b"/") else path
        if len(prefix) > self._longest:
            prefix = path[: self._longest + 1]
            prefix = prefix[: prefix.rfind(b"/")]
        while True:
            for expression, value, conditional in self._before.get(prefix, ()):
                if expression is None or expression.match(path) is not None:
                    found.append(value)
                    if not conditional:
                        return True
            last = self.prefixes.get(prefix)
            if last is not None:
                found.append(last)
                return True
            if not prefix:
                return False
            prefix = prefix[: prefix.rfind(b"/")]


def specificity(host: str) -> tuple[int, int, str]:
    """Sorts hosts of routes in the order in which they decide: names, then wildcards, the longest first, then ``*``."""
    if host == ANY_HOST:
        return 2, 0, host
    return (1, -len(below_of(host)) * 2 + host.startswith(ANY_DEPTH), host) if host.startswith(WILDCARDS) else (0, 0, host)


def below_of(wildcard: str) -> str:
    """The name that the names of a wildcard are below."""
    return wildcard.lstrip("*").removeprefix(".")


def hosts_for(host: str, known: Container[str], longest: int) -> Iterator[str]:
    """The hosts of routes that a canonical name belongs to, the most specific first, without ``*``. ``known`` are those that have
    routes; no wildcard among them has more than ``longest`` characters. Of a wildcard, those that all of its names belong to."""
    if host in known:
        yield host
    if host.startswith(WILDCARDS):
        below, one_label = below_of(host), ""
        if host.startswith(ONE_LABEL) and f"{ANY_DEPTH}{below}" in known:
            yield f"{ANY_DEPTH}{below}"
    else:
        below, one_label = host[-longest:] if longest else "", host.partition(".")[2]
    while "." in below:
        below = below.partition(".")[2]
        if below == one_label and f"{ONE_LABEL}{below}" in known:
            yield f"{ONE_LABEL}{below}"
        if f"{ANY_DEPTH}{below}" in known:
            yield f"{ANY_DEPTH}{below}"


class HostTable(Generic[T]):
    """Prefixes by host. A host is a canonical name, a wildcard (``*.example.com``), or ``*`` for any host."""

    def __init__(self) -> None:
        self._any: Prefixes[T] = Prefixes()
        self._names: dict[str, Prefixes[T]] = {}
        self._longest = 0
        #: more is compared than prefixes and whole paths, so that only `matching` finds what matches
        self.selective = False
        #: Host value -> the prefixes that decide, one after the other
        self._remembered: Memo[bytes, tuple[Prefixes[T], ...]] = Memo(_MOST_REMEMBERED)

    def of(self, host: str) -> Prefixes[T]:
        """The prefixes of one host, to add to (before `settle`)."""
        self._remembered.clear()
        if host == ANY_HOST:
            return self._any
        if host.startswith(WILDCARDS):
            self._longest = max(self._longest, len(host))
        return self._names.setdefault(host, Prefixes())

    def settle(self) -> None:
        """Everything has been added."""
        self.selective = any(prefixes.selective for prefixes in (self._any, *self._names.values()))

    def matching(self, host: bytes, path: bytes) -> tuple[T, ...]:
        """What matches a Host value and a normalised path, in the order in which it is tried: what has conditions, and in the end
        what has none, if anything."""
        if not self.selective:
            one = self.find(host, path)
            return () if one is None else (one,)
        found: list[T] = []
        for prefixes in self._remembered[host] if host in self._remembered else self._deciding(host):
            if prefixes.collect(path, found):
                break
        return tuple(found)

    def find(self, host: bytes, path: bytes) -> T | None:
        """The one that matches a Host value and a normalised path, if none has an expression or conditions."""
        if not self._names:
            return self._any.find(path)
        for prefixes in self._remembered[host] if host in self._remembered else self._deciding(host):
            found = prefixes.find(path)
            if found is not None:
                return found
        return None

    def effective(self, host: str) -> list[T]:
        """What requests for ``host`` can match: its own, and of what is for more hosts that which no earlier prefix covers."""
        exact: dict[bytes, T] = {}
        found: dict[bytes, T] = {}
        for prefixes in self._chain(host):
            own = [prefix.decode("latin-1") for prefix in found]
            left = [
                one for one in prefixes.exact if one not in exact and not any(covers(by, one.decode("latin-1")) for by in own)
            ]
            exact |= {one: prefixes.exact[one] for one in left}
            left = [one for one in prefixes.prefixes if not any(covers(by, one.decode("latin-1")) for by in own)]
            found |= {one: prefixes.prefixes[one] for one in left}
        return [*exact.values(), *found.values()]

    def _chain(self, host: str) -> tuple[Prefixes[T], ...]:
        return *(self._names[one] for one in hosts_for(host, self._names, self._longest)), self._any

    def _deciding(self, host: bytes) -> tuple[Prefixes[T], ...]:
        chain = self._chain(canonical_host(host))
        if len(host) <= _LONGEST_REMEMBERED:  # clients choose it
            self._remembered.keep(host, chain)
        return chain

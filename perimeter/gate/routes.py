"""Routes, and the table that finds the one for a host and a path. Pure.

The cost of a look-up does not depend on the number of routes: hosts and prefixes are dictionary keys, and a path is tried
from its longest prefix down, no deeper than the longest prefix that is configured.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from ipaddress import IPv6Address

import attrs

from perimeter.audit.sink import IAuditSink
from perimeter.config.language.net_types import Network
from perimeter.gate.identity_lines import IdentityProfile
from perimeter.gate.policy import Policy
from perimeter.gate.target import ITarget


@attrs.frozen(slots=True, eq=False)
class Route:
    """A route, ready to be judged by. ``authenticate`` is False where the route asks nobody who he is.

    ``prefix`` has no slash at its end (so "/" is the empty prefix); ``exact`` says that nothing below it belongs to the route.
    ``rewrite`` replaces the prefix toward the target; ``hosts`` is empty for any host. ``blind`` is one that does not see what
    the client is about to do: no token that may do only some things is enough for it.
    """

    name: str
    prefix: bytes
    target: ITarget
    audit: IAuditSink
    hosts: tuple[str, ...] = ()
    exact: bool = False
    rewrite: bytes | None = None
    authenticate: bool = True
    required: bool = True
    policy: Policy = attrs.field(factory=Policy)
    networks: tuple[Network, ...] = ()
    identity: IdentityProfile = attrs.field(factory=IdentityProfile)
    allow_encoded_slash: bool = False
    websocket: bool = True
    max_body: int | None = None
    builtin: bool = False
    blind: bool = False

    def forwarded_path(self, path: bytes) -> bytes:
        """``path`` (normalised, and matched by this route) as the target sees it."""
        if self.rewrite is None:
            return path
        return (self.rewrite + path[len(self.prefix) :]) or b"/"

    def outer_path(self, path: bytes) -> bytes:
        """The inverse of `forwarded_path`: a path that the upstream speaks of, as the client must ask for it."""
        if self.rewrite is None:
            return path
        if path == self.rewrite or path.startswith(self.rewrite + b"/"):
            return (self.prefix + path[len(self.rewrite) :]) or b"/"
        return path


def canonical_host(host: bytes) -> str:
    """The name in a Host field as rules see it: lower case, without port or trailing dot, addresses as `ipaddress` writes them
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


class _Prefixes:
    """The routes of one host."""

    __slots__ = ("_exact", "_longest", "_prefixes")

    def __init__(self) -> None:
        self._exact: dict[bytes, Route] = {}
        self._prefixes: dict[bytes, Route] = {}
        self._longest = 0

    def add(self, route: Route) -> None:
        if route.exact:
            self._exact.setdefault(route.prefix or b"/", route)
        else:
            self._prefixes.setdefault(route.prefix, route)
            self._longest = max(self._longest, len(route.prefix))

    def find(self, path: bytes) -> Route | None:
        prefixes = self._prefixes
        prefix = path[:-1] if path.endswith(b"/") else path
        exact = self._exact.get(path)
        if exact is not None and prefix not in prefixes:
            return exact
        if len(prefix) > self._longest:
            if not self._longest:
                return prefixes.get(b"")
            prefix = path[: self._longest + 1]
            prefix = prefix[: prefix.rfind(b"/")]
        while True:
            route = prefixes.get(prefix)
            if route is not None or not prefix:
                return route
            prefix = prefix[: prefix.rfind(b"/")]


class RouteTable:
    """Every route of a listener.

    The most specific host that has a match decides: the name itself, then the wildcards ``*.example.com`` from the longest down,
    then routes for any host. Within one host the longest prefix wins. An exact built-in gives way to a configured route
    with the very same path.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        self._any = _Prefixes()
        self._hosts: dict[str, _Prefixes] = {}
        self._wildcards: dict[str, _Prefixes] = {}
        self._memo: dict[bytes, tuple[_Prefixes, ...]] = {}
        for route in routes:
            for host in route.hosts or ("*",):
                self._prefixes(host).add(route)
        self._plain = not self._hosts and not self._wildcards

    def _prefixes(self, host: str) -> _Prefixes:
        if host == "*":
            return self._any
        table = self._wildcards if host.startswith("*.") else self._hosts
        return table.setdefault(host.removeprefix("*."), _Prefixes())

    def find(self, host: bytes, path: bytes) -> Route | None:
        """The route for a Host value and a normalised path, or None."""
        if self._plain:
            return self._any.find(path)
        for prefixes in self._candidates(host):
            route = prefixes.find(path)
            if route is not None:
                return route
        return None

    def _candidates(self, host: bytes) -> tuple[_Prefixes, ...]:
        known = self._memo.get(host)
        if known is not None:
            return known
        name = canonical_host(host)
        found = [self._hosts[name]] if name in self._hosts else []
        labels = name
        while "." in labels:
            labels = labels.partition(".")[2]
            if labels in self._wildcards:
                found.append(self._wildcards[labels])
        found.append(self._any)
        if len(self._memo) > 1000:  # clients choose the names
            self._memo.clear()
        result = self._memo[host] = tuple(found)
        return result

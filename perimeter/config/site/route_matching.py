"""Which routes of a configuration a host and a path belong to. Pure.

This is the definition that the checks of a site.ini, its error pages and the emitters use: the routes of the host itself come
before those for any host; among them the longest path wins. The gateway has an index for the same question
(`perimeter.gate.routes.RouteTable`); a property test compares the two.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar


class Configured(Protocol):
    """A route of a configuration: ``prefix`` is its path without a slash at the end, ``hosts`` is empty for any host."""

    @property
    def hosts(self) -> tuple[str, ...]:
        """Host names."""

    @property
    def prefix(self) -> str:
        """A path."""


C = TypeVar("C", bound=Configured)


def covers(prefix: str, path: str) -> bool:
    """Whether ``path`` is the path ``prefix`` (which has no slash at its end) or below it: /app does not cover /apple."""
    return path == prefix or path.startswith(f"{prefix}/")


def covering(routes: Iterable[C], path: str) -> list[C]:
    """The routes that include ``path`` on some host, those with the longest prefix first."""
    return sorted((route for route in routes if covers(route.prefix, path)), key=lambda route: -len(route.prefix))


def routes_of_host(routes: Sequence[C], host: str) -> list[C]:
    """The routes that requests for ``host`` can belong to (``*``: for a host that no route names), longest prefix first.

    These are the routes of that host, and those for any host that none of these covers.
    """
    general = [route for route in routes if not route.hosts]
    own = [route for route in routes if host in route.hosts] if host != "*" else []
    rest = [route for route in general if not any(covers(one.prefix, route.prefix) for one in own)]
    return sorted((*own, *rest), key=lambda route: -len(route.prefix))

"""Which requests belong to a route: host, path, methods, headers, query."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import attrs

from perimeter.config.language.option import option
from perimeter.config.language.settings import Settings
from perimeter.config.site.route_conditions import HEADERS, METHODS, QUERY, Condition
from perimeter.config.site.route_host import ROUTE_HOSTS
from perimeter.config.site.route_matching import ANY_HOST, covers, specificity
from perimeter.config.site.route_path import ROUTE_PATH, PathKind, RoutePath

_STEPS = {PathKind.EXACT: 0, PathKind.REGEX: 1, PathKind.PREFIX: 2}


@attrs.frozen(kw_only=True, slots=False)
class RouteRequests(Settings):
    """The options of ``[route NAME]`` that say which requests belong to it. ``hosts`` is empty for any host."""

    path: RoutePath = option(
        ROUTE_PATH,
        "path of the requests: `/x` or `prefix:/x` includes all paths below it; `exact:/x` is that path alone; "
        "`regex:^/x/(\\d+)$` is a regular expression of RE2, which begins with `^/` and needs `perimeter-gateway[regex]`. An "
        "exact path comes first, then the longest path; an expression counts as the directory that its paths are in, and comes "
        "before a path of that length",
    )
    hosts: tuple[str, ...] = option(
        ROUTE_HOSTS,
        "host names of the requests; `*.example.com`: the names with one label before `example.com`; `**.example.com`: every "
        "name below it, at any depth; `*`: any. The gateway tries the routes with the name itself first, then those with a "
        "wildcard, the longest first, then those with `*`",
        name="host",
        default="*",
    )
    methods: tuple[str, ...] = option(
        METHODS,
        "methods of the requests; a request with another one belongs to the next route that matches. Not set: all",
        default="",
    )
    headers: tuple[Condition, ...] = option(
        HEADERS,
        "headers that the requests have, one a line: `NAME: VALUE`, `NAME: regex:EXPRESSION` for the whole value, `NAME: *` for "
        "any; a request without them belongs to the next route. Clients choose their headers: this is not protection",
        default="",
    )
    query: tuple[Condition, ...] = option(
        QUERY,
        "parameters of the query that the requests have, one a line: `NAME=VALUE`, `NAME=regex:EXPRESSION`, `NAME=*`; a request "
        "without them belongs to the next route, and one with a parameter twice gets 400",
        default="",
    )

    @property
    def conditional(self) -> bool:
        """Whether it depends on more than host and path."""
        return bool(self.methods or self.headers or self.query)

    @property
    def conditions(self) -> tuple[str, ...]:
        """Its conditions in words."""
        return (
            *((f"method {' or '.join(self.methods)}",) if self.methods else ()),
            *(f"header {one.name}: {one.shown}" for one in self.headers),
            *(f"query {one.name}={one.shown}" for one in self.query),
        )

    @property
    def requests(self) -> str:
        """Its path and conditions in words."""
        return f"{self.path} if {', '.join(self.conditions)}" if self.conditional else str(self.path)

    def overlaps(self, other: RouteRequests) -> bool:
        """Whether some path may belong to both, whatever their hosts."""
        return covers(self.path.place, other.path.place) or covers(other.path.place, self.path.place)


R = TypeVar("R", bound=RouteRequests)
Order = tuple[tuple[int, int, str], int, int, str, int, bool]


def matching_order(host: str, route: RouteRequests) -> Order:
    """Sorts routes (stably, in the order of their file) as they are matched on ``host``.

    A more specific host comes before the other, then exact paths, then the longer path; an expression comes before the path that
    it is in, and of the same path the routes with conditions come first.
    """
    path, exact = route.path, route.path.kind is PathKind.EXACT
    place = path.text if exact else path.place
    return specificity(host), int(not exact), -len(place), place, _STEPS[path.kind], not route.conditional


def in_order(routes: Iterable[R]) -> list[tuple[str, R]]:
    """Each route with each of its hosts, in the order in which they are matched."""
    found = [(host, route) for route in routes for host in route.hosts or (ANY_HOST,)]
    return sorted(found, key=lambda one: matching_order(*one))

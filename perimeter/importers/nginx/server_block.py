"""The locations of one server of nginx, in the order in which nginx takes them. Pure.

nginx takes an exact location (``=``) first. Then it finds the longest plain one. If that has ``^~`` it is taken, otherwise the
first regular expression that matches, and the plain one only if none does. A route knows only the longest path.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import attrs

from perimeter.config.language.expressions import compiled
from perimeter.config.site.route_matching import covers, prefix_of
from perimeter.config.site.route_path import beginning
from perimeter.importers.nginx.location import Location
from perimeter.importers.nginx.places import Left, Placeless, effective
from perimeter.importers.nginx.tree import Directive

_OWN_HOST = r"(?:(?:https?|\$scheme)://(?:\$host|\$http_host|\$server_name))?"


@attrs.define
class ServerBlock:
    """The locations of one server. ``expressions`` are those with a regular expression that stands for plain paths. ``placeless``
    directives apply to some of its paths, or to all of them. ``patterns`` are those with another expression, and what to do if no
    route can take the place of one."""

    directive: Directive
    locations: list[Location] = attrs.field(factory=list)
    expressions: list[Location] = attrs.field(factory=list)
    #: closed locations for the directories that an expression is about
    beneath: list[Location] = attrs.field(factory=list)
    questions: list[Location] = attrs.field(factory=list)
    placeless: list[Placeless] = attrs.field(factory=list)
    patterns: list[tuple[Location, Callable[[], None]]] = attrs.field(factory=list)

    def settle_patterns(self, *, none: bool = False) -> None:
        """Keep the patterns that a route takes for the same paths as nginx; with ``none``, keep none of them."""
        before, self.patterns = self.patterns, []
        for location, otherwise in before:
            if none or self._another_order(location):
                otherwise()
            else:
                self.patterns.append((location, otherwise))

    def _another_order(self, location: Location) -> bool:
        """Whether nginx could take ``location`` where a route comes before it, or the other way round.

        nginx tries expressions in their order, before the plain locations that have no ``^~``; a route with an expression comes
        before the route of its directory, and after those below it.
        """
        place = prefix_of(location.route_path)
        for other in (*self.locations, *self.questions):
            if other.exact:
                continue
            below = covers(place, other.route_path) and other.route_path != location.route_path
            if below and _meets(location.expression, other):
                return True
            if other.final and covers(prefix_of(other.route_path), location.route_path):
                return True
        plain = (one.route_path for one in self.expressions)
        if any(covers(place, one) or covers(prefix_of(one), location.route_path) for one in plain):
            return True
        earlier = (one.route_path for one, _ in self.patterns)
        return any(covers(prefix_of(one), location.route_path) and one != location.route_path for one in earlier)

    def settle(self, left: Left) -> None:
        """Put the locations with expressions among the plain ones: each takes the place of those that nginx never takes."""
        self.locations = [one for one in self.locations if not _adds_a_slash(one, self.locations)]
        taken: list[Location] = []
        for one in self.expressions:
            if any(other.path == one.path or (not other.exact and one.path.startswith(other.path)) for other in taken):
                left(one.directive, "an expression before it is for the same paths")
                continue
            taken.append(one)
            if one.exact:
                self._exact(one)
            else:
                self._prefix(one, left)
        for one in self.beneath:
            best = effective(self.locations, one.path)
            same = any(not other.exact and other.route_path == one.route_path for other in self.locations)
            if not same and not (best is not None and best.final):
                self.locations.append(one)

    def _exact(self, one: Location) -> None:
        best = effective(self.locations, one.path)
        same = any(other.exact and other.path == one.path for other in self.locations)
        if not same and not (best is not None and best.final):
            self.locations.append(one)

    def _prefix(self, one: Location, left: Left) -> None:
        best = effective([other for other in self.locations if not self._of_expression(other)], one.path)
        covered = best is not None and best.final
        kept: list[Location] = []
        between = covered or any(other.final and other.path.startswith(one.path) for other in self.locations)
        for other in self.locations:
            below = not other.exact and other.path.startswith(one.path)
            if not below or other.final or self._of_expression(other):
                kept.append(other)
                continue
            left(other.directive, f"nginx takes {one.directive.text} for all of its paths")
            if between and other.path != one.path:
                kept.append(attrs.evolve(one, path=other.path))
        self.locations = kept if covered else [*kept, one]

    def _of_expression(self, one: Location) -> bool:
        return any(one.directive is other.directive for other in self.expressions)


def _meets(expression: str, other: Location) -> bool:
    """Whether nginx could take ``expression`` for a path of the route of ``other``."""
    begun, path = beginning(expression), other.route_path
    if other.final and other.path.endswith("/"):
        return compiled(expression).match(path.encode("ascii")) is not None  # this path is the route's, and not the location's
    return f"{path}/".startswith(begun) or begun.startswith(path)


def _adds_a_slash(one: Location, others: Sequence[Location]) -> bool:
    """Whether an exact location only redirects to the location of the same name with a slash, which has the same route."""
    block = [inner for inner in one.directive.block or () if inner.name != "access_log"]
    if not one.exact or len(block) != 1 or block[0].name != "return" or len(block[0].args) != 2:
        return False
    status, target = block[0].args
    own = re.fullmatch(rf"{_OWN_HOST}(?:{re.escape(one.path)}|\$uri|\$request_uri)/(?:\$is_args\$args)?", target)
    there = any(not other.exact and other.path == f"{one.path}/" for other in others)
    return status in ("301", "302", "303", "307", "308") and own is not None and there

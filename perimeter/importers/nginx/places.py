"""Locations of nginx and routes of the gateway that are not for the same paths, and the routes that are closed for it. Pure.

A location ``/a`` of nginx is also for ``/ab``, and many regular expressions are for unknown paths. A route is for its path and
what is below it, unless it is exact. If the gateway would serve a path with a route that lets in more than nginx does, that route
is closed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs

from perimeter.importers.nginx.expressions import may_match
from perimeter.importers.nginx.location import Location, Standing
from perimeter.importers.nginx.tree import Directive

Left = Callable[[Directive, str], None]


@attrs.frozen
class Placeless:
    """A directive that applies to unknown paths, and why.

    ``files``: it only adds headers or logs to the files of its server. ``hidden``: it is only about names that begin with a dot,
    which no route serves from a directory. ``expression`` is that of its location, with its flags, or "". ``within`` is the
    location that it is nested in, ``under`` the only directory that it is for, or "".
    """

    directive: Directive
    why: str
    files: bool = False
    hidden: bool = False
    expression: str = ""
    flags: int = 0
    within: str = ""
    under: str = ""

    def concerns(self, location: Location) -> bool:
        """Whether it may apply to paths that the route of ``location`` serves, and matters there."""
        if self.expression and location.exact:
            return False  # nginx takes an exact location first
        place = f"{location.route_path.rstrip('/')}/"
        if any(outer.endswith("/") and not place.startswith(outer) for outer in (self.within, self.under)):
            return False
        if self.expression and location.final and not self.within and not self._beside(location):
            return False
        own = bool(location.directive.all("root") or location.directive.all("alias"))
        return location.proxied or not (self.hidden or (self.files and not own))

    def _beside(self, location: Location) -> bool:
        """Whether it matches the one path that belongs to the route, but not to the location."""
        return location.path.endswith("/") and may_match(self.expression, location.route_path, self.flags)


def without_place(found: list[Location], reasons: Sequence[Placeless], patterns: Sequence[Location] = ()) -> None:
    """Close what is open in ``found`` and in ``patterns``, because of directives that are in force at unknown paths."""
    for reason in reasons:
        for location in patterns:
            if location.serves_anyone and reason.concerns(location):
                close(location, reason.directive, reason.why)
        for location in [*found]:
            if not location.serves_anyone:
                continue
            if reason.concerns(location):
                close(location, reason.directive, reason.why)
            elif reason.hidden and not reason.files:
                _close_well_known(location, reason, found)


def _close_well_known(location: Location, reason: Placeless, found: list[Location]) -> None:
    """Close the one directory whose name begins with a dot and that a route for files serves, if ``reason`` is about it too."""
    path = f"{location.route_path.rstrip('/')}/.well-known/"
    there = any(one.route_path == path[:-1] and not one.exact for one in found)
    if not location.proxied and not there and may_match(reason.expression, f"{path}x", reason.flags):
        closed = Standing(((reason.directive, reason.why),))
        found.append(attrs.evolve(location, path=path, exact=False, directive=reason.directive, standing=closed, beside=[]))


def close(location: Location, directive: Directive, why: str) -> None:
    """Close ``location`` to all clients, because of ``directive``."""
    before = location.standing
    location.standing = attrs.evolve(before, closes=(*before.closes, (directive, why)))


def effective(locations: Sequence[Location], path: str) -> Location | None:
    """The prefix location that nginx uses for ``path``."""
    found = [one for one in locations if not one.exact and path.startswith(one.path)]
    return max(found, key=lambda one: len(one.path), default=None)


def around(locations: Sequence[Location], path: str) -> Location | None:
    """The location whose route serves a sibling of ``path`` that begins with the same letters."""
    parent = path.rpartition("/")[0]
    wide = [one for one in locations if not one.exact]
    found = [one for one in wide if one.route_path == "/" or f"{parent}/".startswith(f"{one.route_path}/")]
    return max(found, key=lambda one: len(one.route_path), default=None)


def settled(locations: Sequence[Location], left: Left) -> list[Location]:
    """The locations of one server that become routes, no more open than nginx."""
    before = {id(one): one.standing for one in locations}
    prefixes = _one_a_path([one for one in locations if not one.exact], left)
    found = [*prefixes, *(one for one in locations if one.exact)]
    for one in [*locations]:
        if one.exact or one.path.endswith("/"):
            continue
        outer = around(found, one.path)
        if outer is None or outer is one or not outer.standing.anonymous or outer.standing.covers(before[id(one)]):
            continue
        if outer.proxied:
            example = f"{one.path}.txt"
            close(outer, one.directive, f"it is for paths such as {example} too, a route for {one.path} is not")
        else:
            outer.beside.append(one)
    return found


def _one_a_path(prefixes: Sequence[Location], left: Left) -> list[Location]:
    """One of ``/a`` and ``/a/``, which are the same route: the stricter one."""
    found: dict[str, Location] = {}
    for one in sorted(prefixes, key=lambda one: one.path):
        other = found.setdefault(one.route_path, one)
        if other is one:
            continue
        if one.standing.covers(other.standing):
            found[one.route_path] = one
            left(other.directive, f"it has the same route as {one.directive.text}, which counts")
        else:
            if not other.standing.covers(one.standing):
                close(other, one.directive, "it has the same route, and lets in others")
            left(one.directive, f"it has the same route as {other.directive.text}, which counts")
    return list(found.values())


def beyond(location: Location, others: Sequence[Location], server: Directive) -> None:
    """Close ``location`` if another server with the same name, whose locations are ``others``, is stricter at its path."""
    if location.standing.closes or location.standing.asks:
        return
    found = next((one for one in others if one.exact and location.exact and one.path == location.path), None)
    found = found or effective(others, location.path)
    if found is None:
        close(location, server, "this server has the same name and port, and nothing at that path")
    elif not location.standing.covers(found.standing):
        close(location, found.directive, "this location of a server with the same name and port is stricter")

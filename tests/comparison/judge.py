"""Compares two sets of answers, and reports differences that are not declared. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import attrs

from tests.comparison.requests import Request

Facets = Mapping[str, Any]
"""The parts of an answer by name. A part that is absent is None."""


class OneOf:
    """Equal to each of ``values``."""

    def __init__(self, *values: Any) -> None:
        self.values = values

    def __eq__(self, other: object) -> bool:
        return other in self.values

    def __hash__(self) -> int:
        return hash(self.values)

    def __repr__(self) -> str:
        return " or ".join(map(repr, self.values))


@attrs.frozen
class Difference:
    """A declared difference between the answers of the two.

    It applies to the requests of a ``scene`` whose names match ``requests`` but not ``besides`` (patterns), to ``path`` if set,
    and that both answer with ``status`` if set. In each of their answers, ``facets`` must have these values: facet:
    (Auth-o-tron's, Perimeter's).
    """

    title: str
    why: str
    facets: Mapping[str, tuple[Any, Any]]
    requests: tuple[str, ...] = ("*",)
    besides: tuple[str, ...] = ()
    path: str | None = None
    status: int | None = None
    scene: str = "all"

    def fits(self, request: Request, theirs: Facets, ours: Facets) -> bool:
        """Whether the difference applies to this request."""
        return (
            self.path in (None, request.path.partition("?")[0])
            and (self.status is None or self.status == theirs["status"] == ours["status"])
            and any(fnmatchcase(request.name, one) for one in self.requests)
            and not any(fnmatchcase(request.name, one) for one in self.besides)
        )


def complaints(
    requests: Sequence[Request], theirs: Mapping[str, Facets], ours: Mapping[str, Facets], declared: Sequence[Difference]
) -> list[str]:
    """Differences that are not declared, and declared ones that do not exist. Answers are keyed by the names of the requests."""
    found: list[str] = []
    used: set[int] = set()
    for request in requests:
        left, right = theirs[request.name], ours[request.name]
        titles: dict[str, str] = {}
        for number, one in enumerate(declared):
            if not one.fits(request, left, right):
                continue
            used.add(number)
            for facet, pair in one.facets.items():
                seen = (left.get(facet), right.get(facet))
                if facet in titles:
                    found.append(f"{request.name}: {facet} is declared twice: {titles[facet]!r}, {one.title!r}")
                elif pair != seen:
                    found.append(f"{request.name}: {facet}: {one.title!r} says {pair!r}, seen {seen!r}")
                titles[facet] = one.title
        # after different statuses nothing else is comparable
        both = left["status"] == right["status"]
        for facet in sorted(left.keys() | right.keys()) if both else ["status"]:
            if facet not in titles and left.get(facet) != right.get(facet):
                found.append(f"{request.name}: {facet}: Auth-o-tron {left.get(facet)!r}, Perimeter {right.get(facet)!r}")
    found += [f"{one.title!r} applies to no request" for number, one in enumerate(declared) if number not in used]
    return found

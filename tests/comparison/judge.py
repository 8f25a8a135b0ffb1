"""Compares two sets of answers by the differences that are declared. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import attrs

from tests.comparison.requests import Request

Facets = Mapping[str, Any]
"""What an answer says, part by part. A part that is absent is None."""


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
    """Where the two answer otherwise.

    It is about the requests of a ``scene`` whose names fit ``requests`` and not ``besides`` (patterns), to ``path`` where there
    is one, and which both answer with ``status`` where there is one. In each of them ``facets`` have to be as told: facet:
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
        """Whether it is about this request."""
        return (
            self.path in (None, request.path.partition("?")[0])
            and (self.status is None or self.status == theirs["status"] == ours["status"])
            and any(fnmatchcase(request.name, one) for one in self.requests)
            and not any(fnmatchcase(request.name, one) for one in self.besides)
        )


def complaints(
    requests: Sequence[Request], theirs: Mapping[str, Facets], ours: Mapping[str, Facets], declared: Sequence[Difference]
) -> list[str]:
    """What is different and not declared, and what is declared and not different. Answers go by the names of the requests."""
    found: list[str] = []
    used: set[int] = set()
    for request in requests:
        left, right = theirs[request.name], ours[request.name]
        told: dict[str, str] = {}
        for number, one in enumerate(declared):
            if not one.fits(request, left, right):
                continue
            used.add(number)
            for facet, pair in one.facets.items():
                seen = (left.get(facet), right.get(facet))
                if facet in told:
                    found.append(f"{request.name}: {facet} is declared twice: {told[facet]!r}, {one.title!r}")
                elif pair != seen:
                    found.append(f"{request.name}: {facet}: {one.title!r} says {pair!r}, seen {seen!r}")
                told[facet] = one.title
        # of a welcome and a refusal nothing else can be the same
        both = left["status"] == right["status"]
        for facet in sorted(left.keys() | right.keys()) if both else ["status"]:
            if facet not in told and left.get(facet) != right.get(facet):
                found.append(f"{request.name}: {facet}: Auth-o-tron {left.get(facet)!r}, Perimeter {right.get(facet)!r}")
    found += [f"{one.title!r} is about no request" for number, one in enumerate(declared) if number not in used]
    return found

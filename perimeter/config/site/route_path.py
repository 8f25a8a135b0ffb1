"""The path of a route: a path with all below it, one path alone, or a regular expression. Pure."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path

import attrs

from perimeter.config.language.datatypes import BadValue, Datatype, closest
from perimeter.config.language.expressions import Expression, compiled
from perimeter.config.language.net_types import URL_PATH
from perimeter.config.site.route_matching import covers, prefix_of


class PathKind(StrEnum):
    """How a path is compared."""

    PREFIX = "prefix"
    EXACT = "exact"
    REGEX = "regex"


@attrs.frozen
class RoutePath:
    """``text`` is a path, or a regular expression that begins with ``^/`` and ``expression`` is compiled from.

    ``place`` is the directory that contains all paths of the route, without a slash at its end: the path itself for a prefix.
    """

    kind: PathKind
    text: str
    expression: Expression | None = attrs.field(default=None, eq=False, repr=False)
    place: str = attrs.field(init=False)

    @place.default
    def _place(self) -> str:
        if self.kind is PathKind.PREFIX:
            return prefix_of(self.text)
        return beginning(self.text).rpartition("/")[0] if self.kind is PathKind.REGEX else self.text.rpartition("/")[0]

    def matches(self, path: str) -> bool:
        """Whether a normalised path is one of the route's."""
        if self.kind is PathKind.EXACT:
            return path == self.text
        if self.expression is not None:
            return covers(self.place, path) and self.expression.match(path.encode("latin-1")) is not None
        return covers(self.place, path)

    def __str__(self) -> str:
        return self.text if self.kind is PathKind.PREFIX else f"{self.kind}:{self.text}"


def plain(text: str) -> RoutePath:
    """The path ``text`` with all paths below it."""
    return RoutePath(PathKind.PREFIX, text)


#: The beginning of an expression that every match begins with, as far as it is written in plain characters.
_BEGINNING = re.compile(r"\^((?:[A-Za-z0-9/_~-]|\\[^A-Za-z0-9])*)")
_CLASSES = re.compile(r"\\.|\[\^?\]?(?:\[:\^?[a-z]+:\]|\\.|[^\]\\])*\]")
_INNERMOST = re.compile(r"\([^()]*\)")
_ANCHORED = re.compile(r"(?:\(\?[a-z]+\))?\^(?:/|\.[*+]|\()")


def alternatives(expression: str) -> bool:
    """Whether an ``expression`` has alternatives outside of its groups, or could have: ``^/a|^/b``."""
    outside, before = _CLASSES.sub("", expression), None
    while outside != before:
        outside, before = _INNERMOST.sub("", outside), outside
    return "|" in outside or "\\Q" in expression


def beginning(expression: str) -> str:
    """What every path begins with that ``expression`` matches. It may be less than there is."""
    match = _BEGINNING.match(expression)
    if match is None or alternatives(expression):
        return ""
    repeated = expression[match.end() : match.end() + 1] in ("?", "*", "+", "{")
    found = re.sub(r"\\(.)", r"\1", match[1])
    return found[:-1] if repeated else found


def _convert(text: str, base: Path) -> RoutePath:
    word, colon, rest = text.partition(":")
    if word not in tuple(PathKind):
        near = closest(word, tuple(PathKind)) if colon and not word.startswith("/") else ""
        if near:
            raise BadValue("expected a path, or exact:, prefix: or regex: before it", f"{near}:{rest}")
        return plain(URL_PATH.convert(text, base))
    kind, rest = PathKind(word), rest.strip()
    if kind is PathKind.PREFIX:
        return plain(URL_PATH.convert(rest, base))
    if kind is PathKind.EXACT:
        URL_PATH.convert(rest[:-1] if rest.endswith("/") and not rest.endswith("//") and rest != "/" else rest, base)
        return RoutePath(kind, rest)
    if not _ANCHORED.match(rest):
        raise BadValue("expected a regular expression that begins with ^/ or ^.*")
    return RoutePath(kind, rest, compiled(rest))


ROUTE_PATH: Datatype[RoutePath] = Datatype("URL path", _convert, plain("/"))

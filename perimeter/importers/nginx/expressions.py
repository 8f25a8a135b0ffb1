"""Regular expressions of locations and of server names, as far as they stand for plain paths and names. Pure.

The importer does not guess the paths of other expressions: it closes every route that they may restrict.
"""

from __future__ import annotations

import re
from itertools import product

MOST = 20
"""Paths or names that one expression may stand for."""

_LITERAL = r"(?:\\[./_~-]|[A-Za-z0-9_/~-])"
_PIECE = re.compile(
    rf"(?P<literal>{_LITERAL})(?![?*+{{])|\((?:\?:|\?P?<[A-Za-z0-9_]+>)?(?P<group>{_LITERAL}+(?:\|{_LITERAL}+)*)\)(?P<maybe>\??)(?![*+{{])"
)
_ANY_LABELS = re.compile(r"\^(?:\.\+|\((?:\?P?<[A-Za-z0-9_]+>)?\.\+\))\\\.")
_HIDDEN = re.compile(r"(?:/|\(\^\|/\)|\(\?:\^\|/\))\\\.")
_WELL_KNOWN = re.compile(r"/\\?\.well-known(?:/acme-challenge)?/?")
_BELOW = ("", ".*", ".*$", "(.*)", "(.*)$")
_DIRECTORY = ("(/|$)", "(?:/|$)", "(/.*)?$", "(?:/.*)?$")


def plain_paths(expression: str) -> tuple[tuple[str, bool], ...]:
    """The paths that a case-sensitive ``expression`` stands for, each with whether it is for that path alone; otherwise for all
    paths that begin with it. Empty if it stands for others, too."""
    if not expression.startswith("^/"):
        return ()
    found, rest = _expanded(expression[1:])
    if rest in _BELOW:
        return tuple((one, False) for one in found)
    if rest in _DIRECTORY:
        return tuple((f"{one.rstrip('/')}/", False) for one in found)
    return tuple((one, True) for one in found) if rest in ("$", "/?$") else ()


def directory(expression: str) -> str:
    """The directory that contains all paths that a case-sensitive ``expression`` matches, with a slash at its end; or ""."""
    found, rest = _expanded(expression[1:]) if expression.startswith("^/") else ((), "|")
    below = found[0].rpartition("/")[0] if len(found) == 1 and "|" not in rest else ""
    return f"{below}/" if below else ""


def hidden(expression: str) -> bool:
    """Whether every path that ``expression`` matches has a part that begins with a dot. A route for files does not serve
    them, except ``/.well-known``."""
    return _HIDDEN.match(expression) is not None and "|" not in re.sub(r"\([^()]*\)", "", expression)


def well_known(expression: str) -> bool:
    """Whether ``expression`` is about ``/.well-known`` (RFC 8615)."""
    return _WELL_KNOWN.fullmatch(expression.removeprefix("^").removesuffix(".*")) is not None


def may_match(expression: str, path: str, flags: int = 0) -> bool:
    """Whether ``expression`` matches ``path``; true if that is not known."""
    try:
        return re.search(expression, path, flags) is not None
    except (re.error, RecursionError):
        return True


def host_names(expression: str) -> tuple[str, ...]:
    """The names, and wildcards such as ``**.example.com``, that an ``expression`` of ``server_name`` stands for, or none."""
    if not expression.startswith("^") or not expression.endswith("$"):
        return ()
    labels = _ANY_LABELS.match(expression)
    found, rest = _expanded(expression[labels.end() if labels else 1 : -1])
    return () if rest else tuple(f"{'**.' if labels else ''}{one.lower()}" for one in found)


def unescaped(expression: str) -> str | None:
    """The text that ``expression`` stands for; None if that is not one text."""
    found, rest = _expanded(expression)
    return found[0] if len(found) == 1 and not rest else None


def _expanded(expression: str) -> tuple[tuple[str, ...], str]:
    """The texts that the beginning of ``expression`` stands for, and its rest."""
    at, parts = 0, []
    while match := _PIECE.match(expression, at):
        at = match.end()
        alternatives = [match["literal"]] if match["literal"] else match["group"].split("|")
        parts.append([one.replace("\\", "") for one in (*alternatives, *([""] if match["maybe"] else []))])
        if _count(parts) > MOST:
            return (), expression
    return tuple(map("".join, product(*parts))), expression[at:]


def _count(parts: list[list[str]]) -> int:
    count = 1
    for part in parts:
        count *= len(part)
    return count

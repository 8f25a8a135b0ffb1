"""``return`` of nginx in a location: a redirect, or a fixed response. Pure.

nginx carries out ``return`` before it looks at who may come, so such a location answers every client.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from perimeter.config.language.datatypes import BadValue
from perimeter.config.language.expressions import compiled
from perimeter.config.site.route_target import MEDIA_TYPE, REDIRECT, RESPONSE
from perimeter.importers.draft import literal, unfit
from perimeter.importers.nginx.location import Location, known
from perimeter.importers.nginx.tree import Directive

_EARLIER = frozenset(("return", "rewrite", "if", "break", "set", "internal"))
"""What nginx may carry out before a ``return`` that follows, or that decides whether it is reached."""

_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_THIS_HOST = re.compile(r"\$scheme://\$(?:host|http_host|server_name)(?=[/$])")
_PARTS: Final[Mapping[str, str]] = {
    "request_uri": "%{uri}",
    "uri": "%{path}",
    "host": "%{host}",
    "args": "",
    "is_args": "%{query}",
}


def answer(location: Location) -> tuple[Directive, dict[str, str]] | None:
    """The ``return`` of a location, and the options of a route that answers in the same way; None if there is none."""
    block = location.directive.block or []
    found = [one for one in block if one.name in _EARLIER]
    if len(found) != 1 or found[0].name != "return" or any(one.name in _EARLIER for one in location.inherited):
        return None
    if any(not known(one) and one is not found[0] for one in (*block, *location.inherited)):
        return None
    options = _redirect(location, found[0].args) or _response(location, found[0].args)
    if options is None or any(unfit(value) for value in options.values()):
        return None
    return found[0], options


def _redirect(location: Location, args: tuple[str, ...]) -> dict[str, str] | None:
    status, url = args if len(args) == 2 else ("302", args[0] if args else "")
    groups = compiled(location.expression).groups if location.expression else 0

    def part(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name.isdigit():
            return f"${name}" if 0 < int(name) <= groups else "$"
        return _PARTS.get(name, "$")

    if "%" in url or "$args" in url.replace("$is_args$args", ""):
        return None
    written = f"{status} {_VARIABLE.sub(part, _THIS_HOST.sub('', url))}"
    try:
        REDIRECT.convert(written, Path())
    except BadValue:
        return None
    return {"redirect": written}


def _response(location: Location, args: tuple[str, ...]) -> dict[str, str] | None:
    status, text = (*args, "", "")[:2]
    if len(args) not in (1, 2) or "$" in text or text != text.strip() or literal(text):
        return None
    written = f"{status} {text}".strip()
    try:
        RESPONSE.convert(written, Path())
        kind = location.word("default_type") or "text/plain"
        MEDIA_TYPE.convert(kind, Path())
    except BadValue:
        return None
    return {"respond": written} | ({"respond_type": kind} if text and kind != "text/plain" else {})

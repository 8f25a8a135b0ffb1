"""The origins of other sites whose pages may send requests to a route: ``cross_site``."""

from __future__ import annotations

import re
from pathlib import Path

from perimeter.config.language.datatypes import BadValue, Datatype, list_of

ANY_SITE = "allow"
"""The word of ``cross_site`` for all origins."""

_ORIGIN = re.compile(r"([a-z][a-z0-9+.\-]*)://(?:\[[0-9a-f:.]+\]|[a-z0-9._\-]+)(?::[0-9]{1,5})?")
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def origin(text: str, expected: str) -> str:
    """``text`` as browsers write an origin (RFC 6454, section 6.2). Raises `BadValue`; ``expected`` is what is expected."""
    match = _ORIGIN.match(text.lower())
    if match is None:
        raise BadValue(f"expected {expected}", ANY_SITE if text == "*" else "")
    if match.end() != len(text):
        raise BadValue("expected an origin, without a path", match[0])
    return match[0].removesuffix(_DEFAULT_PORTS.get(match[1], "\0"))


def _site(text: str, base: Path) -> str:
    """``refuse``, ``allow``, or an origin."""
    if text in ("refuse", ANY_SITE):
        return text
    return origin(text, "refuse, allow or an origin such as https://app.example.com")


def _sites(sites: tuple[str, ...]) -> tuple[str, ...]:
    """The other origins that are allowed; ``("allow",)`` for all."""
    if len(sites) > 1 and ("refuse" in sites or ANY_SITE in sites):
        raise BadValue("refuse and allow cannot be combined with other values")
    return () if sites == ("refuse",) else sites


ORIGINS: Datatype[tuple[str, ...]] = list_of(
    Datatype("refuse \\| allow \\| origin", _site, ""), label="refuse \\| allow \\| list of origins", whole=_sites
)

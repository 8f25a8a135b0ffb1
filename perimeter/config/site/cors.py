"""Values of the options about cross-origin resource sharing: ``cors`` and ``cors_…`` of a route."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from perimeter.config.language.datatypes import BadValue, Datatype, list_of
from perimeter.config.site.origins import origin

PASS: Final = "pass"  # noqa: S105  # a word
"""The word of ``cors`` for preflights that go to the service."""

ANY_PAGE: Final = "*"
"""The word of ``cors`` for pages of all sites."""

_METHOD = re.compile(r"[A-Z][A-Z0-9-]*")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_FORBIDDEN = frozenset(("CONNECT", "TRACE", "TRACK"))


def _page(text: str, base: Path) -> str:
    if text in (PASS, ANY_PAGE):
        return text
    if text == "null":
        raise BadValue("expected the origin of a site: each sandboxed page has the origin null")
    return origin(text, "pass, * or an origin such as https://app.example.com")


def _pages(pages: tuple[str, ...]) -> tuple[str, ...]:
    if len(pages) > 1 and (PASS in pages or ANY_PAGE in pages):
        raise BadValue("pass and * cannot be combined with other values")
    if len(set(pages)) != len(pages):
        raise BadValue("the same origin is listed twice")
    return pages


def _method(text: str, base: Path) -> str:
    if not _METHOD.fullmatch(text):
        raise BadValue("expected a method in capitals", text.upper() if _METHOD.fullmatch(text.upper()) else "")
    if text in _FORBIDDEN:
        raise BadValue("expected a method that pages may send")
    return text


def _header(text: str, base: Path) -> str:
    if text == ANY_PAGE:
        raise BadValue("expected the names of headers: * would not include Authorization")
    if not _HEADER.fullmatch(text):
        raise BadValue("expected the name of a header")
    return text


PAGES: Datatype[tuple[str, ...]] = list_of(
    Datatype("pass \\| \\* \\| origin", _page, ""), label="pass \\| \\* \\| list of origins", whole=_pages
)
METHODS: Datatype[tuple[str, ...]] = list_of(Datatype("method", _method, ""))
HEADERS: Datatype[tuple[str, ...]] = list_of(Datatype("header name", _header, ""))

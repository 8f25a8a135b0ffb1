"""The options of a route about the compression of responses."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path

import attrs

from perimeter.config.language.datatypes import SIZE, BadValue, Datatype, list_of, one_of
from perimeter.config.language.option import option
from perimeter.config.language.section import Section
from perimeter.config.language.settings import Settings


class Coding(StrEnum):
    """A content coding (RFC 9110, section 8.4.1), by the name that HTTP has for it."""

    GZIP = "gzip"
    BROTLI = "br"
    ZSTD = "zstd"


_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]+/(?:[a-z0-9!#$&^_.+-]+|\*(?:\+[a-z0-9.-]+)?)")


def _media_type(text: str, base: Path) -> str:
    low = text.lower()
    if not _TYPE.fullmatch(low):
        raise BadValue("expected a media type such as text/html, text/* or application/*+json, without parameters")
    return low


MEDIA_TYPE: Datatype[str] = Datatype("media type", _media_type, "")
"""A media type in lower case; ``*`` stands for any subtype, and ``*+json`` for any with this suffix."""

TEXT_TYPES = (
    "text/html, text/plain, text/css, text/csv, text/xml, text/javascript, application/javascript, application/json, "
    "application/*+json, application/xml, application/*+xml, application/wasm, image/svg+xml"
)
"""What is compressed by default: text, and what is like it."""


def _codings(codings: tuple[Coding, ...]) -> tuple[Coding, ...]:
    if len(set(codings)) != len(codings):
        raise BadValue("the same word is given twice")
    return codings


@attrs.frozen(kw_only=True, slots=False)
class RouteCompression(Settings):
    """The options about compression. ``compression_min`` is in bytes."""

    compression: tuple[Coding, ...] = option(
        list_of(one_of(Coding), whole=_codings),
        "with `upstream`: codings with which the gateway compresses responses that the service sends plain; if a client likes "
        "several equally, the first. Not compressed is what may carry a secret beside text of an attacker: private responses, "
        "those with cookies, and those that a page of another site asks for. `br` and `zstd` need "
        "`perimeter-gateway[compression]`. Not set: none",
        default="",
    )
    compression_types: tuple[str, ...] = option(
        list_of(MEDIA_TYPE), "with `compression`: media types that are compressed", default=TEXT_TYPES
    )
    compression_min: int = option(SIZE, "with `compression`: smallest response that is compressed", default="1KiB")

    @property
    def compressed(self) -> tuple[object, ...]:
        """What tells kinds of compression apart; () for none."""
        return (self.compression, self.compression_types, self.compression_min) if self.compression else ()

    def check_compression(self, section: Section) -> None:
        """Report what has no effect."""
        if not self.compression:
            its = attrs.fields(RouteCompression)
            section.refuse((its.compression_types, its.compression_min), "is only allowed with compression")

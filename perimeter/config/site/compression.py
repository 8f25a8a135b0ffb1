"""Values of options of ``[route NAME]`` about the compression of responses."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path

from perimeter.config.language.datatypes import BadValue, Datatype


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

"""Files that pages load: style sheets, scripts, pictures. Each has a name that changes with its content, and is kept in memory.

So browsers and proxies may keep them for a year, and a new release or another logo is seen at once. They are public, and have no
data of users. Pure, apart from reading the site's logo.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from xml.etree.ElementTree import ParseError

import attrs
from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from perimeter.descriptors import system_reason
from perimeter.errors import StartupError

MAX_LOGO: Final = 256 * 1024
"""Bytes of the largest logo."""

_PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_SVG_ROOT: Final = "{http://www.w3.org/2000/svg}svg"
_TYPES: Final = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "png": "image/png",
    "woff2": "font/woff2",
}


@attrs.frozen
class Asset:
    """One file: ``name`` with the hash of its content (``style.0123456789abcdef.css``), media type, and content."""

    name: str
    content_type: str
    content: bytes = attrs.field(repr=False)


def asset_of(name: str, content: bytes) -> Asset:
    """The asset for a file called ``name``, in any directory. Raises KeyError if its kind is not served."""
    stem, _, extension = name.rpartition("/")[2].rpartition(".")
    digest = hashlib.sha256(content).hexdigest()[:16]
    return Asset(f"{stem}.{digest}.{extension}", _TYPES[extension], content)


def assets_of(files: Mapping[str, bytes]) -> dict[str, Asset]:
    """Those of ``files`` that are served, by their paths: no licences and notes."""
    return {path: asset_of(path, content) for path, content in files.items() if path.rpartition(".")[2] in _TYPES}


def read_logo(path: Path) -> Asset:
    """The site's logo. Blocks. Raises `StartupError` if it is not an SVG or PNG picture, or too large."""
    try:
        with path.open("rb") as opened:
            content = opened.read(MAX_LOGO + 1)
    except OSError as error:
        raise StartupError(f"{path}: {system_reason(error)}") from error
    if len(content) > MAX_LOGO:
        raise StartupError(f"{path} is larger than {MAX_LOGO // 1024} KiB")
    if content.startswith(_PNG_SIGNATURE):
        return asset_of("logo.png", content)
    try:
        root = fromstring(content).tag
    except (ParseError, DefusedXmlException, ValueError, LookupError):
        root = ""
    if root != _SVG_ROOT:
        raise StartupError(f"{path} is not an SVG or PNG picture")
    return asset_of("logo.svg", content)

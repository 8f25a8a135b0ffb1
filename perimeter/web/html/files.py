"""The templates and assets that are installed with the gateway. They are read once, when this module is imported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final


def _below(directory: Traversable, path: str = "") -> Iterator[tuple[str, bytes]]:
    """The files in a directory and below it, with their paths relative to the first one."""
    for one in sorted(directory.iterdir(), key=lambda found: found.name):
        if one.is_dir():
            yield from _below(one, f"{path}{one.name}/")
        else:
            yield f"{path}{one.name}", one.read_bytes()


_HERE = files("perimeter.web")

TEMPLATES: Final[Mapping[str, str]] = {
    name: content.decode("utf-8") for name, content in _below(_HERE.joinpath("templates")) if name.endswith(".html")
}
"""Name (``login.html``) to source."""

ASSETS: Final[Mapping[str, bytes]] = dict(_below(_HERE.joinpath("assets")))
"""Path below the directory of assets (``style.css``, ``vendor/…``) to content."""

"""The operator's error pages (``[errors]``), and the pages of routes that are closed for maintenance."""

from __future__ import annotations

from pathlib import Path

from perimeter.config.site.config import SiteConfig
from perimeter.config.site.errors import ErrorPage
from perimeter.config.site.route_requests import in_order
from perimeter.descriptors import system_reason
from perimeter.errors import Page, StartupError
from perimeter.targets.media_types import content_type

_MAX_PAGE = 1024 * 1024


def error_pages(config: SiteConfig) -> dict[int, Page]:
    """The operator's error pages by status. Blocks. Raises `StartupError` if one cannot be read."""
    return {status: _page(page, config) for page in config.error_pages for status in page.statuses}


def maintenance_pages(config: SiteConfig) -> dict[Path, Page]:
    """The pages of routes that are closed, by their file. Blocks. Raises `StartupError` if one cannot be read."""
    files = {route.maintenance_page for route in config.routes if route.maintenance}
    return {file: read_page(file, "maintenance_page") for file in files if file is not None}


def _page(page: ErrorPage, config: SiteConfig) -> Page:
    """The operator's page at a path of this gateway, read now. Raises `StartupError` if it cannot be read."""
    path = page.path
    found: tuple[str, Path] | None = None
    for _, route in in_order(config.routes):
        if found is None and route.path.matches(path) and route.static is not None and not route.conditional:
            found = (route.path.place, route.static)
    if found is None:
        raise StartupError(f"{config.file}: [errors] page: no static route serves {path}")
    prefix, root = found
    file = root / path[len(prefix) :].lstrip("/")
    try:
        if not file.resolve().is_relative_to(root.resolve()):
            raise StartupError(f"{config.file}: [errors] page: {path} is outside of {root}")
    except OSError as problem:
        raise StartupError(f"{config.file}: [errors] page: {file}: {system_reason(problem)}") from problem
    return read_page(file, f"{config.file}: [errors] page")


def read_page(file: Path, place: str) -> Page:
    """The page in ``file``. Blocks. Raises `StartupError`, which begins with ``place``."""
    try:
        with file.open("rb") as opened:
            body = opened.read(_MAX_PAGE + 1)
    except OSError as problem:
        raise StartupError(f"{place}: {file}: {system_reason(problem)}") from problem
    if len(body) > _MAX_PAGE:
        raise StartupError(f"{place}: {file} is larger than {_MAX_PAGE} bytes")
    return Page(b"Content-Type: %b\r\nCache-Control: no-store\r\n" % content_type(file.name).encode("ascii"), body)

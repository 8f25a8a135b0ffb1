"""The gateway's own responses: their headers, and their pages, built-in or the operator's."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

from perimeter.config.site.config import SiteConfig
from perimeter.config.site.errors import ErrorPage
from perimeter.config.site.listener import ListenerSettings, Serve
from perimeter.config.site.route_matching import covers, prefix_of
from perimeter.descriptors import system_reason
from perimeter.errors import SignIn, StartupError
from perimeter.http.answers import Answers, Page
from perimeter.http.request_ids import PLACE
from perimeter.targets.static import content_type
from perimeter.web.html.errors import error_page, sign_in_page

_MAX_PAGE = 1024 * 1024


def gateway_answers(
    config: SiteConfig, pages: Mapping[int, Page], clock: Callable[[], float], challenges: tuple[tuple[str, str], ...]
) -> Answers:
    """The gateway's own responses. ``pages`` are the operator's, by status (`error_pages`)."""
    auth_uri = config.perimeter.announce or _live_endpoints(config.listeners)
    ids = config.perimeter.request_ids
    page = partial(_built_in_page, PLACE.decode("ascii") if ids else "")
    return Answers(config.perimeter.realm, auth_uri, page, pages, clock, challenges, ids)


def _built_in_page(request_id: str, status: int, phrase: str, sign_in: SignIn | None) -> Page:
    page = error_page(status, phrase, request_id) if sign_in is None else sign_in_page(status, phrase, sign_in, request_id)
    return Page(b"Cache-Control: no-store\r\n" + b"".join(b"%b: %b\r\n" % field for field in page.fields), page.body)


def error_pages(config: SiteConfig) -> dict[int, Page]:
    """The operator's error pages by status. Blocks. Raises `StartupError` if one cannot be read."""
    return {status: _page(page, config) for page in config.error_pages for status in page.statuses}


def _live_endpoints(listeners: Iterable[ListenerSettings]) -> tuple[str, ...]:
    """URLs of the token endpoint: only those with TLS if there are any, since clients pick one of the list at random."""
    serving = [listener for listener in listeners if listener.serve in (Serve.GATEWAY, Serve.TOKENS)]
    chosen = [listener for listener in serving if listener.tls] or serving
    return tuple(f"{'https' if listener.tls else 'http'}://{_public_name(listener)}:{listener.port}/token" for listener in chosen)


def _public_name(listener: ListenerSettings) -> str:
    interface = listener.interface
    if interface in ("", "0.0.0.0", "::"):  # noqa: S104  # compared with, not bound to
        return socket.gethostname()
    return f"[{interface}]" if ":" in interface else interface


def _page(page: ErrorPage, config: SiteConfig) -> Page:
    """The operator's page at a path of this gateway, read now. Raises `StartupError` if it cannot be read."""
    path = page.path
    found: tuple[str, Path] | None = None
    for route in config.routes:
        prefix = prefix_of(route.path)
        if covers(prefix, path) and route.static is not None and (found is None or len(prefix) > len(found[0])):
            found = (prefix, route.static)
    if found is None:
        raise StartupError(f"{config.file}: [errors] page: no static route serves {path}")
    prefix, root = found
    file = root / path[len(prefix) :].lstrip("/")
    try:
        if not file.resolve().is_relative_to(root.resolve()):
            raise StartupError(f"{config.file}: [errors] page: {path} is outside of {root}")
        with file.open("rb") as opened:
            body = opened.read(_MAX_PAGE + 1)
    except OSError as problem:
        raise StartupError(f"{config.file}: [errors] page: {file}: {system_reason(problem)}") from problem
    if len(body) > _MAX_PAGE:
        raise StartupError(f"{config.file}: [errors] page: {file} is larger than {_MAX_PAGE} bytes")
    return Page(b"Content-Type: %b\r\nCache-Control: no-store\r\n" % content_type(file.name).encode("ascii"), body)

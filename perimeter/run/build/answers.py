"""The gateway's own responses: their headers, and their pages, built-in or the operator's."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from perimeter.config.site.config import SiteConfig
from perimeter.config.site.listener import ListenerSettings, Serve
from perimeter.errors import Page, SignIn
from perimeter.http.answers import Answers
from perimeter.http.request_ids import PLACE
from perimeter.web.html.errors import error_page, sign_in_page


def gateway_answers(
    config: SiteConfig, pages: Mapping[int, Page], clock: Callable[[], float], challenges: tuple[tuple[str, str], ...]
) -> Answers:
    """The gateway's own responses. ``pages`` are the operator's, by status (`perimeter.run.build.error_pages`)."""
    auth_uri = config.perimeter.announce or _live_endpoints(config.listeners)
    ids = config.perimeter.request_ids
    page = partial(_built_in_page, PLACE.decode("ascii") if ids else "")
    return Answers(config.perimeter.realm, auth_uri, page, pages, clock, challenges, ids)


def _built_in_page(request_id: str, status: int, phrase: str, sign_in: SignIn | None) -> Page:
    page = error_page(status, phrase, request_id) if sign_in is None else sign_in_page(status, phrase, sign_in, request_id)
    return Page(b"Cache-Control: no-store\r\n" + b"".join(b"%b: %b\r\n" % field for field in page.fields), page.body)


def _live_endpoints(listeners: Iterable[ListenerSettings]) -> tuple[str, ...]:
    """URLs of the token endpoint: only those with TLS if there are any, since clients pick one of the list at random."""
    serving = [listener for listener in listeners if listener.serve in (Serve.GATEWAY, Serve.TOKENS) and not listener.socket_path]
    chosen = [listener for listener in serving if listener.tls] or serving
    return tuple(f"{'https' if listener.tls else 'http'}://{_public_name(listener)}:{listener.port}/token" for listener in chosen)


def _public_name(listener: ListenerSettings) -> str:
    interface = listener.interface
    if interface in ("", "0.0.0.0", "::"):  # noqa: S104  # compared with, not bound to
        return socket.gethostname()
    return f"[{interface}]" if ":" in interface else interface

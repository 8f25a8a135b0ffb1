"""Users of plain HTTP get a page with a link to the same page over https: no password and no cookie may come without TLS."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from perimeter.web.endpoints.page import PageEndpoint, name_and_port
from perimeter.web.request import exchange_of


def needs_https(page: PageEndpoint, request: Any, to: str, https_port: int) -> bytes:
    """A page that says why people cannot sign in over this connection, and where they can: at ``page`` on ``https_port``, if that
    is not 0, and then at the path ``to``."""
    link = ""
    if https_port:
        name, _ = name_and_port(exchange_of(request).head.host)
        port = "" if https_port == 443 else f":{https_port}"
        link = f"https://{name}{port}{page.path}?to={quote(to, safe='')}"
    return page.render_page(
        request,
        "message.html",
        403,
        heading="Sign in over https",
        text="This connection is not encrypted: others could read your password. Use the address that begins with https.",
        link=link,
        label="Go to the encrypted site",
    )

"""``/go`` below the prefix of the pages: leads a browser on, after the sign-in, to the path where it wanted to go.

Chromium applies the policy ``form-action`` to every redirect that follows a form, and a service may well redirect to another
site. This page is not a redirect, so it ends the chain. If the user reloads it, the form is not sent again.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

from perimeter.gate.access import ANYBODY
from perimeter.gate.return_path import safe_path
from perimeter.web.endpoints.endpoint import reading
from perimeter.web.endpoints.page import PageEndpoint, Pages, query_fields
from perimeter.web.request import exchange_of

FOREIGN: Final = (b"cross-site", b"same-site")
"""What Sec-Fetch-Site says of a request of another site."""


class Go(PageEndpoint):
    """Leads to the path in ``to`` at once: by script with the fragment of its own URL, otherwise by a refresh."""

    by_workers = True

    def __init__(self, pages: Pages) -> None:
        super().__init__("/go", reading(ANYBODY), pages)

    def render_GET(self, request: Any) -> bytes:
        """The page; it says so if the browser has not kept the session's cookie, which would lead back to the sign-in page.

        If a page of another site opens this page, it only has a link and does not redirect: the next page must not look as if
        this host had chosen it.
        """
        to = self.pages.landing(safe_path(query_fields(request).get("to", "")))
        if self.session_of(request) is None:
            return self.render_page(
                request,
                "message.html",
                heading="You are not signed in",
                text="Your browser has not sent the cookie of this site. Allow cookies for this site, then sign in again.",
                link=f"{self.pages.prefix}/login?to={quote(to, safe='')}",
                label="Sign in",
            )
        foreign = exchange_of(request).head.headers.get(b"sec-fetch-site") in FOREIGN
        body = self.render_page(request, "go.html", location=to, onwards=not foreign)
        request.setHeader(b"Referrer-Policy", b"no-referrer")  # services do not need the URL of this page, and it has no form
        return body

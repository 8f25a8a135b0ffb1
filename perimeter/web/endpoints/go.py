"""``/go`` below the prefix of the pages: leads a browser on, after the sign-in, to the path where it wanted to go.

Chromium applies the policy ``form-action`` to every redirect that follows a form, and a service may well redirect to another
site. This page, which is no redirect, ends the chain; to reload it repeats nothing.
"""

from __future__ import annotations

import re
from typing import Any, Final

from perimeter.gate.access import ANYBODY
from perimeter.gate.return_path import safe_path
from perimeter.web.endpoints.endpoint import reading
from perimeter.web.endpoints.page import PageEndpoint, Pages, query_fields
from perimeter.web.request import exchange_of

_FRAGMENT: Final = re.compile(r"#[\x21-\x7e]{1,2000}")
_FOREIGN: Final = (b"cross-site", b"same-site")


class Go(PageEndpoint):
    """Refreshes to the path in ``to``, with the fragment in ``fragment``, at once."""

    def __init__(self, pages: Pages) -> None:
        super().__init__("/go", reading(ANYBODY), pages)

    def render_GET(self, request: Any) -> bytes:
        """The page; it says so if the browser has not kept the session's cookie, which would lead back to the sign-in page.

        A page of another site that opens this one gets a link instead of the refresh, which would hide where the user came from.
        """
        fields = query_fields(request)
        to = safe_path(fields.get("to", ""))
        location = to + safe_fragment(fields.get("fragment", ""))
        if self.session_of(request) is None:
            return self.render_page(
                request,
                "message.html",
                heading="You are not signed in",
                text="Your browser has sent no cookie for this site. Allow its cookies, then sign in again.",
                link=f"{self.pages.prefix}/login",
                label="Sign in",
            )
        foreign = exchange_of(request).head.headers.get(b"sec-fetch-site") in _FOREIGN
        return self.render_page(request, "go.html", location=location, refresh=not foreign)


def safe_fragment(text: str) -> str:
    """``text``, if it is the fragment of a URL as browsers write it, with its ``#``; else ""."""
    return text if _FRAGMENT.fullmatch(text) else ""

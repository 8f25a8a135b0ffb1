"""The pages for errors: without scripts and other files, with the same look as the gateway's other pages."""

from __future__ import annotations

from functools import lru_cache

import attrs

from perimeter.errors import SignIn
from perimeter.web.html.inline import HtmlPage, inline_page

_HINTS = {
    400: "Check the address for a mistake and try again.",
    401: "Sign in with your user name and password, or present an access token.",
    403: "If you should have access, ask the operator of this service.",
    404: "Check the address, or start from the front page.",
    408: "The connection may be slow. Try again.",
    413: "Send less at once.",
    429: "Wait a moment before you try again.",
    500: "The error has been recorded.",
    502: "This is usually over soon. Try again in a moment.",
    503: "This is usually over soon. Try again in a moment.",
    504: "This is usually over soon. Try again in a moment.",
}


@lru_cache(maxsize=128)
def error_page(status: int, phrase: str, request_id: str = "") -> HtmlPage:
    """The page for an error: ``phrase`` is the refusal's fixed sentence. ``request_id`` is shown, unless it is empty."""
    hint = _HINTS.get(status, "")
    return inline_page("error.html", status=status, phrase=phrase, hint=hint, sign_in=None, request_id=request_id)


def sign_in_page(status: int, phrase: str, sign_in: SignIn, request_id: str = "") -> HtmlPage:
    """The page for 401 or 403 to a person who can sign in, or sign in as another user."""
    hint = _HINTS[403] if status == 403 else ""
    page = inline_page("error.html", status=status, phrase=phrase, hint=hint, sign_in=sign_in, request_id=request_id)
    return attrs.evolve(page, frame_ancestors="'self'") if sign_in.framed else page

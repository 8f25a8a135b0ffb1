"""The pages that the gateway writes itself, in one look: plain HTML, no script, nothing from elsewhere.

The style sheet stands in the page, and the Content-Security-Policy allows it by its hash, so a page shows even when everything
behind the gateway is down, and nothing that was smuggled into it runs (attack 26). Each page carries its own policy: one with a
form may be allowed to send it, an error page never is.
"""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache
from html import escape
from importlib.resources import files

import attrs

_STYLE = files("perimeter.web").joinpath("assets/style.css").read_text(encoding="utf-8")

_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode("utf-8")).digest()).decode("ascii")


@attrs.frozen
class HtmlPage:
    """A whole page. ``form_action`` is where its forms may be sent: a source list of CSP, ``'none'`` for a page without forms."""

    body: bytes
    form_action: str = "'none'"

    @property
    def fields(self) -> tuple[tuple[bytes, bytes], ...]:
        """The headers (name, value) that belong to the page."""
        policy = (
            f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action {self.form_action}; "
            "frame-ancestors 'none'"
        )
        return (
            (b"Content-Type", b"text/html; charset=utf-8"),
            (b"Content-Security-Policy", policy.encode("ascii")),
            (b"X-Content-Type-Options", b"nosniff"),
            (b"Referrer-Policy", b"no-referrer"),
        )


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


def document(title: str, body: str, form_action: str = "'none'") -> HtmlPage:
    """A whole page. ``title`` is text; ``body`` is HTML in which all text from elsewhere is already escaped."""
    text = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        '<meta name="robots" content="noindex">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )
    return HtmlPage(text.encode(), form_action)


@lru_cache(maxsize=128)
def error_page(status: int, phrase: str) -> HtmlPage:
    """The page for an error: ``phrase`` is the refusal's fixed sentence."""
    hint = _HINTS.get(status, "")
    more = f"\n<p>{escape(hint)}</p>" if hint else ""
    return document(f"{status} {phrase}", f'<p class="status">{status}</p>\n<h1>{escape(phrase)}</h1>{more}')

"""Pages without other files: the style sheet is in the page, so every listener can show it, also when other parts are down.

The Content-Security-Policy allows only the style sheet, by its hash, so nothing that was smuggled into the page runs
(attack 26).
"""

from __future__ import annotations

import base64
import hashlib
from typing import Final

import attrs
from markupsafe import Markup

from perimeter.web.html.files import ASSETS, TEMPLATES
from perimeter.web.html.templates import environment

_STYLE: Final = ASSETS["style.css"].decode("utf-8")
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode("utf-8")).digest()).decode("ascii")
_ENVIRONMENT: Final = environment({name: (source, name) for name, source in TEMPLATES.items()})
_ENVIRONMENT.globals["style"] = Markup(_STYLE)  # noqa: S704  # our own file, whose hash is in the policy


@attrs.frozen
class HtmlPage:
    """A whole page.

    ``form_action`` is where its forms may be sent: a source list of CSP, ``'none'`` for a page without forms.
    ``frame_ancestors`` are the pages that may show it in a frame, likewise.
    """

    body: bytes
    form_action: str = "'none'"
    frame_ancestors: str = "'none'"

    @property
    def fields(self) -> tuple[tuple[bytes, bytes], ...]:
        """The headers (name, value) that belong to the page."""
        policy = (
            f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action {self.form_action}; "
            f"frame-ancestors {self.frame_ancestors}"
        )
        return (
            (b"Content-Type", b"text/html; charset=utf-8"),
            (b"Content-Security-Policy", policy.encode("ascii")),
            (b"X-Content-Type-Options", b"nosniff"),
            (b"Referrer-Policy", b"same-origin"),
        )


def inline_page(template: str, form_action: str = "'none'", /, **values: object) -> HtmlPage:
    """The page that ``template``, which extends ``inline.html``, makes of ``values``. All text in them is escaped."""
    return HtmlPage(_ENVIRONMENT.get_template(template).render(values).encode("utf-8"), form_action)

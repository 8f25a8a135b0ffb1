"""Which requests are navigations: a browser asks for a page to show, and can be sent to another one. Pure.

Browsers say what a request is for in the fields of Fetch Metadata, towards https and localhost. Without them Accept has to do:
only a navigation names ``text/html``, unless a script does. Everything else (scripts, images, downloads, WebSockets, programs)
must get 401: with a redirect it would get the sign-in page instead of its data.
"""

from __future__ import annotations

from enum import StrEnum

from perimeter.http.answers import accepts_html
from perimeter.model import RequestHead

_GET, _HEAD = b"GET", b"HEAD"
_METADATA = b"sec-fetch-"
#: A page that is loaded in case that the user goes there (the first three; two are from before Fetch Metadata), and a WebSocket's
#: handshake: most proxies that ask about one drop Upgrade.
_NEVER = frozenset((b"sec-purpose", b"purpose", b"x-moz", b"upgrade", b"sec-websocket-key"))
_FRAMES = frozenset((b"iframe", b"frame"))
_WINDOWS = _FRAMES | {b"document"}


class Shown(StrEnum):
    """Where a browser shows the answer to a request.

    ``PAGE``: in a window or tab, by GET or HEAD. ``FRAME``: in a frame of another page. ``FORM``: in a window, tab or frame, to a
    request with another method: a form was sent. ``NOWHERE``: a script or a program gets the answer, or it is for later.
    """

    PAGE = "page"
    FRAME = "frame"
    FORM = "form"
    NOWHERE = "nowhere"


def shown(head: RequestHead) -> Shown:
    """Where a browser shows the answer to ``head``."""
    metadata: dict[bytes, bytes] = {}
    origin = by_script = False
    for name, value in head.headers.fields:
        if name.startswith(_METADATA):
            if name in metadata:
                return _NOWHERE
            metadata[name] = value
        elif name in _NEVER:
            return _NOWHERE
        elif name == b"origin":
            origin = True
        elif name == b"x-requested-with":
            by_script = True
    reads = head.method == _GET or head.method == _HEAD
    if metadata:
        dest = metadata.get(b"sec-fetch-dest", b"")
        # A service worker hands a navigation on with "empty", as a link with `download` has it, which names no HTML.
        anywhere = dest in _WINDOWS or (dest == b"empty" and accepts_html(head.headers))
        if metadata.get(b"sec-fetch-mode") != b"navigate" or not anywhere:
            return _NOWHERE
        if reads:
            return _FRAME if dest in _FRAMES else _PAGE
        return _FORM
    # A form of another method has an Origin, a navigation by GET has none.
    if by_script or (reads and origin) or not accepts_html(head.headers):
        return _NOWHERE
    return _PAGE if reads else _FORM


_PAGE, _FRAME, _FORM, _NOWHERE = Shown

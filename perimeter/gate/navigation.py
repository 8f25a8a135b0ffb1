"""Which requests are navigations: a browser asks for a page to show, and can be sent to another one. Pure.

Browsers say what a request is for in the fields of Fetch Metadata, towards https and localhost. Without them Accept has to do:
only a navigation names ``text/html``, unless a script does. Everything else (scripts, images, downloads, WebSockets, programs)
must get its 401: a redirect would give it the login page in place of what it asked for.
"""

from __future__ import annotations

from perimeter.http.answers import accepts_html
from perimeter.model import RequestHead

_GET, _HEAD = b"GET", b"HEAD"
_METADATA = b"sec-fetch-"
#: A page that is loaded in case that the user goes there (the first three; two are from before Fetch Metadata), and a WebSocket's
#: handshake: most proxies that ask about one drop Upgrade.
_NEVER = frozenset((b"sec-purpose", b"purpose", b"x-moz", b"upgrade", b"sec-websocket-key"))
_OF_SCRIPTS = frozenset((b"origin", b"x-requested-with"))


def is_navigation(head: RequestHead) -> bool:
    """Whether a browser asks for a page to show in a window or tab, by GET or HEAD."""
    if head.method != _GET and head.method != _HEAD:
        return False
    metadata: dict[bytes, bytes] = {}
    by_script = False
    for name, value in head.headers.fields:
        if name.startswith(_METADATA):
            if name in metadata:
                return False
            metadata[name] = value
        elif name in _NEVER:
            return False
        elif name in _OF_SCRIPTS:
            by_script = True
    if metadata:
        if metadata.get(b"sec-fetch-mode") != b"navigate":
            return False
        wanted = metadata.get(b"sec-fetch-dest")
        # A service worker hands a navigation on with "empty", as a link with `download` has it, which names no HTML.
        return wanted == b"document" or (wanted == b"empty" and accepts_html(head.headers))
    return not by_script and accepts_html(head.headers)

"""Forms on the gateway's own pages: who sent them (attack 27). Pure.

A form counts if the browser says that a page of this origin sent it, and if it has the token of this page. The token is made
from a cookie that scripts cannot read and services do not get. So it is not stored, and several gateways need no shared key.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Collection
from typing import Final

from perimeter.errors import CrossSite
from perimeter.model import HeaderBlock

TOKEN: Final = "token"  # noqa: S105  # the name of a field
"""The name of the form field with the token."""

_OWN_SITES: Final[tuple[list[bytes], ...]] = ([], [b"same-origin"], [b"none"])


def form_token(cookie: bytes, session: str, purpose: str) -> str:
    """The token of a form with ``purpose`` in the session with the id ``session`` (before the sign-in: ""), whose ``cookie`` the
    browser has."""
    digest = hmac.digest(cookie, b"csrf\0%b\0%b" % (session.encode("utf-8"), purpose.encode("utf-8")), hashlib.sha256)
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")


def is_token(text: str, cookie: bytes, session: str, purpose: str) -> bool:
    """Whether ``text`` is `form_token` of the rest."""
    return hmac.compare_digest(text.encode("utf-8"), form_token(cookie, session, purpose).encode("ascii"))


def check_origin(headers: HeaderBlock, own: Collection[bytes]) -> None:
    """Raise `CrossSite` if the browser says that a page of another origin than ``own`` has sent the request.

    ``Origin: null`` is foreign: sandboxed pages of any site send it. Clients that are not browsers do not send these headers, and
    are accepted.
    """
    origins = headers.get_all(b"origin")
    if headers.get_all(b"sec-fetch-site") not in _OWN_SITES or len(origins) > 1 or any(one.lower() not in own for one in origins):
        raise CrossSite(
            "Origin or Sec-Fetch-Site names another site: if it is the site itself behind a proxy, see trusted_proxies"
        )


def sent_by_program(headers: HeaderBlock) -> bool:
    """Whether the request is not from a browser: no Cookie, Origin, Referer or Sec-Fetch header, and no HTML in Accept.

    ``wget --post-data`` sends such requests. A page of another site cannot make a browser send one.
    """
    for name, value in headers.fields:
        if name in (b"origin", b"referer", b"cookie") or name.startswith(b"sec-fetch-"):
            return False
        if name == b"accept" and b"html" in value.lower():
            return False
    return True

"""The path on this host to which a browser is redirected after the sign-in; no other host (attack 24). Pure.

The browser sends the path in a query or a form, so it is checked before each use.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final
from urllib.parse import quote

from perimeter.errors import BadTarget
from perimeter.gate.paths import normalise, readings, split_target
from perimeter.model import RequestHead

FRONT: Final = "/"
"""The path if the browser's path is not safe."""

LONGEST: Final = 2000
"""Characters of a path with its query."""

#: One slash, and then no second one; no blank, control, backslash or ``#`` anywhere.
_ON_THIS_HOST = re.compile(r"/(?!/)[\x21-\x7e]*+")
#: Referer of a page: its host, its path and query (RFC 9110, section 10.1.3).
_REFERRER = re.compile(rb"https?://([^/?#\\\x00-\x20\x7f-\xff]*+)(/[\x21-\x7e]*+)")
_ELSEWHERE = re.compile(r"[\\#]")


def safe_path(text: str) -> str:
    """``text``, if it is a path on this host, perhaps with a query, that every browser reads in one way; else "/".

    A browser takes ``//host`` and ``/\\host`` for another host, and drops tabs and line ends first. So those are refused, raw and
    percent-encoded, as is a path that has no normal form or hides a dot segment (`perimeter.gate.paths`). The query is the
    service's business, and may have anything in its encoded form.
    """
    if len(text) > LONGEST or not _ON_THIS_HOST.fullmatch(text) or _ELSEWHERE.search(text):
        return FRONT
    path, _ = split_target(text.encode("ascii"))
    try:
        normal = normalise(path)
        readings(normal)
    except BadTarget:
        return FRONT
    return FRONT if normal.startswith(b"/%2F") else text


class Again(StrEnum):
    """The parameter ``again``: the login page is to be shown to a browser that is signed in, for the same user or another."""

    SAME_USER = "1"
    OTHER_USER = "other"


def with_return(page: bytes, target: bytes, *, again: Again | None = None) -> bytes:
    """The path of ``page`` with ``target`` (path and query, as a client sent them) as its parameter ``to``."""
    more = b"" if again is None else b"&again=%b" % again.encode("ascii")
    return b"%b?to=%b%b" % (page, quote(safe_path(target.decode("ascii"))).encode("ascii"), more)


def referring_path(head: RequestHead) -> bytes:
    """Path and query of the page on this host from which a form was sent or a frame is shown; "/" if it is not known."""
    match = _REFERRER.fullmatch(head.headers.get(b"referer") or b"")
    if match is None or match[1].lower() != head.host.lower():
        return FRONT.encode("ascii")
    return match[2]

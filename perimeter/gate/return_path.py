"""Where a browser goes after the sign-in: a path on this host, and nothing else (attack 24). Pure.

The path travels through the browser, in a query or a form, so it is judged whenever it is used.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote

from perimeter.errors import BadTarget
from perimeter.gate.paths import normalise, readings, split_target

FRONT: Final = "/"
"""Where a browser goes if its path is not safe."""

LONGEST: Final = 2000
"""Characters of a path with its query."""

#: One slash, and then no second one; no blank, control, backslash or ``#`` anywhere.
_ON_THIS_HOST = re.compile(r"/(?!/)[\x21-\x7e]*+")
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


def with_return(page: bytes, target: bytes, *, again: bool = False) -> bytes:
    """The path of ``page`` with ``target`` (path and query, as a client sent them) as its parameter ``to``.

    ``again``: the login page is to be shown to a browser that is signed in, too.
    """
    more = b"&again=1" if again else b""
    return b"%b?to=%b%b" % (page, quote(safe_path(target.decode("ascii"))).encode("ascii"), more)

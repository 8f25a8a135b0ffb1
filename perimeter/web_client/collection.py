"""A list that a service returns in pages: GitHub's JSON arrays with a Link header (RFC 8288), and the objects of OData (Graph).

A list that is not complete is never returned: a group that denies access may be on the page that is missing. The token is sent
only to the origin that was asked first.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from perimeter.errors import Unavailable

if TYPE_CHECKING:
    from perimeter.web_client.client import RemoteAnswer, RemoteClient

MAX_PAGES: Final = 20
MAX_ITEMS: Final = 2000

_NEXT: Final = re.compile(r'<([^<>]*)>[^<]*?;\s*rel="?next"?(?=\s*[;,]|\s*$)', re.IGNORECASE)
_ODATA_NEXT: Final = "@odata.nextLink"


async def collect(client: RemoteClient, url: str, authorization: str) -> list[Any]:
    """All items of the list at ``url``, page after page. ``authorization`` is that header.

    Raises `Unavailable` for a page that has another status than 200 or is no list, for a page of another origin, and for more
    than `MAX_PAGES` pages or `MAX_ITEMS` items.
    """
    items: list[Any] = []
    origin, at = _origin(url), url
    for _ in range(MAX_PAGES):
        answer = await client.get(at, authorization=authorization)
        if answer.status != 200:
            raise answer.unexpected()
        found, following = _page(answer)
        items += found
        if len(items) > MAX_ITEMS:
            raise Unavailable(f"{client.service} returned a list of more than {MAX_ITEMS} items")
        if not following:
            return items
        if _origin(following) != origin:
            raise Unavailable(f"{client.service} returned a next page of another origin")
        at = following
    raise Unavailable(f"{client.service} returned a list of more than {MAX_PAGES} pages")


def _page(answer: RemoteAnswer) -> tuple[list[Any], str]:
    """The items of one page, and the URL of the next one or ""."""
    value = answer.value()
    if isinstance(value, list):
        match = _NEXT.search(answer.link)
        return value, match[1] if match else ""
    if isinstance(value, dict):
        items, following = value.get("value"), value.get(_ODATA_NEXT, "")
        if isinstance(items, list) and isinstance(following, str):
            return items, following
    raise Unavailable(f"{answer.service} returned no list")


def _origin(url: str) -> tuple[str, str] | None:
    """Scheme and authority, without user information; None for what is no URL."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return (parts.scheme.lower(), parts.netloc.lower()) if parts.netloc and "@" not in parts.netloc else None

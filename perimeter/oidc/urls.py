"""URLs that a provider, or a site.ini, names: https, or plain http to a loopback address alone. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlencode

from perimeter.auth.kinds.remote.settings import crosses_network

MAX_URL: Final = 2048

# RFC 3986 without user information and fragment: browsers and servers disagree about what else a text may be.
_URL: Final = re.compile(
    r"(https?)://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?)(?::[0-9]{1,5})?"
    r"(?:/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?(?:\?[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*)?"
)


def is_secure(url: object, *, plain: bool = True) -> bool:
    """Whether ``url`` is an absolute https URL, or with ``plain`` an http URL of a loopback address."""
    if not isinstance(url, str) or len(url) > MAX_URL:
        return False
    found = _URL.fullmatch(url)
    return found is not None and (found[1] == "https" or (plain and not crosses_network(url)))


def with_parameters(url: str, parameters: Iterable[tuple[str, str]]) -> str:
    """``url`` with ``parameters`` added to its query (RFC 6749, section 3.1: the query of an endpoint stays)."""
    return f"{url}{'&' if '?' in url else '?'}{urlencode(list(parameters))}"

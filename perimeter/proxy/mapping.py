"""Converts what a service says about its own address, in Location and Set-Cookie, into what holds for the client. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

MAPPED: Final = frozenset((b"location", b"content-location", b"set-cookie"))
"""Headers of a response that can contain a path or a host of the upstream."""

_COOKIE_PATH = re.compile(rb"(;[ \t]*path[ \t]*=[ \t]*)([^;\s]*)", re.IGNORECASE)
_COOKIE_DOMAIN = re.compile(rb";[ \t]*domain[ \t]*=[ \t]*\.?([^;\s]*)[ \t]*", re.IGNORECASE)
_ABSOLUTE = re.compile(rb"https?://([^/?#]*)([^?#]*)(.*)", re.IGNORECASE)
_PORT = re.compile(rb":[0-9]*\Z")


def map_back(
    name: bytes,
    value: bytes,
    own_hosts: tuple[bytes, ...],
    outer_path: Callable[[bytes], bytes],
    renamed: tuple[bytes, bytes] | None = None,
) -> bytes:
    """Convert an upstream's Location, Content-Location or Set-Cookie value for the client.

    An absolute URL of one of ``own_hosts`` (the upstream's hosts, and the host that the client used) becomes a path on this
    gateway, so that neither a wrong scheme nor an internal name leaks. ``outer_path`` undoes the route's rewrite. ``renamed`` are
    the host that the service got, if it is another than the client's, and the client's: a cookie for the domain of the first one
    would be refused by browsers, and becomes one of the client's host.
    """
    if name == b"set-cookie":
        if renamed is not None:
            value = _COOKIE_DOMAIN.sub(lambda match: b"" if _is_lost(match[1].lower(), *renamed) else match[0], value)
        return _COOKIE_PATH.sub(lambda match: match[1] + (outer_path(match[2]) if match[2] else b""), value)
    match = _ABSOLUTE.fullmatch(value)
    if match is not None:
        if match[1].lower() not in own_hosts:
            return value
        path, rest = match[2] or b"/", match[3]
    else:
        end = min((at for at in (value.find(b"?"), value.find(b"#")) if at >= 0), default=len(value))
        path, rest = value[:end], value[end:]
        if not path.startswith(b"/") or path[1:2] in (b"/", b"\\", b"\t"):
            return value
    path = outer_path(path)
    if path[1:2] in (b"/", b"\\", b"\t"):  # a browser reads another host here: it treats \ as / and skips tabs (attack 24)
        path = b"/" + path.lstrip(b"/\\\t ")
    return path + rest


def _is_lost(domain: bytes, inner: bytes, outer: bytes) -> bool:
    """Whether a cookie for ``domain`` is for the host ``inner`` and not for ``outer`` (RFC 6265, section 5.1.3)."""
    return _in_domain(inner, domain) and not _in_domain(outer, domain)


def _in_domain(host: bytes, domain: bytes) -> bool:
    host = _PORT.sub(b"", host.lower())
    return bool(domain) and (host == domain or host.endswith(b"." + domain))

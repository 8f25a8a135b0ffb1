"""Forms: one strict parser, bounded in size and in time, for a resource that asks for a form (attack 45). Pure.

Only ``application/x-www-form-urlencoded`` is read (HTML, section 4.10.21.6; RFC 7009, section 2.1). Nothing in the gateway needs
``multipart/form-data``, and general MIME parsers take seconds for nested parts.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote_to_bytes

from perimeter.errors import BadRequest

MAX_FORM = 32 * 1024
"""Bytes of a form that are read."""

MAX_FIELDS = 100
"""Fields that a form may have."""

_MEDIA_TYPE = b"application/x-www-form-urlencoded"
#: visible ASCII, and every percent sign with its two digits
_ENCODED = re.compile(rb"(?:[!-$&-~]|%[0-9A-Fa-f]{2})*")


def parse_form(text: bytes) -> dict[bytes, list[bytes]]:
    """Names to values, in the order of ``text``; a name without ``=`` has the value ``b""``.

    Raises `BadRequest` beyond `MAX_FORM` and `MAX_FIELDS`, for a percent sign that escapes nothing, and for bytes
    that a form has to escape.
    """
    if len(text) > MAX_FORM or text.count(b"&") >= MAX_FIELDS:
        raise BadRequest("the form is too large")
    if not _ENCODED.fullmatch(text):
        raise BadRequest("the form is malformed")
    fields: dict[bytes, list[bytes]] = {}
    for pair in text.split(b"&"):
        if pair:
            name, _, value = pair.replace(b"+", b" ").partition(b"=")
            fields.setdefault(unquote_to_bytes(name), []).append(unquote_to_bytes(value))
    return fields


def form(request: Any) -> dict[bytes, list[bytes]]:
    """The form in the body of ``request``; empty if the body is not declared as one. The body stays to be read.

    Raises `BadRequest`, see `parse_form`.
    """
    if (request.requestHeaders.getRawHeaders(b"content-type") or [b""])[0].partition(b";")[0].strip().lower() != _MEDIA_TYPE:
        return {}
    request.content.seek(0)
    text = request.content.read(MAX_FORM + 1)
    request.content.seek(0)
    return parse_form(text)

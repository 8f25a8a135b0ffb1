"""The ids of requests: the same id in the request to the service, in the response, in the audit log and in the daemon's log.

An id that the gateway makes is 128 random bits, as 32 hexadecimal digits. So no client can guess the id of another request, the
ids of one client do not show how many requests others send, and the processes of one gateway need not agree on numbers. It is
also a valid trace-id of W3C Trace Context. The bits are drawn for many requests at a time (0.1 µs for each request).

A trusted proxy may have given the request an id already (X-Request-ID): that one is kept, if it is well formed. The header of
other clients is dropped, so that no client can choose an id that another request has (attack 100).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Final

from perimeter.model import HeaderBlock

HEADER: Final = "X-Request-ID"
"""The header of requests to services, of requests from trusted proxies, and of responses."""

PLACE: Final = b"@REQUEST_ID@"
"""Stands for the id in the pages and bodies of error answers."""

_NAME: Final = HEADER.lower().encode("ascii")
#: Ids that are accepted from a trusted proxy: those of all known proxies, without special characters of log lines, JSON and HTML.
_FORM: Final = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._:/+=-]{0,127}")
_START: Final = f"{HEADER}: "
#: the number of requests for which bits are drawn at a time
_REQUESTS: Final = 256


def _random_lines() -> Iterator[list[bytes]]:
    between = f"\r\n{_START}"
    while True:
        digits = os.urandom(16 * _REQUESTS).hex("/", 16)
        yield f"{_START}{digits.replace('/', between)}\r\n".encode("ascii").splitlines(keepends=True)


next_line: Final[Callable[[], bytes]] = chain.from_iterable(_random_lines()).__next__
"""Makes an id. Returns the header line with it, with its CRLF."""


no_line: Final[Callable[[], bytes]] = bytes
"""Returns an empty line, in the place of `next_line`: requests have no ids. A function in Python would take longer."""


def id_line(request_id: bytes) -> bytes:
    """The header line with an id."""
    return b"X-Request-ID: %b\r\n" % request_id


def id_in(line: bytes) -> bytes:
    """The id in a header line of `next_line` or `id_line`; empty if the line is."""
    return line[len(_START) : -2]


def id_of_proxy(headers: HeaderBlock) -> bytes:
    """The id that a trusted proxy gave a request with these ``headers``.

    Empty if there is none, a malformed one, or more than one.
    """
    values = headers.get_all(_NAME)
    return values[0] if len(values) == 1 and _FORM.fullmatch(values[0]) else b""

"""The target of a ``redirect`` listener: the same URL with https."""

from __future__ import annotations

import re
from email.utils import formatdate
from ipaddress import AddressValueError, IPv6Address

from zope.interface import implementer

from perimeter.errors import BadRequest, BadTarget
from perimeter.gate.target import ITarget
from perimeter.http.exchange import Exchange

#: A name or IPv4 address, with the port that will be replaced (RFC 3986, section 3.2.2, without percent-encoding).
_NAME = re.compile(rb"([A-Za-z0-9_](?:[A-Za-z0-9._-]{0,252}[A-Za-z0-9.])?)(?::[0-9]{1,5})?")
_BRACKETED = re.compile(rb"\[([0-9A-Fa-f:.]{2,45})\](?::[0-9]{1,5})?")
TARGET = re.compile(rb"/[!-\[\]-~]*")
"""A path and query in origin-form: visible ASCII without the characters that a browser rewrites."""


@implementer(ITarget)
class RedirectTarget:
    """Answers each request with 301 to https on ``port``, with the same host, path and query.

    The host is what the client claims, but only its own browser follows the answer, and the scheme is fixed. A malformed host is
    400 (attacks 9 and 24).
    """

    name = "redirect"

    def __init__(self, port: int) -> None:
        self._port = b"" if port == 443 else b":%d" % port

    def handle(self, exchange: Exchange) -> None:
        """Answer ``exchange``. The exchange discards the body, if any."""
        host = host_of(exchange.head.host)
        target = exchange.head.target if exchange.decision is None else exchange.decision.target
        if host is None:
            exchange.refuse(BadRequest("no usable host to redirect to"))
        elif TARGET.fullmatch(target) is None:
            exchange.refuse(BadTarget("no usable path to redirect to"))
        else:
            date = formatdate(exchange.time, usegmt=True).encode("ascii")
            exchange.answer(301, b"Date: %b\r\nLocation: https://%b%b%b\r\n" % (date, host, self._port, target), b"")


def host_of(authority: bytes) -> bytes | None:
    """The host of ``authority`` without its port, an IPv6 address in brackets; None if it is malformed."""
    name = _NAME.fullmatch(authority)
    if name is not None:
        return name[1]
    bracketed = _BRACKETED.fullmatch(authority)
    if bracketed is None:
        return None
    try:
        address = IPv6Address(bracketed[1].decode("ascii"))
    except AddressValueError:
        return None
    return b"[%b]" % str(address).encode("ascii")

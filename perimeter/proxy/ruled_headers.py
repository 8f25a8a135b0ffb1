"""The rules of a route about headers: ``request_headers``, ``response_headers`` and ``security_headers``. Pure.

What is the same for all requests is put into the lines that `perimeter.proxy.headers.HeaderRules` caches with the block that they
came from. Only values with placeholders are made for each request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import attrs

from perimeter.config.language.placeholders import Template
from perimeter.config.site.header_rule import HeaderRule, Verb
from perimeter.gate.overrides import folded
from perimeter.gate.values import header_value
from perimeter.http.exchange import Exchange
from perimeter.model import Field, HeaderBlock
from perimeter.proxy.headers import KNOWN_NAMES, HeaderRules

#: A page may be framed by pages of its own host, and no page of another site keeps a handle on it, embeds it or learns its path.
#: Services that need more say so themselves, and their own headers count.
STRICT: Final[tuple[Field, ...]] = (
    (b"X-Content-Type-Options", b"nosniff"),
    (b"X-Frame-Options", b"SAMEORIGIN"),
    (b"Content-Security-Policy", b"frame-ancestors 'self'"),
    (b"Referrer-Policy", b"same-origin"),
    (b"Cross-Origin-Opener-Policy", b"same-origin-allow-popups"),
    (b"Cross-Origin-Resource-Policy", b"same-site"),
)
#: With ``strict`` the gateway sends it (`perimeter.gate.entry.over_tls`), and the service's own does not pass.
_TRANSPORT: Final = b"strict-transport-security"


@attrs.frozen
class Edits:
    """What a route changes in headers. ``host``: the service gets this Host; empty for what the client sent."""

    request: tuple[HeaderRule, ...] = ()
    response: tuple[HeaderRule, ...] = ()
    strict: bool = False
    host: bytes = b""


@attrs.frozen
class _Lines:
    """The lines that rules add: those that never change, and those that are made for each request."""

    fixed: bytes
    filled: tuple[tuple[bytes, Template], ...]

    def of(self, exchange: Exchange | None) -> bytes:
        """Those that are made for ``exchange``. A header with a value that does not exist is left out."""
        if exchange is None or not self.filled:
            return b""
        lines = []
        for name, template in self.filled:
            value = header_value(template, exchange)
            if value is not None:
                lines.append(b"%b: %b\r\n" % (name, value))
        return b"".join(lines)


def _lines(rules: Iterable[HeaderRule]) -> _Lines:
    fixed = b""
    filled = []
    for rule in rules:
        name = rule.name.encode("ascii")
        if rule.verb is Verb.REMOVE:
            continue
        if rule.value.placeholders:
            filled.append((name, rule.value))
        else:
            fixed += b"%b: %b\r\n" % (name, rule.value.text.encode("ascii"))
    return _Lines(fixed, tuple(filled))


def _replaced(rules: Iterable[HeaderRule]) -> frozenset[bytes]:
    """The names, folded, of headers that do not pass."""
    return frozenset(folded(rule.name.lower().encode("ascii")) for rule in rules if rule.verb is not Verb.ADD)


class RuledHeaders(HeaderRules):
    """Like `HeaderRules`, with the ``edits`` of a route."""

    __slots__ = ("_defaults", "_request", "_response")

    def __init__(
        self,
        edits: Edits,
        identity_names: Iterable[bytes] = KNOWN_NAMES,
        *,
        drop_method_overrides: bool = False,
        pass_authorization: bool = False,
        drop_cors: bool = False,
    ) -> None:
        ruled = {folded(rule.name.lower().encode("ascii")) for rule in edits.response}
        replaced = _replaced(edits.response)
        if edits.strict and _TRANSPORT not in ruled:
            replaced |= {_TRANSPORT}
        super().__init__(
            identity_names,
            drop_method_overrides=drop_method_overrides,
            pass_authorization=pass_authorization,
            drop_cors=drop_cors,
            replaced=(_replaced(edits.request), replaced),
            host=edits.host,
        )
        self._request = _lines(edits.request)
        self._response = _lines(edits.response)
        #: what is added if the service does not send it: names in lower case, with their lines
        self._defaults = tuple(
            (name.lower(), b"%b: %b\r\n" % (name, value)) for name, value in STRICT if edits.strict and name.lower() not in ruled
        )

    def _more_request_lines(self, headers: HeaderBlock) -> bytes:
        return self._request.fixed

    def _more_response_lines(self, headers: HeaderBlock) -> bytes:
        absent = (line for name, line in self._defaults if headers.get(name) is None)
        return self._response.fixed + b"".join(absent)

    def request_lines(self, headers: HeaderBlock, exchange: Exchange | None = None) -> bytes:
        """See `HeaderRules.request_lines`."""
        return super().request_lines(headers) + self._request.of(exchange)

    def response_lines(
        self,
        headers: HeaderBlock,
        map_value: Callable[[bytes, bytes], bytes] | None,
        exchange: Exchange | None = None,
    ) -> bytes:
        """See `HeaderRules.response_lines`."""
        return super().response_lines(headers, map_value) + self._response.of(exchange)


def header_rules(
    edits: Edits, identity_names: Iterable[bytes], drop_method_overrides: bool, passes: bool, drop_cors: bool = False
) -> HeaderRules:
    """The rules of a route. A route without ``edits`` has the plain ones, which cost less."""
    if edits == Edits():
        return HeaderRules(
            identity_names, drop_method_overrides=drop_method_overrides, pass_authorization=passes, drop_cors=drop_cors
        )
    return RuledHeaders(
        edits, identity_names, drop_method_overrides=drop_method_overrides, pass_authorization=passes, drop_cors=drop_cors
    )

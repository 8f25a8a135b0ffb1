"""Rules of a route about headers of responses, for what the gateway answers by itself."""

from __future__ import annotations

from typing import Final

from perimeter.http.exchange import Exchange
from perimeter.http.grammar import split_fields
from perimeter.model import HeaderBlock
from perimeter.proxy.headers import HeaderRules

#: An answer has fewer headers.
_MOST_HEADERS: Final = 20


def ruled(lines: bytes, rules: HeaderRules | None, exchange: Exchange) -> bytes:
    """``lines`` of a response, each with its CRLF, as ``rules`` have them; without rules, as they are."""
    if rules is None:
        return lines
    return rules.response_lines(HeaderBlock(split_fields(lines, _MOST_HEADERS), lines), None, exchange)

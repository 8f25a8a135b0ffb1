"""Decodes UTF-8 with ISO-8859-1 as fallback; how names compare, and which characters they must not contain. Pure."""

from __future__ import annotations

import re
import unicodedata

_BLANKS = re.compile(r"\s+")
_UNFIT_FOR_NAME = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

# What Java's String.trim removes. Python's strip removes Unicode's blanks too, which would change a password that ends in one.
_JAVA_BLANK = "".join(map(chr, range(0x21)))


def trim(text: str) -> str:
    """``text`` without the characters around it that Java considers blank."""
    return text.strip(_JAVA_BLANK)


def decode_either(data: bytes) -> str:
    """``data`` as UTF-8, or as ISO-8859-1 if it is not UTF-8.

    ISO-8859-1 text with accents is hardly ever well-formed UTF-8 by accident, so both are read correctly.
    """
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("iso-8859-1")


def folded(value: str) -> str:
    """``value`` as caseIgnoreMatch compares it (RFC 4518): a directory considers equal results the same."""
    return _BLANKS.sub(" ", unicodedata.normalize("NFKC", value).casefold()).strip()


def unfit_for_name(text: str) -> bool:
    """Whether ``text`` could break a header or a line of a log: controls (C1 too), Unicode's line separators, lone surrogates."""
    return _UNFIT_FOR_NAME.search(text) is not None


def local_part(name: str, domain: str) -> str | None:
    """``user`` of ``user@domain``; None for any other domain, and for a name with another ``@`` in it (attack 40)."""
    local, _, found = name.rpartition("@")
    return local if local and "@" not in local and found.casefold() == domain.casefold() else None

"""Text of two times: UTF-8 where it is that, else ISO-8859-1, and what no name may hold. Pure."""

from __future__ import annotations

import re

_UNFIT_FOR_NAME = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

# What Java's String.trim takes off. Python's strip would take Unicode's blanks too, and so change a password that ends in one.
_JAVA_BLANK = "".join(map(chr, range(0x21)))


def trim(text: str) -> str:
    """``text`` without the blanks around it, as Java sees blanks."""
    return text.strip(_JAVA_BLANK)


def decode_either(octets: bytes) -> str:
    """``octets`` as UTF-8, else as ISO-8859-1.

    What is ISO-8859-1 with accents is hardly ever well-formed UTF-8 by accident, so that both are read right.
    """
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        return octets.decode("iso-8859-1")


def unfit_for_name(text: str) -> bool:
    """Whether ``text`` could break a header or a line of a log: controls (C1 too), Unicode's line separators, lone surrogates."""
    return _UNFIT_FOR_NAME.search(text) is not None


def local_part(name: str, domain: str) -> str | None:
    """``user`` of ``user@domain``; None for any other domain, and for a name with another ``@`` in it (attack 40)."""
    local, _, found = name.rpartition("@")
    return local if local and "@" not in local and found.casefold() == domain.casefold() else None
